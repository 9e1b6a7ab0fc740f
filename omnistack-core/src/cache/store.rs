//! Contract of cache stores.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;

use super::Error;

/// Store of a [`Cache`](super::Cache). Only implementations need this trait; apps call the handle.
///
/// - Each method is atomic for its key and, on a server, one round trip.
/// - A `ttl` is at least 1 millisecond and at most 1 year. An entry is not returned once its time has passed.
/// - A value stored with tags disappears as soon as one of them is invalidated.
/// - `set`, `delete` and the invalidation of a tag of a lease end the [lease](Self::lease) of the key, so that
///   a value computed from older data can't replace a newer one.
/// - Locks, leases and entries have separate names. Values, hashes and sets share one space of keys: using one
///   as another fails with [`WrongType`](super::ErrorKind::WrongType), except that `set` replaces and `delete`
///   deletes all of them.
///
/// # Errors
///
/// All methods fail with [`Unavailable`](super::ErrorKind::Unavailable) if the store is unavailable and the operation had
/// no effect, and with [`Unknown`](super::ErrorKind::Unknown) if the operation may have taken effect.
#[async_trait]
pub trait CacheStore: Send + Sync + 'static {
    /// Returns the value of a key.
    async fn get(&self, key: &str) -> Result<Option<Bytes>, Error>;

    /// Stores a value with tags, replacing the key's content.
    async fn set(&self, key: &str, value: Bytes, ttl: Duration, tags: &[String]) -> Result<(), Error>;

    /// Deletes the key, whatever it contains. Returns whether it existed.
    async fn delete(&self, key: &str) -> Result<bool, Error>;

    /// Returns the remaining time to live.
    async fn ttl(&self, key: &str) -> Result<Option<Duration>, Error>;

    /// Sets the remaining time to live. Returns whether the key exists.
    async fn expire(&self, key: &str, ttl: Duration) -> Result<bool, Error>;

    /// Adds to a counter and returns the sum. The counter starts at 0, and gets the time to live when it is
    /// created.
    async fn increment(&self, key: &str, by: i64, ttl: Duration) -> Result<i64, Error>;

    /// Returns a field of a hash.
    async fn hash_get(&self, key: &str, field: &str) -> Result<Option<Bytes>, Error>;

    /// Sets a field, and the time to live of the whole hash.
    async fn hash_set(&self, key: &str, field: &str, value: Bytes, ttl: Duration) -> Result<(), Error>;

    /// Returns all fields.
    async fn hash_all(&self, key: &str) -> Result<HashMap<String, Bytes>, Error>;

    /// Deletes a field. Returns whether it existed.
    async fn hash_delete(&self, key: &str, field: &str) -> Result<bool, Error>;

    /// Adds a member to a set, and sets the time to live of the whole set. Returns whether the member is new.
    async fn set_add(&self, key: &str, member: &str, ttl: Duration) -> Result<bool, Error>;

    /// Removes a member. Returns whether it existed.
    async fn set_remove(&self, key: &str, member: &str) -> Result<bool, Error>;

    /// Returns all members.
    async fn set_members(&self, key: &str) -> Result<HashSet<String>, Error>;

    /// Returns whether the set contains a member.
    async fn set_contains(&self, key: &str, member: &str) -> Result<bool, Error>;

    /// Drops all values stored with a tag.
    async fn invalidate(&self, tag: &str) -> Result<(), Error>;

    /// Acquires a lock for `owner`. Returns the fencing token, which is larger than all before, or `None` if
    /// the lock is held.
    async fn lock(&self, key: &str, owner: &str, ttl: Duration) -> Result<Option<u64>, Error>;

    /// Returns the value of a key, or else grants the lease to compute it for the duration `lease`. `ttl` is
    /// the time to live of the value, and `tags` are those with which it will be stored.
    async fn lease(
        &self,
        key: &str,
        owner: &str,
        lease: Duration,
        ttl: Duration,
        tags: &[String],
    ) -> Result<Lease, Error>;

    /// Ends the owner's lease and stores the computed value, unless the lease had ended before. Returns whether
    /// the lease was held.
    async fn store_leased(&self, key: &str, owner: &str, value: Bytes, ttl: Duration) -> Result<bool, Error>;

    /// Sets the remaining time of the owner's lock or lease. Returns `false` if the owner no longer holds it.
    async fn extend(&self, claim: ClaimKind<'_>, owner: &str, ttl: Duration) -> Result<bool, Error>;

    /// Ends the owner's lock or lease. Returns `false` if the owner no longer holds it.
    async fn release(&self, claim: ClaimKind<'_>, owner: &str) -> Result<bool, Error>;
}

/// Result of requesting a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lease {
    /// The stored value.
    Value(Bytes),
    /// There is no value, and the owner has the lease to compute it.
    Granted,
    /// There is no value, and another owner has the lease.
    Busy,
}

/// Kind and key of a time-limited claim of an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimKind<'a> {
    /// The lock with this name.
    Lock(&'a str),
    /// The lease to compute the value of this key.
    Lease(&'a str),
}
