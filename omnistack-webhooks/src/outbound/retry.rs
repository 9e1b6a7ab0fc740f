//! The rules of retries: when a failed delivery is sent again, and when an endpoint is disabled. Pure functions.

use std::time::{Duration, UNIX_EPOCH};

use omnistack_core::clock::Timestamp;

/// Number of attempts after which a delivery fails.
pub(crate) const MAX_ATTEMPTS: i64 = 8;

/// Pauses after the failed attempts 1 to 7, without jitter.
const PAUSES: [Duration; 7] = {
    const fn minutes(count: u64) -> Duration {
        Duration::from_secs(60 * count)
    }
    [Duration::from_secs(5), minutes(5), minutes(30), minutes(120), minutes(300), minutes(600), minutes(600)]
};

/// Shortest pause after a response that says that the receiver is overloaded or away, and after a timeout.
const MIN_BUSY_PAUSE: Duration = Duration::from_secs(60);

/// Longest `Retry-After` that is followed.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(24);

/// Longest time for which nothing is sent to an endpoint after failures.
const MAX_REST: Duration = Duration::from_secs(60);

/// Time without a success after which a failing endpoint is disabled: five days.
pub(crate) const MAX_FAILING_TIME: Duration = Duration::from_hours(5 * 24);

/// Meaning of an attempt's result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The receiver has accepted the message.
    Delivered,
    /// The receiver wants no further messages: 410.
    Gone,
    /// The attempt failed, and the receiver may accept the message later.
    Failed {
        /// Whether the receiver is overloaded or away, so that the next attempt waits at least a minute.
        busy: bool,
    },
}

impl Verdict {
    /// Returns the meaning of a response's status, or of an attempt without a response. `complete` tells whether the
    /// attempt ended without an error, and `timed_out` whether it took too long.
    pub(crate) fn of(status: Option<u16>, complete: bool, timed_out: bool) -> Self {
        match status {
            Some(200..=299) if complete => Self::Delivered,
            Some(410) => Self::Gone,
            Some(429 | 502 | 503 | 504) => Self::Failed { busy: true },
            _ => Self::Failed { busy: timed_out },
        }
    }
}

/// Returns the pause after a failed attempt, or `None` if it was the last one. `attempt` counts from 1. `random` is
/// from 0 to 1 and moves the pause by up to a fifth in both directions. `retry_after` applies if it is longer.
pub(crate) fn pause(attempt: i64, busy: bool, retry_after: Option<Duration>, random: f64) -> Option<Duration> {
    let index = usize::try_from(attempt.checked_sub(1)?).ok()?;
    let pause = PAUSES.get(index)?.mul_f64(0.8 + 0.4 * random.clamp(0.0, 1.0));
    let least = if busy { MIN_BUSY_PAUSE } else { Duration::ZERO };
    Some(pause.max(least).max(retry_after.unwrap_or_default().min(MAX_RETRY_AFTER)))
}

/// Returns the pause that the header `Retry-After` asks for (RFC 9110, section 10.2.3): a number of seconds, or a date.
/// Returns `None` if it has another form.
pub(crate) fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // A number that is too large means a long pause, which is bounded anyway.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let date = httpdate::parse_http_date(value).ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some(date.saturating_sub(Duration::from_micros(u64::try_from(now.as_micros()).ok()?)))
}

/// Returns how long nothing is sent to an endpoint after a failed attempt: for as long as it has failed already, so
/// that the pauses between requests to a failing endpoint double, or for `retry_after` if that is longer; at most a
/// minute. The pause of the delivery itself does not keep other deliveries from an overloaded receiver.
pub(crate) fn rest(failing_for: Option<Duration>, retry_after: Option<Duration>) -> Duration {
    failing_for.unwrap_or_default().max(retry_after.unwrap_or_default()).min(MAX_REST)
}

/// Returns since when an endpoint fails, after the results of a batch: a success ends the failure, and the first
/// failure after a success begins one.
pub(crate) fn failing_since(
    before: Option<Timestamp>,
    any_delivered: bool,
    any_failed: bool,
    now: Timestamp,
) -> Option<Timestamp> {
    match (any_delivered, any_failed) {
        (true, _) => None,
        (false, true) => before.or(Some(now)),
        (false, false) => before,
    }
}

