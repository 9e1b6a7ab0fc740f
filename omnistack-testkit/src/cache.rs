//! [`TestCache`], a cache for one test.

use std::time::Duration;

use omnistack_core::{
    cache::Cache,
    clock::{MockClock, Timestamp},
};
#[cfg(feature = "redis")]
use omnistack_core::{clock::Clock, redis::Redis};

#[cfg(feature = "redis")]
use crate::{database::variable, random::random_uuid};

/// An empty cache for one test, in the process or on the Redis server of `TEST_REDIS_URL`.
#[derive(Debug)]
pub struct TestCache {
    kind: CacheBackend,
}

#[derive(Debug)]
enum CacheBackend {
    InProcess {
        cache: Cache,
        clock: MockClock,
    },
    #[cfg(feature = "redis")]
    Redis {
        cache: Cache,
        prefix: String,
        url: String,
    },
}

impl TestCache {
    /// Creates an in-process cache of 16 MiB with a mock clock.
    pub fn in_process() -> Self {
        let clock = MockClock::at("2030-01-01T00:00:00Z".parse().unwrap_or_else(|_| Timestamp::default()));
        Self { kind: CacheBackend::InProcess { cache: Cache::in_process(16 << 20, clock.clock()), clock } }
    }

    /// Creates a cache on the Redis server of `TEST_REDIS_URL`, with a key prefix that no other test uses.
    ///
    /// # Panics
    /// Panics if `TEST_REDIS_URL` is not set or can't be used.
    #[cfg(feature = "redis")]
    pub fn redis() -> Self {
        let Some(url) = variable("TEST_REDIS_URL") else {
            panic!("this test needs Redis: run `cargo xtask test`, or set TEST_REDIS_URL to a server for tests");
        };
        let prefix = format!("test-{}", random_uuid().simple());
        let cache = connect(&url, &prefix).cache();
        Self { kind: CacheBackend::Redis { cache, prefix, url } }
    }

    /// Returns the cache.
    pub fn cache(&self) -> &Cache {
        match &self.kind {
            CacheBackend::InProcess { cache, .. } => cache,
            #[cfg(feature = "redis")]
            CacheBackend::Redis { cache, .. } => cache,
        }
    }

    /// Returns the cache as another replica sees it: with its own connection on Redis, the same cache in the process.
    pub fn replica(&self) -> Cache {
        match &self.kind {
            CacheBackend::InProcess { cache, .. } => cache.clone(),
            #[cfg(feature = "redis")]
            CacheBackend::Redis { prefix, url, .. } => connect(url, prefix).cache(),
        }
    }

    /// Advances time. Advances the mock clock in the process, and sleeps for `time` on Redis, which has its own
    /// clock: keep `time` short.
    pub async fn advance(&self, time: Duration) {
        match &self.kind {
            CacheBackend::InProcess { clock, .. } => clock.advance(time),
            #[cfg(feature = "redis")]
            CacheBackend::Redis { .. } => tokio::time::sleep(time + Duration::from_millis(2)).await,
        }
    }
}

#[cfg(feature = "redis")]
fn connect(url: &str, prefix: &str) -> Redis {
    match Redis::new(url, prefix, Duration::from_secs(10), Clock::system()) {
        Ok(redis) => redis,
        Err(error) => panic!("TEST_REDIS_URL can't be used: {error}"),
    }
}
