//! Counting in this process.

use std::{
    fmt,
    hash::{BuildHasher as _, Hash, RandomState},
    sync::{Arc, Mutex, PoisonError},
};

use hashbrown::HashTable;

use super::{Rate, State, Terms, Tick, Verdict};
use crate::clock::Clock;

pub(super) const SHARDS: usize = 32;
/// Keys a shard holds.
pub(super) const SHARD_KEYS: usize = 4096;
/// Between two looks at which keys of a full shard are at rest: 10 ms.
const SWEEPS: u64 = 10_000_000;

/// Counts by key, in this process. [`SharedRateLimiter`](super::SharedRateLimiter) counts for all replicas.
///
/// Keys at rest, whose requests all have been earned back, are forgotten. With every key in use the table holds about
/// 131,000 of them (10 MiB of addresses); then those that find no place are counted together, in 32 groups, until others
/// are at rest: an attacker with many addresses runs into a limit, not into memory.
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
    terms: Terms,
    clock: Clock,
    pub(super) shards: Arc<[Shard<K>; SHARDS]>,
    hasher: RandomState,
}

/// On cache lines of its own, so that threads in different shards don't meet.
#[repr(align(128))]
pub(super) struct Shard<K>(pub(super) Mutex<Keys<K>>);

pub(super) struct Keys<K> {
    pub(super) known: HashTable<(K, State)>,
    /// Those there was no place for.
    others: State,
    /// When to look again for keys at rest.
    sweep_at: u64,
}

impl<K> Default for Shard<K> {
    fn default() -> Self {
        Self(Mutex::new(Keys { known: HashTable::new(), others: State::default(), sweep_at: 0 }))
    }
}

impl<K: Hash + Eq + Clone> RateLimiter<K> {
    /// Nobody has come yet.
    pub fn new(rate: Rate, clock: Clock) -> Self {
        let shards = Arc::new(std::array::from_fn(|_| Shard::default()));
        Self { rate, terms: Terms::new(rate, Tick::Nano), clock, shards, hasher: RandomState::new() }
    }

    /// Counts one request of `key` that costs `cost`, if it may come. One that costs more than the burst, or the quota of a
    /// sliding window, never may.
    pub fn check(&self, key: &K, cost: u32) -> Verdict {
        let now = u64::try_from(self.clock.elapsed().as_nanos()).unwrap_or(u64::MAX >> 1);
        // Hashed once, for the shard and for the place in it.
        let hash = self.hasher.hash_one(key);
        let shard = usize::try_from(hash % SHARDS as u64).unwrap_or(0);
        let counted = {
            let mut keys = self.shards[shard].0.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((_, state)) = keys.known.find_mut(place(hash), |(known, _)| known == key) {
                let counted = self.terms.settle(now, *state, cost);
                *state = counted.state;
                counted
            } else if keys.has_room(&self.terms, now) {
                let counted = self.terms.settle(now, State::default(), cost);
                if counted.allowed {
                    let rehash = |(key, _): &(K, State)| place(self.hasher.hash_one(key));
                    keys.known.insert_unique(place(hash), (key.clone(), counted.state), rehash);
                }
                counted
            } else {
                let counted = self.terms.settle(now, keys.others, cost);
                keys.others = counted.state;
                counted
            }
        };
        self.terms.tell(counted, cost)
    }
}

impl<K> RateLimiter<K> {
    /// The rate it keeps.
    pub fn rate(&self) -> Rate {
        self.rate
    }
}

impl<K> Keys<K> {
    fn has_room(&mut self, terms: &Terms, now: u64) -> bool {
        if self.known.len() >= SHARD_KEYS && now >= self.sweep_at {
            self.known.retain(|(_, state)| !terms.at_rest(now, *state));
            self.sweep_at = now.saturating_add(SWEEPS);
        }
        self.known.len() < SHARD_KEYS
    }
}

/// Where a key is in its shard. Rotated, since all keys of a shard end alike.
fn place(hash: u64) -> u64 {
    hash.rotate_right(SHARDS.trailing_zeros())
}

impl<K> fmt::Debug for RateLimiter<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimiter").field("rate", &self.rate).finish_non_exhaustive()
    }
}
