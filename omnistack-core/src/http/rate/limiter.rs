//! Rate limits that are counted in this process.

use std::{
    fmt,
    hash::{BuildHasher as _, Hash, RandomState},
    sync::{Arc, Mutex, PoisonError},
};

use hashbrown::HashTable;

use super::{CompiledRate, Rate, RateLimitDecision, RateState, TimeUnit};
use crate::clock::Clock;

pub(super) const SHARDS: usize = 32;
/// Largest number of keys per shard.
pub(super) const MAX_KEYS_PER_SHARD: usize = 4096;
/// Time between two searches of a full shard for unused keys: 10 ms, in nanoseconds.
const SWEEP_INTERVAL_NANOS: u64 = 10_000_000;

/// A rate limiter by key, in this process. [`SharedRateLimiter`](super::SharedRateLimiter) counts for all replicas.
///
/// Keys whose requests have all recovered are dropped. The table holds about 131,000 keys in use (10 MiB for
/// addresses). Further keys are counted together, in 32 groups, until other keys have recovered: an attacker with
/// many addresses meets a limit, and does not exhaust the memory.
///
/// ```
/// use omnistack_core::{clock::Clock, http::{Rate, RateLimiter}};
///
/// let limiter = RateLimiter::new(Rate::per_minute(2), Clock::system());
/// assert_eq!(limiter.check(&"alice", 1).remaining, 1);
/// assert!(limiter.check(&"alice", 1).allowed);
/// assert!(!limiter.check(&"alice", 1).allowed);
/// assert!(limiter.check(&"bob", 1).allowed);
/// ```
#[derive(Clone)]
pub struct RateLimiter<K> {
    rate: Rate,
    terms: CompiledRate,
    clock: Clock,
    pub(super) shards: Arc<[Shard<K>; SHARDS]>,
    hasher: RandomState,
}

/// A shard, aligned to cache lines of its own, so that threads that use different shards don't slow each other down.
#[repr(align(128))]
pub(super) struct Shard<K>(pub(super) Mutex<ShardState<K>>);

pub(super) struct ShardState<K> {
    pub(super) entries: HashTable<(K, RateState)>,
    /// Common state of the keys that did not fit in the table.
    overflow: RateState,
    /// Time of the next search for keys that have recovered.
    sweep_at: u64,
}

impl<K> Default for Shard<K> {
    fn default() -> Self {
        Self(Mutex::new(ShardState { entries: HashTable::new(), overflow: RateState::default(), sweep_at: 0 }))
    }
}

impl<K: Hash + Eq + Clone> RateLimiter<K> {
    /// Creates a limiter without counts.
    pub fn new(rate: Rate, clock: Clock) -> Self {
        let shards = Arc::new(std::array::from_fn(|_| Shard::default()));
        Self { rate, terms: CompiledRate::new(rate, TimeUnit::Nano), clock, shards, hasher: RandomState::new() }
    }

    /// Counts one request of `key` with this cost, if it is allowed. A cost above the burst, or above the quota of a
    /// sliding window, is never allowed.
    pub fn check(&self, key: &K, cost: u32) -> RateLimitDecision {
        let now = u64::try_from(self.clock.elapsed().as_nanos()).unwrap_or(u64::MAX >> 1);
        // Hashed once, for the shard and for the entry in it.
        let hash = self.hasher.hash_one(key);
        let shard = usize::try_from(hash % SHARDS as u64).unwrap_or(0);
        let counted = {
            let mut keys = self.shards[shard].0.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((_, state)) = keys.entries.find_mut(entry_hash(hash), |(known, _)| known == key) {
                let counted = self.terms.count(now, *state, cost);
                *state = counted.state;
                counted
            } else if keys.has_room(&self.terms, now) {
                let counted = self.terms.count(now, RateState::default(), cost);
                if counted.allowed {
                    let rehash = |(key, _): &(K, RateState)| entry_hash(self.hasher.hash_one(key));
                    keys.entries.insert_unique(entry_hash(hash), (key.clone(), counted.state), rehash);
                }
                counted
            } else {
                let counted = self.terms.count(now, keys.overflow, cost);
                keys.overflow = counted.state;
                counted
            }
        };
        self.terms.decide(counted, cost)
    }
}

impl<K> RateLimiter<K> {
    /// Returns the rate of the limiter.
    pub fn rate(&self) -> Rate {
        self.rate
    }
}

impl<K> ShardState<K> {
    fn has_room(&mut self, terms: &CompiledRate, now: u64) -> bool {
        if self.entries.len() >= MAX_KEYS_PER_SHARD && now >= self.sweep_at {
            self.entries.retain(|(_, state)| !terms.has_recovered(now, *state));
            self.sweep_at = now.saturating_add(SWEEP_INTERVAL_NANOS);
        }
        self.entries.len() < MAX_KEYS_PER_SHARD
    }
}

/// Returns the hash for a key's entry in its shard. It is rotated, since all keys of a shard have the same lowest
/// bits.
fn entry_hash(hash: u64) -> u64 {
    hash.rotate_right(SHARDS.trailing_zeros())
}

impl<K> fmt::Debug for RateLimiter<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimiter").field("rate", &self.rate).finish_non_exhaustive()
    }
}
