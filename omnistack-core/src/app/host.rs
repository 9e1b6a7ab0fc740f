//! The check of the `Host` header.

use http::{HeaderValue, Uri, Version, header};

use crate::http::{Request, layer::MalformedRequest};

/// Marks a request as [`Unreadable`] if its `Host` is not valid as in RFC 9112, section 3.2: it must be well-formed,
/// and HTTP/1.1 requires it. [`SingletonHeadersLayer`](crate::http::layer::SingletonHeadersLayer) checks that it is not repeated.
pub(super) fn check(request: &mut Request) {
    let good = match request.headers().get(header::HOST) {
        Some(host) => is_authority(host),
        None => request.version() != Version::HTTP_11,
    };
    if !good {
        *request.uri_mut() = Uri::from_static("*");
        request.extensions_mut().insert(MalformedRequest::Host);
    }
}

/// Returns whether all bytes are allowed in `uri-host [ ":" port ]` (RFC 3986, section 3.2.2).
fn is_authority(host: &HeaderValue) -> bool {
    host.as_bytes().iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:[]".contains(byte))
}
