//! What a store of the cache must do.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;

use super::Error;

/// Keeps values for [`Cache`](super::Cache). This is the implementor's contract; everybody else calls the handle.
///
/// - Each method is atomic for its key and, on a server, one round trip.
/// - A `ttl` is at least a millisecond and at most a year. Nothing is seen once it has passed.
/// - A value stored under tags is gone as soon as one of them is invalidated.
/// - `set`, `delete` and the invalidation of a tag of a lease end the [lease](Self::lease) of the key, so that what was
///   computed from older data can't replace what is newer.
/// - A key of a value, of a hash, of a set, of a lock and of a lease never meet where they are different methods'
///   business: locks and leases have names of their own; a value, a hash and a set share theirs, and to use one as
///   another is [`WrongType`](super::ErrorKind::WrongType), except that `set` replaces and `delete` removes either.
#[async_trait]
pub trait CacheStore: Send + Sync + 'static {
    /// The value of a key.
    async fn get(&self, key: &str) -> Result<Option<Bytes>, Error>;

    /// Stores a value under tags, in place of what the key holds.
    async fn set(&self, key: &str, value: Bytes, ttl: Duration, tags: &[String]) -> Result<(), Error>;

    /// Removes whatever the key holds; tells whether it held something.
    async fn delete(&self, key: &str) -> Result<bool, Error>;

    /// How long the key has left.
    async fn ttl(&self, key: &str) -> Result<Option<Duration>, Error>;

    /// Gives the key this long from now; tells whether it held something.
    async fn expire(&self, key: &str, ttl: Duration) -> Result<bool, Error>;

    /// Adds to a number, which begins at zero and then has this long to live, and returns the sum.
    async fn increment(&self, key: &str, by: i64, ttl: Duration) -> Result<i64, Error>;

    /// One field of a hash.
    async fn hash_get(&self, key: &str, field: &str) -> Result<Option<Bytes>, Error>;

    /// Sets one field, and gives the whole hash this long from now.
    async fn hash_set(&self, key: &str, field: &str, value: Bytes, ttl: Duration) -> Result<(), Error>;

    /// Every field.
    async fn hash_all(&self, key: &str) -> Result<HashMap<String, Bytes>, Error>;

    /// Removes one field; tells whether it was there.
    async fn hash_delete(&self, key: &str, field: &str) -> Result<bool, Error>;

    /// Adds a member to a set, and gives the whole set this long from now; tells whether it is new.
    async fn set_add(&self, key: &str, member: &str, ttl: Duration) -> Result<bool, Error>;

    /// Removes a member; tells whether it was there.
    async fn set_remove(&self, key: &str, member: &str) -> Result<bool, Error>;

    /// Every member.
    async fn set_members(&self, key: &str) -> Result<HashSet<String>, Error>;

    /// Whether it is a member.
    async fn set_contains(&self, key: &str, member: &str) -> Result<bool, Error>;

    /// Drops every value stored under a tag.
    async fn invalidate(&self, tag: &str) -> Result<(), Error>;

    /// Takes a lock for `owner`: the fencing token, larger than any given before, or `None` when somebody has it.
    async fn lock(&self, key: &str, owner: &str, ttl: Duration) -> Result<Option<u64>, Error>;

    /// The value of a key, or else the right to compute it, for as long as `lease`. `ttl` is how long the value will live,
    /// and `tags` are what it will be stored under.
    async fn lease(
        &self,
        key: &str,
        owner: &str,
        lease: Duration,
        ttl: Duration,
        tags: &[String],
    ) -> Result<Lease, Error>;

    /// Ends the owner's lease and stores what was computed, unless the lease has ended before; tells whether it did.
    async fn fill(&self, key: &str, owner: &str, value: Bytes, ttl: Duration) -> Result<bool, Error>;

    /// Gives the owner's lock or lease this long from now; false when it is the owner's no more.
    async fn extend(&self, claim: Claim<'_>, owner: &str, ttl: Duration) -> Result<bool, Error>;

    /// Ends the owner's lock or lease; false when it is the owner's no more.
    async fn release(&self, claim: Claim<'_>, owner: &str) -> Result<bool, Error>;
}

/// The answer to who wants a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lease {
    /// Here it is.
    Value(Bytes),
    /// It isn't there; the owner computes it.
    Granted,
    /// Somebody else computes it.
    Busy,
}

/// What an owner has for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim<'a> {
    /// The lock of this name.
    Lock(&'a str),
    /// The lease to compute the value of this key.
    Lease(&'a str),
}
