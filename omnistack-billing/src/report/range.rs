//! The periods of reports: whole days of UTC.

use std::time::Duration;

use jiff::{civil::Date, tz::TimeZone};
use omnistack_core::clock::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A day of UTC.
pub(super) const DAY: Duration = Duration::from_secs(86_400);
/// A minute.
pub(super) const MINUTE: Duration = Duration::from_secs(60);

/// A period that ends today.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(super) enum UsagePeriod {
    /// 7 days.
    #[serde(rename = "7d")]
    Week,
    /// 30 days.
    #[default]
    #[serde(rename = "30d")]
    Month,
    /// 90 days.
    #[serde(rename = "90d")]
    Quarter,
    /// 365 days.
    #[serde(rename = "1y")]
    Year,
}

impl UsagePeriod {
    /// Returns the number of days.
    const fn days(self) -> u32 {
        match self {
            Self::Week => 7,
            Self::Month => 30,
            Self::Quarter => 90,
            Self::Year => 365,
        }
    }
}

/// A range of time, from its start, which is included, to its end, which is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ReportRange {
    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
}

/// A part of a range, in which usage is read from rows of one length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RangeSegment {
    /// The column `grain`: `day` or `month`.
    pub(super) grain: &'static str,
    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
}

impl ReportRange {
    /// Returns the last days of UTC, including that of `now`.
    pub(super) fn days_until(now: Timestamp, period: UsagePeriod) -> Self {
        let end = floor(now, DAY) + DAY;
        Self { start: end - DAY * period.days(), end }
    }

    /// Returns the last hour, in whole minutes, including that of `now`.
    pub(super) fn hour_until(now: Timestamp) -> Self {
        let end = floor(now, MINUTE) + MINUTE;
        Self { start: end - MINUTE * 60, end }
    }

    /// Returns the range of the same length that ends where this one starts.
    pub(super) fn previous(self) -> Self {
        Self { start: self.start - self.end.duration_since(self.start), end: self.start }
    }

    /// Returns the number of days.
    pub(super) fn days(self) -> u32 {
        self.steps(DAY)
    }

    /// Returns the starts of the intervals of this length.
    pub(super) fn starts(self, step: Duration) -> impl Iterator<Item = Timestamp> {
        (0..self.steps(step)).map(move |count| self.start + step * count)
    }

    /// Splits the range into whole months and the days before and after them, so that few rows are read.
    pub(super) fn segments(self) -> Vec<RangeSegment> {
        let (first, last) = (next_month(self.start), month_of(self.end));
        let days = |start, end| RangeSegment { grain: "day", start, end };
        let months = RangeSegment { grain: "month", start: first, end: last };
        let mut segments = if first < last {
            vec![days(self.start, first), months, days(last, self.end)]
        } else {
            vec![days(self.start, self.end)]
        };
        segments.retain(|segment| segment.start < segment.end);
        segments
    }

    fn steps(self, step: Duration) -> u32 {
        let steps = self.end.duration_since(self.start).as_secs() / step.as_secs();
        u32::try_from(steps).unwrap_or(u32::MAX)
    }
}

