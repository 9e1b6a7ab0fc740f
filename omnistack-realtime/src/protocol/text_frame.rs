//! Lines of the server in text frames of WebSockets (RFC 6455, section 5.2).

use bytes::Bytes;
use serde::Serialize;

/// First byte of a text frame that is a whole message.
const FINAL_TEXT: u8 = 0x81;
/// Second byte of a header whose length follows in 16 bits.
const LENGTH_OF_16_BITS: u8 = 126;
/// Second byte of a header whose length follows in 64 bits.
const LENGTH_OF_64_BITS: u8 = 127;
/// Size of the longest header. Frames of a server are not masked.
const MAX_HEADER_BYTES: usize = 10;

/// A text frame with lines of the server. A message to many connections is encoded once, with its header, and shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TextFrame(Bytes);

impl TextFrame {
    /// Returns the frame of a ping.
    pub(crate) const fn ping() -> Self {
        Self(Bytes::from_static(b"\x81\x02{}"))
    }

    /// Returns a frame with a value as a line of JSON.
    pub(super) fn of_json(value: &impl Serialize) -> serde_json::Result<Self> {
        let mut frame = TextFrameBuilder::new();
        serde_json::to_writer(&mut frame.0, value)?;
        Ok(frame.build())
    }

    /// Returns the size with the header, in bytes.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns the lines.
    pub(crate) fn lines(&self) -> &[u8] {
        &self.0[self.header_len()..]
    }

    /// Returns the lines without the header.
    pub(crate) fn into_lines(self) -> Bytes {
        self.0.slice(self.header_len()..)
    }

    /// Returns the bytes of the frame.
    pub(crate) fn into_bytes(self) -> Bytes {
        self.0
    }

    fn header_len(&self) -> usize {
        match self.0.get(1) {
            Some(&LENGTH_OF_16_BITS) => 4,
            Some(&LENGTH_OF_64_BITS) => 10,
            _ => 2,
        }
    }
}

/// The lines of a frame that is being built, after room for its header.
#[derive(Debug)]
pub(crate) struct TextFrameBuilder(Vec<u8>);

impl TextFrameBuilder {
    /// Creates a frame without lines.
    pub(crate) fn new() -> Self {
        Self(vec![0; MAX_HEADER_BYTES])
    }

    /// Adds a line.
    pub(crate) fn push_line(&mut self, line: &[u8]) {
        if self.lines_len() > 0 {
            self.0.push(b'\n');
        }
        self.0.extend_from_slice(line);
    }

    /// Returns the size of the lines in bytes.
    pub(crate) fn lines_len(&self) -> usize {
        self.0.len() - MAX_HEADER_BYTES
    }

    /// Writes the header before the lines.
    pub(crate) fn build(self) -> TextFrame {
        let length = u64::try_from(self.lines_len()).unwrap_or(u64::MAX).to_be_bytes();
        let mut bytes = self.0;
        let start = match bytes.len() - MAX_HEADER_BYTES {
            0..=125 => {
                bytes[9] = length[7];
                8
            }
            126..=0xffff => {
                bytes[7] = LENGTH_OF_16_BITS;
                bytes[8..10].copy_from_slice(&length[6..]);
                6
            }
            _ => {
                bytes[1] = LENGTH_OF_64_BITS;
                bytes[2..10].copy_from_slice(&length);
                0
            }
        };
        bytes[start] = FINAL_TEXT;
        TextFrame(Bytes::from(bytes).slice(start..))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_have_the_length_of_the_lines() {
        for (length, header) in [
            (0, vec![0x81, 0]),
            (125, vec![0x81, 125]),
            (126, vec![0x81, 126, 0, 126]),
            (0xffff, vec![0x81, 126, 0xff, 0xff]),
            (0x1_0000, vec![0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let line = vec![b'x'; length];
            let mut builder = TextFrameBuilder::new();
            builder.push_line(&line);
            let frame = builder.build();
            assert_eq!(frame.lines(), line);
            assert_eq!(frame.len(), header.len() + length);
            assert_eq!(frame.clone().into_lines(), line);
            assert_eq!(frame.into_bytes(), [header, line].concat());
        }
    }

    #[test]
    fn lines_are_separated_and_a_ping_is_one() {
        let mut builder = TextFrameBuilder::new();
        for line in ["{}", "{\"id\":1}"] {
            builder.push_line(line.as_bytes());
        }
        assert_eq!(builder.build().into_bytes(), b"\x81\x0b{}\n{\"id\":1}".as_slice());
        assert_eq!(TextFrame::of_json(&serde_json::json!({})).unwrap(), TextFrame::ping());
    }
}
