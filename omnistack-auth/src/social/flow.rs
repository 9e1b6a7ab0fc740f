//! The way to a provider and back, as the browser keeps it meanwhile: in a cookie that is sealed, so that nobody but the
//! app has made it, and that only this browser has.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use omnistack_core::{
    ExposeSecret as _,
    clock::Timestamp,
    crypto::{Context, KeyRing, Sha256, Token, same},
    identity::{SessionId, UserId},
};
use serde::{Deserialize, Serialize};

use crate::{Error, one_time::Purpose};

/// The cookie. One, so of two ways begun in a browser at once, the later counts.
pub(crate) const COOKIE: &str = "__Host-omnistack-social";

/// A way that was begun. Has no `Debug`: it holds what only the browser and the app may know.
#[derive(Serialize, Deserialize)]
pub(super) struct Flow {
    /// The provider's name.
    pub(super) provider: String,
    /// Comes back with the browser (RFC 6749, section 10.12).
    pub(super) state: String,
    /// Comes back in the ID token (OpenID Connect Core 1.0, section 15.5.2).
    pub(super) nonce: String,
    /// What the code is good with (RFC 7636).
    pub(super) verifier: String,
    /// Where to go at the end: a path of the app.
    pub(super) return_to: Option<String>,
    /// Whose account is to be linked.
    pub(super) link: Option<(UserId, SessionId)>,
    expires: Timestamp,
}

impl Flow {
    pub(super) fn new(
        provider: &str,
        return_to: Option<String>,
        link: Option<(UserId, SessionId)>,
        now: Timestamp,
    ) -> Self {
        let random = || Token::random().expose().to_owned();
        Self {
            provider: provider.to_owned(),
            state: random(),
            nonce: random(),
            verifier: random(),
            return_to,
            link,
            expires: now + Purpose::Social.lifetime(),
        }
    }

    /// The verifier's hash, which goes ahead (RFC 7636, section 4.2).
    pub(super) fn challenge(&self) -> String {
        URL_SAFE_NO_PAD.encode(Sha256::of(&self.verifier).as_bytes())
    }

    /// The cookie's value.
    pub(super) fn seal(&self, ring: &KeyRing) -> Result<String, Error> {
        let text = serde_json::to_vec(self).map_err(omnistack_core::http::Error::internal)?;
        Ok(ring.seal(text, &place(&self.provider))?)
    }

    /// The way of a cookie that leads back from this provider with this state, now.
    pub(super) fn open(ring: &KeyRing, cookie: &str, provider: &str, state: &str, now: Timestamp) -> Option<Self> {
        let text = ring.open_text(cookie, &place(provider)).ok()?;
        let flow: Self = serde_json::from_str(text.expose_secret()).ok()?;
        (flow.provider == provider && flow.expires > now && same(&flow.state, state)).then_some(flow)
    }
}

fn place(provider: &str) -> Context {
    Context::row("social", "flow", provider)
}
