//! Whether a token of another issuer is good.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use omnistack_core::{clock::Clock, crypto::HmacKey, http::Error, identity::Proof};

use super::{
    claims::{Claims, Presented},
    jwks::KeySet,
    preset::Preset,
    profile::Profile,
};
use crate::token::refused;

/// Why a token is refused: for the log, never for the caller.
pub(crate) type Refusal = &'static str;

/// Seconds by which an issuer's clock may differ from ours.
pub(crate) const LEEWAY: i64 = 10;

/// What verifies the tokens of every issuer the app trusts beside itself.
#[derive(Clone)]
pub(crate) struct Issuers {
    own: Arc<str>,
    trusted: Arc<[Verifier]>,
}

impl Issuers {
    pub(crate) fn new(own: &str, trusted: Vec<Verifier>) -> Self {
        Self { own: own.into(), trusted: trusted.into() }
    }

    /// The token in its parts and who is to verify it; nothing for one the app says it has signed itself.
    ///
    /// # Errors
    /// 401 for what is no token, and for one of an issuer nobody trusts.
    pub(crate) fn of<'t>(&self, token: &'t str) -> Result<Option<(&Verifier, Presented<'t>)>, Error> {
        if self.trusted.is_empty() {
            return Ok(None);
        }
        let presented = Presented::parse(token).map_err(refuse)?;
        // It chooses who verifies. The one chosen goes on only if the signature is its own.
        let issuer = presented.claims.iss.as_str();
        match self.trusted.iter().find(|verifier| verifier.issuer == issuer) {
            Some(verifier) => Ok(Some((verifier, presented))),
            None if issuer == &*self.own => Ok(None),
            None => Err(refuse("an issuer nobody trusts")),
        }
    }

    pub(super) fn trusted(&self) -> &[Verifier] {
        &self.trusted
    }
}

/// One issuer, and what its tokens have to say.
pub(crate) struct Verifier {
    pub(crate) issuer: String,
    pub(super) preset: Preset,
    pub(super) keys: Keys,
    pub(super) audiences: Vec<String>,
    pub(super) parties: Vec<String>,
    pub(crate) link: bool,
    pub(super) trust_emails: bool,
    pub(super) webhook_keys: Vec<HmacKey>,
}

/// What the signatures of an issuer are verified with.
pub(super) enum Keys {
    /// HS256, and nothing else.
    Shared(HmacKey),
    /// What the issuer publishes, each key with its own algorithm.
    Published(KeySet),
}

impl Verifier {
    /// The claims, if the token is good now.
    ///
    /// # Errors
    /// 401 for one that isn't, which says no more; 503 when the issuer's keys can't be had.
    pub(crate) async fn verify(&self, presented: Presented<'_>, clock: &Clock) -> Result<Claims, Error> {
        // What costs nothing first: an attacker gets no key set fetched with a token that was never any good.
        self.check(&presented, clock.now().as_seconds()).map_err(refuse)?;
        if self.is_signed(&presented).await? { Ok(presented.claims) } else { Err(refuse("a wrong signature or key")) }
    }

    async fn is_signed(&self, token: &Presented<'_>) -> Result<bool, Error> {
        let (algorithm, message) = (token.header.alg.as_str(), token.message.as_bytes());
        match &self.keys {
            Keys::Shared(key) => {
                let signature = URL_SAFE_NO_PAD.decode(token.signature);
                Ok(algorithm == "HS256" && signature.is_ok_and(|signature| key.verify(message, signature)))
            }
            Keys::Published(keys) => {
                let key = keys.find(token.header.kid.as_deref(), algorithm).await?;
                Ok(key.is_some_and(|key| key.verifies(message, token.signature)))
            }
        }
    }

    /// Everything but the signature.
    fn check(&self, token: &Presented<'_>, now: i64) -> Result<(), Refusal> {
        let claims = &token.claims;
        if let Some(kind) = &token.header.typ {
            // RFC 8725, section 3.11, and RFC 9068, section 4. Without one it may be anything; the claims tell.
            let kind = kind.strip_prefix("application/").unwrap_or(kind);
            if !kind.eq_ignore_ascii_case("jwt") && !kind.eq_ignore_ascii_case("at+jwt") {
                return Err("another type of token");
            }
        }
        if claims.exp.saturating_add(LEEWAY) <= now {
            return Err("expired");
        }
        let later = |time: Option<i64>| time.is_some_and(|time| time > now + LEEWAY);
        if later(claims.nbf) || later(claims.iat) {
            return Err("not yet good");
        }
        match &claims.aud {
            // RFC 7519, section 4.1.3: it names somebody, and where nobody said who this is, it isn't us.
            Some(_) if self.audiences.is_empty() && self.preset.has_audiences_of_its_own() => {}
            Some(audience) if self.audiences.iter().any(|ours| audience.has(ours)) => {}
            None if self.audiences.is_empty() => {}
            _ => return Err("for another audience"),
        }
        let by_ours = || claims.azp.as_ref().is_some_and(|party| self.parties.contains(party));
        if !self.parties.is_empty() && !by_ours() {
            return Err("for another party");
        }
        if claims.act.is_some() {
            return Err("of somebody who acts as the user");
        }
        self.preset.check(claims)
    }

    /// What the token says the user is like.
    pub(crate) fn profile(&self, claims: &Claims) -> Profile {
        Profile::of_claims(claims, self.trust_emails)
    }

    /// How the user signed in, as far as the token tells.
    pub(crate) fn proof(&self, claims: &Claims) -> Option<Proof> {
        self.preset.proof(claims)
    }
}

fn refuse(why: Refusal) -> Error {
    tracing::debug!(target: "omnistack::auth", why, "a token of another issuer was refused");
    refused()
}