/// Returns whether an endpoint that fails since then, and has just failed again, is disabled.
pub(crate) fn fails_too_long(failing_since: Timestamp, now: Timestamp) -> bool {
    now.duration_since(failing_since) >= MAX_FAILING_TIME
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2030-01-01T00:00:00Z";

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn pauses_follow_the_schedule() {
        let seconds = [5, 300, 1_800, 7_200, 18_000, 36_000, 36_000];
        for (attempt, seconds) in (1..).zip(seconds) {
            let pause = |random| pause(attempt, false, None, random).unwrap().as_secs_f64();
            let seconds = f64::from(seconds);
            for (random, factor) in [(0.0, 0.8), (0.5, 1.0), (1.0, 1.2), (7.0, 1.2)] {
                assert!((pause(random) - seconds * factor).abs() < 1e-3, "attempt {attempt}, random {random}");
            }
        }
        for attempt in [MAX_ATTEMPTS, 9, 0, -1, i64::MIN, i64::MAX] {
            assert_eq!(pause(attempt, false, None, 0.5), None, "{attempt}");
        }
    }

    #[test]
    fn a_longer_wait_is_followed() {
        let table = [
            // attempt, busy, Retry-After, expected seconds
            (1, true, None, 60),
            (2, true, None, 300),
            (1, false, Some(2), 5),
            (1, false, Some(90), 90),
            (1, true, Some(30), 60),
            (2, true, Some(3_600), 3_600),
            (2, true, Some(u64::MAX), 86_400),
        ];
        for (attempt, busy, wait, expected) in table {
            let pause = pause(attempt, busy, wait.map(Duration::from_secs), 0.5);
            assert_eq!(pause, Some(Duration::from_secs(expected)), "attempt {attempt}, {busy}, {wait:?}");
        }
    }

    #[test]
    fn an_endpoint_rests_for_at_most_a_minute() {
        let table = [
            // failing seconds, Retry-After, expected seconds
            (None, None, 0),
            (None, Some(2), 2),
            (Some(0), None, 0),
            (Some(15), None, 15),
            (Some(15), Some(20), 20),
            (Some(86_400), None, 60),
            (Some(0), Some(u64::MAX), 60),
        ];
        for (failing, wait, expected) in table {
            let rest = rest(failing.map(Duration::from_secs), wait.map(Duration::from_secs));
            assert_eq!(rest, Duration::from_secs(expected), "{failing:?}, {wait:?}");
        }
    }

    #[test]
    fn retry_after_has_two_forms() {
        let table = [
            ("120", Some(120)),
            (" 7 ", Some(7)),
            ("0", Some(0)),
            ("99999999999999999999999", Some(u64::MAX)),
            ("Tue, 01 Jan 2030 00:10:00 GMT", Some(600)),
            ("Mon, 31 Dec 2029 23:00:00 GMT", Some(0)),
            ("", None),
            ("-5", None),
            ("1.5", None),
            ("soon", None),
        ];
        for (value, expected) in table {
            assert_eq!(retry_after(value, at(NOW)), expected.map(Duration::from_secs), "{value:?}");
        }
    }

    #[test]
    fn results_have_a_meaning() {
        use Verdict::{Delivered, Failed, Gone};
        let table = [
            (Some(200), true, false, Delivered),
            (Some(204), true, false, Delivered),
            (Some(299), true, false, Delivered),
            // The headers came, and the body did not end in time.
            (Some(200), false, true, Failed { busy: true }),
            (Some(200), false, false, Failed { busy: false }),
            (Some(301), true, false, Failed { busy: false }),
            (Some(308), true, false, Failed { busy: false }),
            (Some(400), true, false, Failed { busy: false }),
            (Some(404), true, false, Failed { busy: false }),
            (Some(410), true, false, Gone),
            (Some(410), false, true, Gone),
            (Some(429), true, false, Failed { busy: true }),
            (Some(500), true, false, Failed { busy: false }),
            (Some(502), true, false, Failed { busy: true }),
            (Some(503), true, false, Failed { busy: true }),
            (Some(504), true, false, Failed { busy: true }),
            (None, false, true, Failed { busy: true }),
            (None, false, false, Failed { busy: false }),
        ];
        for (status, complete, timed_out, expected) in table {
            assert_eq!(Verdict::of(status, complete, timed_out), expected, "{status:?} {complete} {timed_out}");
        }
    }

    #[test]
    fn an_endpoint_fails_from_its_first_failure_to_its_next_success() {
        let (now, before) = (at(NOW), at("2029-12-30T00:00:00Z"));
        let table = [
            (None, false, false, None),
            (None, false, true, Some(now)),
            (None, true, true, None),
            (Some(before), false, true, Some(before)),
            (Some(before), false, false, Some(before)),
            (Some(before), true, false, None),
            (Some(before), true, true, None),
        ];
        for (since, delivered, failed, expected) in table {
            assert_eq!(failing_since(since, delivered, failed, now), expected, "{since:?} {delivered} {failed}");
        }
        assert!(!fails_too_long(before, before + MAX_FAILING_TIME - Duration::from_micros(1)));
        assert!(fails_too_long(before, before + MAX_FAILING_TIME));
    }
}
