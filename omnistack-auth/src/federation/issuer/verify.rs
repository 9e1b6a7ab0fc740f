//! Verifies external access tokens.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use omnistack_core::{
    clock::Clock, crypto::HmacKey, http::Error, identity::AuthenticationContext, webhook::StandardSecret,
};

use super::{
    claims::{Claims, ParsedToken},
    jwks::KeySet,
    vendors::Vendor,
};
use crate::{
    federation::{
        external_identity::ExternalProfile,
        linking::{LinkPolicy, TakenAddress},
    },
    session::access_token::refused,
};

/// The reason for refusing a token. It is logged and not sent to the caller.
pub(crate) type Refusal = &'static str;

/// The tolerated clock difference between an issuer and the app, in seconds.
pub(crate) const LEEWAY: i64 = 10;

/// The verifiers of all external issuers that the app accepts.
#[derive(Clone)]
pub(crate) struct Issuers {
    own: Arc<str>,
    trusted: Arc<[Verifier]>,
}

impl Issuers {
    pub(crate) fn new(own: &str, trusted: Vec<Verifier>) -> Self {
        Self { own: own.into(), trusted: trusted.into() }
    }

    /// Returns the parsed token and its verifier, or `None` if the token names the app itself as issuer.
    ///
    /// # Errors
    /// Returns 401 if the text is not a token, or its issuer is not accepted.
    pub(crate) fn verifier_for<'t>(&self, token: &'t str) -> Result<Option<(&Verifier, ParsedToken<'t>)>, Error> {
        if self.trusted.is_empty() {
            return Ok(None);
        }
        let presented = ParsedToken::parse(token).map_err(refuse)?;
        // The unverified issuer only selects the verifier, which then accepts nothing but that issuer's signature.
        let issuer = presented.claims.iss.as_str();
        match self.trusted.iter().find(|verifier| verifier.issuer == issuer) {
            Some(verifier) => Ok(Some((verifier, presented))),
            None if issuer == &*self.own => Ok(None),
            None => Err(refuse("an issuer that is not accepted")),
        }
    }

    pub(crate) fn trusted(&self) -> &[Verifier] {
        &self.trusted
    }
}

/// The verifier of one issuer's tokens.
pub(crate) struct Verifier {
    pub(crate) issuer: String,
    pub(crate) preset: Vendor,
    pub(crate) keys: VerificationKeys,
    pub(crate) audiences: Vec<String>,
    pub(crate) authorized_parties: Vec<String>,
    pub(crate) link_verified_emails: bool,
    pub(crate) trust_emails: bool,
    pub(crate) webhook_secrets: Vec<StandardSecret>,
}

/// The keys that verify the signatures of an issuer.
pub(crate) enum VerificationKeys {
    /// A shared secret, for HS256 only.
    Shared(HmacKey),
    /// The published keys, each with its own algorithm.
    Published(KeySet),
}

impl Verifier {
    /// Returns the rules for identities that are not linked yet. A token is no place to ask its user to sign in, so an
    /// identity whose address is taken gets an account without an address.
    pub(crate) fn link_policy(&self) -> LinkPolicy {
        LinkPolicy { link_verified_emails: self.link_verified_emails, taken_address: TakenAddress::Omit }
    }

    /// Returns the claims if the token is valid now.
    ///
    /// # Errors
    /// Returns 401 without the reason if the token is not valid, or 503 if the issuer's keys are not available.
    pub(crate) async fn verify(&self, presented: ParsedToken<'_>, clock: &Clock) -> Result<Claims, Error> {
        // The claims are checked first, so that an attacker can't trigger a fetch of keys with a token that is
        // invalid anyway.
        self.check(&presented, clock.now().as_seconds()).map_err(refuse)?;
        if self.is_signed(&presented).await? { Ok(presented.claims) } else { Err(refuse("a wrong signature or key")) }
    }

    async fn is_signed(&self, token: &ParsedToken<'_>) -> Result<bool, Error> {
        let (algorithm, message) = (token.header.alg.as_str(), token.message.as_bytes());
        match &self.keys {
            VerificationKeys::Shared(key) => {
                let signature = URL_SAFE_NO_PAD.decode(token.signature);
                Ok(algorithm == "HS256" && signature.is_ok_and(|signature| key.verify(message, signature)))
            }
            VerificationKeys::Published(keys) => {
                let key = keys.find(token.header.kid.as_deref(), algorithm).await?;
                Ok(key.is_some_and(|key| key.verifies(message, token.signature)))
            }
        }
    }

    /// Checks everything but the signature. Fails with the reason.
    fn check(&self, token: &ParsedToken<'_>, now: i64) -> Result<(), Refusal> {
        let claims = &token.claims;
        if let Some(kind) = &token.header.typ {
            // RFC 8725, section 3.11, and RFC 9068, section 4. Without `typ`, the claims decide below.
            let kind = kind.strip_prefix("application/").unwrap_or(kind);
            if !kind.eq_ignore_ascii_case("jwt") && !kind.eq_ignore_ascii_case("at+jwt") {
                return Err("the type is not an access token");
            }
        }
        if claims.exp.saturating_add(LEEWAY) <= now {
            return Err("expired");
        }
        let later = |time: Option<i64>| time.is_some_and(|time| time > now + LEEWAY);
        if later(claims.nbf) || later(claims.iat) {
            return Err("not yet valid");
        }
        match &claims.aud {
            // RFC 7519, section 4.1.3: a token with an audience is refused unless this app is configured as one.
            Some(_) if self.audiences.is_empty() && self.preset.ignores_audience() => {}
            Some(audience) if self.audiences.iter().any(|ours| audience.contains(ours)) => {}
            None if self.audiences.is_empty() => {}
            _ => return Err("issued for another audience"),
        }
        let by_ours = || claims.azp.as_ref().is_some_and(|party| self.authorized_parties.contains(party));
        if !self.authorized_parties.is_empty() && !by_ours() {
            return Err("issued to another party");
        }
        if claims.act.is_some() {
            return Err("delegated to another actor (`act`)");
        }
        self.preset.check(claims)
    }

    /// Returns the profile that the token asserts.
    pub(crate) fn profile(&self, claims: &Claims) -> ExternalProfile {
        ExternalProfile::from_claims(claims, self.trust_emails)
    }

    /// Returns the proof of identity that the token asserts, if any.
    pub(crate) fn proof(&self, claims: &Claims) -> Option<AuthenticationContext> {
        self.preset.proof(claims)
    }
}

fn refuse(why: Refusal) -> Error {
    tracing::debug!(target: "omnistack::auth", why, "a token of another issuer was refused");
    refused()
}
