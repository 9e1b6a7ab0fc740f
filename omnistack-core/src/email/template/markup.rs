//! Markdown to both forms of a mail. The parser is `pulldown-cmark`; what is made of its events is ours, since a mail's HTML
//! carries its styles in its elements.

use std::fmt::Write as _;

use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd};

use crate::name::is_unwanted;

/// Where the "link" of [`code`](super::engine) leads.
pub(super) const CODE: &str = "code:";

/// Stands for a line break within a value: Markdown takes it for an ordinary character.
pub(super) const LINE_BREAK: char = '\u{2028}';

/// A value as Markdown that shows just this, without white space around it: every character that could mean something has a backslash before it.
pub(super) fn escape(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len() + 16);
    let mut space = false;
    for character in value.trim().chars() {
        match character {
            '\n' | LINE_BREAK => escaped.push(LINE_BREAK),
            _ if is_unwanted(character) && character != '\t' => continue,
            // Four spaces could begin a block of their own.
            ' ' | '\t' if space => continue,
            ' ' | '\t' => escaped.push(' '),
            _ => {
                escaped.extend(character.is_ascii_punctuation().then_some('\\'));
                escaped.push(character);
            }
        }
        space = matches!(character, ' ' | '\t');
    }
    escaped
}

/// Text as HTML.
pub(in crate::email) fn html_text(text: &str) -> String {
    let mut html = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match character {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            LINE_BREAK => html.push_str("<br>"),
            _ => html.push(character),
        }
    }
    html
}

/// Whether an address may be linked to: an absolute one of the web.
pub(in crate::email) fn link(url: &str) -> Result<(), String> {
    let rest = ["https://", "http://"].iter().find_map(|scheme| {
        let head = url.get(..scheme.len())?;
        head.eq_ignore_ascii_case(scheme).then(|| &url[scheme.len()..])
    });
    let host = rest.and_then(|rest| rest.split(['/', '?', '#']).next()).unwrap_or_default();
    let plain = |c: char| !c.is_whitespace() && !is_unwanted(c) && !matches!(c, '<' | '>' | '"' | '\\' | '`');
    match url {
        _ if host.is_empty() => Err(format!("`{}` is no http or https address", shortened(url))),
        _ if url.len() > 2000 => Err("an address of more than 2000 bytes is no link".into()),
        _ if !url.chars().all(plain) => Err(format!("`{}` is no address", shortened(url))),
        // `https://bank.example@evil.example` reads as one and leads to the other.
        _ if host.contains('@') => Err("an address in a mail holds no user name".into()),
        _ => Ok(()),
    }
}

fn shortened(url: &str) -> String {
    url.chars().filter(|character| !character.is_control()).take(100).collect()
}

/// A place text goes to: the text itself, or the label of a link.
struct Open {
    url: String,
    button: bool,
    label: String,
}

/// Both forms, as they grow.
#[derive(Default)]
struct Both {
    html: String,
    text: String,
    /// The links around what comes; they do not nest.
    link: Option<Open>,
    /// Of each list around: the next number, or nothing.
    lists: Vec<Option<u64>>,
    quotes: usize,
    /// A block of code, as it grows.
    block: Option<String>,
}

/// The HTML of the body, without a frame, and the text.
pub(super) fn both(markdown: &str) -> Result<(String, String), String> {
    let events: Vec<_> = Parser::new_ext(markdown, Options::empty()).collect();
    let mut both = Both::default();
    for (index, event) in events.iter().enumerate() {
        match event {
            Event::Start(Tag::Link { dest_url, title, .. }) => both.open(dest_url, title)?,
            Event::End(TagEnd::Link) => both.close(alone(&events, index)),
            Event::Start(Tag::Image { .. }) => {
                return Err("a picture would be loaded from elsewhere, and tell that the mail was opened".into());
            }
            Event::Start(tag) => both.start(tag, starts_button(&events, index)),
            Event::End(tag) => both.end(*tag),
            Event::Text(text) if both.block.is_some() => both.block.get_or_insert_default().push_str(text),
            Event::Text(text) | Event::InlineHtml(text) | Event::Html(text) => both.text(text),
            Event::Code(text) => both.code(text, false),
            Event::SoftBreak => both.text(" "),
            Event::HardBreak => both.text("\u{2028}"),
            Event::Rule => {
                both.html.push_str("<hr class=\"line\" style=\"border:0;border-top:1px solid #e5e7eb;margin:24px 0\">");
                both.paragraph_of_text("---");
            }
            _ => {}
        }
    }
    let mut text = String::with_capacity(both.text.len());
    // Blank lines, one at a time.
    for line in both.text.lines().map(str::trim_end) {
        if !(line.is_empty() && (text.is_empty() || text.ends_with("\n\n"))) {
            text.push_str(line);
            text.push('\n');
        }
    }
    text.truncate(text.trim_end().len());
    Ok((both.html, text))
}

