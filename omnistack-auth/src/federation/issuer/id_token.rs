//! ID tokens: the provider's assertion to the app about the user who has just signed in (OpenID Connect Core 1.0,
//! section 2).
//!
//! They are parsed and their signatures verified like those of access tokens, with the same parser and the same kind of
//! key set. The claims differ (section 3.1.3.7): the audience is the app as the provider's client, and the nonce is
//! that of the sign-in.

use omnistack_core::{clock::Clock, crypto::constant_time_eq, http};
use reqwest::Url;
use uuid::Uuid;

use super::{
    claims::{Audience, Claims, ParsedToken},
    fetch::Fetch,
    jwks::KeySet,
    verify::{LEEWAY, Refusal},
};
use crate::{
    Error,
    federation::{external_identity::ExternalIdentity, external_identity::ExternalProfile},
};

/// The maximum age of an ID token in seconds: the maximum duration of a sign-in.
const MAX_AGE_SECONDS: i64 = 10 * 60;

/// The issuer that the tokens of a provider must name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum IssuerMatch {
    /// Exactly this issuer.
    Exact(String),
    /// Any tenant of Microsoft: the text before the tenant's id, and after it.
    AnyTenant(String, String),
}

impl IssuerMatch {
    /// Returns whether an issuer matches exactly.
    pub(crate) fn matches(&self, issuer: &str) -> bool {
        match self {
            Self::Exact(name) => name == issuer,
            Self::AnyTenant(before, after) => {
                let tenant = issuer.strip_prefix(before.as_str()).and_then(|rest| rest.strip_suffix(after.as_str()));
                tenant.is_some_and(|tenant| tenant.len() == 36 && Uuid::try_parse(tenant).is_ok())
            }
        }
    }
}

/// A verifier of the ID tokens of one provider for one client.
#[derive(Clone, Debug)]
pub(crate) struct IdTokenVerifier {
    pub(crate) issuer: IssuerMatch,
    client: String,
    trust_emails: bool,
    keys_at: Url,
    keys: KeySet,
    clock: Clock,
}

impl IdTokenVerifier {
    pub(crate) fn new(
        speaker: IssuerMatch,
        client: String,
        trust_emails: bool,
        keys_at: Url,
        fetch: Fetch,
        clock: Clock,
    ) -> Self {
        let keys = KeySet::new(keys_at.to_string(), Some(keys_at.clone()), fetch, clock.clone());
        Self { issuer: speaker, client, trust_emails, keys_at, keys, clock }
    }

    /// Returns whether issuer and key set URL are the same, so that the cached keys can be kept.
    pub(crate) fn has_configuration(&self, speaker: &IssuerMatch, keys_at: &Url) -> bool {
        self.issuer == *speaker && self.keys_at == *keys_at
    }

    /// Returns the external identity, if the token is valid now and belongs to this sign-in.
    ///
    /// # Errors
    /// Returns 401 `ID_TOKEN_REFUSED` without the reason, or 503 if the provider's keys are not available.
    pub(crate) async fn verify(&self, token: &str, nonce: &str) -> Result<ExternalIdentity, Error> {
        let token = ParsedToken::parse(token).map_err(refuse)?;
        self.check(&token, nonce, self.clock.now().as_seconds()).map_err(refuse)?;
        let key = self.keys.find(token.header.kid.as_deref(), &token.header.alg).await?;
        if !key.is_some_and(|key| key.verifies(token.message.as_bytes(), token.signature)) {
            return Err(refuse("a wrong signature or key"));
        }
        Ok(self.external_identity(token.claims))
    }

    /// Checks everything but the signature. Fails with the reason.
    fn check(&self, token: &ParsedToken<'_>, nonce: &str, now: i64) -> Result<(), Refusal> {
        let claims = &token.claims;
        if token.header.typ.as_ref().is_some_and(|kind| !kind.eq_ignore_ascii_case("jwt")) {
            return Err("the type is not an ID token");
        }
        if !self.issuer.matches(&claims.iss) {
            return Err("issued by another issuer");
        }
        match &claims.aud {
            Some(audience) if audience.contains(&self.client) => {}
            _ => return Err("issued for another client"),
        }
        let several = matches!(&claims.aud, Some(Audience::Several(all)) if all.len() > 1);
        if claims.azp.as_ref().map_or(several, |party| *party != self.client) {
            return Err("issued to another party");
        }
        if claims.exp.saturating_add(LEEWAY) <= now {
            return Err("expired");
        }
        let later = |time: i64| time > now + LEEWAY;
        match claims.iat {
            Some(made) if !later(made) && made >= now - MAX_AGE_SECONDS - LEEWAY => {}
            _ => return Err("not issued recently"),
        }
        if claims.nbf.is_some_and(later) {
            return Err("not yet valid");
        }
        let said = claims.nonce.as_ref().and_then(|nonce| nonce.as_str()).unwrap_or_default();
        if !constant_time_eq(said, nonce) {
            return Err("the nonce of another sign-in");
        }
        Ok(())
    }

    fn external_identity(&self, claims: Claims) -> ExternalIdentity {
        let mut profile = ExternalProfile::from_claims(&claims, self.trust_emails);
        if matches!(self.issuer, IssuerMatch::AnyTenant(..)) {
            // The administrator of a tenant can set any address.
            profile.email = None;
        }
        ExternalIdentity { issuer: claims.iss, subject: claims.sub, profile }
    }
}

fn refuse(why: Refusal) -> Error {
    tracing::warn!(target: "omnistack::auth", why, "an ID token was refused");
    let message = "the provider's ID token is not valid; sign in again";
    http::Error::new(http::StatusCode::UNAUTHORIZED, "ID_TOKEN_REFUSED", message).into()
}

#[cfg(test)]
mod tests {
    use super::IssuerMatch;

    #[test]
    fn any_tenant_of_microsofts_and_nobody_else() {
        let any = IssuerMatch::AnyTenant("https://login.microsoftonline.com/".into(), "/v2.0".into());
        for (issuer, expected) in [
            ("https://login.microsoftonline.com/7b1cdd1f-0d6e-4f43-9c7a-2f5a2c0a6d11/v2.0", true),
            ("https://login.microsoftonline.com/{tenantid}/v2.0", false),
            ("https://login.microsoftonline.com/common/v2.0", false),
            ("https://login.microsoftonline.com//v2.0", false),
            ("https://login.microsoftonline.com/7b1cdd1f0d6e4f439c7a2f5a2c0a6d11/v2.0", false),
            ("https://login.microsoftonline.com/7b1cdd1f-0d6e-4f43-9c7a-2f5a2c0a6d11/v2.0/", false),
            ("https://login.microsoftonline.com/7b1cdd1f-0d6e-4f43-9c7a-2f5a2c0a6d11", false),
            ("https://login.microsoftonline.com.evil.example/7b1cdd1f-0d6e-4f43-9c7a-2f5a2c0a6d11/v2.0", false),
            ("https://evil.example/7b1cdd1f-0d6e-4f43-9c7a-2f5a2c0a6d11/v2.0", false),
            ("https://login.microsoftonline.com/x/7b1cdd1f-0d6e-4f43-9c7a-2f5a2c0a6d11/v2.0", false),
            ("", false),
        ] {
            assert_eq!(any.matches(issuer), expected, "{issuer}");
        }
        let one = IssuerMatch::Exact("https://id.example.com".into());
        assert!(one.matches("https://id.example.com") && !one.matches("https://id.example.com/"));
    }
}
