//! Renders sources with MiniJinja: defines the functions and filters of templates, and limits their cost.

use std::io;

use minijinja::{AutoEscape, Environment, Error, ErrorKind, Output, State, UndefinedBehavior, Value, value::ValueKind};

use super::{Brand, markdown, source::TemplateSource};
use omnistack_core::{clock::Timestamp, name::is_unsafe_character};

/// Largest HTML of a mail, in bytes. Gmail cuts mails off at about 102 KiB.
pub(crate) const MAX_HTML_BYTES: usize = 100 * 1024;

/// Largest output of a source, in bytes of Markdown, before it is converted to HTML.
const MAX_MARKDOWN_BYTES: usize = 64 * 1024;

/// Largest number of steps of a rendering (MiniJinja's fuel).
const MAX_STEPS: u64 = 20_000;

/// Longest subject or preview, in characters. RFC 5322 allows 998 bytes, more than mail programs show.
const MAX_SUBJECT_CHARS: usize = 200;

/// A renderer of the sources of one mail.
pub(crate) struct TemplateEngine(Environment<'static>);

impl TemplateEngine {
    pub(crate) fn new(brand: &Brand, locale: &str) -> Self {
        let mut environment = Environment::empty();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_fuel(Some(MAX_STEPS));
        environment.set_recursion_limit(50);
        environment.set_auto_escape_callback(|name| match name {
            BODY => AutoEscape::Custom("markdown".into()),
            _ => AutoEscape::None,
        });
        environment.set_formatter(write);
        environment.add_filter("upper", minijinja::filters::upper);
        environment.add_filter("lower", minijinja::filters::lower);
        environment.add_filter("trim", minijinja::filters::trim);
        environment.add_filter("length", minijinja::filters::length);
        let german = locale.get(..2).is_some_and(|language| language.eq_ignore_ascii_case("de"));
        let english = locale.get(..2).is_some_and(|language| language.eq_ignore_ascii_case("en"));
        environment.add_filter("duration", move |seconds: u64| duration(seconds, german));
        environment.add_filter("time", move |moment: String| time(&moment, german, english));
        environment.add_function("button", button);
        environment.add_function("code", code);
        environment.add_global("product", brand.product.clone());
        environment.add_global("support", brand.support.clone());
        environment.add_global("url", brand.url.clone());
        Self(environment)
    }

    /// Renders one line of plain text: a subject or a preview. Longer lines are cut off at 200 characters.
    pub(crate) fn line(&self, source: &str, values: &Value) -> Result<String, String> {
        let text = self.render(LINE, source, values)?;
        let mut line = String::new();
        for word in text.split(|c: char| c.is_whitespace() || is_unsafe_character(c)).filter(|word| !word.is_empty()) {
            line.extend((!line.is_empty()).then_some(' '));
            line.push_str(word);
        }
        if let Some((end, _)) = line.char_indices().nth(MAX_SUBJECT_CHARS) {
            let end = line[..end].char_indices().next_back().map_or(0, |(last, _)| last);
            line.truncate(end);
            line.push('…');
        }
        Ok(line)
    }

    /// Renders the body as Markdown, with every value escaped.
    pub(crate) fn body(&self, source: &TemplateSource<'_>, values: &Value) -> Result<String, String> {
        // Blank lines replace the head, so that errors name the line of the source.
        let padded = format!("{}{}", "\n".repeat(source.lines_before), source.body);
        self.render(BODY, &padded, values)
    }

    fn render(&self, name: &str, source: &str, values: &Value) -> Result<String, String> {
        let template = self.0.template_from_named_str(name, source).map_err(|error| explain(&error))?;
        let mut output = BoundedWriter::default();
        match template.render_captured_to(values.clone(), &mut output) {
            _ if output.full => Err(format!("renders to more than {} KiB of Markdown", MAX_MARKDOWN_BYTES / 1024)),
            Ok(_) => String::from_utf8(output.bytes).map_err(|error| error.to_string()),
            Err(error) => Err(explain(&error)),
        }
    }
}

const BODY: &str = "body";
const LINE: &str = "line";

/// Describes an error without the name of the template, which is internal.
fn explain(error: &Error) -> String {
    let what = match (error.kind(), error.detail()) {
        (ErrorKind::OutOfFuel, _) => "the rendering takes too many steps".into(),
        (kind, Some(detail)) => format!("{kind}: {detail}"),
        (kind, None) => kind.to_string(),
    };
    match error.line() {
        Some(line) => format!("line {line}: {what}"),
        None => what,
    }
}

/// A writer that fails after `MAX_MARKDOWN_BYTES`.
#[derive(Default)]
struct BoundedWriter {
    bytes: Vec<u8>,
    full: bool,
}

impl io::Write for BoundedWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > MAX_MARKDOWN_BYTES {
            self.full = true;
            return Err(io::Error::other("too much"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes a value. Fails for values other than text, numbers and booleans, because nested lists could produce a
/// very long output.
fn write(output: &mut Output<'_>, state: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    let text = match value.kind() {
        ValueKind::None => return Ok(()),
        ValueKind::Undefined => {
            return Err(Error::new(ErrorKind::UndefinedError, "the value does not exist"));
        }
        ValueKind::String | ValueKind::Number | ValueKind::Bool => value.to_string(),
        kind => return Err(Error::new(ErrorKind::InvalidOperation, format!("a {kind} can't be written as text"))),
    };
    let written = if value.is_safe() || matches!(state.auto_escape(), AutoEscape::None) {
        output.write_str(&text)
    } else {
        output.write_str(&markdown::escape(&text))
    };
    written.map_err(Error::from)
}

fn button(url: String, label: String) -> Result<Value, Error> {
    let url = link(&url)?;
    let label = short(&label, "label")?;
    Ok(Value::from_safe_string(format!("\n\n[{label}](<{url}> \"button\")\n\n")))
}

fn code(text: String) -> Result<Value, Error> {
    Ok(Value::from_safe_string(format!("[{}](<{}>)", short(&text, "code")?, markdown::CODE_LINK_URL)))
}

fn link(url: &str) -> Result<String, Error> {
    markdown::check_link(url).map_err(|what| Error::new(ErrorKind::InvalidOperation, what))?;
    Ok(markdown::escape(url))
}

fn short(text: &str, what: &str) -> Result<String, Error> {
    if text.len() > 200 {
        return Err(Error::new(ErrorKind::InvalidOperation, format!("a {what} has at most 200 bytes")));
    }
    // One line, without white space around it.
    Ok(markdown::escape(text.trim()).replace(markdown::LINE_BREAK, " "))
}

/// Formats a duration such as `24 hours`: in the largest unit of which it is a whole number. Seconds are rounded up
/// to minutes.
fn duration(seconds: u64, german: bool) -> String {
    let (count, english, deutsch) = match seconds.div_ceil(60) {
        minutes if minutes >= 2 * 1440 && minutes.is_multiple_of(1440) => {
            (minutes / 1440, ["day", "days"], ["Tag", "Tage"])
        }
        minutes if minutes >= 60 && minutes.is_multiple_of(60) => {
            (minutes / 60, ["hour", "hours"], ["Stunde", "Stunden"])
        }
        minutes => (minutes, ["minute", "minutes"], ["Minute", "Minuten"]),
    };
    let unit = if german { deutsch } else { english }[usize::from(count != 1)];
    format!("{count} {unit}")
}

/// Formats a time in UTC, to the minute. Fails if the value is not a timestamp.
fn time(moment: &str, german: bool, english: bool) -> Result<String, Error> {
    let moment: Timestamp =
        moment.parse().map_err(|_| Error::new(ErrorKind::InvalidOperation, "`time` needs a timestamp"))?;
    Ok(match (german, english) {
        (true, _) => moment.to_jiff().strftime("%d.%m.%Y, %H:%M Uhr UTC").to_string(),
        (_, true) => moment.to_readable(),
        _ => moment.to_jiff().strftime("%Y-%m-%d %H:%M UTC").to_string(),
    })
}
