//! Tests of the limiter with a mock clock.

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use super::{
    algorithm::CompiledAlgorithm,
    limiter::{MAX_KEYS_PER_SHARD, SHARDS},
    *,
};
use crate::clock::{MockClock, Timestamp};

#[test]
fn rates_are_read_and_shown_alike() {
    for text in ["100/minute", "5/hour burst 2", "10/second", "3/day", "7/90s", "100/minute sliding", "9/250ms"] {
        assert_eq!(Rate::parse(text).unwrap().to_string(), text);
    }
    for text in [
        "",
        "5",
        "5/fortnight",
        "0/minute",
        "5/hour burst 0",
        "-1/minute",
        "5/0s",
        "5/400d",
        "5/hour burst 2 sliding",
        "5/hour sliding burst 2",
        "sliding",
    ] {
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
fn a_window_slides() {
    let mock = MockClock::at(Timestamp::default());
    let limiter = RateLimiter::new(Rate::new(10, Duration::from_secs(10)).sliding(), mock.clock());
    assert!(!limiter.check(&"a", 11).allowed);
    let mut time = 0;
    // Second, number of requests; how many are allowed, how many remain, and the wait of the last one.
    for (second, asked, allowed, remaining, retry_after) in [
        (0, 11, 10, 0, 11),
        (10, 1, 0, 0, 1),
        (11, 2, 1, 0, 1),
        (15, 5, 4, 0, 1),
        // Of five requests in the second period, half count.
        (25, 9, 7, 0, 1),
        (60, 11, 10, 0, 11),
        (79, 10, 9, 0, 1),
        (99, 10, 10, 0, 1),
    ] {
        mock.advance(Duration::from_secs(second - time));
        time = second;
        let verdicts: Vec<_> = (0..asked).map(|_| limiter.check(&"a", 1)).collect();
        let last = verdicts[verdicts.len() - 1];
        assert_eq!(verdicts.iter().filter(|verdict| verdict.allowed).count(), allowed, "at {second}");
        assert_eq!(last.remaining, remaining, "at {second}");
        if !last.allowed {
            assert_eq!(last.retry_after, Duration::from_secs(retry_after), "at {second}");
        }
    }
}

#[test]
fn who_waits_as_told_is_let_in_and_not_before() {
    for text in ["10/second", "7/minute burst 3", "10/second sliding", "7/minute sliding", "1000000/day sliding"] {
        let mock = MockClock::at(Timestamp::default());
        let limiter = RateLimiter::new(Rate::parse(text).unwrap(), mock.clock());
        let mut refused = 0;
        for step in 0..3000_u32 {
            let cost = if text.starts_with("1000000") { 100_000 } else { 1 + step % 2 };
            let verdict = limiter.check(&(), cost);
            assert!(verdict.allowed || verdict.retry_after > Duration::ZERO);
            if !verdict.allowed {
                refused += 1;
                // The clock has whole microseconds.
                mock.advance(verdict.retry_after.saturating_sub(Duration::from_micros(2)));
                assert!(!limiter.check(&(), cost).allowed, "{text}: too soon");
                mock.advance(Duration::from_micros(3));
                assert!(limiter.check(&(), cost).allowed, "{text}: {verdict:?}");
            }
            mock.advance(Duration::from_micros(u64::from(step * 7919 % 50_000)));
        }
        assert!(refused > 20, "{text}");
    }
}

#[test]
fn no_period_of_a_window_has_more_and_no_stretch_twice_as_many() {
    let mock = MockClock::at(Timestamp::default());
    let limiter = RateLimiter::new(Rate::new(50, Duration::from_secs(1)).sliding(), mock.clock());
    let mut random = StdRng::seed_from_u64(7);
    let (mut at, mut now) = (Vec::new(), 0_u64);
    for _ in 0..20_000 {
        // Bursts, pauses and everything in between.
        let pause = [0, 0, 0, 0, 0, 0, 1_000, 20_000, 400_000][random.random_range(0..9)];
        now += pause;
        mock.advance(Duration::from_micros(pause));
        if limiter.check(&(), 1).allowed {
            at.push(now);
        }
    }
    let most = |from: &dyn Fn(u64) -> u64| {
        let before = |time: u64| at.partition_point(|at| *at < time);
        at.iter().map(|first| before(from(*first) + 1_000_000) - before(from(*first))).max()
    };
    assert!((45..=50).contains(&most(&|first| first - first % 1_000_000).unwrap()));
    assert!(most(&|first| first).unwrap() < 100);
}

#[test]
fn a_clock_that_was_set_back_locks_nobody_out() {
    for text in ["10/second", "10/second sliding"] {
        let terms = CompiledRate::new(Rate::parse(text).unwrap(), TimeUnit::Micro);
        let later = terms.count(900_000_000, RateState::default(), 10);
        assert!(later.allowed);
        let earlier = terms.decide(terms.count(5_000_000, later.state, 10), 10);
        assert!(earlier.allowed || earlier.retry_after <= Duration::from_secs(1), "{text}: {earlier:?}");
    }
}

#[test]
fn numbers_stay_exact_in_redis() {
    let now = 4_000_000_000_000_000;
    for quota in [1, 1000, u32::MAX] {
        for (window, burst) in [(Duration::from_micros(1), u32::MAX), (MAX_WINDOW, u32::MAX), (MAX_WINDOW, 1)] {
            let terms = CompiledRate::new(Rate::new(quota, window).burst(burst), TimeUnit::Micro);
            let counted = terms.count(now, RateState::default(), u32::MAX);
            let CompiledAlgorithm::Bucket { capacity, .. } = terms.rule else { panic!("a bucket") };
            assert!(now + capacity + terms.charge(u32::MAX) < 1 << 53);
            assert_eq!(terms.decide(counted, u32::MAX).allowed, counted.allowed);
            let terms = CompiledRate::new(Rate::new(quota, window).sliding(), TimeUnit::Micro);
            let CompiledAlgorithm::Sliding { quota, unit, span } = terms.rule else { panic!("a window") };
            assert!(quota * span < 1 << 53 && 2 * span * unit < 1 << 53);
            let full = RateState {
                at: now / unit / span,
                used: u32::try_from(quota).unwrap(),
                before: u32::try_from(quota).unwrap(),
            };
            assert!(!terms.decide(terms.count(now, full, 1), 1).allowed);
        }
    }
}

#[test]
fn the_table_is_bounded_and_forgets_keys_at_rest() {
    for rate in [Rate::per_minute(60), Rate::per_minute(60).sliding()] {
        let mock = MockClock::at(Timestamp::default());
        let limiter = RateLimiter::new(rate, mock.clock());
        let held = || limiter.shards.iter().map(|shard| shard.0.lock().unwrap().entries.len()).sum::<usize>();
        let places = SHARDS * MAX_KEYS_PER_SHARD;
        let allowed = (0..1_000_000_u32).filter(|key| limiter.check(key, 1).allowed).count();
        assert!(held() <= places && held() > places * 9 / 10);
        // Keys without an entry share the rate.
        assert!(allowed <= held() + 60 * SHARDS, "{allowed}");
        // Keys with an entry have their own.
        assert_eq!(limiter.check(&0, 1).remaining, 58);
        mock.advance(Duration::from_secs(120));
        let allowed = (0..1000_u32).filter(|key| limiter.check(&(1_000_000 + key), 1).allowed).count();
        assert_eq!(allowed, 1000);
        assert!(held() < places / 2, "{}", held());
    }
}
