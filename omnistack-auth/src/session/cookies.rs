//! Tokens in browsers: cookies that scripts cannot read, accepted only from the app's own pages.
//!
//! All cookies have the prefix `__Host-`: browsers accept them only over HTTPS and for this host, so no sibling
//! subdomain can set them. Because browsers send cookies automatically, a state-changing request must show where it
//! comes from (OWASP, Cross-Site Request Forgery Prevention, "Fetch Metadata"): `Sec-Fetch-Site` must be
//! `same-origin` or `none`, or `Origin` must be the origin of `PUBLIC_URL` or in `CORS_ORIGINS`. A request with
//! neither is refused.

use std::{sync::Arc, time::Duration};

use ::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::{middleware::Next, response::Response};
use omnistack_core::{
    ExposeSecret as _,
    http::{CorsOrigin, Error, HttpSettings, Request, header_parts},
};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, SecurityScheme};

use crate::session::TokenPair;

const ACCESS: &str = "__Host-omnistack-access";
const REFRESH: &str = "__Host-omnistack-refresh";
/// The known-device cookie. It is no token: it does not sign a user in.
pub(crate) const DEVICE: &str = "__Host-omnistack-device";
/// The time for which a device is known after its last sign-in.
pub(crate) const KNOWN_DEVICE_TTL: Duration = Duration::from_secs(180 * 24 * 60 * 60);
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Returns the OpenAPI security scheme of the access token's cookie.
pub(crate) fn security_scheme() -> SecurityScheme {
    let text = "The access token of a browser that has signed in with the mode `cookie`.";
    SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::with_description(ACCESS, text)))
}

/// Returns the access token from a browser's cookie.
pub(crate) fn access(headers: &HeaderMap) -> Option<&str> {
    cookie(headers, ACCESS)
}

/// Returns the refresh token from a browser's cookie.
pub(crate) fn refresh(headers: &HeaderMap) -> Option<&str> {
    cookie(headers, REFRESH)
}

/// Returns the value of the cookie with exactly this name, if it is not empty.
pub(crate) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut pairs = header_parts(headers, &header::COOKIE, b';').filter_map(|pair| pair.split_once('='));
    pairs.find(|(known, value)| *known == name && !value.is_empty()).map(|(_, value)| value)
}

/// The app's own origins, and the lifetimes of its cookies.
#[derive(Clone, Debug)]
pub(crate) struct SessionCookies {
    /// The origins, such as `https://app.example.com`, in lower case.
    origins: Arc<[String]>,
    access: Duration,
    session: Duration,
}

impl SessionCookies {
    pub(crate) fn new(public_url: &str, http: Option<&HttpSettings>, access: Duration, session: Duration) -> Self {
        let others = http.into_iter().flat_map(|http| http.cors_origins.iter().map(CorsOrigin::as_str));
        // `*` is not an origin: it allows every page to read responses without cookies, and none to send cookies.
        let origins = std::iter::once(public_url).chain(others).filter_map(origin).collect();
        Self { origins, access, session }
    }

    /// Checks that a request with cookies may come only from the app's own pages.
    ///
    /// # Errors
    /// 403 `CROSS_SITE_REQUEST` for a request that may come from another site's page.
    pub(crate) fn check(&self, method: &Method, headers: &HeaderMap) -> Result<(), Error> {
        // A WebSocket starts with a GET request and can then change state.
        let upgrade = headers.contains_key(header::UPGRADE);
        let safe = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) && !upgrade;
        if safe || self.is_same_origin(headers) {
            return Ok(());
        }
        let message = "with cookies, this is for the app's own pages: `Sec-Fetch-Site` or `Origin` must show that the \
                       request comes from one; programs send `Authorization: Bearer …`";
        Err(Error::new(StatusCode::FORBIDDEN, "CROSS_SITE_REQUEST", message))
    }

    /// Returns whether `Sec-Fetch-Site` or `Origin` shows that the request comes from the app's own pages.
    fn is_same_origin(&self, headers: &HeaderMap) -> bool {
        let mut sites = headers.get_all(FETCH_SITE).iter();
        let site = (sites.next().map(HeaderValue::as_bytes), sites.next());
        let by_site = matches!(site, (Some(b"same-origin" | b"none"), None));
        let mut origins = headers.get_all(header::ORIGIN).iter();
        let by_origin = match (origins.next().map(HeaderValue::to_str), origins.next()) {
            (Some(Ok(presented)), None) => origin(presented).is_some_and(|presented| self.origins.contains(&presented)),
            _ => false,
        };
        by_site || by_origin
    }

    /// Sets the cookies with a session's tokens, and the known-device cookie.
    pub(crate) fn set(&self, headers: &mut HeaderMap, tokens: &TokenPair) {
        let access = set_cookie(ACCESS, tokens.access.expose_secret(), self.access);
        let refresh = set_cookie(REFRESH, tokens.refresh.expose_secret(), self.session);
        let device =
            tokens.known_device.as_ref().map(|device| set_cookie(DEVICE, device.expose_secret(), KNOWN_DEVICE_TTL));
        let cookies = [access, refresh, device.flatten()];
        headers.extend(cookies.into_iter().flatten().map(|cookie| (header::SET_COOKIE, cookie)));
    }

    /// Removes the cookies with the tokens. The known-device cookie stays.
    pub(crate) fn clear(headers: &mut HeaderMap) {
        let gone = [ACCESS, REFRESH].map(|name| set_cookie(name, "", Duration::ZERO));
        headers.extend(gone.into_iter().flatten().map(|cookie| (header::SET_COOKIE, cookie)));
    }
}

