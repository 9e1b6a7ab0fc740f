//! The timer wheel: entries by the second at which they are due. It takes the place of a timer for each connection.

use std::{collections::BTreeMap, sync::Mutex, time::Duration};

use omnistack_core::clock::Timestamp;

use super::lock;

/// Entries by the second at which they are due. An entry that was scheduled again for another second remains where it
/// was: its owner knows its current second, and ignores the others.
#[derive(Debug)]
pub(super) struct Wheel<T>(Mutex<BTreeMap<i64, Vec<T>>>);

impl<T> Default for Wheel<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Wheel<T> {
    /// Adds an entry for a second.
    pub(super) fn add(&self, second: i64, entry: T) {
        lock(&self.0).entry(second).or_default().push(entry);
    }

    /// Removes the entries that are due, with their seconds.
    pub(super) fn take_due(&self, now: Timestamp) -> BTreeMap<i64, Vec<T>> {
        let mut entries = lock(&self.0);
        let later = entries.split_off(&(now.as_seconds() + 1));
        std::mem::replace(&mut *entries, later)
    }
}

/// Returns the first whole second at which a time has come.
pub(super) fn second_of(time: Timestamp) -> i64 {
    let second = time.as_seconds();
    if Timestamp::from_micros(second.saturating_mul(1_000_000)) < time { second + 1 } else { second }
}

/// Returns between half and all of a time, so that what begins together does not become due together.
pub(super) fn spread(time: Duration, number: u64) -> Duration {
    const STEPS: u32 = 64;
    let step = u32::try_from(number % u64::from(STEPS)).unwrap_or_default();
    time / 2 + time / (2 * STEPS) * (step + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_due_at_their_second() {
        let wheel = Wheel::default();
        let at = Timestamp::from_micros;
        for (name, time) in [("a", at(1_000_000)), ("b", at(1_000_001)), ("c", at(9_000_000))] {
            wheel.add(second_of(time), name);
        }
        let due = |time| wheel.take_due(at(time)).into_values().flatten().collect::<Vec<_>>();
        assert_eq!(due(999_999), Vec::<&str>::new());
        assert_eq!(due(1_999_999), ["a"]);
        assert_eq!(due(20_000_000), ["b", "c"]);
    }

    #[test]
    fn a_time_is_spread_over_its_second_half() {
        let times: Vec<_> = (0..64).map(|number| spread(Duration::from_secs(64), number)).collect();
        assert_eq!(times.first(), Some(&Duration::from_millis(32_500)));
        assert_eq!(times.last(), Some(&Duration::from_secs(64)));
        assert!(times.is_sorted());
    }
}
