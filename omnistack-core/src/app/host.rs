//! The `Host` of a request that came over a connection.

use http::{HeaderValue, Uri, Version, header};

use crate::http::{Request, layer::Unreadable};

/// Makes a request [`Unreadable`] whose `Host` is not as RFC 9112, section 3.2, demands: once and well-formed, and in
/// HTTP/1.0 possibly absent. With two of them a proxy may go by another than the app does.
pub(super) fn check(request: &mut Request) {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let good = match (hosts.next(), hosts.next()) {
        (Some(host), None) => is_authority(host),
        (None, _) => request.version() != Version::HTTP_11,
        (Some(_), Some(_)) => false,
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
