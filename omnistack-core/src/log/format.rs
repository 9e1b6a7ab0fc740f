//! Format of log lines.

use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};

use crate::clock::Timestamp;

/// Format of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LineFormat {
    /// `time level target message key=value`
    Text,
    /// One JSON object.
    Json,
}

/// A log line, or a part of one, that is being written field by field.
pub(crate) struct LogLine<'a> {
    pub(crate) shape: LineFormat,
    pub(crate) text: &'a mut String,
}

impl LogLine<'_> {
    /// Writes the timestamp, the level and the target.
    pub(crate) fn begin(&mut self, now: Timestamp, level: &str, target: &str) {
        match self.shape {
            LineFormat::Text => {
                timestamp(self.text, now);
                self.text.push_str(if level.len() == 4 { "  " } else { " " });
                for part in [level, " ", target] {
                    self.text.push_str(part);
                }
            }
            LineFormat::Json => {
                self.text.push_str("{\"timestamp\":\"");
                timestamp(self.text, now);
                self.text.push_str("\",\"level\":\"");
                self.text.push_str(level);
                self.text.push_str("\",\"target\":\"");
                self.text.push_str(target);
                self.text.push('"');
            }
        }
    }

    /// Appends fields that are already formatted.
    pub(crate) fn append(&mut self, fields: &str) {
        self.text.push_str(fields);
    }

    pub(crate) fn end(&mut self) {
        self.text.push_str(if self.shape == LineFormat::Json { "}\n" } else { "\n" });
    }

    fn name(&mut self, field: &Field) {
        match self.shape {
            LineFormat::Text => {
                self.text.push(' ');
                if field.name() != "message" {
                    self.text.push_str(field.name());
                    self.text.push('=');
                }
            }
            LineFormat::Json => {
                self.text.push_str(",\"");
                self.text.push_str(field.name());
                self.text.push_str("\":");
            }
        }
    }

    /// Writes untrusted text: quoted if it could be mistaken for another part of the line, and without line breaks.
    fn value(&mut self, field: &Field, value: &str) {
        if self.shape == LineFormat::Text && is_plain(field, value) {
            self.text.push_str(value);
        } else {
            quoted(self.text, value);
        }
    }

    fn unquoted(&mut self, field: &Field, value: impl fmt::Display) {
        self.name(field);
        _ = write!(self.text, "{value}");
    }
}

impl Visit for LogLine<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.name(field);
        self.value(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.name(field);
        self.text.push_str(itoa::Buffer::new().format(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.name(field);
        self.text.push_str(itoa::Buffer::new().format(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.unquoted(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        match self.shape {
            LineFormat::Json if !value.is_finite() => self.unquoted(field, "null"),
            _ => self.unquoted(field, value),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.name(field);
        let start = self.text.len();
        _ = write!(self.text, "{value:?}");
        if self.shape == LineFormat::Json || !is_plain(field, &self.text[start..]) {
            let value = self.text.split_off(start);
            quoted(self.text, &value);
        }
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
