//! The layout around the content of every mail. It has no tables, so that screen readers read a heading, paragraphs
//! and a link, in this order.

use super::{Brand, markdown::html_text};

/// The contents of a layout.
pub(super) struct LayoutParts<'a> {
    pub(super) brand: &'a Brand,
    pub(super) locale: &'a str,
    pub(super) subject: &'a str,
    pub(super) preview: &'a str,
    /// The body, as HTML.
    pub(super) body: &'a str,
    /// The footer, as HTML.
    pub(super) footer: &'a str,
}

/// Styles for dark mode. The styles for light mode are inline, because all mail programs support inline styles.
const DARK: &str = "@media (prefers-color-scheme:dark){\
.page{background:#0f1115!important;color:#d5d9e0!important}\
.card{background:#1a1d24!important;border-color:#2c313c!important}\
.strong{color:#f3f4f6!important}\
.note,.code{background:#262b35!important;color:#c3c9d4!important;border-color:#4b5563!important}\
.link{color:#8ab4ff!important}.button{background:#3b76f6!important;color:#ffffff!important}\
.quiet{color:#9aa3b2!important}.line{border-color:#2c313c!important}}";

/// Returns the complete HTML document.
pub(super) fn html(parts: &LayoutParts<'_>) -> String {
    let LayoutParts { brand, locale, subject, preview, body, footer } = parts;
    let (locale, subject, product) = (html_text(locale), html_text(subject), html_text(&brand.product));
    let name = match &brand.url {
        Some(url) => format!(
            "<a class=\"strong\" href=\"{}\" style=\"color:#111827;text-decoration:none\">{product}</a>",
            html_text(url)
        ),
        None => product,
    };
    let preview = match *preview {
        "" => String::new(),
        preview => format!(
            "<div style=\"display:none;max-height:0;overflow:hidden;opacity:0\">{}{}</div>",
            html_text(preview),
            // Fills the inbox's preview line, so that it does not show the text that follows.
            "&#847;&zwnj;&nbsp;".repeat(40)
        ),
    };
    format!(
        "<!doctype html>\n\
<html lang=\"{locale}\">\n<head>\n<meta charset=\"utf-8\">\n\
<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n\
<meta name=\"color-scheme\" content=\"light dark\">\n\
<meta name=\"supported-color-schemes\" content=\"light dark\">\n\
<title>{subject}</title>\n<style>:root{{color-scheme:light dark}}{DARK}</style>\n</head>\n\
<body class=\"page\" style=\"margin:0;padding:32px 12px;background:#f3f4f6;color:#374151;\
font:16px/1.6 -apple-system,BlinkMacSystemFont,'Segoe UI',Roboto,Helvetica,Arial,sans-serif\">\n\
{preview}\n\
<div role=\"article\" aria-roledescription=\"email\" aria-label=\"{subject}\" lang=\"{locale}\" \
style=\"max-width:600px;margin:0 auto\">\n\
<div class=\"strong\" style=\"padding:0 4px 16px;font-size:18px;font-weight:700;color:#111827\">{name}</div>\n\
<div class=\"card\" style=\"background:#ffffff;border:1px solid #e5e7eb;border-radius:12px;padding:32px 28px 16px;\
overflow-wrap:anywhere\">\n{body}\n</div>\n\
<div class=\"quiet\" style=\"padding:16px 4px 0;font-size:13px;line-height:1.5;color:#6b7280\">\n{footer}\n</div>\n\
</div>\n</body>\n</html>\n"
    )
}

/// Returns the plain text, with the footer after the line `-- `, by which mail programs recognise a signature (RFC
/// 3676, section 4.3).
pub(super) fn text(body: &str, footer: &str) -> String {
    match footer {
        "" => format!("{body}\n"),
        footer => format!("{body}\n\n-- \n{footer}\n"),
    }
}
