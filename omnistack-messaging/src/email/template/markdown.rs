//! Converts Markdown to HTML and to plain text. `pulldown-cmark` parses the Markdown. The HTML is written here,
//! because the HTML of a mail needs inline styles.

use std::fmt::Write as _;

use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd};

use omnistack_core::name::is_unsafe_character;

/// The URL of the links that [`code`](super::render) writes.
pub(crate) const CODE_LINK_URL: &str = "code:";

/// Represents a line break within a value: Markdown treats it as an ordinary character.
pub(crate) const LINE_BREAK: char = '\u{2028}';

/// Escapes a value, so that Markdown shows exactly its text, without white space around it: every ASCII punctuation
/// character gets a backslash.
pub(crate) fn escape(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len() + 16);
    let mut space = false;
    for character in value.trim().chars() {
        match character {
            '\n' | LINE_BREAK => escaped.push(LINE_BREAK),
            _ if is_unsafe_character(character) && character != '\t' => continue,
            // Four spaces could begin a code block.
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

/// Escapes a text for HTML.
pub(crate) fn html_text(text: &str) -> String {
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

/// Checks that a text is an absolute `http` or `https` URL without a user name, of at most 2000 bytes. Fails with a
/// message for the author of the template.
pub(crate) fn check_link(url: &str) -> Result<(), String> {
    let rest = ["https://", "http://"].iter().find_map(|scheme| {
        let head = url.get(..scheme.len())?;
        head.eq_ignore_ascii_case(scheme).then(|| &url[scheme.len()..])
    });
    let host = rest.and_then(|rest| rest.split(['/', '?', '#']).next()).unwrap_or_default();
    let plain = |c: char| !c.is_whitespace() && !is_unsafe_character(c) && !matches!(c, '<' | '>' | '"' | '\\' | '`');
    match url {
        _ if host.is_empty() => Err(format!("`{}` is not an http or https URL", excerpt_for_error(url))),
        _ if url.len() > 2000 => Err("a link must have at most 2000 bytes".into()),
        _ if !url.chars().all(plain) => Err(format!("`{}` is not a valid URL", excerpt_for_error(url))),
        // `https://bank.example@evil.example` looks like the first host and leads to the second.
        _ if host.contains('@') => Err("a link must not contain a user name".into()),
        _ => Ok(()),
    }
}

fn excerpt_for_error(url: &str) -> String {
    url.chars().filter(|character| !character.is_control()).take(100).collect()
}

/// A link whose label is being read.
struct OpenLink {
    url: String,
    button: bool,
    label: String,
}

/// The HTML and the plain text while they are being written.
#[derive(Default)]
struct MarkdownRenderer {
    html: String,
    text: String,
    /// The link around the current text; links do not nest.
    link: Option<OpenLink>,
    /// The lists around the current text: the next number, or `None` for a bullet list.
    lists: Vec<Option<u64>>,
    quotes: usize,
    /// The text of the current code block.
    block: Option<String>,
}

/// Converts Markdown to the HTML of the body, without the layout, and to plain text. Fails if it has an image or a
/// link that is not allowed.
pub(crate) fn render_html_and_text(markdown: &str) -> Result<(String, String), String> {
    let events: Vec<_> = Parser::new_ext(markdown, Options::empty()).collect();
    let mut both = MarkdownRenderer::default();
    for (index, event) in events.iter().enumerate() {
        match event {
            Event::Start(Tag::Link { dest_url, title, .. }) => both.open(dest_url, title)?,
            Event::End(TagEnd::Link) => both.close(is_alone_in_paragraph(&events, index)),
            Event::Start(Tag::Image { .. }) => {
                return Err("images are not allowed, because loading one would reveal that the mail was opened".into());
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
    // Keeps at most one blank line in a row.
    for line in both.text.lines().map(str::trim_end) {
        if !(line.is_empty() && (text.is_empty() || text.ends_with("\n\n"))) {
            text.push_str(line);
            text.push('\n');
        }
    }
    text.truncate(text.trim_end().len());
    Ok((both.html, text))
}

/// Returns whether the link that ends here is the only content of its paragraph.
fn is_alone_in_paragraph(events: &[Event<'_>], end: usize) -> bool {
    let start = events[..end].iter().rposition(|event| matches!(event, Event::Start(Tag::Link { .. })));
    let before = start.and_then(|start| start.checked_sub(1)).map(|before| &events[before]);
    matches!(before, Some(Event::Start(Tag::Paragraph)))
        && matches!(events.get(end + 1), Some(Event::End(TagEnd::Paragraph)))
}

fn starts_button(events: &[Event<'_>], index: usize) -> bool {
    matches!(events.get(index + 1), Some(Event::Start(Tag::Link { title, .. })) if &**title == "button")
}

impl MarkdownRenderer {
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
                // A blank line separates the first item of a list from the text before it.
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
        if url != CODE_LINK_URL {
            check_link(url)?;
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
        self.link = Some(OpenLink { url: url.into(), button: title == "button", label: String::new() });
        Ok(())
    }

    fn close(&mut self, alone: bool) {
        let Some(OpenLink { url, button, label }) = self.link.take() else { return };
        if url == CODE_LINK_URL {
            // The text that was written as the label of a link is written again as code.
            let shown = html_text(&label);
            if self.html.ends_with(&shown) {
                self.html.truncate(self.html.len() - shown.len());
            }
            return self.code(&label, alone);
        }
        self.html.push_str("</a>");
        let label = label.replace(LINE_BREAK, " ");
        if button {
            // The URL is shown below, for mail programs that do not show the button.
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

    /// Begins a line in the plain text, with the prefix of the notes around it.
    fn begin_line(&mut self) {
        if self.text.is_empty() || self.text.ends_with('\n') {
            self.text.push_str(&self.prefix());
        }
    }

    fn prefix(&self) -> String {
        "> ".repeat(self.quotes.min(8))
    }
}
