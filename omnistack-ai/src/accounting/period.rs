//! The periods of budgets, in UTC.

use jiff::{civil::Date, tz::TimeZone};
use omnistack_core::{clock::Timestamp, id::Id};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// The period for which a budget is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BudgetPeriod {
    /// A day of UTC.
    Day,
    /// A calendar month of UTC.
    Month,
    /// All time.
    Total,
}

impl BudgetPeriod {
    /// All periods.
    pub(crate) const ALL: [Self; 3] = [Self::Day, Self::Month, Self::Total];

    /// Returns the name, as JSON has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Month => "month",
            Self::Total => "total",
        }
    }

    /// Reads the period of a row.
    pub(crate) fn from_stored(text: &str) -> Self {
        match text {
            "day" => Self::Day,
            "month" => Self::Month,
            // The table allows no other period.
            _ => Self::Total,
        }
    }

    /// Returns the start of the period that contains a time. That of all time is 1970-01-01T00:00:00Z.
    pub(crate) fn start(self, at: Timestamp) -> Timestamp {
        match self {
            Self::Day => midnight(date(at)),
            Self::Month => midnight(date(at).first_of_month()),
            Self::Total => Timestamp::default(),
        }
    }

    /// Returns the end of the period that begins at `start`, which is not part of it.
    pub(crate) fn end(self, start: Timestamp) -> Timestamp {
        let last = match self {
            Self::Day => date(start),
            Self::Month => date(start).last_of_month(),
            Self::Total => return Timestamp::from_micros(i64::MAX),
        };
        last.tomorrow().map_or(Timestamp::from_micros(i64::MAX), midnight)
    }
}

/// Returns the date of a time in UTC.
fn date(at: Timestamp) -> Date {
    TimeZone::UTC.to_datetime(at.to_jiff()).date()
}

/// Returns the start of a day.
fn midnight(date: Date) -> Timestamp {
    let start = TimeZone::UTC.to_timestamp(date.at(0, 0, 0, 0));
    start.map_or(Timestamp::from_micros(i64::MAX), Timestamp::from)
}

/// Returns the smallest id of that time. Ids begin with their time, so the calls of a period are a range of ids.
pub(crate) fn first_id(at: Timestamp) -> Uuid {
    // The bits after the time are random in an id; here only those of the version and the variant are set.
    let (high, _) = Id::<()>::new(at).uuid().as_u64_pair();
    Uuid::from_u64_pair(high, 1 << 63)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_contains_its_start_and_not_its_end() {
        for (period, at, start, end) in [
            (BudgetPeriod::Day, "2032-02-29T23:59:59.999999Z", "2032-02-29T00:00:00Z", "2032-03-01T00:00:00Z"),
            (BudgetPeriod::Day, "2032-03-01T00:00:00Z", "2032-03-01T00:00:00Z", "2032-03-02T00:00:00Z"),
            (BudgetPeriod::Month, "2031-12-31T12:00:00Z", "2031-12-01T00:00:00Z", "2032-01-01T00:00:00Z"),
            (BudgetPeriod::Total, "2031-12-31T12:00:00Z", "1970-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"),
        ] {
            let found = period.start(at.parse().unwrap());
            assert_eq!((found, period.end(found)), (start.parse().unwrap(), end.parse().unwrap()), "{period:?} {at}");
            assert_eq!(BudgetPeriod::from_stored(period.as_str()), period);
        }
    }

    #[test]
    fn ids_of_a_time_are_between_the_first_ids_of_it_and_of_the_next_microsecond() {
        for micros in [0, 1, 999, 1_000, 1_893_456_000_123_456] {
            let (at, next) = (Timestamp::from_micros(micros), Timestamp::from_micros(micros + 1));
            let id = Id::<()>::new(at).uuid();
            assert!(first_id(at) <= id && id < first_id(next), "{micros}");
        }
    }
}