/// Whether the link that ends here is all its paragraph has.
fn alone(events: &[Event<'_>], end: usize) -> bool {
    let start = events[..end].iter().rposition(|event| matches!(event, Event::Start(Tag::Link { .. })));
    let before = start.and_then(|start| start.checked_sub(1)).map(|before| &events[before]);
    matches!(before, Some(Event::Start(Tag::Paragraph)))
        && matches!(events.get(end + 1), Some(Event::End(TagEnd::Paragraph)))
}

fn starts_button(events: &[Event<'_>], index: usize) -> bool {
    matches!(events.get(index + 1), Some(Event::Start(Tag::Link { title, .. })) if &**title == "button")
}

impl Both {
    fn start(&mut self, tag: &Tag<'_>, button: bool) {
        match tag {
            Tag::Paragraph => {
                let margin = if button { "24px 0" } else { "0 0 16px" };
                _ = write!(self.html, "<p style=\"margin:{margin}\">");
                self.begin_line();
            }
            Tag::Heading { level, .. } => {
                let style = if *level == HeadingLevel::H1 {
                    "font-size:24px;line-height:1.25;margin:0 0 16px;font-weight:700"
                } else {
                    "font-size:18px;line-height:1.3;margin:24px 0 8px;font-weight:600"
                };
                let level = if *level == HeadingLevel::H1 { 1 } else { 2 };
                _ = write!(self.html, "<h{level} class=\"strong\" style=\"{style};color:#111827\">");
                self.begin_line();
            }
            Tag::BlockQuote(_) => {
                self.html.push_str(
                    "<blockquote class=\"note\" style=\"margin:24px 0 16px;padding:12px 16px 1px;background:#f3f4f6;\
                     border-left:3px solid #9ca3af;border-radius:4px;font-size:14px;color:#4b5563\">",
                );
                self.quotes += 1;
            }
            Tag::List(first) => {
                let tag = if first.is_some() { "ol" } else { "ul" };
                _ = write!(self.html, "<{tag} style=\"margin:0 0 16px;padding-left:24px\">");
                self.lists.push(*first);
            }
            Tag::Item => {
                self.html.push_str("<li style=\"margin:0 0 4px\">");
                self.text.truncate(self.text.trim_end().len());
                let depth = self.lists.len().saturating_sub(1).min(8);
                let mark = match self.lists.last_mut() {
                    Some(Some(number)) => {
                        *number = number.saturating_add(1);
                        format!("{}. ", number.saturating_sub(1))
                    }
                    _ => "- ".into(),
                };
                self.text.extend((!self.text.is_empty()).then_some('\n'));
                // The first item of a list is set apart from what is before.
                let first = self.html.ends_with("padding-left:24px\"><li style=\"margin:0 0 4px\">");
                self.text.extend((first && depth == 0 && !self.text.is_empty()).then_some('\n'));
                self.text.push_str(&self.prefix());
                self.text.push_str(&"  ".repeat(depth));
                self.text.push_str(&mark);
            }
            Tag::Strong => self.html.push_str("<strong class=\"strong\" style=\"color:#111827\">"),
            Tag::Emphasis => self.html.push_str("<em>"),
            Tag::CodeBlock(_) => self.block = Some(String::new()),
            Tag::HtmlBlock => {
                self.html.push_str("<p style=\"margin:0 0 16px\">");
                self.begin_line();
            }
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Paragraph | TagEnd::HtmlBlock => self.end_block("</p>"),
            TagEnd::Heading(level) => {
                let level = if level == HeadingLevel::H1 { 1 } else { 2 };
                self.end_block(&format!("</h{level}>"));
            }
            TagEnd::BlockQuote(_) => {
                self.html.push_str("</blockquote>");
                self.quotes = self.quotes.saturating_sub(1);
            }
            TagEnd::List(ordered) => {
                self.html.push_str(if ordered { "</ol>" } else { "</ul>" });
                self.lists.pop();
                self.text.push_str("\n\n");
            }
            TagEnd::Item => self.html.push_str("</li>"),
            TagEnd::Strong => self.html.push_str("</strong>"),
            TagEnd::Emphasis => self.html.push_str("</em>"),
            TagEnd::CodeBlock => {
                let block = self.block.take().unwrap_or_default();
                self.html.push_str(
                    "<pre class=\"code\" style=\"margin:0 0 16px;padding:12px 16px;background:#f3f4f6;border-radius:6px;\
                     font:14px/1.5 ui-monospace,Menlo,Consolas,monospace;white-space:pre-wrap\">",
                );
                self.html.push_str(&html_text(block.trim_end()));
                self.html.push_str("</pre>");
                self.begin_line();
                let prefix = format!("\n{}", self.prefix());
                self.text.push_str(&block.trim_end().replace('\n', &prefix));
                self.text.push_str("\n\n");
            }
            _ => {}
        }
    }

    fn text(&mut self, text: &str) {
        self.html.push_str(&html_text(text));
        match &mut self.link {
            Some(link) => link.label.push_str(text),
            None => {
                let prefix = format!("\n{}", self.prefix());
                self.text.push_str(&text.replace(LINE_BREAK, &prefix));
            }
        }
    }

    fn code(&mut self, text: &str, alone: bool) {
        let style = if alone {
            "display:inline-block;padding:12px 20px;font-size:24px;letter-spacing:2px;font-weight:600"
        } else {
            "padding:2px 6px;font-size:90%"
        };
        _ = write!(
            self.html,
            "<code class=\"code\" style=\"{style};background:#f3f4f6;color:#111827;border-radius:6px;\
             font-family:ui-monospace,Menlo,Consolas,monospace;word-break:break-word\">{}</code>",
            html_text(text)
        );
        self.text.push_str(text);
    }

    fn open(&mut self, url: &str, title: &str) -> Result<(), String> {
        if url != CODE {
            link(url)?;
            let address = html_text(url);
            let style = if title == "button" {
                "display:inline-block;padding:12px 24px;background:#2563eb;color:#ffffff;border-radius:6px;font-weight:600;\
                 text-decoration:none"
            } else {
                "color:#2563eb;text-decoration:underline"
            };
            let class = if title == "button" { "button" } else { "link" };
            _ = write!(self.html, "<a class=\"{class}\" href=\"{address}\" style=\"{style}\">");
        }
        self.link = Some(Open { url: url.into(), button: title == "button", label: String::new() });
        Ok(())
    }

    fn close(&mut self, alone: bool) {
        let Some(Open { url, button, label }) = self.link.take() else { return };
        if url == CODE {
            // What was written as the text of a link is written anew.
            let shown = html_text(&label);
            if self.html.ends_with(&shown) {
                self.html.truncate(self.html.len() - shown.len());
            }
            return self.code(&label, alone);
        }
        self.html.push_str("</a>");
        let label = label.replace(LINE_BREAK, " ");
        if button {
            // For readers whose program shows no buttons.
            let address = html_text(&url);
            _ = write!(
                self.html,
                "<br><span class=\"quiet\" style=\"display:inline-block;margin-top:8px;font-size:12px;line-height:1.4;\
                 color:#6b7280;word-break:break-all\">{address}</span>"
            );
            let prefix = self.prefix();
            _ = write!(self.text, "{label}:\n{prefix}{url}");
        } else if label == url {
            self.text.push_str(&url);
        } else {
            _ = write!(self.text, "{label} ({url})");
        }
    }

    fn end_block(&mut self, close: &str) {
        self.html.push_str(close);
        self.text.push_str("\n\n");
    }

    fn paragraph_of_text(&mut self, text: &str) {
        self.begin_line();
        self.text.push_str(text);
        self.text.push_str("\n\n");
    }

    /// A paragraph within a note or an item begins as they do.
    fn begin_line(&mut self) {
        if self.text.is_empty() || self.text.ends_with('\n') {
            self.text.push_str(&self.prefix());
        }
    }

    fn prefix(&self) -> String {
        "> ".repeat(self.quotes.min(8))
    }
}
