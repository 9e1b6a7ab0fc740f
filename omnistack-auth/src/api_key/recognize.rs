//! Recognising programs by their keys.

use std::{fmt, time::Duration};

use ::http::{HeaderName, request::Parts};
use omnistack_core::{
    clock::{Clock, Timestamp},
    db::Db,
    http::{Error, Rate, RateLimits, SharedRateLimiter},
    identity::{ApiKeyId, Identity, Permissions, credential_text},
    usage::{UsageEvent, UsageSink},
};

use utoipa::openapi::security::{ApiKey as ApiKeyScheme, ApiKeyValue, SecurityScheme};

use super::secret;
use crate::{role, store::api_key as store, tenant::suspended};

pub(crate) const HEADER: HeaderName = HeaderName::from_static("x-api-key");
/// What each request with a key counts for.
const METER: &str = "api_requests";
/// How exact `last_used_at` is.
const MINUTE: Duration = Duration::from_secs(60);

/// Returns the description of the header.
pub(crate) fn security_scheme() -> SecurityScheme {
    let value = ApiKeyValue::with_description("X-API-Key", "The secret of an API key.");
    SecurityScheme::ApiKey(ApiKeyScheme::Header(value))
}

/// Returns the key of `X-API-Key`, empty for a key that is not ASCII: it is refused, and no other credential is used.
pub(crate) fn presented(request: &Parts) -> Option<&str> {
    request.headers.get(HEADER).map(|key| credential_text(key.as_bytes()))
}

/// Recognises, limits and counts programs.
#[derive(Clone)]
pub(crate) struct Keys {
    db: Db,
    clock: Clock,
    limiter: Option<SharedRateLimiter<ApiKeyId>>,
    usage: UsageSink,
}

impl Keys {
    pub(crate) fn new(db: Db, clock: Clock, rate: Option<Rate>, limits: &RateLimits, usage: UsageSink) -> Self {
        let limiter = rate.map(|rate| limits.limiter("auth:api_keys", rate));
        Self { db, clock, limiter, usage }
    }

    /// Who calls with this text, and until when that holds at the latest; nothing for a text that is no key at all.
    pub(crate) async fn recognize(&self, text: &str) -> Option<Result<(Identity, Timestamp), Error>> {
        if !secret::is_meant(text) {
            return None;
        }
        Some(self.find(text).await)
    }

    async fn find(&self, text: &str) -> Result<(Identity, Timestamp), Error> {
        let (hash, now) = (secret::hash_of(text).ok_or_else(refused)?, self.clock.now());
        let holder = store::holder(&self.db, hash, now).await?.ok_or_else(refused)?;
        if holder.suspended_at.is_some() {
            return Err(suspended());
        }
        // Asked once a minute at most, since who was recognised is remembered that long.
        if holder.last_used_at.is_none_or(|last| now.since(last) >= MINUTE)
            && let Err(error) = store::used(&self.db, &holder, now, now - MINUTE).await
        {
            tracing::warn!(target: "omnistack::auth", key = %holder.id, %error, "the use of a key was not noted");
        }
        let scopes: Permissions = holder.scopes.parse().unwrap_or_default();
        let permissions = scopes.and(&role::permissions(&holder.role, holder.permissions.as_deref()));
        let until = [holder.expires_at, holder.until].into_iter().flatten().min();
        let identity = Identity::user(holder.user_id).for_tenant(holder.tenant_id).with_key(holder.id);
        let identity = identity.into_machine().with_permissions(permissions);
        Ok((identity, until.unwrap_or(Timestamp::from_micros(i64::MAX))))
    }

    /// Lets a program on, and counts it; others are not its business.
    pub(crate) async fn admit(&self, caller: &Identity) -> Result<(), Error> {
        let (Some(key), Some(tenant)) = (caller.key, caller.tenant) else { return Ok(()) };
        if let Some(limiter) = &self.limiter {
            let verdict = limiter.check(&key, 1).await;
            if !verdict.allowed {
                return Err(limiter.refusal("key", "requests with this key", verdict));
            }
        }
        self.usage.record(UsageEvent::new(tenant, METER, 1, self.clock.now())).await;
        Ok(())
    }
}

fn refused() -> Error {
    Error::unauthorized("the API key is not valid, was revoked or has expired")
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys")
    }
}
