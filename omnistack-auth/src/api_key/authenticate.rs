//! Authentication of API keys.

use std::{fmt, time::Duration};

use ::http::{HeaderName, request::Parts};
use omnistack_core::{
    clock::{Clock, Timestamp},
    db::Db,
    http::{Error, Rate, RateLimits, SharedRateLimiter},
    identity::{ApiKeyId, Identity, Permissions, credential_text},
    metrics::API_KEY_USAGE,
};
use utoipa::openapi::security::{ApiKey as ApiKeyScheme, ApiKeyValue, SecurityScheme};

use super::secret;
use crate::{api_key::store, role, tenant::suspended};

/// The header that carries an API key.
pub(crate) const API_KEY_HEADER: HeaderName = HeaderName::from_static("x-api-key");
/// The precision of `last_used_at`.
const LAST_USED_PRECISION: Duration = Duration::from_secs(60);

/// Returns the OpenAPI security scheme of the header.
pub(crate) fn security_scheme() -> SecurityScheme {
    let value = ApiKeyValue::with_description("X-API-Key", "The secret of an API key.");
    SecurityScheme::ApiKey(ApiKeyScheme::Header(value))
}

/// Returns the API key from the `X-API-Key` header. The result is empty for a value that is not ASCII, so that the
/// request is refused instead of authenticated with another credential.
pub(crate) fn api_key_header(request: &Parts) -> Option<&str> {
    request.headers.get(API_KEY_HEADER).map(|key| credential_text(key.as_bytes()))
}

/// An authenticator and rate limiter of API keys.
#[derive(Clone)]
pub(crate) struct ApiKeyAuthenticator {
    db: Db,
    clock: Clock,
    limiter: Option<SharedRateLimiter<ApiKeyId>>,
}

impl ApiKeyAuthenticator {
    pub(crate) fn new(db: Db, clock: Clock, rate: Option<Rate>, limits: &RateLimits) -> Self {
        let limiter = rate.map(|rate| limits.limiter("auth:api_keys", rate));
        Self { db, clock, limiter }
    }

    /// Returns the identity of an API key, and the time until which it holds at the latest. Returns `None` for a text
    /// that does not look like an API key. Fails with 401 for an invalid key, and with 403 `TENANT_SUSPENDED`.
    pub(crate) async fn authenticate(&self, text: &str) -> Option<Result<(Identity, Timestamp), Error>> {
        if !secret::looks_like_api_key(text) {
            return None;
        }
        Some(self.find(text).await)
    }

    async fn find(&self, text: &str) -> Result<(Identity, Timestamp), Error> {
        let (hash, now) = (secret::hash_of(text).ok_or_else(refused)?, self.clock.now());
        let holder = store::find_by_secret(&self.db, hash, now).await?.ok_or_else(refused)?;
        if holder.suspended_at.is_some() {
            return Err(suspended());
        }
        // This runs once a minute at most, because an authenticated identity is cached that long.
        if holder.last_used_at.is_none_or(|last| now.duration_since(last) >= LAST_USED_PRECISION)
            && let Err(error) = store::record_use(&self.db, &holder, now, now - LAST_USED_PRECISION).await
        {
            tracing::warn!(target: "omnistack::auth", key = %holder.id, %error, "the last use of a key was not stored");
        }
        let scopes: Permissions = holder.scopes.parse().unwrap_or_default();
        let permissions = scopes.intersection(&role::permissions(&holder.role, holder.permissions.as_deref()));
        let until = [holder.expires_at, holder.previous_until].into_iter().flatten().min();
        let identity = Identity::user(holder.user_id).for_tenant(holder.tenant_id).with_api_key(holder.id);
        let identity = identity.into_service_account().with_permissions(permissions);
        Ok((identity, until.unwrap_or(Timestamp::from_micros(i64::MAX))))
    }

    /// Applies the rate limit to an API key. Does nothing for other callers. Fails with 429 if the limit is exceeded.
    pub(crate) async fn admit(&self, caller: &Identity) -> Result<(), Error> {
        let Some(key) = caller.api_key else { return Ok(()) };
        if let Some(limiter) = &self.limiter {
            let verdict = limiter.check(&key, 1).await;
            if !verdict.allowed {
                API_KEY_USAGE.counter(["limited"]).increment(1);
                return Err(limiter.too_many_requests("key", "requests with this key", verdict));
            }
        }
        API_KEY_USAGE.counter(["allowed"]).increment(1);
        Ok(())
    }
}

fn refused() -> Error {
    Error::unauthorized("the API key is not valid, was revoked or has expired")
}

impl fmt::Debug for ApiKeyAuthenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys")
    }
}
