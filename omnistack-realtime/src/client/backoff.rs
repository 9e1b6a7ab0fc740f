//! Delays between attempts.

use std::time::Duration;

const MIN_DELAY: Duration = Duration::from_millis(500);
const MAX_DELAY: Duration = Duration::from_secs(20);
/// Number of times that the delay doubles, after which it has reached the largest.
const MAX_DOUBLINGS: u32 = 6;

/// The delays between attempts of a client: they grow from 500 ms to 20 s, and are random, so that the clients of a
/// server that was restarted don't all come at once.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    attempts: u32,
}

impl Backoff {
    /// Returns the delay before the next attempt.
    pub(super) fn next_delay(&mut self) -> Duration {
        let spread = MIN_DELAY.saturating_mul(1 << self.attempts.min(MAX_DOUBLINGS)).min(MAX_DELAY);
        self.attempts = self.attempts.saturating_add(1);
        (MIN_DELAY + rand::random_range(Duration::ZERO..=spread)).min(MAX_DELAY)
    }

    /// Begins with the smallest delay again, after a success.
    pub(super) fn reset(&mut self) {
        self.attempts = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_within_their_limits_and_begin_again() {
        let mut backoff = Backoff::default();
        for limit in [1_000, 1_500, 2_500, 4_500, 8_500, 16_500, 20_000, 20_000] {
            let delay = backoff.next_delay();
            assert!((MIN_DELAY..=Duration::from_millis(limit)).contains(&delay), "{delay:?} of {limit} ms");
        }
        for _ in 0..100 {
            assert!(backoff.next_delay() <= MAX_DELAY);
        }
        backoff.reset();
        assert!(backoff.next_delay() <= MIN_DELAY * 2);
    }
}
