//! Who asks, and from which browser.

use std::convert::Infallible;

use ::http::{HeaderMap, Method, header, request::Parts};
use axum::extract::FromRequestParts;
use omnistack_core::http::{
    Error,
    layer::{ClientAddr, RequestId},
    prefers,
};

use crate::{
    account::Visitor,
    cookie::{self, Browser},
    model::Device,
};

/// Longest `User-Agent` that is kept, in characters.
const MAX_USER_AGENT_CHARS: usize = 300;

/// Returns what `User-Agent` says, with U+FFFD for what is not UTF-8.
pub(super) fn user_agent(headers: &HeaderMap) -> Option<String> {
    let text = String::from_utf8_lossy(headers.get(header::USER_AGENT)?.as_bytes());
    Some(text.chars().take(MAX_USER_AGENT_CHARS).collect())
}

/// A request of the account routes: who makes it, and what its browser sends along.
pub(super) struct Request {
    pub(super) visitor: Visitor,
    method: Method,
    headers: HeaderMap,
}

impl<S: Send + Sync> FromRequestParts<S> for Request {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let address = parts.extensions.get::<ClientAddr>().map(|address| address.0);
        let device =
            Device { user_agent: user_agent(&parts.headers), address: address.map(|address| address.to_string()) };
        let known_device = cookie::cookie(&parts.headers, cookie::DEVICE).map(str::to_owned);
        let request = parts.extensions.get::<RequestId>().cloned();
        let visitor = Visitor { device, address, known_device, request };
        Ok(Self { visitor, method: parts.method.clone(), headers: parts.headers.clone() })
    }
}

impl Request {
    /// The refresh token of the browser.
    pub(super) fn refresh_cookie(&self) -> Option<&str> {
        cookie::refresh(&self.headers)
    }

    /// A cookie by its name.
    pub(super) fn cookie(&self, name: &str) -> Option<&str> {
        cookie::cookie(&self.headers, name)
    }

    /// Returns whether the client prefers pages to JSON, as browsers do.
    pub(super) fn is_for_a_page(&self) -> bool {
        prefers(&self.headers, "text/html", "application/json")
    }

    /// Whether cookies may be read or set by this request.
    pub(super) fn check(&self, browser: &Browser) -> Result<(), Error> {
        browser.check(&self.method, &self.headers)
    }
}
