//! Format of log lines.

use std::{
    fmt::{self, Write as _},
    ops::Range,
};

use opentelemetry::trace::SpanContext;
use tracing::field::{Field, Visit};

use super::ecs;
use crate::clock::Timestamp;

/// Format of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LineFormat {
    /// `time level target message key=value`
    Text,
    /// One JSON object.
    Json,
    /// One JSON object with the field names of the Elastic Common Schema (ECS).
    Ecs,
}

impl LineFormat {
    fn is_json(self) -> bool {
        self != Self::Text
    }

    /// Converts a number to the unit of the format.
    fn scaled(self, field: &Field, value: u64) -> u64 {
        if self == Self::Ecs { ecs::scaled(field.name(), value) } else { value }
    }

    /// Returns the names of the fields that every JSON line has.
    fn fixed_names(self) -> &'static [&'static str] {
        match self {
            Self::Text => &[],
            Self::Json => &["timestamp", "level", "target", "trace_id", "span_id"],
            Self::Ecs => ecs::FIXED_NAMES,
        }
    }
}

/// Formatted fields, with the name and the place of each.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    pub(crate) text: String,
    pub(crate) places: Vec<(&'static str, Range<usize>)>,
}

impl Fields {
    pub(crate) fn clear(&mut self) {
        self.text.clear();
        self.places.clear();
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.places.iter().any(|(other, _)| *other == name)
    }
}

/// A log line, or the fields of a span, that are being written field by field.
pub(crate) struct LogLine<'a> {
    pub(crate) format: LineFormat,
    pub(crate) fields: &'a mut Fields,
    /// Whether a field replaces an earlier one of the same name.
    pub(crate) replaces: bool,
}

impl LogLine<'_> {
    /// Writes the timestamp, the level and the target.
    pub(crate) fn begin(&mut self, now: Timestamp, level: &str, target: &str) {
        let text = &mut self.fields.text;
        match self.format {
            LineFormat::Text => {
                timestamp(text, now);
                text.push_str(if level.len() == 4 { "  " } else { " " });
                for part in [level, " ", target] {
                    text.push_str(part);
                }
            }
            LineFormat::Json => {
                text.push_str("{\"timestamp\":\"");
                timestamp(text, now);
                for part in ["\",\"level\":\"", level, "\",\"target\":\"", target, "\""] {
                    text.push_str(part);
                }
            }
            LineFormat::Ecs => {
                text.push_str("{\"@timestamp\":\"");
                timestamp(text, now);
                for part in ["\",\"log.level\":\"", level, "\",\"log.logger\":\"", target, ecs::VERSION] {
                    text.push_str(part);
                }
            }
        }
    }

    /// Writes the ids of the current span, on a JSON line.
    pub(crate) fn trace(&mut self, span: &SpanContext) {
        let names = match self.format {
            LineFormat::Text => return,
            LineFormat::Json => [",\"trace_id\":\"", "\",\"span_id\":\""],
            LineFormat::Ecs => [",\"trace.id\":\"", "\",\"span.id\":\""],
        };
        let text = &mut self.fields.text;
        text.push_str(names[0]);
        hex(text, &span.trace_id().to_bytes());
        text.push_str(names[1]);
        hex(text, &span.span_id().to_bytes());
        text.push('"');
    }

    /// Appends the fields of a span, unless the line has fields of the same names.
    pub(crate) fn append(&mut self, span: &Fields) {
        for (name, place) in &span.places {
            if !self.fields.has(name) {
                let start = self.fields.text.len();
                self.fields.text.push_str(&span.text[place.clone()]);
                self.fields.places.push((name, start..self.fields.text.len()));
            }
        }
    }

    pub(crate) fn end(&mut self) {
        self.fields.text.push_str(if self.format.is_json() { "}\n" } else { "\n" });
    }

    /// Writes a field. The value of a field whose name says that it is a secret is replaced.
    fn field(&mut self, field: &Field, value: impl FnOnce(&mut Self)) {
        let name = field.name();
        if self.replaces {
            self.fields.places.retain(|(other, _)| *other != name);
        }
        let start = self.fields.text.len();
        self.name(name);
        if is_secret(name) {
            quoted(&mut self.fields.text, REDACTED);
        } else {
            value(self);
        }
        self.fields.places.push((name, start..self.fields.text.len()));
    }

    fn name(&mut self, name: &'static str) {
        let text = &mut self.fields.text;
        match self.format {
            LineFormat::Text => {
                text.push(' ');
                if name != "message" {
                    text.push_str(name);
                    text.push('=');
                }
            }
            LineFormat::Json | LineFormat::Ecs => {
                text.push_str(",\"");
                let name = if self.format == LineFormat::Ecs { ecs::name(text, name) } else { name };
                if self.format.fixed_names().contains(&name) {
                    text.push_str("field_");
                }
                text.push_str(name);
                text.push_str("\":");
            }
        }
    }

    /// Writes untrusted text: quoted if it could be mistaken for another part of the line, and without line breaks.
    fn value(&mut self, field: &Field, value: &str) {
        if self.format == LineFormat::Text && is_plain(field, value) {
            self.fields.text.push_str(value);
        } else {
            quoted(&mut self.fields.text, value);
        }
    }

    fn unquoted(&mut self, field: &Field, value: impl fmt::Display) {
        self.field(field, |line| _ = write!(line.fields.text, "{value}"));
    }
}

