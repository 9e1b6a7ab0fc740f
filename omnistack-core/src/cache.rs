//! Cache and distributed locks.
//!
//! A [`Cache`] stores values for a limited time, in this process or, if `REDIS_URL` is set, in Redis for all
//! replicas. Every value may disappear at any time: because the cache is full, because the value is too old, or
//! because Redis is unavailable. Reading therefore returns a hit or a miss and never an error, and data that
//! must not be lost belongs in the database.
//!
//! ```
//! use omnistack_core::{cache::Cache, clock::Clock};
//! use std::{convert::Infallible, time::Duration};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let cache = Cache::in_process(1 << 20, Clock::system());
//! let ttl = Duration::from_secs(60);
//!
//! cache.set("user:1", &"Alice", ttl).tags(["users"]).await;
//! assert_eq!(cache.get::<String>("user:1").await.as_deref(), Some("Alice"));
//!
//! // Computed by one caller, even if several ask at the same time.
//! let moons: u32 = cache.get_or_insert_with("moons:mars", ttl, || async { Ok::<_, Infallible>(2) }).await.unwrap();
//! assert_eq!(moons, 2);
//!
//! cache.invalidate_tag("users").await;
//! assert_eq!(cache.get::<String>("user:1").await, None);
//! # }
//! ```
//!
//! Values are of any serde type, and stored as JSON. A value that can't be read as the requested type, because
//! an older version of the app stored it, is a miss. All modules share one space of keys: begin a key with the
//! module's name.
//!
//! # Time
//!
//! Every entry has a time to live from 1 millisecond to 1 year; durations outside of that range are clamped. In
//! the process it is measured by the app's [`Clock`], in Redis by the server's clock.
//!
//! # Locks
//!
//! [`Cache::lock`] gives one of all replicas a lock, until it is released or its time has passed:
//!
//! ```
//! # use omnistack_core::{cache::Cache, clock::Clock};
//! # use std::time::Duration;
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), omnistack_core::cache::Error> {
//! # let cache = Cache::in_process(1 << 20, Clock::system());
//! let Some(lock) = cache.lock("reports:nightly", Duration::from_secs(30)).await? else {
//!     return Ok(()); // another replica holds the lock
//! };
//! // … work that passes `lock.fencing_token()` to the systems it writes to …
//! lock.release().await?;
//! # Ok(())
//! # }
//! ```

mod error;
mod get_or_insert;
mod in_process;
mod lock;
mod single_flight;
mod store;

pub use error::{Error, ErrorKind};
pub use get_or_insert::GetOrInsert;
pub use in_process::MemoryStore;
pub use lock::Lock;
pub use store::{CacheStore, ClaimKind, Lease};

use std::{
    collections::{HashMap, HashSet},
    fmt,
    future::IntoFuture,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use bytesize::ByteSize;
use futures_util::future::BoxFuture;
use metrics::Counter;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    clock::Clock,
    metrics::{CACHE_HITS, CACHE_MISSES},
};
use single_flight::SingleFlight;

crate::settings! {
    /// Cache.
    pub struct CacheSettings {
        /// Approximate size of the cache in this process. Not used if `REDIS_URL` is set.
        pub size: ByteSize = "CACHE_SIZE", default "64MiB", range "1KiB"..="1TiB";
    }
}

/// The app's cache. Cheap to clone. See the [module](self) for an overview.
#[derive(Clone)]
pub struct Cache {
    store: Arc<dyn CacheStore>,
    /// The same store, if it is in this process: reading it needs no boxed future.
    in_process: Option<MemoryStore>,
    flights: Arc<SingleFlight>,
    reads: Arc<ReadCounters>,
}

/// The counters of reads. They are created at the first read, when the recorder of metrics is installed.
#[derive(Default)]
struct ReadCounters(OnceLock<[Counter; 2]>);

impl ReadCounters {
    fn count(&self, place: &'static str, found: bool) {
        let [hits, misses] = self.0.get_or_init(|| [CACHE_HITS.counter([place]), CACHE_MISSES.counter([place])]);
        if found { hits } else { misses }.increment(1);
    }
}

impl Cache {
    /// Creates a cache on a store. Clones share computations that are under way; separate caches on one store
    /// coordinate by the store's leases.
    pub fn new(store: impl CacheStore) -> Self {
        Self { store: Arc::new(store), in_process: None, flights: Arc::default(), reads: Arc::default() }
    }

    /// Creates a cache within this process, of approximately this many bytes.
    pub fn in_process(size: u64, clock: Clock) -> Self {
        let own = MemoryStore::new(size, clock);
        Self { in_process: Some(own.clone()), ..Self::new(own) }
    }

    /// Returns the value of a key, or `None` if there is none or the store is unavailable.
    pub async fn get<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        if self.in_process.is_some() {
            return self.get_in_process(key);
        }
        let found = log_error(key, self.store.get(key).await).flatten();
        self.reads.count("redis", found.is_some());
        decode(key, &found?)
    }

    /// Returns the value of a key from the store in this process, or `None` if the cache has no such store.
    fn get_in_process<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        let found = log_error(key, self.in_process.as_ref()?.read(key, |bytes| decode(key, bytes))).flatten().flatten();
        self.reads.count("process", found.is_some());
        found
    }

    /// Stores a value for `ttl`, replacing the key's content. The value is dropped if the store is unavailable.
    pub fn set<'a, T: Serialize + ?Sized>(&'a self, key: &'a str, value: &T, ttl: Duration) -> SetBuilder<'a> {
        SetBuilder { cache: self, key, value: encode(key, value), ttl: clamp_ttl(ttl), tags: Vec::new() }
    }

    /// Deletes the key, whatever it contains. Returns whether it existed.
    pub async fn delete(&self, key: &str) -> bool {
        log_error(key, self.store.delete(key).await).unwrap_or_default()
    }

    /// Returns the remaining time to live, or `None` if the key does not exist.
    pub async fn ttl(&self, key: &str) -> Option<Duration> {
        log_error(key, self.store.ttl(key).await).flatten()
    }

    /// Sets the remaining time to live. Returns whether the key exists.
    pub async fn expire(&self, key: &str, ttl: Duration) -> bool {
        log_error(key, self.store.expire(key, clamp_ttl(ttl)).await).unwrap_or_default()
    }

    /// Adds 1 to a counter and returns its value. The counter starts at 0 and expires `ttl` after the first
    /// addition.
    ///
    /// # Errors
    ///
    /// Fails if the store is unavailable. If the store did not respond in time ([`ErrorKind::Unknown`]), the
    /// addition may have taken effect. Fails with [`ErrorKind::WrongType`] if the key contains something else.
    pub async fn increment(&self, key: &str, ttl: Duration) -> Result<i64, Error> {
        self.increment_by(key, 1, ttl).await
    }

    /// Adds `by` to a counter and returns its value, like [`increment`](Self::increment).
    ///
    /// # Errors
    ///
    /// Fails as [`increment`](Self::increment) does.
    pub async fn increment_by(&self, key: &str, by: i64, ttl: Duration) -> Result<i64, Error> {
        self.store.increment(key, by, clamp_ttl(ttl)).await
    }

    /// Returns a field of a hash.
    pub async fn hash_get<T: DeserializeOwned>(&self, key: &str, field: &str) -> Option<T> {
        let bytes = log_error(key, self.store.hash_get(key, field).await).flatten()?;
        decode(key, &bytes)
    }

    /// Sets a field, and the time to live of the whole hash. The value is dropped if the store is unavailable.
    pub async fn hash_set<T: Serialize + ?Sized>(&self, key: &str, field: &str, value: &T, ttl: Duration) {
        if let Some(value) = encode(key, value) {
            log_error(key, self.store.hash_set(key, field, value, clamp_ttl(ttl)).await);
        }
    }

    /// Returns all fields that can be read as a `T`; none if the key does not exist.
    pub async fn hash_get_all<T: DeserializeOwned>(&self, key: &str) -> HashMap<String, T> {
        let fields = log_error(key, self.store.hash_all(key).await).unwrap_or_default();
        fields.into_iter().filter_map(|(field, bytes)| Some((field, decode(key, &bytes)?))).collect()
    }

    /// Deletes a field. Returns whether it existed.
    pub async fn hash_delete(&self, key: &str, field: &str) -> bool {
        log_error(key, self.store.hash_delete(key, field).await).unwrap_or_default()
    }

    /// Adds a member to a set, and sets the time to live of the whole set. Returns whether the member is new.
    /// The member is dropped if the store is unavailable.
    pub async fn set_add(&self, key: &str, member: &str, ttl: Duration) -> bool {
        log_error(key, self.store.set_add(key, member, clamp_ttl(ttl)).await).unwrap_or_default()
    }

    /// Removes a member. Returns whether it existed.
    pub async fn set_remove(&self, key: &str, member: &str) -> bool {
        log_error(key, self.store.set_remove(key, member).await).unwrap_or_default()
    }

    /// Returns all members; none if the key does not exist.
    pub async fn set_members(&self, key: &str) -> HashSet<String> {
        log_error(key, self.store.set_members(key).await).unwrap_or_default()
    }

    /// Returns whether the set contains a member.
    pub async fn set_contains(&self, key: &str, member: &str) -> bool {
        log_error(key, self.store.set_contains(key, member).await).unwrap_or_default()
    }

    /// Drops all values stored with a tag, in all replicas. The cost does not depend on their number.
    pub async fn invalidate_tag(&self, tag: &str) {
        log_error(tag, self.store.invalidate(tag).await);
    }

    /// Acquires a lock for `ttl`. Returns `None` if it is held already. The names of locks are separate from
    /// other keys.
    ///
    /// # Errors
    ///
    /// Fails if the store is unavailable; the lock is then not acquired. If the store did not respond in time
    /// ([`ErrorKind::Unknown`]), the lock may have been taken without a holder; it is free again after `ttl`.
    pub async fn lock(&self, key: &str, ttl: Duration) -> Result<Option<Lock>, Error> {
        let owner = owner();
        let fence = self.store.lock(key, &owner, clamp_ttl(ttl)).await?;
        Ok(fence.map(|fence| {
            let (store, key) = (Arc::clone(&self.store), key.to_owned());
            Lock::new(lock::HeldClaim { store, key, owner, lease: false, ended: false }, fence)
        }))
    }

    /// Returns the value of a key, or else the value that `compute` returns, which is stored for `ttl`. While
    /// one caller computes, all other callers that ask for the key, in this replica or another, wait for that
    /// value.
    ///
    /// - An error is not stored. All callers in this process that wait get it, hence the `Arc`; another replica
    ///   computes the value itself.
    /// - If the computing caller is dropped, one of the waiting callers computes. If its process ends, another
    ///   replica computes after the [lease](GetOrInsert::lease).
    /// - If the key is deleted, set or invalidated by tag meanwhile, the value is returned but not stored.
    /// - While the store is unavailable, each process computes the value once, and does not store it.
    ///
    /// Do not request a key within its own `compute`: it would wait for itself.
    pub fn get_or_insert_with<'a, F>(&'a self, key: &'a str, ttl: Duration, compute: F) -> GetOrInsert<'a, F> {
        GetOrInsert::new(self, key, ttl, compute)
    }
}

