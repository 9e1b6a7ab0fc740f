//! Tokens in a browser: in cookies that scripts can't read, which are heeded only for requests the app's own pages make.
//!
//! All cookies are `__Host-`: the browser takes them over HTTPS only, for this host only, so no neighbouring subdomain can
//! set them. Because a browser sends cookies by itself, a request that changes something must show where it comes from
//! (OWASP, Cross-Site Request Forgery Prevention, "Fetch Metadata"): `Sec-Fetch-Site` must be `same-origin` or `none`, or
//! `Origin` one of `PUBLIC_URL` and `CORS_ORIGINS`. What says neither is refused.

use std::{sync::Arc, time::Duration};

use ::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::Response;
use omnistack_core::{
    ExposeSecret as _,
    http::{
        CorsOrigin, Error, HttpSettings, Request, header_parts,
        layer::{After, Step},
    },
};

use utoipa::openapi::security::{ApiKey, ApiKeyValue, SecurityScheme};

use crate::{account::KNOWN_DEVICE_TTL, session::Tokens};

const ACCESS: &str = "__Host-omnistack-access";
const REFRESH: &str = "__Host-omnistack-refresh";
/// What a device is known by at its next sign-in. It is no token: with it alone nobody is signed in.
pub(crate) const DEVICE: &str = "__Host-omnistack-device";
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Returns the description of the access token's cookie.
pub(crate) fn security_scheme() -> SecurityScheme {
    let text = "The access token of a browser, which signs in with the mode `cookie`.";
    SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::with_description(ACCESS, text)))
}

/// The access token of a browser.
pub(crate) fn access(headers: &HeaderMap) -> Option<&str> {
    cookie(headers, ACCESS)
}

/// The refresh token of a browser.
pub(crate) fn refresh(headers: &HeaderMap) -> Option<&str> {
    cookie(headers, REFRESH)
}

/// A cookie by its whole name, if it isn't empty.
pub(crate) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut pairs = header_parts(headers, &header::COOKIE, b';').filter_map(|pair| pair.split_once('='));
    pairs.find(|(known, value)| *known == name && !value.is_empty()).map(|(_, value)| value)
}

/// What the app knows of browsers: which pages are its own, and how long cookies last.
#[derive(Clone, Debug)]
pub(crate) struct Browser {
    /// `https://app.example.com`, in lower case.
    origins: Arc<[String]>,
    access: Duration,
    session: Duration,
}

impl Browser {
    pub(crate) fn new(public_url: &str, http: Option<&HttpSettings>, access: Duration, session: Duration) -> Self {
        let others = http.into_iter().flat_map(|http| http.cors_origins.iter().map(CorsOrigin::as_str));
        // `*` is no origin: anybody may read what needs no cookie, and nobody is trusted with one.
        let origins = std::iter::once(public_url).chain(others).filter_map(origin).collect();
        Self { origins, access, session }
    }

    /// Whether a request that carries cookies may be heeded.
    ///
    /// # Errors
    /// 403 `CROSS_SITE_REQUEST` for one that may come from somebody else's page.
    pub(crate) fn check(&self, method: &Method, headers: &HeaderMap) -> Result<(), Error> {
        // A socket is opened by GET, and then does anything.
        let upgrade = headers.contains_key(header::UPGRADE);
        let safe = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) && !upgrade;
        if safe || self.is_own(headers) {
            return Ok(());
        }
        let message = "with cookies, this is for the app's own pages: `Sec-Fetch-Site` or `Origin` says otherwise, or \
                       neither is there; programs send `Authorization: Bearer …`";
        Err(Error::new(StatusCode::FORBIDDEN, "CROSS_SITE_REQUEST", message))
    }

    fn is_own(&self, headers: &HeaderMap) -> bool {
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

    /// Gives a browser its tokens.
    pub(crate) fn give(&self, headers: &mut HeaderMap, tokens: &Tokens) {
        let access = set(ACCESS, tokens.access.expose_secret(), self.access);
        let refresh = set(REFRESH, tokens.refresh.expose_secret(), self.session);
        let device = tokens.known_device.as_ref().map(|device| set(DEVICE, device.expose_secret(), KNOWN_DEVICE_TTL));
        let cookies = [access, refresh, device.flatten()];
        headers.extend(cookies.into_iter().flatten().map(|cookie| (header::SET_COOKIE, cookie)));
    }

    /// Takes them back. The device stays known.
    pub(crate) fn take(headers: &mut HeaderMap) {
        let gone = [ACCESS, REFRESH].map(|name| set(name, "", Duration::ZERO));
        headers.extend(gone.into_iter().flatten().map(|cookie| (header::SET_COOKIE, cookie)));
    }
}

/// Sets a cookie that scripts can't read. None for a value that no header can have, which no token of ours is.
pub(crate) fn set(name: &str, value: &str, lasts: Duration) -> Option<HeaderValue> {
    let seconds = lasts.as_secs();
    let cookie = format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; Secure; SameSite=Lax");
    let mut cookie = HeaderValue::try_from(cookie).ok()?;
    cookie.set_sensitive(true);
    Some(cookie)
}

/// Scheme, host and port of an address, the port only where it is not the scheme's own.
fn origin(address: &str) -> Option<String> {
    let uri: Uri = address.parse().ok()?;
    let (scheme, host) = (uri.scheme_str()?.to_ascii_lowercase(), uri.host()?.to_ascii_lowercase());
    let port = uri.port_u16().filter(|port| !matches!((scheme.as_str(), port), ("http", 80) | ("https", 443)));
    Some(port.map_or_else(|| format!("{scheme}://{host}"), |port| format!("{scheme}://{host}:{port}")))
}

/// Says in answers to requests with the app's cookies what they depend on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct VaryByCookie;

/// Whether a request had them.
pub(crate) struct HadCookie(bool);

impl Step for VaryByCookie {
    type After = HadCookie;

    fn request(&self, request: &mut Request) -> Result<HadCookie, Response> {
        Ok(HadCookie(access(request.headers()).or_else(|| refresh(request.headers())).is_some()))
    }
}

impl After for HadCookie {
    fn response(self, response: &mut Response) {
        if self.0 {
            let vary = HeaderValue::from_static("Cookie, Sec-Fetch-Site, Origin");
            response.headers_mut().append(header::VARY, vary);
        }
    }
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
        let http: HttpSettings = omnistack_core::config::Config::from_pairs(pairs).section().unwrap();
        let day = Duration::from_secs(86_400);
        let browser = Browser::new("https://App.example.com/start/", Some(&http), day, day);
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
