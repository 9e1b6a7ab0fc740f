//! Keeping what is costly to get.
//!
//! A [`Cache`] keeps values for a while, in this process or, with `REDIS_URL`, in Redis for every replica. What it holds may go
//! at any moment: for room, for age, or because Redis is away. So reading is a hit or a miss and never an error, and what
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
//! // Computed by one caller, whoever else asks meanwhile.
//! let moons: u32 = cache.get_or_insert_with("moons:mars", ttl, || async { Ok::<_, Infallible>(2) }).await.unwrap();
//! assert_eq!(moons, 2);
//!
//! cache.invalidate_tag("users").await;
//! assert_eq!(cache.get::<String>("user:1").await, None);
//! # }
//! ```
//!
//! Values are any serde types, kept as JSON. A value that can't be read as the type asked for, because an older version of
//! the app stored it, is a miss. Keys are the app's own, in one space for all modules: begin them with the module's name.
//!
//! # Time
//!
//! Everything has a time to live, from a millisecond to a year; a longer or shorter one is taken as these. In the process it
//! passes by the app's [`Clock`], on Redis by the server's.
//!
//! # Locks
//!
//! [`Cache::lock`] lets one of all replicas do something, for as long as it said or until it is done:
//!
//! ```
//! # use omnistack_core::{cache::Cache, clock::Clock};
//! # use std::time::Duration;
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), omnistack_core::cache::Error> {
//! # let cache = Cache::in_process(1 << 20, Clock::system());
//! let Some(lock) = cache.lock("reports:nightly", Duration::from_secs(30)).await? else {
//!     return Ok(()); // another replica is at it
//! };
//! // … work that hands `lock.fence()` to what it writes to …
//! lock.release().await?;
//! # Ok(())
//! # }
//! ```

mod error;
mod fill;
mod flight;
mod local;
mod lock;
mod store;

pub use error::{Error, ErrorKind};
pub use fill::GetOrInsert;
pub use local::InProcess;
pub use lock::Lock;
pub use store::{CacheStore, Claim, Lease};

use std::{
    collections::{HashMap, HashSet},
    fmt,
    future::IntoFuture,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use bytesize::ByteSize;
use futures_util::future::BoxFuture;
use serde::{Serialize, de::DeserializeOwned};

use crate::clock::Clock;
use flight::Flights;

crate::section! {
    /// Cache.
    pub struct CacheSettings {
        /// How much the cache of this process may hold, about. With `REDIS_URL` it is not used.
        pub size: ByteSize = "CACHE_SIZE", default "64MiB", range "1KiB"..="1TiB";
    }
}

/// The app's cache. Cheap to clone. See the [module](self) for the whole picture.
#[derive(Clone)]
pub struct Cache {
    store: Arc<dyn CacheStore>,
    /// The same store where it is this process's own: it is read without a boxed future.
    own: Option<InProcess>,
    flights: Arc<Flights>,
}

impl Cache {
    /// Kept in this way. Clones compute a value together; two caches on one store do so by the store's leases.
    pub fn new(store: impl CacheStore) -> Self {
        Self { store: Arc::new(store), own: None, flights: Arc::default() }
    }

    /// Within this process, of at most so many bytes, about.
    pub fn in_process(size: u64, clock: Clock) -> Self {
        let own = InProcess::new(size, clock);
        Self { own: Some(own.clone()), ..Self::new(own) }
    }

    /// The value of a key.
    pub async fn get<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        if self.own.is_some() {
            return self.get_own(key);
        }
        let bytes = report(key, self.store.get(key).await).flatten()?;
        decode(key, &bytes)
    }

    /// As [`get`](Self::get), of a store of this process: nothing when there is none.
    fn get_own<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        report(key, self.own.as_ref()?.read(key, |bytes| decode(key, bytes))).flatten().flatten()
    }

    /// Stores a value for this long, in place of what the key holds. Dropped when the store is away.
    pub fn set<'a, T: Serialize + ?Sized>(&'a self, key: &'a str, value: &T, ttl: Duration) -> Set<'a> {
        Set { cache: self, key, value: encode(key, value), ttl: bounded(ttl), tags: Vec::new() }
    }

    /// Removes whatever the key holds; tells whether it held something.
    pub async fn delete(&self, key: &str) -> bool {
        report(key, self.store.delete(key).await).unwrap_or_default()
    }

    /// How long the key has left; `None` when it holds nothing.
    pub async fn ttl(&self, key: &str) -> Option<Duration> {
        report(key, self.store.ttl(key).await).flatten()
    }

    /// Gives the key this long from now; tells whether it held something.
    pub async fn expire(&self, key: &str, ttl: Duration) -> bool {
        report(key, self.store.expire(key, bounded(ttl)).await).unwrap_or_default()
    }

    /// Counts one more, and returns how many that makes. The count begins with the first, and ends this long after it.
    ///
    /// # Errors
    /// The store is away, or did not answer in time: then it may have been counted. `WrongType` when the key holds
    /// something else.
    pub async fn incr(&self, key: &str, ttl: Duration) -> Result<i64, Error> {
        self.incr_by(key, 1, ttl).await
    }

    /// As [`incr`](Self::incr), by so many.
    ///
    /// # Errors
    /// As [`incr`](Self::incr).
    pub async fn incr_by(&self, key: &str, by: i64, ttl: Duration) -> Result<i64, Error> {
        self.store.increment(key, by, bounded(ttl)).await
    }

    /// One field of a hash.
    pub async fn hget<T: DeserializeOwned>(&self, key: &str, field: &str) -> Option<T> {
        let bytes = report(key, self.store.hash_get(key, field).await).flatten()?;
        decode(key, &bytes)
    }

    /// Sets one field, and gives the whole hash this long from now. Dropped when the store is away.
    pub async fn hset<T: Serialize + ?Sized>(&self, key: &str, field: &str, value: &T, ttl: Duration) {
        if let Some(value) = encode(key, value) {
            report(key, self.store.hash_set(key, field, value, bounded(ttl)).await);
        }
    }

    /// Every field that can be read as a `T`; none when the key holds nothing.
    pub async fn hgetall<T: DeserializeOwned>(&self, key: &str) -> HashMap<String, T> {
        let fields = report(key, self.store.hash_all(key).await).unwrap_or_default();
        fields.into_iter().filter_map(|(field, bytes)| Some((field, decode(key, &bytes)?))).collect()
    }

    /// Removes one field; tells whether it was there.
    pub async fn hdel(&self, key: &str, field: &str) -> bool {
        report(key, self.store.hash_delete(key, field).await).unwrap_or_default()
    }

    /// Adds a member to a set, and gives the whole set this long from now; tells whether it is new. Dropped when the
    /// store is away.
    pub async fn sadd(&self, key: &str, member: &str, ttl: Duration) -> bool {
        report(key, self.store.set_add(key, member, bounded(ttl)).await).unwrap_or_default()
    }

    /// Removes a member; tells whether it was there.
    pub async fn srem(&self, key: &str, member: &str) -> bool {
        report(key, self.store.set_remove(key, member).await).unwrap_or_default()
    }

    /// Every member; none when the key holds nothing.
    pub async fn smembers(&self, key: &str) -> HashSet<String> {
        report(key, self.store.set_members(key).await).unwrap_or_default()
    }

    /// Whether it is a member.
    pub async fn sismember(&self, key: &str, member: &str) -> bool {
        report(key, self.store.set_contains(key, member).await).unwrap_or_default()
    }

    /// Drops every value stored under a tag, in all replicas, however many there are.
    pub async fn invalidate_tag(&self, tag: &str) {
        report(tag, self.store.invalidate(tag).await);
    }

    /// Takes a lock for this long; `None` when somebody has it. Locks have a space of names of their own.
    ///
    /// # Errors
    /// The store is away: nobody gets the lock. When it did not answer in time the lock may have been taken, for nobody,
    /// and is free when its time is over.
    pub async fn lock(&self, key: &str, ttl: Duration) -> Result<Option<Lock>, Error> {
        let owner = owner();
        let fence = self.store.lock(key, &owner, bounded(ttl)).await?;
        Ok(fence.map(|fence| {
            let (store, key) = (Arc::clone(&self.store), key.to_owned());
            Lock::new(lock::Held { store, key, owner, lease: false, ended: false }, fence)
        }))
    }

    /// The value of a key, or else what `compute` gives, stored for this long. While one caller computes, whoever else asks
    /// for the key, in this replica or another, waits for the same value.
    ///
    /// - A failure is not stored. It reaches everybody in this process who waited, hence the `Arc`; another replica tries by
    ///   itself.
    /// - When the caller that computes is dropped, one that waits goes on. When its process dies, another does after the
    ///   [lease](GetOrInsert::lease).
    /// - What was deleted, set or invalidated by tag meanwhile is returned, and not stored.
    /// - With the store away it is computed once in each process, for as long as it is away, and not stored.
    ///
    /// Don't ask for a key from within its own `compute`: it would wait for itself.
    pub fn get_or_insert_with<'a, F>(&'a self, key: &'a str, ttl: Duration, compute: F) -> GetOrInsert<'a, F> {
        GetOrInsert::new(self, key, ttl, compute)
    }
}

