//! The HTML pages of the dev mailbox.

use std::fmt::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::ReceivedMail;
use crate::email::{
    Address, Email,
    template::{RenderedTemplate, Templates, html_text},
};

const STYLE: &str = "
:root{color-scheme:light dark;--bg:#f6f7f9;--card:#fff;--line:#e4e7ec;--text:#1d2433;--quiet:#667085;--accent:#2563eb;--soft:#eff4ff}
@media (prefers-color-scheme:dark){:root{--bg:#0f1115;--card:#181b21;--line:#2a2f3a;--text:#e6e8ec;--quiet:#98a2b3;--accent:#8ab4ff;--soft:#1e2739}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--text);font:15px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,sans-serif}
main{max-width:960px;margin:0 auto;padding:32px 20px 64px}
a{color:var(--accent);text-decoration:none}a:hover{text-decoration:underline}
h1{font-size:22px;margin:0 0 4px;overflow-wrap:anywhere}h2{font-size:14px;margin:32px 0 10px;color:var(--quiet);font-weight:600}
.lead{color:var(--quiet);margin:0 0 20px}
.card{background:var(--card);border:1px solid var(--line);border-radius:10px;overflow:hidden}
.row{display:grid;grid-template-columns:minmax(0,1fr) minmax(0,2fr) auto;gap:16px;padding:12px 16px;color:inherit;border-top:1px solid var(--line)}
.row:first-child{border-top:0}.row:hover{background:var(--soft);text-decoration:none}
.row span{overflow:hidden;text-overflow:ellipsis;white-space:nowrap}.row .subject{font-weight:600}
.quiet{color:var(--quiet)}.empty{padding:40px 16px;text-align:center;color:var(--quiet)}
.chips{display:flex;flex-wrap:wrap;gap:8px}
.chip{display:inline-flex;gap:8px;padding:6px 12px;background:var(--card);border:1px solid var(--line);border-radius:999px}
.chip.on{background:var(--accent);border-color:var(--accent);color:var(--card)}
dl{display:grid;grid-template-columns:auto minmax(0,1fr);gap:4px 16px;margin:0 0 20px}dt{color:var(--quiet)}dd{margin:0;overflow-wrap:anywhere}
iframe{display:block;width:100%;height:720px;border:0;background:#fff}
pre{margin:0;padding:16px;white-space:pre-wrap;overflow-wrap:anywhere;font:13px/1.55 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
summary{padding:10px 16px;cursor:pointer;color:var(--quiet)}
nav{margin:0 0 20px}
";

fn document(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n\
         <title>{} · Mailbox</title>\n<style>{STYLE}</style>\n</head>\n<body><main>\n{body}\n</main></body>\n</html>\n",
        html_text(title)
    )
}

fn addresses(addresses: &[Address]) -> String {
    addresses.iter().map(|address| html_text(&address.to_string())).collect::<Vec<_>>().join(", ")
}

/// Returns the table of text messages, for the page that lists the mails.
#[cfg(feature = "sms")]
pub(crate) fn texts(messages: &[crate::sms::ReceivedSms]) -> String {
    let mut body = String::new();
    if messages.is_empty() {
        return body;
    }
    body.push_str("<h2>Text messages</h2>\n<div class=\"card\">");
    for message in messages.iter().rev() {
        _ = write!(
            body,
            "<div class=\"row\"><span>{}</span><span class=\"subject\">{}</span><span class=\"quiet\">{}</span></div>",
            html_text(message.to.as_str()),
            html_text(&message.text),
            message.at.to_jiff().strftime("%Y-%m-%d %H:%M:%S")
        );
    }
    body.push_str("</div>\n");
    body
}

/// Returns the page that lists mails and templates, with the HTML `more` between them.
pub(crate) fn list(mails: &[ReceivedMail], more: &str, templates: &Templates) -> String {
    let mut body = String::from(
        "<h1>Mailbox</h1>\n<p class=\"lead\">Mails sent since the app started. No mail leaves this machine.</p>\n",
    );
    body.push_str("<div class=\"card\">");
    for ReceivedMail { id, at, email } in mails.iter().rev() {
        _ = write!(
            body,
            "<a class=\"row\" href=\"/dev/mailbox/{id}\"><span>{}</span><span class=\"subject\">{}</span>\
             <span class=\"quiet\">{}</span></a>",
            addresses(&email.to),
            html_text(&email.subject),
            at.to_jiff().strftime("%Y-%m-%d %H:%M:%S")
        );
    }
    if mails.is_empty() {
        body.push_str("<div class=\"empty\">No mail yet.</div>");
    }
    body.push_str("</div>\n");
    body.push_str(more);
    body.push_str("<h2>Templates</h2>\n<div class=\"chips\">");
    for (name, _) in templates.list() {
        _ = write!(body, "<a class=\"chip\" href=\"/dev/mailbox/preview/{name}\">{}</a>", html_text(name));
    }
    body.push_str("</div>\n");
    document("All", &body)
}

/// Writes the parts of a mail (HTML, text, source), each in a card.
fn parts(body: &mut String, frame: Option<&str>, text: Option<&str>, html: Option<&str>) {
    if let Some(frame) = frame {
        _ = write!(
            body,
            "<div class=\"card\"><iframe title=\"The mail\" src=\"{}\" \
             sandbox=\"allow-popups allow-popups-to-escape-sandbox\"></iframe></div>",
            html_text(frame)
        );
    }
    if let Some(text) = text {
        _ = write!(body, "<h2>Text</h2>\n<div class=\"card\"><pre>{}</pre></div>\n", html_text(text));
    }
    if let Some(html) = html {
        _ = write!(
            body,
            "<h2>Source</h2>\n<div class=\"card\"><details><summary>HTML, {} bytes</summary><pre>{}</pre></details></div>\n",
            html.len(),
            html_text(html)
        );
    }
}

pub(crate) fn mail(ReceivedMail { id, at, email }: &ReceivedMail) -> String {
    let mut body =
        format!("<nav><a href=\"/dev/mailbox\">← Mailbox</a></nav>\n<h1>{}</h1>\n<dl>", html_text(&email.subject));
    let mut line = |name: &str, value: String| {
        if !value.is_empty() {
            _ = write!(body, "<dt>{name}</dt><dd>{value}</dd>");
        }
    };
    line("From", addresses(email.from.as_slice()));
    line("To", addresses(&email.to));
    line("Cc", addresses(&email.cc));
    line("Bcc", addresses(&email.bcc));
    line("Reply to", addresses(&email.reply_to));
    line("Sent", at.to_jiff().strftime("%Y-%m-%d %H:%M:%S UTC").to_string());
    let files = email.attachments.iter().map(|file| {
        format!(
            "{} <span class=\"quiet\">({}, {} bytes)</span>",
            html_text(&file.name),
            html_text(&file.content_type),
            file.content.len()
        )
    });
    line("Attachments", files.collect::<Vec<_>>().join(", "));
    let tags = email.tags.iter().map(|tag| html_text(&format!("{}: {}", tag.name, tag.value)));
    line("Tags", tags.collect::<Vec<_>>().join(", "));
    line("Key", html_text(email.idempotency_key.as_deref().unwrap_or_default()));
    body.push_str("</dl>\n");
    let frame = email.html.as_ref().map(|_| format!("/dev/mailbox/{id}/html"));
    parts(&mut body, frame.as_deref(), email.text.as_deref(), email.html.as_deref());
    document(&email.subject, &body)
}

pub(crate) fn preview(name: &str, rendered: &RenderedTemplate, templates: &Templates) -> String {
    let mut body = format!(
        "<nav><a href=\"/dev/mailbox\">← Mailbox</a></nav>\n<h1>{}</h1>\n\
         <p class=\"lead\">Template <b>{}</b>, with sample values</p>\n<div class=\"chips\" style=\"margin:0 0 20px\">",
        html_text(&rendered.subject),
        html_text(name)
    );
    let locales = templates.list().find(|(known, _)| *known == name).map(|(_, locales)| locales).unwrap_or_default();
    for locale in locales {
        let on = if locale == rendered.locale { " on" } else { "" };
        _ = write!(
            body,
            "<a class=\"chip{on}\" href=\"/dev/mailbox/preview/{name}?locale={locale}\">{locale}</a>",
            name = html_text(name)
        );
    }
    body.push_str("</div>\n");
    let frame = format!("/dev/mailbox/preview/{name}/html?locale={}", rendered.locale);
    parts(&mut body, Some(&frame), Some(&rendered.text), Some(&rendered.html));
    document(name, &body)
}

/// Returns the mail's HTML with its inline images embedded as `data:` URLs.
pub(crate) fn with_images(email: &Email) -> String {
    let mut html = email.html.clone().unwrap_or_default();
    for file in &email.attachments {
        if let Some(id) = &file.content_id {
            let image = format!("data:{};base64,{}", html_text(&file.content_type), STANDARD.encode(&file.content));
            html = html.replace(&format!("cid:{id}"), &image);
        }
    }
    html
}