/// Returns a `Set-Cookie` value for a cookie that scripts cannot read, or `None` if the value is not allowed in a
/// header. The app's tokens always are.
pub(crate) fn set_cookie(name: &str, value: &str, lasts: Duration) -> Option<HeaderValue> {
    let seconds = lasts.as_secs();
    let cookie = format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; Secure; SameSite=Lax");
    let mut cookie = HeaderValue::try_from(cookie).ok()?;
    cookie.set_sensitive(true);
    Some(cookie)
}

/// Returns the origin of a URL: scheme, host, and the port if it is not the scheme's default.
fn origin(address: &str) -> Option<String> {
    let uri: Uri = address.parse().ok()?;
    let (scheme, host) = (uri.scheme_str()?.to_ascii_lowercase(), uri.host()?.to_ascii_lowercase());
    let port = uri.port_u16().filter(|port| !matches!((scheme.as_str(), port), ("http", 80) | ("https", 443)));
    Some(port.map_or_else(|| format!("{scheme}://{host}"), |port| format!("{scheme}://{host}:{port}")))
}

/// Adds `Vary` to responses to requests with the app's cookies.
pub(crate) async fn vary_by_cookie(request: Request, next: Next) -> Response {
    let had_cookie = access(request.headers()).or_else(|| refresh(request.headers())).is_some();
    let mut response = next.run(request).await;
    if had_cookie {
        let vary = HeaderValue::from_static("Cookie, Sec-Fetch-Site, Origin");
        response.headers_mut().append(header::VARY, vary);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn only_the_apps_own_pages_change_anything() {
        let pairs = [("CORS_ORIGINS", "https://admin.example.com,*")];
        let http: HttpSettings = omnistack_core::config::Config::from_pairs(pairs).read_settings().unwrap();
        let day = Duration::from_secs(86_400);
        let browser = SessionCookies::new("https://App.example.com/start/", Some(&http), day, day);
        let own = ("origin", "https://app.example.com");
        for (sent, expected) in [
            (vec![("sec-fetch-site", "same-origin")], true),
            (vec![("sec-fetch-site", "none")], true),
            (vec![("sec-fetch-site", "same-site")], false),
            (vec![("sec-fetch-site", "cross-site")], false),
            (vec![("sec-fetch-site", "")], false),
            (vec![("sec-fetch-site", "cross-site"), ("sec-fetch-site", "same-origin")], false),
            (vec![("sec-fetch-site", "same-site"), ("origin", "https://admin.example.com")], true),
            (vec![("sec-fetch-site", "cross-site"), ("origin", "https://evil.example")], false),
            (vec![own], true),
            (vec![("origin", "https://app.example.com:443")], true),
            (vec![("origin", "https://app.example.com:444")], false),
            (vec![("origin", "http://app.example.com")], false),
            (vec![("origin", "https://app.example.com.evil.example")], false),
            (vec![("origin", "https://evil.example"), own], false),
            (vec![("origin", "null")], false),
            (vec![("origin", "*")], false),
            (vec![("referer", "https://app.example.com/")], false),
            (vec![], false),
        ] {
            let headers = headers(&sent);
            for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::CONNECT] {
                assert_eq!(browser.check(&method, &headers).is_ok(), expected, "{method} {sent:?}");
            }
            browser.check(&Method::GET, &headers).unwrap();
            let mut socket = headers.clone();
            socket.insert("upgrade", HeaderValue::from_static("websocket"));
            assert_eq!(browser.check(&Method::GET, &socket).is_ok(), expected, "socket {sent:?}");
        }
    }

    #[test]
    fn cookies_are_read_by_their_whole_name() {
        for (sent, expected) in [
            (vec![("cookie", "a=1; __Host-omnistack-access=eyJ.x; b=2")], Some("eyJ.x")),
            (vec![("cookie", "a=1"), ("cookie", "__Host-omnistack-access=x=")], Some("x=")),
            (vec![("cookie", "__host-omnistack-access=x")], None),
            (vec![("cookie", "x__Host-omnistack-access=x; omnistack-access=y")], None),
            (vec![("cookie", "__Host-omnistack-access=")], None),
        ] {
            assert_eq!(access(&headers(&sent)), expected, "{sent:?}");
        }
    }
}