/// A value to be stored: await it. Made by [`Cache::set`].
#[must_use = "nothing is stored until it is awaited"]
pub struct Set<'a> {
    cache: &'a Cache,
    key: &'a str,
    value: Option<Bytes>,
    ttl: Duration,
    tags: Vec<String>,
}

impl Set<'_> {
    /// Stores it under tags: [`Cache::invalidate_tag`] of any of them drops it.
    pub fn tags(mut self, tags: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.tags.extend(tags.into_iter().map(Into::into));
        self
    }
}

impl<'a> IntoFuture for Set<'a> {
    type Output = ();
    type IntoFuture = BoxFuture<'a, ()>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            if let Some(value) = self.value {
                report(self.key, self.cache.store.set(self.key, value, self.ttl, &self.tags).await);
            }
        })
    }
}

/// What the store did; nothing when it is away, which is for the store to tell.
fn report<T>(key: &str, result: Result<T, Error>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            if !error.is_outage() {
                tracing::error!(target: "omnistack::cache", key, %error, "the cache was used in a wrong way");
            }
            None
        }
    }
}

fn bounded(ttl: Duration) -> Duration {
    ttl.clamp(Duration::from_millis(1), Duration::from_secs(365 * 86_400))
}

fn owner() -> String {
    format!("{:032x}", rand::random::<u128>())
}

fn encode<T: Serialize + ?Sized>(key: &str, value: &T) -> Option<Bytes> {
    serde_json::to_vec(value)
        .map_err(|error| tracing::error!(target: "omnistack::cache", key, %error, "a value can't be kept as JSON"))
        .ok()
        .map(Bytes::from)
}

fn decode<T: DeserializeOwned>(key: &str, bytes: &[u8]) -> Option<T> {
    serde_json::from_slice(bytes)
        .map_err(|error| tracing::debug!(target: "omnistack::cache", key, %error, "a value of another type: a miss"))
        .ok()
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cache")
    }
}

impl fmt::Debug for Set<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Set").field("key", &self.key).field("ttl", &self.ttl).finish_non_exhaustive()
    }
}
