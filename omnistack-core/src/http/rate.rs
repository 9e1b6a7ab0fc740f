//! How often a caller may come.

use std::{
    fmt,
    hash::{BuildHasher as _, Hash, RandomState},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hashbrown::HashTable;

use crate::{clock::Clock, config::Form};

/// So many requests in a period, with a burst of as many at once unless said otherwise.
///
/// Written `100/minute`, `5/hour burst 2`, or `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Requests a period.
    pub quota: u32,
    /// The period.
    pub window: Duration,
    /// How many may come at once.
    pub burst: u32,
}

impl Rate {
    /// So many a period, all of them at once if they like.
    pub const fn new(quota: u32, window: Duration) -> Self {
        Self { quota, window, burst: quota }
    }

    /// So many a minute.
    pub const fn per_minute(quota: u32) -> Self {
        Self::new(quota, Duration::from_secs(60))
    }

    /// Lets at most this many come at once.
    #[must_use]
    pub const fn burst(mut self, burst: u32) -> Self {
        self.burst = burst;
        self
    }

    /// Nanoseconds one request uses up.
    fn interval(self) -> u64 {
        u64::try_from(self.window.as_nanos() / u128::from(self.quota.max(1))).unwrap_or(u64::MAX).max(1)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.window.as_secs();
        match seconds {
            1 => write!(f, "{}/second", self.quota)?,
            60 => write!(f, "{}/minute", self.quota)?,
            3600 => write!(f, "{}/hour", self.quota)?,
            86_400 => write!(f, "{}/day", self.quota)?,
            _ => write!(f, "{}/{seconds}s", self.quota)?,
        }
        if self.burst == self.quota { Ok(()) } else { write!(f, " burst {}", self.burst) }
    }
}

impl Form for Rate {
    const FORM: &'static str = "rate, e.g. 100/minute, 5/hour burst 2";

    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a rate: write e.g. 100/minute, 10/second, 5/hour burst 2");
        let (rate, burst) = match text.split_once(" burst ") {
            Some((rate, burst)) => (rate, Some(burst.trim().parse().map_err(|_| wrong())?)),
            None => (text, None),
        };
        let (quota, unit) = rate.split_once('/').ok_or_else(wrong)?;
        let window = match unit.trim() {
            "s" | "sec" | "second" => Duration::from_secs(1),
            "m" | "min" | "minute" => Duration::from_secs(60),
            "h" | "hour" => Duration::from_secs(3600),
            "d" | "day" => Duration::from_secs(86_400),
            other => Duration::parse(other).map_err(|_| wrong())?,
        };
        let quota: u32 = quota.trim().parse().map_err(|_| wrong())?;
        if quota == 0 || window.is_zero() || burst == Some(0) {
            return Err(wrong());
        }
        let rate = Self::new(quota, window);
        Ok(burst.map_or(rate, |burst| rate.burst(burst)))
    }
}

/// A rate that can be switched off: `off`.
impl Form for RateSetting {
    const FORM: &'static str = "rate, e.g. 100/minute, 5/hour burst 2, or off";

    fn parse(text: &str) -> Result<Self, String> {
        if matches!(text, "off" | "none" | "0") {
            Ok(Self(None))
        } else {
            Rate::parse(text).map(|rate| Self(Some(rate)))
        }
    }
}

/// See [`Rate`]; `off` is none.
#[derive(Clone, Copy, Debug)]
pub struct RateSetting(pub Option<Rate>);

/// The answer to "may it come?".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it may.
    pub allowed: bool,
    /// How many more may come at once.
    pub remaining: u32,
    /// How long until the full burst is there again.
    pub reset: Duration,
    /// When refused, how long to wait.
    pub retry_after: Duration,
}

const SHARDS: usize = 32;
/// Keys a shard holds before it forgets those at rest; the table is bounded by what is in use.
const SHARD_KEYS: usize = 4096;

/// Counts by key, in this process, by the generic cell rate algorithm (ITU-T I.371): a sliding limit that needs one
/// number a key. Keys at rest are forgotten; with every key in use the table holds about 131,000 and then treats keys
/// of one shard alike, so that an attacker with many addresses runs into a limit, not into memory.
#[derive(Clone)]
pub struct RateLimiter<K> {
    rate: Rate,
    clock: Clock,
    shards: Arc<[Mutex<HashTable<(K, u64)>>; SHARDS]>,
    hasher: RandomState,
}

impl<K: Hash + Eq + Clone> RateLimiter<K> {
    /// Nobody has come yet.
    pub fn new(rate: Rate, clock: Clock) -> Self {
        let shards = Arc::new(std::array::from_fn(|_| Mutex::default()));
        Self { rate, clock, shards, hasher: RandomState::new() }
    }

    /// The rate it keeps.
    pub fn rate(&self) -> Rate {
        self.rate
    }

    /// Counts one request of `key` that costs `cost`, if it may come.
    pub fn check(&self, key: &K, cost: u32) -> Verdict {
        let now = u64::try_from(self.clock.elapsed().as_nanos()).unwrap_or(u64::MAX);
        // Hashed once, for the shard and for the place in it.
        let hash = self.hasher.hash_one(key);
        let shard = usize::try_from(hash % SHARDS as u64).unwrap_or(0);
        let mut keys = self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, earned)) = keys.find_mut(place(hash), |(known, _)| known == key) {
            let (verdict, after) = judge(self.rate, now, *earned, cost);
            *earned = after;
            return verdict;
        }
        let (verdict, earned) = judge(self.rate, now, 0, cost);
        if verdict.allowed {
            if keys.len() >= SHARD_KEYS {
                keys.retain(|(_, earned)| *earned > now);
            }
            if keys.len() < SHARD_KEYS {
                keys.insert_unique(place(hash), (key.clone(), earned), |(key, _)| place(self.hasher.hash_one(key)));
            } else if let Some((_, shared)) = keys.iter_mut().next() {
                *shared = earned.max(*shared);
            }
        }
        verdict
    }
}

/// Where a key is in its shard. Rotated, since all keys of a shard end alike.
fn place(hash: u64) -> u64 {
    hash.rotate_right(SHARDS.trailing_zeros())
}

/// The rule, without time or table: `earned` is when everything used is earned back.
fn judge(rate: Rate, now: u64, earned: u64, cost: u32) -> (Verdict, u64) {
    let interval = rate.interval();
    let capacity = interval.saturating_mul(u64::from(rate.burst));
    let from = earned.max(now);
    let after = from.saturating_add(interval.saturating_mul(u64::from(cost)));
    let used = after - now;
    if used > capacity {
        let reset = Duration::from_nanos(from - now);
        let retry_after = Duration::from_nanos(used - capacity);
        let remaining = u32::try_from(capacity.saturating_sub(from - now) / interval).unwrap_or(u32::MAX);
        return (Verdict { allowed: false, remaining, reset, retry_after }, earned);
    }
    let remaining = u32::try_from((capacity - used) / interval).unwrap_or(u32::MAX);
    (Verdict { allowed: true, remaining, reset: Duration::from_nanos(used), retry_after: Duration::ZERO }, after)
}

impl<K> fmt::Debug for RateLimiter<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimiter").field("rate", &self.rate).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
