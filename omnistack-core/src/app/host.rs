//! The `Host` of a request that came over a connection.

use http::{HeaderValue, Uri, Version, header};

use crate::http::{Request, layer::Unreadable};

/// Makes a request [`Unreadable`] whose `Host` is not as RFC 9112, section 3.2, demands: well-formed, and in HTTP/1.1 there.
/// That it is there once is [`SingletonsLayer`](crate::http::layer::SingletonsLayer)'s to see.
pub(super) fn check(request: &mut Request) {
    let good = match request.headers().get(header::HOST) {
        Some(host) => is_authority(host),
        None => request.version() != Version::HTTP_11,
    };
    if !good {
        *request.uri_mut() = Uri::from_static("*");
        request.extensions_mut().insert(Unreadable::Host);
    }
}

/// Whether all of it may stand in `uri-host [ ":" port ]` (RFC 3986, section 3.2.2).
fn is_authority(host: &HeaderValue) -> bool {
    host.as_bytes().iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:[]".contains(byte))
}
