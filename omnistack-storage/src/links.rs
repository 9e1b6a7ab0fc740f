//! Links the app makes and serves itself, for providers that have none.

use omnistack_core::{
    ExposeSecret as _,
    clock::{Clock, Timestamp},
    crypto::{Context, KeyRing},
    http::Method,
};
use serde::{Deserialize, Serialize};

use crate::{
    Error, ErrorKind, ObjectKey,
    object::{SignRequest, SignedRequest},
};

/// Where the links are served.
pub(crate) const PATH: &str = "/api/v1/public/files/links";

/// Makes and reads links: what one allows is sealed into its address with the app's [`KeyRing`], so that nobody reads or
/// changes it.
#[derive(Clone, Debug)]
pub struct Links {
    ring: KeyRing,
    clock: Clock,
    base: String,
}

/// What a link allows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Allowed {
    #[serde(rename = "m")]
    method: String,
    #[serde(rename = "k")]
    key: String,
    /// Seconds since 1970.
    #[serde(rename = "e")]
    expires: i64,
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    pub(crate) content_type: Option<String>,
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub(crate) size: Option<u64>,
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    pub(crate) disposition: Option<String>,
}

impl Allowed {
    pub(crate) fn key(&self) -> Result<ObjectKey, Error> {
        Ok(self.key.parse()?)
    }
}

fn place() -> Context {
    Context::row("storage", "link", 1)
}

impl Links {
    /// Under the app's public address, such as `https://app.example.com`.
    pub fn new(ring: KeyRing, clock: Clock, public_url: &str) -> Self {
        Self { ring, clock, base: format!("{}{PATH}", public_url.trim_end_matches('/')) }
    }

    pub(crate) fn make(&self, request: &SignRequest) -> Result<SignedRequest, Error> {
        request.check()?;
        let expires = (self.clock.now() + request.expires_in).as_seconds();
        let allowed = Allowed {
            method: request.method.to_string(),
            key: request.key.to_string(),
            expires,
            content_type: request.content_type.clone(),
            size: request.size,
            disposition: request.disposition.clone(),
        };
        let text = serde_json::to_vec(&allowed).map_err(|error| Error::new(ErrorKind::Other, error))?;
        let url = format!("{}/{}", self.base, self.ring.seal(text, &place())?);
        let expires_at = Timestamp::from_micros(expires.saturating_mul(1_000_000));
        let signed = SignedRequest::new(request.method.clone(), url, expires_at);
        Ok(match &request.content_type {
            Some(content_type) if request.method == Method::PUT => signed.header("content-type", content_type.clone()),
            _ => signed,
        })
    }

    /// What a link allows, if it is one of ours, for this method, and its time has not passed.
    pub(crate) fn read(&self, token: &str, method: &Method) -> Option<Allowed> {
        let opened = self.ring.open(token, &place()).ok()?;
        let allowed: Allowed = serde_json::from_slice(opened.expose_secret()).ok()?;
        (allowed.method == method.as_str() && self.clock.now().as_seconds() < allowed.expires).then_some(allowed)
    }
}
