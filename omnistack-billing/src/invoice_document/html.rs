//! The invoice as a page.

use std::fmt::Write as _;

use super::view::{DocumentView, LineView};

/// The content security policy of the page: nothing but its own style.
pub(super) const PAGE_CSP: &str = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'self'";

const STYLE: &str =
    "body{font:15px/1.5 system-ui,sans-serif;max-width:48rem;margin:2rem auto;padding:0 1rem;color:#111}
header{display:flex;justify-content:space-between;gap:2rem}
address{font-style:normal;white-space:pre-line}
table{width:100%;border-collapse:collapse;margin:1.5rem 0}
th,td{text-align:left;padding:.35rem .5rem;border-bottom:1px solid #ddd;vertical-align:top}
.number{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
.totals td{border:0}.totals tr:last-child td{font-weight:700;border-top:2px solid #111}
dl{display:grid;grid-template-columns:max-content auto;gap:.1rem 1rem}dd{margin:0}
@media print{body{margin:0;max-width:none}}";

/// Returns the page.
pub(super) fn render(view: &DocumentView) -> String {
    let title = escape(&view.title);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\
        <meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style></head><body>\n\
        <header><address>{}</address><address>{}</address></header>\n<h1>{title}</h1>\n<dl>",
        escape(&view.customer.join("\n")),
        escape(&view.seller.join("\n")),
    );
    // Writing to a `String` never fails.
    for (label, value) in &view.facts {
        _ = write!(page, "<dt>{label}</dt><dd>{}</dd>", escape(value));
    }
    page.push_str(
        "</dl>\n<table><thead><tr><th>Description</th><th class=\"number\">Quantity</th>\
        <th class=\"number\">Unit price</th><th class=\"number\">Tax</th><th class=\"number\">Net</th></tr></thead><tbody>\n",
    );
    for LineView { description, quantity, price, tax, net } in &view.lines {
        _ = write!(page, "<tr><td>{}</td>", escape(description));
        for text in [quantity, price, tax, net] {
            _ = write!(page, "<td class=\"number\">{}</td>", escape(text));
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</tbody></table>\n<table class=\"totals\"><tbody>\n");
    for (label, amount) in &view.totals {
        _ = writeln!(page, "<tr><td>{}</td><td class=\"number\">{}</td></tr>", escape(label), escape(amount));
    }
    page.push_str("</tbody></table>\n");
    for note in &view.notes {
        _ = writeln!(page, "<p>{}</p>", escape(note));
    }
    page.push_str("</body></html>\n");
    page
}

fn escape(plain: &str) -> String {
    let mut escaped = String::with_capacity(plain.len());
    for character in plain.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_tenants_are_escaped() {
        let view = DocumentView {
            title: "Invoice INV-1".to_owned(),
            seller: vec!["A & B".to_owned()],
            customer: vec!["<script>alert(1)</script>".to_owned()],
            facts: vec![("Date", "\"2030\"".to_owned())],
            lines: vec![LineView {
                description: "<b>".to_owned(),
                quantity: "1".to_owned(),
                price: "2".to_owned(),
                tax: "19 %".to_owned(),
                net: "2.00".to_owned(),
            }],
            totals: vec![("Amount due".to_owned(), "2.38 EUR".to_owned())],
            notes: vec!["it's".to_owned()],
        };
        let page = render(&view);
        for part in [
            "A &amp; B",
            "&lt;script&gt;alert(1)&lt;/script&gt;",
            "&quot;2030&quot;",
            "<td>&lt;b&gt;</td>",
            "<td class=\"number\">2.38 EUR</td>",
            "it&#39;s",
        ] {
            assert!(page.contains(part), "{part}: {page}");
        }
        assert!(!page.contains("<script"));
    }
}
