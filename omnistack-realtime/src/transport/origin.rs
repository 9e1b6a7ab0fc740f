//! The check of where a request with a cookie comes from.
//!
//! Browsers send cookies automatically, and open WebSockets and event streams to other sites. So a page of another site
//! could open a connection as the user (cross-site WebSocket hijacking). `Sec-Fetch-Site` or `Origin` must show that
//! the page is the app's own.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use omnistack_core::http::{CorsOrigin, Error, HttpSettings};

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// The origins of the app's own pages: that of `PUBLIC_URL`, and `CORS_ORIGINS`. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct OwnOrigins(Arc<[String]>);

impl OwnOrigins {
    pub(super) fn new(public_url: &str, http: Option<&HttpSettings>) -> Self {
        let others = http.into_iter().flat_map(|http| http.cors_origins.iter().map(CorsOrigin::as_str));
        // `*` is no origin: it lets no page send cookies.
        Self(std::iter::once(public_url).chain(others).filter_map(normalize).collect())
    }

    /// Checks a request whose caller was authenticated. A request without cookies passes, and so does one with a
    /// credential that browsers do not send by themselves.
    ///
    /// # Errors
    /// 403 `CROSS_SITE_REQUEST` for a request that may come from another site's page.
    pub(super) fn check(&self, headers: &HeaderMap) -> Result<(), Error> {
        let is_explicit = headers.contains_key(header::AUTHORIZATION) || headers.contains_key(API_KEY);
        if is_explicit || !headers.contains_key(header::COOKIE) || self.is_own(headers) {
            return Ok(());
        }
        let message = "with cookies, this is for the app's own pages: `Sec-Fetch-Site` or `Origin` must show that the \
                       request comes from one; programs send `Authorization: Bearer …`";
        Err(Error::new(StatusCode::FORBIDDEN, "CROSS_SITE_REQUEST", message))
    }

    fn is_own(&self, headers: &HeaderMap) -> bool {
        let site = only(headers, &FETCH_SITE).map(HeaderValue::as_bytes);
        let origin = only(headers, &header::ORIGIN).and_then(|origin| normalize(origin.to_str().ok()?));
        matches!(site, Some(b"same-origin" | b"none")) || origin.is_some_and(|origin| self.0.contains(&origin))
    }
}

/// Returns the value of a header that must not be repeated.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

/// Returns the origin of a URL: scheme, host, and the port if it is not the scheme's default.
fn normalize(address: &str) -> Option<String> {
    let uri: Uri = address.parse().ok()?;
    let (scheme, host) = (uri.scheme_str()?.to_ascii_lowercase(), uri.host()?.to_ascii_lowercase());
    let port = uri.port_u16().filter(|port| !matches!((scheme.as_str(), port), ("http", 80) | ("https", 443)));
    Some(port.map_or_else(|| format!("{scheme}://{host}"), |port| format!("{scheme}://{host}:{port}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_taken_only_from_the_apps_own_pages() {
        let pairs = [("CORS_ORIGINS", "https://admin.example.com")];
        let http: HttpSettings = omnistack_core::config::Config::from_pairs(pairs).read_settings().unwrap();
        let own = OwnOrigins::new("https://App.example.com/start/", Some(&http));
        let cookie = ("cookie", "session=1");
        for (sent, expected) in [
            (vec![], true),
            (vec![("origin", "https://evil.example")], true),
            (vec![cookie, ("authorization", "Bearer 1"), ("origin", "https://evil.example")], true),
            (vec![cookie, ("sec-fetch-site", "same-origin")], true),
            (vec![cookie, ("origin", "https://app.example.com:443")], true),
            (vec![cookie, ("origin", "https://admin.example.com"), ("sec-fetch-site", "same-site")], true),
            (vec![cookie], false),
            (vec![cookie, ("origin", "null")], false),
            (vec![cookie, ("origin", "http://app.example.com")], false),
            (vec![cookie, ("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")], false),
            (vec![cookie, ("origin", "https://evil.example"), ("origin", "https://app.example.com")], false),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in &sent {
                headers.append(*name, HeaderValue::from_str(value).unwrap());
            }
            assert_eq!(own.check(&headers).is_ok(), expected, "{sent:?}");
        }
    }
}
