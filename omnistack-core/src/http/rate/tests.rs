//! The limiter against a mock clock.

use super::*;
use crate::clock::{MockClock, Timestamp};

#[test]
fn rates_are_read_and_shown_alike() {
    for text in ["100/minute", "5/hour burst 2", "10/second", "3/day", "7/90s"] {
        assert_eq!(Rate::parse(text).unwrap().to_string(), text);
    }
    for text in ["", "5", "5/fortnight", "0/minute", "5/hour burst 0", "-1/minute", "5/0s"] {
        assert!(Rate::parse(text).is_err(), "{text}");
    }
}

#[test]
fn a_burst_is_allowed_and_earned_back_one_by_one() {
    let mock = MockClock::at(Timestamp::default());
    let limiter = RateLimiter::new(Rate::per_minute(60).burst(3), mock.clock());
    let remaining: Vec<_> = (0..3).map(|_| limiter.check(&"a", 1).remaining).collect();
    assert_eq!(remaining, [2, 1, 0]);
    let refused = limiter.check(&"a", 1);
    assert!(!refused.allowed);
    assert_eq!(refused.retry_after, Duration::from_secs(1));
    assert!(limiter.check(&"b", 1).allowed, "keys are apart");

    mock.advance(Duration::from_millis(999));
    assert!(!limiter.check(&"a", 1).allowed);
    mock.advance(Duration::from_millis(1));
    assert!(limiter.check(&"a", 1).allowed);
    assert!(!limiter.check(&"a", 1).allowed);
    mock.advance(Duration::from_secs(60));
    assert!(limiter.check(&"a", 3).allowed, "the cost may be the whole burst");
    assert!(!limiter.check(&"c", 4).allowed, "but not more");
}

#[test]
fn in_any_window_no_more_than_burst_and_quota() {
    let mock = MockClock::at(Timestamp::default());
    let limiter = RateLimiter::new(Rate::new(10, Duration::from_secs(10)), mock.clock());
    let mut allowed = 0;
    for _ in 0..1000 {
        allowed += u32::from(limiter.check(&(), 1).allowed);
        mock.advance(Duration::from_millis(100));
    }
    assert_eq!(allowed, 10 + 99);
}

#[test]
fn the_table_is_bounded_and_forgets_keys_at_rest() {
    let mock = MockClock::at(Timestamp::default());
    let limiter = RateLimiter::new(Rate::per_minute(60), mock.clock());
    let held = || limiter.shards.iter().map(|shard| shard.lock().unwrap().len()).sum::<usize>();
    for key in 0..300_000_u32 {
        limiter.check(&key, 1);
    }
    assert!(held() <= SHARDS * SHARD_KEYS);
    mock.advance(Duration::from_secs(120));
    for key in 0..1000_u32 {
        limiter.check(&(1_000_000 + key), 1);
    }
    assert!(held() <= 1000 + SHARDS * SHARD_KEYS);
}
