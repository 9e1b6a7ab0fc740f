//! The form of the inputs that consist of headers and a body.

use http::{HeaderMap, HeaderName, HeaderValue};

/// Maximum number of lines with headers that are read.
const MAX_HEADERS: usize = 100;

/// The first line and the headers of an input.
#[derive(Debug)]
pub struct Head<'a> {
    /// The first line.
    pub first: &'a str,
    /// The headers of the lines after it. Lines that are no header are left out.
    pub headers: HeaderMap,
}

/// Splits an input at its first empty line. Returns `None` if it has none, or if text is not UTF-8.
pub fn split(input: &[u8]) -> Option<(Head<'_>, &[u8])> {
    let end = input.windows(2).position(|pair| pair == b"\n\n")?;
    let (head, body) = (str::from_utf8(&input[..end]).ok()?, &input[end + 2..]);
    let mut lines = head.split('\n');
    let first = lines.next()?;
    let mut headers = HeaderMap::new();
    for (name, value) in lines.take(MAX_HEADERS).filter_map(|line| line.split_once(": ")) {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.append(name, value);
        }
    }
    Some((Head { first, headers }, body))
}
