//! HTTP routes, and the responses with the bytes of files.

pub(crate) mod archival;
mod direct_uploads;
pub(crate) mod exports;
pub(crate) mod files;
pub(crate) mod signed_urls;
#[cfg(feature = "thumbnails")]
pub(crate) mod thumbnail;
mod upload;

use ::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::{body::Body, response::Response};
use omnistack_core::http::Validators;

use crate::{ByteRange, Object, embedding::EmbeddedBy};

/// Returns the range that `Range` requests (RFC 9110, section 14.2). Returns `None`, so that the header is
/// ignored, if it is malformed or has more than one range.
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

/// Caches may store a file, but must revalidate it before they use it.
const CACHE_CONTROL: &str = "private, no-cache";
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// Returns the `Content-Security-Policy` of a file, which forbids scripts and all other active content. A PDF has
/// no `sandbox`, because browsers do not show a PDF in one; their PDF viewers are sandboxed themselves.
fn policy(content_type: &str, embedded_by: EmbeddedBy) -> String {
    let sandbox = if content_type == "application/pdf" { "" } else { "; sandbox" };
    let ancestors = match embedded_by {
        EmbeddedBy::App | EmbeddedBy::AllowedOrigin => "'self'",
        EmbeddedBy::Everyone => "*",
    };
    format!(
        "default-src 'none'; style-src 'unsafe-inline'; media-src 'self'; img-src 'self'; frame-ancestors {ancestors}{sandbox}"
    )
}

/// Returns a response with the bytes of an object, or a part of them.
pub(crate) fn content(
    object: Object,
    content_type: &str,
    validators: &Validators,
    disposition: &str,
    part: bool,
    embedded_by: EmbeddedBy,
) -> Response {
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
    set(header::ACCEPT_RANGES, "bytes");
    set(header::CACHE_CONTROL, CACHE_CONTROL);
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::CONTENT_SECURITY_POLICY, &policy(content_type, embedded_by));
    set(RESOURCE_POLICY, embedded_by.resource_policy());
    // Browsers ignore `X-Frame-Options` if the policy has `frame-ancestors`.
    if embedded_by != EmbeddedBy::Everyone {
        set(header::X_FRAME_OPTIONS, "SAMEORIGIN");
    }
    validators.add_to(headers);
    response
}

/// Returns a 304 response with the headers with which caches update the stored response (RFC 9110, section
/// 15.4.5).
pub(crate) fn not_modified(validators: &Validators, embedded_by: EmbeddedBy) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    validators.add_to(response.headers_mut());
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static(CACHE_CONTROL));
    // The stored response may have been for a page of another origin.
    let resource_policy = HeaderValue::from_static(embedded_by.resource_policy());
    response.headers_mut().insert(RESOURCE_POLICY, resource_policy);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

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