/// Returns the start of the interval of this length that contains a time.
pub(super) fn floor(at: Timestamp, step: Duration) -> Timestamp {
    let micros = i64::try_from(step.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_micros(at.as_micros().div_euclid(micros).saturating_mul(micros))
}

/// Returns the date of a time in UTC, such as `2030-01-31`.
pub(super) fn date_text(at: Timestamp) -> String {
    date(at).to_string()
}

fn date(at: Timestamp) -> Date {
    TimeZone::UTC.to_datetime(at.to_jiff()).date()
}

/// Returns the start of the month that contains a time.
fn month_of(at: Timestamp) -> Timestamp {
    midnight(date(at).first_of_month())
}

/// Returns the start of the first month that begins at a time or later.
fn next_month(at: Timestamp) -> Timestamp {
    let start = month_of(at);
    let next = date(at).last_of_month().tomorrow();
    if start == at { at } else { next.map_or(Timestamp::from_micros(i64::MAX), midnight) }
}

/// Returns the start of a day.
fn midnight(date: Date) -> Timestamp {
    let start = TimeZone::UTC.to_timestamp(date.at(0, 0, 0, 0));
    start.map_or(Timestamp::from_micros(i64::MAX), Timestamp::from)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_period_ends_with_today() {
        for (now, period, start, end) in [
            ("2030-03-01T00:00:00Z", UsagePeriod::Week, "2030-02-23T00:00:00Z", "2030-03-02T00:00:00Z"),
            ("2030-03-01T23:59:59.999999Z", UsagePeriod::Week, "2030-02-23T00:00:00Z", "2030-03-02T00:00:00Z"),
            ("2030-03-31T12:00:00Z", UsagePeriod::Month, "2030-03-02T00:00:00Z", "2030-04-01T00:00:00Z"),
            ("2030-03-31T12:00:00Z", UsagePeriod::Quarter, "2030-01-01T00:00:00Z", "2030-04-01T00:00:00Z"),
            ("2030-03-31T12:00:00Z", UsagePeriod::Year, "2029-04-01T00:00:00Z", "2030-04-01T00:00:00Z"),
            // A year has 365 days, also with the 29th of February.
            ("2032-03-31T12:00:00Z", UsagePeriod::Year, "2031-04-02T00:00:00Z", "2032-04-01T00:00:00Z"),
        ] {
            let range = ReportRange::days_until(at(now), period);
            assert_eq!(range, ReportRange { start: at(start), end: at(end) }, "{now} {period:?}");
            let previous = range.previous();
            assert_eq!((previous.end, previous.days()), (range.start, range.days()));
            assert_eq!(range.starts(DAY).next(), Some(range.start));
            assert_eq!(range.starts(DAY).last().map(|last| last + DAY), Some(range.end));
        }
        let hour = ReportRange::hour_until(at("2030-01-01T00:00:30Z"));
        assert_eq!((hour.start, hour.end), (at("2029-12-31T23:01:00Z"), at("2030-01-01T00:01:00Z")));
        assert_eq!(hour.starts(MINUTE).count(), 60);
    }

    #[test]
    fn whole_months_are_read_as_months() {
        let segment = |grain, start: &str, end: &str| {
            let midnight = |day: &str| at(&format!("{day}T00:00:00Z"));
            RangeSegment { grain, start: midnight(start), end: midnight(end) }
        };
        for (now, period, expected) in [
            ("2030-03-01T12:00:00Z", UsagePeriod::Week, vec![segment("day", "2030-02-23", "2030-03-02")]),
            (
                "2030-03-01T12:00:00Z",
                UsagePeriod::Month,
                vec![
                    segment("day", "2030-01-31", "2030-02-01"),
                    segment("month", "2030-02-01", "2030-03-01"),
                    segment("day", "2030-03-01", "2030-03-02"),
                ],
            ),
            ("2030-03-31T12:00:00Z", UsagePeriod::Year, vec![segment("month", "2029-04-01", "2030-04-01")]),
            (
                "2032-02-29T12:00:00Z",
                UsagePeriod::Year,
                vec![segment("day", "2031-03-02", "2031-04-01"), segment("month", "2031-04-01", "2032-03-01")],
            ),
            (
                "2032-03-15T12:00:00Z",
                UsagePeriod::Year,
                vec![
                    segment("day", "2031-03-17", "2031-04-01"),
                    segment("month", "2031-04-01", "2032-03-01"),
                    segment("day", "2032-03-01", "2032-03-16"),
                ],
            ),
        ] {
            assert_eq!(ReportRange::days_until(at(now), period).segments(), expected, "{now} {period:?}");
        }
    }

    proptest! {
        #[test]
        fn segments_cover_each_day_once(now in 0_i64..4_000_000_000, period in 0_usize..4, before in any::<bool>()) {
            let period = [UsagePeriod::Week, UsagePeriod::Month, UsagePeriod::Quarter, UsagePeriod::Year][period];
            let range = ReportRange::days_until(Timestamp::from_micros(now * 1_000_000), period);
            let range = if before { range.previous() } else { range };
            let mut next = range.start;
            for segment in range.segments() {
                prop_assert_eq!(segment.start, next);
                prop_assert!(segment.start < segment.end);
                if segment.grain == "month" {
                    prop_assert_eq!(month_of(segment.start), segment.start);
                    prop_assert_eq!(month_of(segment.end), segment.end);
                }
                next = segment.end;
            }
            prop_assert_eq!(next, range.end);
        }
    }
}
