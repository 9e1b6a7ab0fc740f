//! Routes.

pub(crate) mod archival;
pub(crate) mod files;
pub(crate) mod links;
#[cfg(feature = "thumbnails")]
pub(crate) mod thumbnail;
mod upload;

use ::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::{body::Body, response::Response};
use omnistack_core::http::header_parts;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::{ByteRange, Object};

/// RFC 8187, section 3.2.1: `attr-char`.
const NAME: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

/// `Content-Disposition` (RFC 6266) with the file's name: for old clients in ASCII, for others in full.
pub(crate) fn disposition(name: &str, shown: bool) -> String {
    let kind = if shown { "inline" } else { "attachment" };
    let plain = |character: char| match character {
        '"' | '\\' | '%' => '_',
        ' '..='~' => character,
        _ => '_',
    };
    let ascii: String = name.chars().map(plain).collect();
    format!("{kind}; filename=\"{ascii}\"; filename*=UTF-8''{}", utf8_percent_encode(name, NAME))
}

/// The one range asked for (RFC 9110, section 14.2). What is malformed, or more than one, is as if it were not asked.
pub(crate) fn range(headers: &HeaderMap) -> Option<ByteRange> {
    let text = headers.get(header::RANGE)?.to_str().ok()?.strip_prefix("bytes=")?.trim();
    let (start, end) = text.split_once('-')?;
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse().unwrap_or(u64::MAX))
    };
    match (start, end) {
        ("", last) => Some(ByteRange::Last(number(last)?)),
        (start, "") => Some(ByteRange::From(number(start)?)),
        (start, end) => {
            let (start, end) = (number(start)?, number(end)?);
            (start <= end).then(|| ByteRange::Bounded(start, end.saturating_add(1)))
        }
    }
}

/// Whether the client has this already.
pub(crate) fn is_known(headers: &HeaderMap, etag: &str) -> bool {
    let mut tags = header_parts(headers, &header::IF_NONE_MATCH, b',').map(|tag| tag.trim_start_matches("W/"));
    tags.any(|tag| tag == "*" || tag == etag)
}

/// Whether a part may be sent: the client has the rest of the same (RFC 9110, section 13.1.5).
pub(crate) fn may_resume(headers: &HeaderMap, etag: &str) -> bool {
    headers.get(header::IF_RANGE).is_none_or(|value| value.as_bytes() == etag.as_bytes())
}

/// What a browser must not do with files of others.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; media-src 'self'; img-src 'self'; sandbox";

/// An answer with an object's bytes, or a part of them.
pub(crate) fn content(object: Object, content_type: &str, etag: &str, disposition: &str, part: bool) -> Response {
    let (range, size) = (object.range.clone(), object.info.size);
    let mut response = Response::new(Body::from_stream(object.body));
    if part {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    let headers = response.headers_mut();
    let mut set = |name, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    if part {
        set(header::CONTENT_RANGE, &format!("bytes {}-{}/{size}", range.start, range.end.saturating_sub(1)));
    }
    set(header::CONTENT_LENGTH, &(range.end - range.start).to_string());
    set(header::CONTENT_TYPE, content_type);
    set(header::CONTENT_DISPOSITION, disposition);
    set(header::ETAG, etag);
    set(header::ACCEPT_RANGES, "bytes");
    set(header::CACHE_CONTROL, "private, no-cache");
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::CONTENT_SECURITY_POLICY, POLICY);
    response
}

/// 304.
pub(crate) fn not_modified(etag: &str) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    if let Ok(etag) = HeaderValue::from_str(etag) {
        response.headers_mut().insert(header::ETAG, etag);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_can_not_leave_their_header() {
        for (name, expected) in [
            ("a.txt", "attachment; filename=\"a.txt\"; filename*=UTF-8''a.txt"),
            ("a\"b\\c.txt", "attachment; filename=\"a_b_c.txt\"; filename*=UTF-8''a%22b%5Cc.txt"),
            (
                "Grüße 🎉.txt",
                "attachment; filename=\"Gr__e _.txt\"; filename*=UTF-8''Gr%C3%BC%C3%9Fe%20%F0%9F%8E%89.txt",
            ),
            ("a\r\nX: y", "attachment; filename=\"a__X: y\"; filename*=UTF-8''a%0D%0AX%3A%20y"),
            ("100%20", "attachment; filename=\"100_20\"; filename*=UTF-8''100%2520"),
        ] {
            assert_eq!(disposition(name, false), expected);
        }
        assert!(disposition("a", true).starts_with("inline; "));
    }

    #[test]
    fn ranges_are_read() {
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RANGE, HeaderValue::from_str(text).unwrap());
            range(&headers)
        };
        for (text, expected) in [
            ("bytes=0-0", Some(ByteRange::Bounded(0, 1))),
            ("bytes=2-", Some(ByteRange::From(2))),
            ("bytes=-5", Some(ByteRange::Last(5))),
            ("bytes=5-2", None),
            ("bytes=-", None),
            ("bytes=a-b", None),
            ("bytes=+1-2", None),
            ("bytes=0-1,3-4", None),
            ("lines=0-1", None),
            ("bytes=99999999999999999999-", Some(ByteRange::From(u64::MAX))),
            ("bytes=0-99999999999999999999", Some(ByteRange::Bounded(0, u64::MAX))),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
    }
}
