//! Values of tenants that are kept in memory for a minute.

use std::{
    collections::HashMap,
    fmt,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use omnistack_core::clock::Timestamp;

/// Time for which a value is kept. After a change by another replica, the previous value is used for as long.
pub(crate) const CACHE_TTL: Duration = Duration::from_secs(60);
/// Largest number of values in a cache.
const MAX_CACHED_VALUES: usize = 10_000;

/// A cache of values that are read from the database.
pub(crate) struct MinuteCache<K, V>(Mutex<CachedValues<K, V>>);

struct CachedValues<K, V> {
    by_key: HashMap<K, (Timestamp, Arc<V>)>,
    /// The number of evictions.
    evictions: u64,
}

impl<K: Eq + Hash, V> MinuteCache<K, V> {
    /// Returns a value that was read within the last minute.
    pub(crate) fn get(&self, key: &K, now: Timestamp) -> Option<Arc<V>> {
        let values = self.lock();
        let (read_at, value) = values.by_key.get(key)?;
        (now.duration_since(*read_at) < CACHE_TTL).then(|| Arc::clone(value))
    }

    /// Returns the number of evictions, which [`insert`](Self::insert) needs. It must be taken before the value is
    /// read.
    pub(crate) fn evictions(&self) -> u64 {
        self.lock().evictions
    }

    /// Keeps a value, unless a value was evicted since it was read: it may be older than the change.
    pub(crate) fn insert(&self, key: K, value: Arc<V>, read_at: Timestamp, evictions: u64) {
        let mut values = self.lock();
        if values.evictions != evictions {
            return;
        }
        if values.by_key.len() >= MAX_CACHED_VALUES {
            values.by_key.retain(|_, (at, _)| read_at.duration_since(*at) < CACHE_TTL);
            if values.by_key.len() >= MAX_CACHED_VALUES {
                values.by_key.clear();
            }
        }
        values.by_key.insert(key, (read_at, value));
    }

    /// Removes a value, which has changed.
    pub(crate) fn evict(&self, key: &K) {
        let mut values = self.lock();
        values.evictions += 1;
        values.by_key.remove(key);
    }

    fn lock(&self) -> MutexGuard<'_, CachedValues<K, V>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K, V> Default for MinuteCache<K, V> {
    fn default() -> Self {
        Self(Mutex::new(CachedValues { by_key: HashMap::new(), evictions: 0 }))
    }
}

impl<K, V> fmt::Debug for MinuteCache<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MinuteCache")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn a_value_is_kept_for_a_minute_or_until_it_changes() {
        let cache = MinuteCache::<u32, &str>::default();
        let value = |now| cache.get(&1, time(now)).map(|value| *value);
        cache.insert(1, Arc::new("old"), time(0), cache.evictions());
        assert_eq!((value(59), value(60)), (Some("old"), None));
        cache.evict(&1);
        assert_eq!(value(1), None);
    }

    #[test]
    fn a_value_that_was_read_before_a_change_is_not_kept_after_it() {
        let cache = MinuteCache::<u32, &str>::default();
        let before = cache.evictions();
        cache.evict(&1);
        cache.insert(1, Arc::new("old"), time(0), before);
        assert!(cache.get(&1, time(0)).is_none());
    }

    #[test]
    fn a_full_cache_makes_room() {
        let cache = MinuteCache::<usize, ()>::default();
        for key in 0..=MAX_CACHED_VALUES {
            cache.insert(key, Arc::new(()), time(0), 0);
        }
        assert!(cache.get(&MAX_CACHED_VALUES, time(0)).is_some() && cache.get(&0, time(0)).is_none());
    }
}
