//! The period of a report.

use omnistack_core::clock::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub(super) use crate::period::Period;

use crate::errors::model::{HOUR_MICROS, hour_of};

const HOURS_PER_DAY: i64 = 24;

impl Period {
    /// Returns the number of hours.
    pub(crate) const fn hours(self) -> i64 {
        HOURS_PER_DAY * self.days() as i64
    }

    /// Returns the beginning of the first hour, in microseconds since 1970. The current hour is the last one.
    pub(crate) fn since(self, now: Timestamp) -> i64 {
        hour_of(now.as_micros()) - (self.hours() - 1) * HOUR_MICROS
    }
}

/// The length of the intervals of a trend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ErrorTrendInterval)]
pub(super) enum Interval {
    /// Hours.
    Hour,
    /// Days, in UTC.
    Day,
}

impl Interval {
    const fn micros(self) -> i64 {
        match self {
            Self::Hour => HOUR_MICROS,
            Self::Day => HOURS_PER_DAY * HOUR_MICROS,
        }
    }

    /// Returns the numbers of errors of all intervals from `since` to `now`, including those without errors. `hours`
    /// are the numbers by hour; times are microseconds since 1970.
    pub(super) fn fold(self, hours: &[(i64, i64)], since: i64, now: i64) -> Vec<(i64, i64)> {
        let length = self.micros();
        let start = |at: i64| at - at.rem_euclid(length);
        let first = start(since);
        let count = usize::try_from((start(now) - first) / length + 1).unwrap_or(0);
        let mut points: Vec<_> = (0_i64..).take(count).map(|index| (first + index * length, 0)).collect();
        for (hour, errors) in hours {
            let index = usize::try_from((start(*hour) - first) / length).ok();
            if let Some(point) = index.and_then(|index| points.get_mut(index)) {
                point.1 += errors;
            }
        }
        points
    }
}

/// Returns the timestamp of an interval.
pub(super) fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_without_errors_are_zero() {
        let hour = HOUR_MICROS;
        let hours = [(25 * hour, 2), (27 * hour, 3), (50 * hour, 4)];
        assert_eq!(Interval::Day.fold(&hours, 20 * hour, 51 * hour), [(0, 0), (24 * hour, 5), (48 * hour, 4)]);
        let by_hour = Interval::Hour.fold(&hours, 25 * hour, 28 * hour + 7);
        assert_eq!(by_hour, [(25 * hour, 2), (26 * hour, 0), (27 * hour, 3), (28 * hour, 0)]);
    }

    #[test]
    fn a_period_ends_with_the_current_hour() {
        let now = Timestamp::from_micros(1_000 * HOUR_MICROS + 5);
        assert_eq!(Period::Week.since(now), (1_000 - 167) * HOUR_MICROS);
        assert_eq!(serde_json::from_str::<Period>("\"1y\"").unwrap(), Period::Year);
        assert!(serde_json::from_str::<Period>("\"2d\"").is_err());
    }
}
