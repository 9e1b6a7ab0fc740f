//! The app's own access tokens: JWTs according to RFC 9068 that belong to a session and expire after minutes.

use std::time::Duration;

use jsonwebtoken::{Algorithm, Validation};
use omnistack_core::{
    clock::{Clock, Timestamp},
    http,
    identity::{SessionId, TenantId, UserId},
};
use serde::{Deserialize, Serialize};

use crate::{
    Error,
    session::signing::{self, SigningKeys},
};

/// The claims of an access token (RFC 9068, section 2.2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AccessTokenClaims {
    pub(crate) iss: String,
    pub(crate) aud: String,
    pub(crate) sub: UserId,
    /// Seconds since 1970, like `iat` and `auth_time`.
    pub(crate) exp: i64,
    pub(crate) iat: i64,
    pub(crate) sid: SessionId,
    /// The tenant selected in the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tenant: Option<TenantId>,
    pub(crate) auth_time: i64,
    /// Contains `mfa` if the session has presented a second factor (RFC 8176, section 2).
    pub(crate) amr: Vec<String>,
    /// The operator who impersonates the subject (RFC 8693, section 4.1).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) act: Option<ActorClaim>,
}

/// The `act` claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ActorClaim {
    pub(crate) sub: UserId,
}

/// The signer and verifier of access tokens.
#[derive(Clone, Debug)]
pub(crate) struct AccessTokens {
    keys: SigningKeys,
    clock: Clock,
    /// The issuer and the audience: the app is both.
    issuer: String,
    lifetime: Duration,
}

impl AccessTokens {
    pub(crate) fn new(keys: SigningKeys, clock: Clock, issuer: String, lifetime: Duration) -> Self {
        Self { keys, clock, issuer, lifetime }
    }

    pub(crate) fn lifetime(&self) -> Duration {
        self.lifetime
    }

    /// Signs a token of a session. The caller refreshes the [`keys`](Self::keys) before.
    pub(crate) fn sign(&self, of: &AccessTokenSubject) -> Result<String, Error> {
        let now = self.clock.now();
        self.keys.sign(&AccessTokenClaims {
            iss: self.issuer.clone(),
            aud: self.issuer.clone(),
            sub: of.user,
            exp: (now + self.lifetime).as_seconds(),
            iat: now.as_seconds(),
            sid: of.session,
            tenant: of.tenant,
            auth_time: of.proof_at.as_seconds(),
            amr: of.second_factor.then(|| "mfa".to_owned()).into_iter().collect(),
            act: of.actor.map(|sub| ActorClaim { sub }),
        })
    }

    /// Returns the signing keys.
    pub(crate) fn keys(&self) -> &SigningKeys {
        &self.keys
    }

    /// Verifies a token and returns its claims.
    ///
    /// # Errors
    /// 401 for an invalid or expired token, without details; a database error if the keys must be read and cannot be.
    pub(crate) async fn verify(&self, token: &str) -> Result<AccessTokenClaims, Error> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| refused())?;
        if header.alg != Algorithm::ES256 || header.typ.as_deref() != Some(signing::TYPE) {
            return Err(refused().into());
        }
        let id = header.kid.ok_or_else(refused)?;
        let key = self.keys.find(&id).await?.ok_or_else(refused)?;
        let claims =
            jsonwebtoken::decode::<AccessTokenClaims>(token, &key, &self.validation()).map_err(|_| refused())?.claims;
        let now = self.clock.now().as_seconds();
        if claims.exp <= now || claims.iat > now + MAX_CLOCK_SKEW_SECONDS {
            return Err(refused().into());
        }
        Ok(claims)
    }

    /// Expiry is not validated here but in `verify`, by the app's clock.
    fn validation(&self) -> Validation {
        let mut rules = Validation::new(Algorithm::ES256);
        rules.validate_exp = false;
        rules.set_issuer(&[&self.issuer]);
        rules.set_audience(&[&self.issuer]);
        rules.set_required_spec_claims(&["exp", "iss", "sub", "aud"]);
        rules
    }
}

/// The maximum difference between the clocks of replicas, in seconds.
const MAX_CLOCK_SKEW_SECONDS: i64 = 30;

/// The subject and the session of an access token to be signed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AccessTokenSubject {
    pub(crate) user: UserId,
    pub(crate) session: SessionId,
    pub(crate) tenant: Option<TenantId>,
    pub(crate) proof_at: Timestamp,
    pub(crate) second_factor: bool,
    pub(crate) actor: Option<UserId>,
}

pub(crate) fn refused() -> http::Error {
    http::Error::unauthorized("the access token is not valid or has expired; refresh it, or sign in again")
}
