//! Extracts the client info and the cookies of a request.

use std::convert::Infallible;

use ::http::{HeaderMap, Method, header, request::Parts};
use axum::extract::FromRequestParts;
use omnistack_core::http::{
    Error,
    layer::{ClientAddr, RequestId},
    prefers,
};

use crate::{
    account::ClientInfo,
    model::Device,
    session::cookies::{self, SessionCookies},
};

/// The number of characters of `User-Agent` that are stored.
const MAX_USER_AGENT_CHARS: usize = 300;

/// Returns the `User-Agent` header, with U+FFFD for bytes that are not UTF-8, or `None` if it is absent.
pub(crate) fn user_agent(headers: &HeaderMap) -> Option<String> {
    let text = String::from_utf8_lossy(headers.get(header::USER_AGENT)?.as_bytes());
    Some(text.chars().take(MAX_USER_AGENT_CHARS).collect())
}

/// The extractor of account routes: the client info, and the method and headers of the request.
pub(crate) struct AccountRequest {
    pub(crate) client_info: ClientInfo,
    method: Method,
    headers: HeaderMap,
}

impl<S: Send + Sync> FromRequestParts<S> for AccountRequest {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let address = parts.extensions.get::<ClientAddr>().map(|address| address.0);
        let device =
            Device { user_agent: user_agent(&parts.headers), address: address.map(|address| address.to_string()) };
        let known_device = cookies::cookie(&parts.headers, cookies::DEVICE).map(str::to_owned);
        let request = parts.extensions.get::<RequestId>().cloned();
        let visitor = ClientInfo { device, address, known_device, request_id: request };
        Ok(Self { client_info: visitor, method: parts.method.clone(), headers: parts.headers.clone() })
    }
}

impl AccountRequest {
    /// Returns the refresh token from the browser's cookie.
    pub(crate) fn refresh_cookie(&self) -> Option<&str> {
        cookies::refresh(&self.headers)
    }

    /// Returns the cookie with this name.
    pub(crate) fn cookie(&self, name: &str) -> Option<&str> {
        cookies::cookie(&self.headers, name)
    }

    /// Returns whether the client prefers HTML to JSON, as browsers do.
    pub(crate) fn prefers_html(&self) -> bool {
        prefers(&self.headers, "text/html", "application/json")
    }

    /// Fails unless cookies may be read or set by this request (cross-site request forgery).
    pub(crate) fn check(&self, browser: &SessionCookies) -> Result<(), Error> {
        browser.check(&self.method, &self.headers)
    }
}
