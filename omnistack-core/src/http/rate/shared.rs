//! Counting for all replicas.

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

/// Where all replicas count together.
pub(crate) trait RateStore: Send + Sync + 'static {
    /// Whether it need not be asked now.
    fn is_away(&self) -> bool;

    /// Counts a request if it may come; `None` when it can't be told soon.
    fn count(self: Arc<Self>, key: String, terms: Terms, cost: u32) -> BoxFuture<'static, Option<Counted>>;
}

/// The app's place to count how often somebody comes: in Redis for all replicas, with `REDIS_URL`, and else in this process. Cheap
/// to clone; `ctx.get::<RateLimits>()` always has one.
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
    /// In this process alone.
    pub fn in_process(clock: Clock) -> Self {
        Self { clock, store: None, legacy: false }
    }

    #[cfg(feature = "redis")]
    pub(crate) fn shared(store: Arc<dyn RateStore>, clock: Clock) -> Self {
        Self { clock, store: Some(store), legacy: false }
    }

    /// Whether who is told where they stand is told in `X-RateLimit-Limit`, `-Remaining` and `-Reset` too.
    #[must_use]
    pub fn legacy_fields(mut self, legacy: bool) -> Self {
        self.legacy = legacy;
        self
    }

    /// What keeps a rate. Limiters of one name and one rate count together in all replicas: begin the name with the module's.
    /// In the process each counts for itself, so make one and clone it.
    pub fn limiter<K: Hash + Eq + Clone>(&self, name: &str, rate: Rate) -> SharedRateLimiter<K> {
        let shared = self.store.as_ref().map(|store| {
            let scope = format!("{name}:{rate}:").replace(' ', "-");
            Arc::new(Shared { store: Arc::clone(store), scope, terms: Terms::new(rate, Tick::Micro) })
        });
        SharedRateLimiter { local: RateLimiter::new(rate, self.clock.clone()), shared, legacy: self.legacy }
    }
}

/// Counts by key for all replicas, and in this process while Redis is away. Made by [`RateLimits::limiter`].
#[derive(Clone)]
pub struct SharedRateLimiter<K> {
    local: RateLimiter<K>,
    shared: Option<Arc<Shared>>,
    legacy: bool,
}

struct Shared {
    store: Arc<dyn RateStore>,
    /// What begins its keys. The rate is among it, since counts of one rate say nothing to another.
    scope: String,
    terms: Terms,
}

impl<K> SharedRateLimiter<K>
where
    K: Hash + Eq + Clone + fmt::Display + Send + Sync + 'static,
{
    /// Counts one request of `key` that costs `cost`, if it may come: await it. Counted in this process, it is ready at once
    /// and allocates nothing. One that costs more than the burst, or the quota of a sliding window, never may come.
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
    /// The rate it keeps.
    pub fn rate(&self) -> Rate {
        self.local.rate()
    }

    /// The 429 `RATE_LIMIT_EXCEEDED` of who may not come: `Retry-After`, and where one stands in `RateLimit` under the name of
    /// this policy. `what` it was too many of is in the message: `too many requests; try again in 20 s`.
    pub fn refusal(&self, policy: &'static str, what: &str, verdict: Verdict) -> Error {
        self.fields(policy).of(verdict).refusal(what)
    }

    pub(crate) fn fields(&self, policy: &'static str) -> Fields {
        Fields::new(policy, self.rate(), self.legacy)
    }
}

impl<K> From<RateLimiter<K>> for SharedRateLimiter<K> {
    /// In this process alone.
    fn from(local: RateLimiter<K>) -> Self {
        Self { local, shared: None, legacy: false }
    }
}

/// A [`Verdict`] to come: await it. Made by [`SharedRateLimiter::check`].
#[must_use = "nothing is decided until it is awaited"]
pub struct Checking(Inner);

enum Inner {
    Known(Verdict),
    Asked(BoxFuture<'static, Verdict>),
}

impl Checking {
    /// The verdict, when nobody need wait for it.
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
