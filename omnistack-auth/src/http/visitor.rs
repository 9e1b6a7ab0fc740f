//! Who asks, and from which browser.

use std::convert::Infallible;

use ::http::{HeaderMap, Method, header, request::Parts};
use axum::extract::FromRequestParts;
use omnistack_core::http::{Error, layer::ClientAddr};

use crate::{
    account::Visitor,
    cookie::{self, Browser},
    model::Device,
};

/// Longest name of a device that is kept, in characters.
const USER_AGENT: usize = 300;

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
        let user_agent = parts.headers.get(header::USER_AGENT).map(|text| String::from_utf8_lossy(text.as_bytes()));
        let user_agent = user_agent.map(|text| text.chars().take(USER_AGENT).collect());
        let device = Device { user_agent, address: address.map(|address| address.to_string()) };
        let known_device = cookie::cookie(&parts.headers, cookie::DEVICE).map(str::to_owned);
        let visitor = Visitor { device, address, known_device };
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

    /// Whether it is somebody who looks at pages, and no program.
    pub(super) fn is_for_a_page(&self) -> bool {
        let accepted = self.headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
        accepted.is_some_and(|accepted| accepted.contains("text/html"))
    }

    /// Whether cookies may be read or set by this request.
    pub(super) fn check(&self, browser: &Browser) -> Result<(), Error> {
        browser.check(&self.method, &self.headers)
    }
}
