//! The token with which Pub/Sub authenticates a push request: an OpenID Connect token of Google.

use jsonwebtoken::{Algorithm, DecodingKey};
use omnistack_core::{clock::Timestamp, crypto::UnverifiedJws};
use serde::Deserialize;

/// The two forms of Google's issuer.
const ISSUERS: [&str; 2] = ["https://accounts.google.com", "accounts.google.com"];
/// The tolerated difference between Google's clock and the app's, in seconds.
const LEEWAY_SECONDS: i64 = 60;

/// The claims that a token must have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExpectedPush<'a> {
    pub(crate) audience: &'a str,
    pub(crate) service_account: &'a str,
    pub(crate) now: Timestamp,
}

/// A token whose signature is not verified yet.
#[derive(Debug)]
pub(crate) struct PushToken<'a> {
    jws: UnverifiedJws<'a, PushTokenHeader>,
    claims: PushTokenClaims,
}

#[derive(Debug, Deserialize)]
struct PushTokenHeader {
    kid: String,
}

#[derive(Debug, Deserialize)]
struct PushTokenClaims {
    iss: String,
    aud: String,
    email: String,
    email_verified: bool,
    iat: i64,
    exp: i64,
}

impl<'a> PushToken<'a> {
    /// Reads a token.
    ///
    /// # Errors
    /// Returns the reason why the text is not a token of this kind.
    pub(crate) fn parse(token: &'a str) -> Result<Self, &'static str> {
        let jws = UnverifiedJws::<PushTokenHeader>::parse(token, "RS256")?;
        let claims = serde_json::from_slice(&jws.payload).map_err(|_| "the token lacks a claim of Pub/Sub's tokens")?;
        Ok(Self { jws, claims })
    }

    /// Returns the id of the key that the header names.
    pub(crate) fn key_id(&self) -> &str {
        &self.jws.header.kid
    }

    /// Checks everything but the signature.
    ///
    /// # Errors
    /// Returns the first claim that is not as expected.
    pub(crate) fn check_claims(&self, expected: &ExpectedPush<'_>) -> Result<(), &'static str> {
        let (claims, now) = (&self.claims, expected.now.as_seconds());
        if !ISSUERS.contains(&claims.iss.as_str()) {
            return Err("the token is not Google's");
        }
        if claims.aud != expected.audience {
            return Err("the token is for another audience");
        }
        if claims.email != expected.service_account {
            return Err("the token is of another service account");
        }
        if !claims.email_verified {
            return Err("the address of the service account is not verified");
        }
        if claims.exp.saturating_add(LEEWAY_SECONDS) <= now {
            return Err("the token has expired");
        }
        if claims.iat > now.saturating_add(LEEWAY_SECONDS) {
            return Err("the token is not valid yet");
        }
        Ok(())
    }

    /// Returns whether a key has signed the token.
    pub(crate) fn is_signed_by(&self, key: &DecodingKey) -> bool {
        let message = self.jws.signed.as_bytes();
        jsonwebtoken::crypto::verify(self.jws.signature, message, key, Algorithm::RS256).unwrap_or(false)
    }
}

/// Returns the token of a header `Authorization`.
pub(super) fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
