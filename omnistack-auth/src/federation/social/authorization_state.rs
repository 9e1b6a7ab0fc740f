//! The state of a sign-in in progress. It is stored in a sealed cookie, so that only the app can create it and only
//! this browser has it.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use omnistack_core::{
    ExposeSecret as _,
    clock::Timestamp,
    crypto::{KeyRing, SealContext, Sha256, Token, constant_time_eq},
    identity::{SessionId, UserId},
};
use serde::{Deserialize, Serialize};

use crate::{Error, one_time_tokens::TokenPurpose};

/// The name of the cookie. There is one, so if two sign-ins are begun in a browser, only the later one can be
/// completed.
pub(crate) const STATE_COOKIE: &str = "__Host-omnistack-social";

/// The state of a sign-in in progress. It has no `Debug`, since it contains secrets of the browser and the app.
#[derive(Serialize, Deserialize)]
pub(crate) struct AuthorizationState {
    /// The provider's name.
    pub(crate) provider: String,
    /// The state parameter, which the provider returns (RFC 6749, section 10.12).
    pub(crate) state: String,
    /// The nonce, which the ID token must contain (OpenID Connect Core 1.0, section 15.5.2).
    pub(crate) nonce: String,
    /// The PKCE code verifier, which the exchange of the code needs (RFC 7636).
    pub(crate) verifier: String,
    /// The path of the app to go to at the end.
    pub(crate) return_to: Option<String>,
    /// The user and session to link the identity to, unless it is a sign-in.
    pub(crate) link: Option<(UserId, SessionId)>,
    expires: Timestamp,
}

impl AuthorizationState {
    pub(crate) fn new(
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
            expires: now + TokenPurpose::Social.lifetime(),
        }
    }

    /// Returns the PKCE code challenge: the hash of the verifier (RFC 7636, section 4.2).
    pub(crate) fn challenge(&self) -> String {
        URL_SAFE_NO_PAD.encode(Sha256::digest(&self.verifier).as_bytes())
    }

    /// Returns the sealed value for the cookie.
    pub(crate) fn seal(&self, ring: &KeyRing) -> Result<String, Error> {
        let text = serde_json::to_vec(self).map_err(omnistack_core::http::Error::internal)?;
        Ok(ring.seal(text, &seal_context(&self.provider))?)
    }

    /// Opens a cookie. Returns `None` unless it is a sign-in with this provider and this state that has not expired.
    pub(crate) fn open(ring: &KeyRing, cookie: &str, provider: &str, state: &str, now: Timestamp) -> Option<Self> {
        let text = ring.open_text(cookie, &seal_context(provider)).ok()?;
        let flow: Self = serde_json::from_str(text.expose_secret()).ok()?;
        (flow.provider == provider && flow.expires > now && constant_time_eq(&flow.state, state)).then_some(flow)
    }
}

fn seal_context(provider: &str) -> SealContext {
    SealContext::row("social", "flow", provider)
}