impl Visit for LogLine<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.field(field, |line| line.value(field, value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.field(field, |line| {
            line.fields.text.push_str(itoa::Buffer::new().format(line.format.scaled(field, value)));
        });
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.field(field, |line| line.fields.text.push_str(itoa::Buffer::new().format(value)));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.unquoted(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if self.format.is_json() && !value.is_finite() {
            self.unquoted(field, "null");
        } else {
            self.unquoted(field, value);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.field(field, |line| {
            let start = line.fields.text.len();
            _ = write!(line.fields.text, "{value:?}");
            if line.format.is_json() || !is_plain(field, &line.fields.text[start..]) {
                let value = line.fields.text.split_off(start);
                quoted(&mut line.fields.text, &value);
            }
        });
    }
}

/// The text that is written in place of a secret.
pub(super) const REDACTED: &str = "[redacted]";

/// Returns whether the name of a field says that its value is a secret, such as `password` or `access_token`.
fn is_secret(name: &str) -> bool {
    let ends = |ends: &[&str]| ends.iter().any(|end| name.ends_with(end));
    match name.as_bytes().last() {
        Some(b'd') => ends(&["password", "passwd"]),
        Some(b'e') => ends(&["cookie", "passphrase"]),
        Some(b'n') => ends(&["token", "authorization"]),
        Some(b't') => ends(&["secret"]),
        Some(b'y') => ends(&["api_key", "private_key", "secret_key"]),
        _ => false,
    }
}

fn hex(text: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
}

/// Returns whether a value needs no quotes in a text line.
fn is_plain(field: &Field, value: &str) -> bool {
    let plain = |byte: u8| byte > b' ' && byte != b'"' && byte != b'\\' && byte != b'=' && byte != 0x7f;
    let message = field.name() == "message" && !value.bytes().any(|byte| byte < b' ');
    message || (!value.is_empty() && value.bytes().all(plain))
}

/// Appends a JSON string.
fn quoted(text: &mut String, value: &str) {
    text.push('"');
    for letter in value.chars() {
        match letter {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            control if control.is_control() => _ = write!(text, "\\u{:04x}", u32::from(control)),
            other => text.push(other),
        }
    }
    text.push('"');
}

thread_local! {
    /// The last second that was formatted, and its text.
    static SECOND: std::cell::RefCell<(i64, String)> = const { std::cell::RefCell::new((i64::MIN, String::new())) };
}

/// Appends a time in RFC 3339 with milliseconds. The text up to the second is cached between lines.
fn timestamp(text: &mut String, now: Timestamp) {
    SECOND.with_borrow_mut(|(second, written)| {
        if *second != now.as_seconds() {
            *second = now.as_seconds();
            written.clear();
            _ = write!(written, "{}", now.to_jiff().strftime("%Y-%m-%dT%H:%M:%S"));
        }
        text.push_str(written);
    });
    let millis = now.as_micros().rem_euclid(1_000_000) / 1000;
    text.push('.');
    for digit in [millis / 100, millis / 10 % 10, millis % 10] {
        text.push(char::from(b'0' + u8::try_from(digit).unwrap_or(0)));
    }
    text.push('Z');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_never_makes_a_line() {
        let mut text = String::new();
        quoted(&mut text, "a\"b\\c\nd\u{1}é");
        assert_eq!(text, "\"a\\\"b\\\\c\\nd\\u0001é\"");
    }

    #[test]
    fn time_is_written_to_the_millisecond() {
        for at in ["2030-01-31T12:00:00.007Z", "2030-01-31T12:00:00.990Z", "1969-12-31T23:59:59.500Z"] {
            let mut text = String::new();
            timestamp(&mut text, at.parse().unwrap());
            assert_eq!(text, at);
        }
    }
}
