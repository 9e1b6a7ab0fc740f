//! The status of groups: which errors make a group new, regressed or escalating.

use super::model::{ErrorGroupStatus, HOUR_MICROS};

/// Least number of errors in the current hour of an escalating group.
const ESCALATION_MINIMUM: i64 = 50;

/// An escalating group has more than this many times the median of the hours before.
const ESCALATION_FACTOR: i64 = 5;

/// Number of hours before the current one that are compared.
pub(super) const BASELINE_HOURS: i64 = 24;

/// Least number of compared hours. A group that was first seen later does not escalate.
const MIN_BASELINE_HOURS: usize = 3;

/// The time for which a group is new, in microseconds.
pub(super) const NEW_FOR_MICROS: i64 = 24 * HOUR_MICROS;

/// The largest number of groups with mails or webhooks in an hour.
const MAX_ALERTS_PER_HOUR: i64 = 20;

/// Returns the status of a group that has new errors, or `None` if it does not change. `resolved_at` is the time at
/// which an operator resolved the group, and `last_seen` the time of the last new error.
pub(super) fn status_after_errors(
    before: Option<ErrorGroupStatus>,
    resolved_at: Option<i64>,
    last_seen: i64,
) -> Option<ErrorGroupStatus> {
    match before {
        None => Some(ErrorGroupStatus::New),
        Some(ErrorGroupStatus::Resolved) if resolved_at.is_none_or(|at| last_seen > at) => {
            Some(ErrorGroupStatus::Regressed)
        }
        Some(_) => None,
    }
}

/// Returns whether a group with a status may become escalating.
pub(super) fn may_escalate(status: ErrorGroupStatus) -> bool {
    matches!(status, ErrorGroupStatus::New | ErrorGroupStatus::Open | ErrorGroupStatus::Regressed)
}

/// Returns whether errors escalate: the current hour has at least 50, and more than five times the median of the hours
/// before, of which there must be three. Hours without errors count as 0.
pub(super) fn is_escalating(current: i64, earlier: &[i64]) -> bool {
    if current < ESCALATION_MINIMUM || earlier.len() < MIN_BASELINE_HOURS {
        return false;
    }
    let mut sorted = earlier.to_vec();
    sorted.sort_unstable();
    let middle = sorted.len() / 2;
    // Twice the median, so that an even number of hours needs no fraction.
    let doubled = if sorted.len() % 2 == 1 { 2 * sorted[middle] } else { sorted[middle - 1] + sorted[middle] };
    2 * current > ESCALATION_FACTOR * doubled
}

/// Returns the counts of the hours before the current one, at most 24, from the counts by hour. `first_seen` and
/// `current_hour` are microseconds since 1970.
pub(super) fn earlier_hours(counts: &[(i64, i64)], first_seen: i64, current_hour: i64) -> Vec<i64> {
    let hours = (1..=BASELINE_HOURS).map(|back| current_hour - back * HOUR_MICROS);
    let hours = hours.take_while(|hour| hour + HOUR_MICROS > first_seen);
    hours.map(|hour| counts.iter().find(|(at, _)| *at == hour).map_or(0, |(_, errors)| *errors)).collect()
}

/// Returns whether mails and webhooks are sent about a group: at most once an hour for a group, and about at most 20
/// groups an hour.
pub(super) fn may_alert(alerted_hour: Option<i64>, current_hour: i64, alerted_groups: i64) -> bool {
    alerted_hour.is_none_or(|hour| hour < current_hour) && alerted_groups < MAX_ALERTS_PER_HOUR
}

#[cfg(test)]
mod tests {
    use ErrorGroupStatus as S;

    use super::*;

    #[test]
    fn new_errors_change_the_status() {
        for (before, resolved_at, last_seen, expected) in [
            (None, None, 5, Some(S::New)),
            (Some(S::New), None, 5, None),
            (Some(S::Open), None, 5, None),
            (Some(S::Ignored), None, 5, None),
            (Some(S::Resolved), Some(4), 5, Some(S::Regressed)),
            (Some(S::Resolved), Some(5), 5, None),
            (Some(S::Regressed), Some(4), 5, None),
        ] {
            assert_eq!(status_after_errors(before, resolved_at, last_seen), expected, "{before:?} {resolved_at:?}");
        }
    }

    #[test]
    fn escalation_needs_a_minimum_and_a_multiple_of_the_median() {
        for (current, earlier, expected) in [
            (50, &[0, 0, 0][..], true),
            (49, &[0, 0, 0][..], false),
            (50, &[0, 0][..], false),
            (100, &[20, 20, 20][..], false),
            (101, &[20, 20, 20][..], true),
            (101, &[0, 20, 21, 400][..], false),
            (103, &[0, 20, 21, 400][..], true),
            (1_000, &[500, 500, 1][..], false),
        ] {
            assert_eq!(is_escalating(current, earlier), expected, "{current} after {earlier:?}");
        }
    }

    #[test]
    fn hours_without_errors_count_from_the_first_error_on() {
        let hour = HOUR_MICROS;
        assert_eq!(earlier_hours(&[(7 * hour, 3), (9 * hour, 4)], 7 * hour + 5, 10 * hour), [4, 0, 3]);
        assert_eq!(earlier_hours(&[], 10 * hour + 1, 10 * hour), [0; 0]);
        assert_eq!(earlier_hours(&[], 0, 100 * hour).len(), 24);
    }

    #[test]
    fn alerts_are_limited() {
        assert!(may_alert(None, 5, 0));
        assert!(may_alert(Some(4), 5, 19));
        assert!(!may_alert(Some(5), 5, 0));
        assert!(!may_alert(None, 5, 20));
    }
}
