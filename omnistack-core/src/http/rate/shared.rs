//! Rate limits that all replicas share.

use std::{
    fmt::{self, Write as _},
    hash::Hash,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::future::BoxFuture;

use super::{CompiledRate, CountResult, Rate, RateLimitDecision, RateLimitHeaderTemplate, RateLimiter, TimeUnit};
use crate::{clock::Clock, http::Error};

/// Store in which all replicas count together.
pub(crate) trait RateStore: Send + Sync + 'static {
    /// Returns whether the store is known to be unavailable.
    fn is_unavailable(&self) -> bool;

    /// Counts a request if it is allowed. Returns `None` if the store does not respond in time.
    fn count(self: Arc<Self>, key: String, terms: CompiledRate, cost: u32) -> BoxFuture<'static, Option<CountResult>>;
}

/// The app's rate limits: counted in Redis for all replicas with `REDIS_URL`, else in this process. Cheap to clone.
/// `ctx.get::<RateLimits>()` always returns one.
///
/// ```
/// use omnistack_core::{clock::Clock, http::{Rate, RateLimits}};
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let limits = RateLimits::in_process(Clock::system());
/// let guesses = limits.limiter::<String>("accounts:guesses", Rate::new(2, Duration::from_secs(3600)));
/// let email = "alice@example.com".to_owned();
/// assert!(guesses.check(&email, 1).await.allowed);
/// assert!(guesses.check(&email, 1).await.allowed);
/// assert!(!guesses.check(&email, 1).await.allowed);
/// # }
/// ```
#[derive(Clone)]
pub struct RateLimits {
    clock: Clock,
    store: Option<Arc<dyn RateStore>>,
    legacy: bool,
}

impl RateLimits {
    /// Creates rate limits that count in this process.
    pub fn in_process(clock: Clock) -> Self {
        Self { clock, store: None, legacy: false }
    }

    #[cfg(feature = "redis")]
    pub(crate) fn shared(store: Arc<dyn RateStore>, clock: Clock) -> Self {
        Self { clock, store: Some(store), legacy: false }
    }

    /// Sets whether responses also have the older headers `X-RateLimit-Limit`, `-Remaining` and `-Reset`.
    #[must_use]
    pub fn legacy_headers(mut self, legacy: bool) -> Self {
        self.legacy = legacy;
        self
    }

    /// Creates a rate limiter. With Redis, limiters with the same name and rate share their counts in all replicas:
    /// begin the name with the module's name. In this process each limiter counts separately, so create one and clone
    /// it.
    pub fn limiter<K: Hash + Eq + Clone>(&self, name: &str, rate: Rate) -> SharedRateLimiter<K> {
        let shared = self.store.as_ref().map(|store| {
            let scope = format!("{name}:{rate}:").replace(' ', "-");
            Arc::new(SharedCounter { store: Arc::clone(store), scope, terms: CompiledRate::new(rate, TimeUnit::Micro) })
        });
        SharedRateLimiter { local: RateLimiter::new(rate, self.clock.clone()), shared, legacy: self.legacy }
    }
}

/// A rate limiter by key for all replicas, which counts in this process while Redis is unavailable. Created by
/// [`RateLimits::limiter`].
#[derive(Clone)]
pub struct SharedRateLimiter<K> {
    local: RateLimiter<K>,
    shared: Option<Arc<SharedCounter>>,
    legacy: bool,
}

struct SharedCounter {
    store: Arc<dyn RateStore>,
    /// Prefix of its keys. It contains the rate, since counts of one rate are no use to another.
    scope: String,
    terms: CompiledRate,
}

impl<K> SharedRateLimiter<K>
where
    K: Hash + Eq + Clone + fmt::Display + Send + Sync + 'static,
{
    /// Counts one request of `key` with this cost, if it is allowed. Await the result: if it is counted in this
    /// process, it is ready at once and allocates nothing. A cost above the burst, or above the quota of a sliding
    /// window, is never allowed.
    pub fn check(&self, key: &K, cost: u32) -> CheckFuture {
        let Some(shared) = self.shared.as_ref().filter(|shared| !shared.store.is_unavailable()) else {
            return CheckFuture(CheckState::Ready(self.local.check(key, cost)));
        };
        let mut name = String::with_capacity(shared.scope.len() + 40);
        name.push_str(&shared.scope);
        _ = write!(name, "{key}");
        let (local, key, terms) = (self.local.clone(), key.clone(), shared.terms);
        let counting = Arc::clone(&shared.store).count(name, terms, cost);
        CheckFuture(CheckState::Waiting(Box::pin(async move {
            match counting.await {
                Some(counted) => terms.decide(counted, cost),
                None => local.check(&key, cost),
            }
        })))
    }
}

impl<K> SharedRateLimiter<K> {
    /// Returns the rate of the limiter.
    pub fn rate(&self) -> Rate {
        self.local.rate()
    }

    /// Returns the 429 `RATE_LIMIT_EXCEEDED` error of a rejected request, with `Retry-After` and with `RateLimit`
    /// under the name `policy`. `what` names in the message what there was too much of: `too many requests; try again
    /// in 20 s`.
    pub fn too_many_requests(&self, policy: &'static str, what: &str, verdict: RateLimitDecision) -> Error {
        self.fields(policy).headers(verdict).too_many_requests(what)
    }

    pub(crate) fn fields(&self, policy: &'static str) -> RateLimitHeaderTemplate {
        RateLimitHeaderTemplate::new(policy, self.rate(), self.legacy)
    }
}

impl<K> From<RateLimiter<K>> for SharedRateLimiter<K> {
    /// Creates a limiter that counts in this process.
    fn from(local: RateLimiter<K>) -> Self {
        Self { local, shared: None, legacy: false }
    }
}

/// Future of a [`RateLimitDecision`]. Created by [`SharedRateLimiter::check`].
#[must_use = "nothing is decided until it is awaited"]
pub struct CheckFuture(CheckState);

enum CheckState {
    Ready(RateLimitDecision),
    Waiting(BoxFuture<'static, RateLimitDecision>),
}

impl CheckFuture {
    /// Returns the decision if it is ready, else the future.
    pub(crate) fn try_ready(self) -> Result<RateLimitDecision, BoxFuture<'static, RateLimitDecision>> {
        match self.0 {
            CheckState::Ready(verdict) => Ok(verdict),
            CheckState::Waiting(asked) => Err(asked),
        }
    }
}

impl Future for CheckFuture {
    type Output = RateLimitDecision;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<RateLimitDecision> {
        match &mut self.0 {
            CheckState::Ready(verdict) => Poll::Ready(*verdict),
            CheckState::Waiting(asked) => asked.as_mut().poll(cx),
        }
    }
}

impl fmt::Debug for RateLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimits").field("shared", &self.store.is_some()).finish_non_exhaustive()
    }
}

impl<K> fmt::Debug for SharedRateLimiter<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shared = self.shared.is_some();
        f.debug_struct("SharedRateLimiter").field("rate", &self.rate()).field("shared", &shared).finish_non_exhaustive()
    }
}

impl fmt::Debug for CheckFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckFuture").finish_non_exhaustive()
    }
}
