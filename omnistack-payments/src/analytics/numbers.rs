//! The numbers of calls, as they are added up.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The share of calls whose durations are at most that of the 95th percentile.
const PERCENTILE: i64 = 95;

/// The calls to services.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub(super) struct CallNumbers {
    /// The calls that have ended.
    pub(super) calls: i64,
    /// The calls that the service has accepted.
    pub(super) succeeded: i64,
    /// The calls by which a payment was declined.
    pub(super) declined: i64,
    /// The calls that have failed otherwise, and certainly took no money.
    pub(super) failed: i64,
    /// The calls whose outcome was not known at their end.
    pub(super) unknown: i64,
    /// The share of calls that the service has accepted, from 0 to 1; `null` without calls.
    #[schema(required)]
    pub(super) success_rate: Option<f64>,
    /// The share of calls that were declined, have failed, or whose outcome was not known, from 0 to 1; `null` without
    /// calls.
    #[schema(required)]
    pub(super) error_rate: Option<f64>,
    /// The mean duration in milliseconds.
    #[schema(required)]
    pub(super) mean_ms: Option<i64>,
    /// The duration in milliseconds within which 95 % of the calls have ended, rounded up to a step of the counters.
    #[schema(required)]
    pub(super) p95_ms: Option<i32>,
}

/// A group of calls, as a query returns it.
#[derive(Clone, Debug)]
pub(super) struct CallGroup {
    pub(super) outcome: String,
    /// 0 if the durations are not known.
    pub(super) bucket_ms: i32,
    pub(super) calls: i64,
    pub(super) duration_ms: i64,
}

impl CallNumbers {
    /// Adds groups of calls up.
    pub(super) fn of<'a>(groups: impl IntoIterator<Item = &'a CallGroup>) -> Self {
        let mut numbers = Self::default();
        let mut durations: BTreeMap<i32, i64> = BTreeMap::new();
        let mut duration_ms = 0_i64;
        for group in groups {
            numbers.calls += group.calls;
            match group.outcome.as_str() {
                "success" => numbers.succeeded += group.calls,
                "declined" => numbers.declined += group.calls,
                "unknown" => numbers.unknown += group.calls,
                _ => numbers.failed += group.calls,
            }
            if group.bucket_ms > 0 {
                *durations.entry(group.bucket_ms).or_default() += group.calls;
                duration_ms = duration_ms.saturating_add(group.duration_ms);
            }
        }
        numbers.success_rate = share(numbers.succeeded, numbers.calls);
        numbers.error_rate = share(numbers.calls - numbers.succeeded, numbers.calls);
        let timed: i64 = durations.values().sum();
        if timed > 0 {
            numbers.mean_ms = Some(duration_ms / timed);
            let mut seen = 0;
            numbers.p95_ms = durations.into_iter().find_map(|(bucket, calls)| {
                seen += calls;
                (seen * 100 >= timed * PERCENTILE).then_some(bucket)
            });
        }
        numbers
    }
}

/// Returns a share with four decimals. Returns `None` if the whole is zero.
pub(super) fn share(part: i64, whole: i64) -> Option<f64> {
    (whole > 0).then(|| (part as f64 / whole as f64 * 10_000.0).round() / 10_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(outcome: &str, bucket_ms: i32, calls: i64, duration_ms: i64) -> CallGroup {
        CallGroup { outcome: outcome.to_owned(), bucket_ms, calls, duration_ms }
    }

    #[test]
    fn calls_are_added_up() {
        let groups = [
            group("success", 100, 90, 7_200),
            group("declined", 200, 4, 600),
            group("error", 200, 1, 200),
            group("unknown", 15_000, 5, 75_000),
            // Of a process that has crashed.
            group("unknown", 0, 1, 0),
        ];
        let numbers = CallNumbers::of(&groups);
        assert_eq!((numbers.calls, numbers.succeeded, numbers.declined), (101, 90, 4));
        assert_eq!((numbers.failed, numbers.unknown), (1, 6));
        assert_eq!((numbers.success_rate, numbers.mean_ms, numbers.p95_ms), (Some(0.8911), Some(830), Some(200)));
        assert_eq!(numbers.error_rate, Some(0.1089));
        assert_eq!(CallNumbers::of(&[]), CallNumbers::default());
        assert_eq!(share(1, 3), Some(0.3333));
    }
}
