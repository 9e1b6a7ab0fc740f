//! The periods of reports: whole days of UTC.

use omnistack_core::clock::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::payment::day_of;

/// Number of days of the month for which numbers are projected.
const DAYS_PER_MONTH: i64 = 30;

/// A period that ends today.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(super) enum PaymentPeriod {
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

impl PaymentPeriod {
    /// Returns the period as requests name it.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Week => "7d",
            Self::Month => "30d",
            Self::Quarter => "90d",
            Self::Year => "1y",
        }
    }

    pub(super) const fn days(self) -> i32 {
        match self {
            Self::Week => 7,
            Self::Month => 30,
            Self::Quarter => 90,
            Self::Year => 365,
        }
    }
}

/// A range of days since 1970-01-01, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DayRange {
    pub(super) first: i32,
    pub(super) last: i32,
}

impl DayRange {
    /// Returns the last days of UTC, including that of `now`.
    pub(super) fn until(now: Timestamp, period: PaymentPeriod) -> Self {
        let last = day_of(now);
        Self { first: last - period.days() + 1, last }
    }

    /// Returns a number of 30 days at the rate of the last 30 days of the range, or of all its days if it has fewer.
    /// `by_day` are the numbers of its days, each with its day.
    pub(super) fn projected_month(self, by_day: impl IntoIterator<Item = (i32, i64)>) -> i64 {
        let days = i64::from(self.last - self.first + 1).min(DAYS_PER_MONTH);
        let first = i64::from(self.last) - days + 1;
        let recent = by_day.into_iter().filter(|(day, _)| i64::from(*day) >= first);
        let sum: i128 = recent.map(|(_, number)| i128::from(number)).sum();
        i64::try_from(sum * i128::from(DAYS_PER_MONTH) / i128::from(days)).unwrap_or(i64::MAX)
    }
}

/// Returns a day as `2030-01-01`.
pub(super) fn date(day: i32) -> String {
    let at = Timestamp::from_micros(i64::from(day) * 86_400 * 1_000_000);
    at.to_string().chars().take(10).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_ends_today_and_a_month_is_projected_from_its_last_days() {
        let now: Timestamp = "2030-01-08T12:00:00Z".parse().unwrap();
        let week = DayRange::until(now, PaymentPeriod::Week);
        assert_eq!((date(week.first).as_str(), date(week.last).as_str()), ("2030-01-02", "2030-01-08"));
        assert_eq!(week.projected_month([(week.first, 7), (week.last, 7)]), 60);
        let quarter = DayRange::until(now, PaymentPeriod::Quarter);
        assert_eq!(quarter.projected_month([(quarter.first, 1_000), (quarter.last - 29, 5), (quarter.last, 7)]), 12);
        assert_eq!(week.projected_month([]), 0);
    }
}
