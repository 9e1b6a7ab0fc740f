//! Header values that are lists.

use http::{HeaderMap, HeaderName};

/// Returns the parts of a header, in order and trimmed: every line of the header is split at `separator`, byte by
/// byte.
///
/// A value may contain any byte from 0x80 up (RFC 9110, section 5.5), and other programs add their parts to `Cookie`
/// or `X-Forwarded-For`. So a part that is not UTF-8 is returned as an empty text, and the other parts are returned
/// unchanged.
///
/// ```
/// use omnistack_core::http::{HeaderMap, HeaderValue, header, header_parts};
///
/// let mut headers = HeaderMap::new();
/// headers.insert(header::COOKIE, HeaderValue::from_bytes(b"city=K\xf6ln; session=abc").unwrap());
/// assert_eq!(header_parts(&headers, &header::COOKIE, b';').collect::<Vec<_>>(), ["", "session=abc"]);
/// ```
pub fn header_parts<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
    separator: u8,
) -> impl DoubleEndedIterator<Item = &'a str> + use<'a> {
    let parts =
        headers.get_all(name).into_iter().flat_map(move |value| value.as_bytes().split(move |byte| *byte == separator));
    parts.map(|part| std::str::from_utf8(part).unwrap_or_default().trim())
}
