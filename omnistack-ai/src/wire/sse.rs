//! Server-sent events, of bytes that arrive in any pieces.
//!
//! The crate `sse-stream` ends a stream at the first byte that is not UTF-8, limits no event, and reads only from an
//! async stream of bytes. Providers do send such bytes, inside texts that are otherwise intact. So this parser is the
//! app's own; a test compares it with `sse-stream`.

use std::mem;

use crate::error::{LlmError, LlmErrorKind};

/// The UTF-8 form of the byte order mark, which may precede the first line.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// An event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SseEvent {
    /// The type, if the event has one.
    pub(crate) event: Option<String>,
    /// The data. Several lines are joined with LF.
    pub(crate) data: String,
}

/// A parser of server-sent events (WHATWG HTML, section 9.2.6). Bytes that are not UTF-8 become U+FFFD, after a line
/// is complete, so that a character which is split over two packets stays intact.
#[derive(Debug)]
pub(crate) struct SseParser {
    max_event_bytes: usize,
    /// The beginning of a line whose end has not arrived.
    line: Vec<u8>,
    event: Option<String>,
    data: Option<String>,
    is_first_line: bool,
    /// Whether the last byte was CR, so that LF belongs to the same line end.
    after_cr: bool,
}

impl SseParser {
    /// Creates a parser that keeps at most so many bytes of an event.
    pub(crate) fn new(max_event_bytes: usize) -> Self {
        Self { max_event_bytes, line: Vec::new(), event: None, data: None, is_first_line: true, after_cr: false }
    }

    /// Parses more bytes, and returns the events that are complete. Fails with [`LlmErrorKind::Protocol`] if an event
    /// is too large. The error names no provider: the caller knows it.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<Vec<SseEvent>, LlmError> {
        let mut events = Vec::new();
        let mut rest = bytes;
        if self.after_cr && !rest.is_empty() {
            self.after_cr = false;
            rest = rest.strip_prefix(b"\n").unwrap_or(rest);
        }
        while let Some(end) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            let (piece, line_end) = rest.split_at(end);
            self.limit(piece.len())?;
            if self.line.is_empty() {
                self.complete_line(piece, &mut events);
            } else {
                self.line.extend_from_slice(piece);
                let mut line = mem::take(&mut self.line);
                self.complete_line(&line, &mut events);
                // Keeps the allocation for the next line.
                line.clear();
                self.line = line;
            }
            rest = match line_end {
                [b'\r', b'\n', next @ ..] | [_, next @ ..] => next,
                [] => line_end,
            };
            self.after_cr = line_end == b"\r";
        }
        self.limit(rest.len())?;
        self.line.extend_from_slice(rest);
        Ok(events)
    }

    /// Discards an event that is not complete, as the specification requires at the end of the body: a provider that
    /// was cut off in the middle of an event has not sent it.
    pub(crate) fn end(&mut self) {
        *self = Self::new(self.max_event_bytes);
    }

    /// Fails if the event would be too large with so many bytes more.
    fn limit(&mut self, more: usize) -> Result<(), LlmError> {
        let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let kept = self.line.len() + length(&self.event) + length(&self.data);
        if kept.saturating_add(more) <= self.max_event_bytes {
            return Ok(());
        }
        self.end();
        let message = format!("an event of the stream has more than {} bytes", self.max_event_bytes);
        Err(LlmError::new(LlmErrorKind::Protocol, "provider", message))
    }

    fn complete_line(&mut self, line: &[u8], events: &mut Vec<SseEvent>) {
        let is_first = mem::take(&mut self.is_first_line);
        let line = if is_first { line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line) } else { line };
        if line.is_empty() {
            let event = self.event.take().filter(|event| !event.is_empty());
            events.extend(self.data.take().map(|data| SseEvent { event, data }));
            return;
        }
        let (name, value) = match line.iter().position(|byte| *byte == b':') {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &[][..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"data" => {
                let value = String::from_utf8_lossy(value);
                match &mut self.data {
                    Some(data) => {
                        data.push('\n');
                        data.push_str(&value);
                    }
                    None => self.data = Some(value.into_owned()),
                }
            }
            b"event" => self.event = Some(String::from_utf8_lossy(value).into_owned()),
            // A comment has an empty name. Ids and waits are for clients that reconnect, which would ask for a second
            // answer.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
