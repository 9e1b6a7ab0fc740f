//! The response headers that OWASP recommends for an API.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::{RequestHook, ResponseHook, step_layer};
use crate::http::{Request, Response};

/// Layer that adds security headers to responses that don't set them: to all responses those of the OWASP REST
/// Security cheat sheet, and to pages (`text/html`) also those that only matter to browsers. A page that sets its own
/// `Content-Security-Policy` keeps it.
///
/// A 304 gets none: caches update the stored response with the headers of the 304 (RFC 9111, section 3.2), and the
/// stored response already has them.
#[derive(Clone, Copy, Debug, Default)]
pub struct SecurityHeadersLayer {
    https: bool,
}

impl SecurityHeadersLayer {
    /// Also adds `Strict-Transport-Security` with two years, for an app that is only reached over HTTPS.
    #[must_use]
    pub fn https(mut self, https: bool) -> Self {
        self.https = https;
        self
    }
}

step_layer!(SecurityHeadersLayer);

const ON_ALL_RESPONSES: [(HeaderName, HeaderValue); 5] = [
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'")),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
];

const ON_PAGES: [(HeaderName, HeaderValue); 3] = [
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
    (
        HeaderName::from_static("permissions-policy"),
        HeaderValue::from_static("camera=(), geolocation=(), microphone=()"),
    ),
];

const TWO_YEARS: HeaderValue = HeaderValue::from_static("max-age=63072000; includeSubDomains");

impl RequestHook for SecurityHeadersLayer {
    type After = Self;

    fn request(&self, _: &mut Request) -> Result<Self, Response> {
        Ok(*self)
    }
}

impl ResponseHook for SecurityHeadersLayer {
    fn response(self, response: &mut Response) {
        if response.status() == StatusCode::NOT_MODIFIED {
            return;
        }
        let headers = response.headers_mut();
        let page = is_page(headers);
        // Includes room for the request id.
        headers.reserve(ON_ALL_RESPONSES.len() + 2);
        for (name, value) in ON_ALL_RESPONSES {
            add(headers, name, value);
        }
        if page {
            for (name, value) in ON_PAGES {
                add(headers, name, value);
            }
        }
        if self.https {
            add(headers, header::STRICT_TRANSPORT_SECURITY, TWO_YEARS);
        }
    }
}

fn is_page(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"))
}

fn add(headers: &mut HeaderMap, name: HeaderName, value: HeaderValue) {
    headers.entry(name).or_insert(value);
}
