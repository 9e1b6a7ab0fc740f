//! Rate limits that all replicas share.

use std::{
    fmt::{self, Write as _},
    hash::Hash,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::future::BoxFuture;

use super::{Counted, Fields, Rate, RateLimiter, Terms, Tick, Verdict};
use crate::{clock::Clock, http::Error};

/// Store in which all replicas count together.
pub(crate) trait RateStore: Send + Sync + 'static {
    /// Returns whether the store is known to be unavailable.
    fn is_away(&self) -> bool;

    /// Counts a request if it is allowed. Returns `None` if the store does not respond in time.
    fn count(self: Arc<Self>, key: String, terms: Terms, cost: u32) -> BoxFuture<'static, Option<Counted>>;
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
    pub fn legacy_fields(mut self, legacy: bool) -> Self {
        self.legacy = legacy;
        self
    }

    /// Creates a rate limiter. With Redis, limiters with the same name and rate share their counts in all replicas:
    /// begin the name with the module's name. In this process each limiter counts separately, so create one and clone
    /// it.
    pub fn limiter<K: Hash + Eq + Clone>(&self, name: &str, rate: Rate) -> SharedRateLimiter<K> {
        let shared = self.store.as_ref().map(|store| {
            let scope = format!("{name}:{rate}:").replace(' ', "-");
            Arc::new(Shared { store: Arc::clone(store), scope, terms: Terms::new(rate, Tick::Micro) })
        });
        SharedRateLimiter { local: RateLimiter::new(rate, self.clock.clone()), shared, legacy: self.legacy }
    }
}

/// A rate limiter by key for all replicas, which counts in this process while Redis is unavailable. Created by
/// [`RateLimits::limiter`].
#[derive(Clone)]
pub struct SharedRateLimiter<K> {
    local: RateLimiter<K>,
    shared: Option<Arc<Shared>>,
    legacy: bool,
}

struct Shared {
    store: Arc<dyn RateStore>,
    /// Prefix of its keys. It contains the rate, since counts of one rate are no use to another.
    scope: String,
    terms: Terms,
}

impl<K> SharedRateLimiter<K>
where
    K: Hash + Eq + Clone + fmt::Display + Send + Sync + 'static,
{
    /// Counts one request of `key` with this cost, if it is allowed. Await the result: if it is counted in this
    /// process, it is ready at once and allocates nothing. A cost above the burst, or above the quota of a sliding
    /// window, is never allowed.
    pub fn check(&self, key: &K, cost: u32) -> Checking {
        let Some(shared) = self.shared.as_ref().filter(|shared| !shared.store.is_away()) else {
            return Checking(Inner::Known(self.local.check(key, cost)));
        };
        let mut name = String::with_capacity(shared.scope.len() + 40);
        name.push_str(&shared.scope);
        _ = write!(name, "{key}");
        let (local, key, terms) = (self.local.clone(), key.clone(), shared.terms);
        let counting = Arc::clone(&shared.store).count(name, terms, cost);
        Checking(Inner::Asked(Box::pin(async move {
            match counting.await {
                Some(counted) => terms.tell(counted, cost),
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
    pub fn refusal(&self, policy: &'static str, what: &str, verdict: Verdict) -> Error {
        self.fields(policy).of(verdict).refusal(what)
    }

    pub(crate) fn fields(&self, policy: &'static str) -> Fields {
        Fields::new(policy, self.rate(), self.legacy)
    }
}

impl<K> From<RateLimiter<K>> for SharedRateLimiter<K> {
    /// Creates a limiter that counts in this process.
    fn from(local: RateLimiter<K>) -> Self {
        Self { local, shared: None, legacy: false }
    }
}

/// Future of a [`Verdict`]. Created by [`SharedRateLimiter::check`].
#[must_use = "nothing is decided until it is awaited"]
pub struct Checking(Inner);

enum Inner {
    Known(Verdict),
    Asked(BoxFuture<'static, Verdict>),
}

impl Checking {
    /// Returns the decision if it is ready, else the future.
    pub(crate) fn now(self) -> Result<Verdict, BoxFuture<'static, Verdict>> {
        match self.0 {
            Inner::Known(verdict) => Ok(verdict),
            Inner::Asked(asked) => Err(asked),
        }
    }
}

impl Future for Checking {
    type Output = Verdict;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Verdict> {
        match &mut self.0 {
            Inner::Known(verdict) => Poll::Ready(*verdict),
            Inner::Asked(asked) => asked.as_mut().poll(cx),
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

impl fmt::Debug for Checking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checking").finish_non_exhaustive()
    }
}