/// Future that stores a value when it is awaited. Created by [`Cache::set`].
#[must_use = "nothing is stored until it is awaited"]
pub struct SetBuilder<'a> {
    cache: &'a Cache,
    key: &'a str,
    value: Option<Bytes>,
    ttl: Duration,
    tags: Vec<String>,
}

impl SetBuilder<'_> {
    /// Stores the value with tags: [`Cache::invalidate_tag`] of any of them drops it.
    pub fn tags(mut self, tags: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.tags.extend(tags.into_iter().map(Into::into));
        self
    }
}

impl<'a> IntoFuture for SetBuilder<'a> {
    type Output = ();
    type IntoFuture = BoxFuture<'a, ()>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            if let Some(value) = self.value {
                log_error(self.key, self.cache.store.set(self.key, value, self.ttl, &self.tags).await);
            }
        })
    }
}

/// Returns the store's result, or `None` if it failed. Failures other than an outage are logged here; outages
/// are logged by the store.
fn log_error<T>(key: &str, result: Result<T, Error>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            if !error.is_outage() {
                tracing::error!(target: "omnistack::cache", key, %error, "a cache operation failed");
            }
            None
        }
    }
}

fn clamp_ttl(ttl: Duration) -> Duration {
    ttl.clamp(Duration::from_millis(1), Duration::from_secs(365 * 86_400))
}

fn owner() -> String {
    format!("{:032x}", rand::random::<u128>())
}

fn encode<T: Serialize + ?Sized>(key: &str, value: &T) -> Option<Bytes> {
    serde_json::to_vec(value)
        .map_err(|error| tracing::error!(target: "omnistack::cache", key, %error, "can't serialize a value as JSON"))
        .ok()
        .map(Bytes::from)
}

fn decode<T: DeserializeOwned>(key: &str, bytes: &[u8]) -> Option<T> {
    serde_json::from_slice(bytes)
        .map_err(|error| tracing::debug!(target: "omnistack::cache", key, %error, "a value of another type is a miss"))
        .ok()
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cache")
    }
}

impl fmt::Debug for SetBuilder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Set").field("key", &self.key).field("ttl", &self.ttl).finish_non_exhaustive()
    }
}
