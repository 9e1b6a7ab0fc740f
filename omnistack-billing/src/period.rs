//! Billing periods: calendar rules without I/O.
//!
//! The boundaries of the periods of an account are made from its anchor: the n-th boundary is the anchor plus n
//! intervals, in the time zone of the account, and never the previous boundary plus one interval. An anchor on the 31st
//! therefore gives the last day of February and the 31st of March. Periods are half-open: they include their start and
//! not their end.

use std::{fmt, str::FromStr};

use jiff::{Span, civil::DateTime, tz::TimeZone};
use omnistack_core::clock::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A unit of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum IntervalUnit {
    /// A day in the time zone, which can have 23, 24 or 25 hours.
    Day,
    /// Seven days.
    Week,
    /// A month. A day that a month does not have is its last day.
    Month,
    /// A year. The 29th of February is the 28th in other years.
    Year,
}

/// The length of a billing period, such as one month.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BillingInterval {
    unit: IntervalUnit,
    count: u16,
}

impl BillingInterval {
    /// One month.
    pub const MONTH: Self = Self { unit: IntervalUnit::Month, count: 1 };
    /// One year.
    pub const YEAR: Self = Self { unit: IntervalUnit::Year, count: 1 };

    /// Creates an interval. A count of zero becomes one.
    pub const fn new(unit: IntervalUnit, count: u16) -> Self {
        Self { unit, count: if count == 0 { 1 } else { count } }
    }

    /// Returns the unit.
    pub const fn unit(self) -> IntervalUnit {
        self.unit
    }

    /// Returns the number of units.
    pub const fn count(self) -> u16 {
        self.count
    }

    /// Returns `n` intervals after a time of the calendar; before it if `n` is negative. Returns `None` outside of the
    /// years -9999 to 9999.
    fn after(self, start: DateTime, n: i64) -> Option<DateTime> {
        let units = n.checked_mul(i64::from(self.count))?;
        let span = match self.unit {
            IntervalUnit::Day => Span::new().try_days(units),
            IntervalUnit::Week => Span::new().try_days(units.checked_mul(7)?),
            IntervalUnit::Month => Span::new().try_months(units),
            IntervalUnit::Year => Span::new().try_months(units.checked_mul(12)?),
        };
        start.checked_add(span.ok()?).ok()
    }

    /// Returns about how many intervals there are from one time of the calendar to another.
    fn estimate(self, from: DateTime, to: DateTime) -> i64 {
        let months = |at: DateTime| i64::from(at.year()) * 12 + i64::from(at.month());
        let days = || from.date().until(to.date()).map_or(0, |span| i64::from(span.get_days()));
        let units = match self.unit {
            IntervalUnit::Day => days(),
            IntervalUnit::Week => days().div_euclid(7),
            IntervalUnit::Month => months(to) - months(from),
            IntervalUnit::Year => (months(to) - months(from)).div_euclid(12),
        };
        units.div_euclid(i64::from(self.count))
    }
}

/// Shown as `month`, or as `3 months`.
impl fmt::Display for BillingInterval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.unit {
            IntervalUnit::Day => "day",
            IntervalUnit::Week => "week",
            IntervalUnit::Month => "month",
            IntervalUnit::Year => "year",
        };
        match self.count {
            1 => f.write_str(unit),
            count => write!(f, "{count} {unit}s"),
        }
    }
}

/// The error of a text that is no interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an interval is `day`, `week`, `month` or `year`, or a number of them, such as `3 months`")]
pub struct InvalidInterval;

impl FromStr for BillingInterval {
    type Err = InvalidInterval;

    fn from_str(text: &str) -> Result<Self, InvalidInterval> {
        let (count, unit) = match text.split_once(' ') {
            Some((count, unit)) => (count.parse().map_err(|_| InvalidInterval)?, unit),
            None => (1, text),
        };
        let unit = match unit.strip_suffix('s').unwrap_or(unit) {
            "day" => IntervalUnit::Day,
            "week" => IntervalUnit::Week,
            "month" => IntervalUnit::Month,
            "year" => IntervalUnit::Year,
            _ => return Err(InvalidInterval),
        };
        if count == 0 { Err(InvalidInterval) } else { Ok(Self { unit, count }) }
    }
}

/// A billing period, from its start, which is included, to its end, which is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, ToSchema)]
pub struct BillingPeriod {
    /// The start.
    pub start: Timestamp,
    /// The end, which is the start of the next period.
    pub end: Timestamp,
}

impl BillingPeriod {
    /// Returns whether a time is in the period.
    pub fn contains(&self, at: Timestamp) -> bool {
        self.start <= at && at < self.end
    }
}

/// The anchor of periods: a time, the interval from it, and the time zone in which intervals are counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BillingAnchor {
    at: Timestamp,
    interval: BillingInterval,
    zone: TimeZone,
    /// The anchor in the time zone.
    local: DateTime,
}

impl BillingAnchor {
    /// Creates an anchor.
    pub fn new(at: Timestamp, interval: BillingInterval, zone: TimeZone) -> Self {
        let local = zone.to_datetime(at.to_jiff());
        Self { at, interval, zone, local }
    }

    /// Returns the time of the anchor.
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// Returns the interval.
    pub fn interval(&self) -> BillingInterval {
        self.interval
    }

    /// Returns the time zone.
    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// Returns the n-th boundary: the anchor plus `n` intervals; before the anchor if `n` is negative. A time of day that
    /// does not exist on that day is the time after the gap; of one that occurs twice, it is the first.
    pub fn boundary(&self, n: i64) -> Timestamp {
        if n == 0 {
            return self.at;
        }
        let limit = if n < 0 { Timestamp::from_micros(i64::MIN) } else { Timestamp::from_micros(i64::MAX) };
        let Some(local) = self.interval.after(self.local, n) else { return limit };
        self.zone.to_timestamp(local).map_or(limit, Timestamp::from)
    }

    /// Returns the period that contains a time. Where two boundaries are the same instant, as in a time zone that has
    /// left out a day, there is no period between them.
    pub fn period_at(&self, at: Timestamp) -> BillingPeriod {
        let mut n = self.interval.estimate(self.local, self.zone.to_datetime(at.to_jiff()));
        let mut start = self.boundary(n);
        while start > at {
            n -= 1;
            start = self.boundary(n);
        }
        loop {
            let end = self.boundary(n + 1);
            if end > at || (end == start && end == Timestamp::from_micros(i64::MAX)) {
                return BillingPeriod { start, end };
            }
            n += 1;
            start = end;
        }
    }
}

/// The periods of an account, whose anchor can change: each anchor counts from a time on, until the next one does. A
/// change ends the running period, and a new one begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeriodSchedule {
    /// The anchors, and the times from which they count, in order.
    segments: Vec<(Timestamp, BillingAnchor)>,
}

impl PeriodSchedule {
    /// Creates a schedule with one anchor, which counts always.
    pub fn new(anchor: BillingAnchor) -> Self {
        Self { segments: vec![(Timestamp::from_micros(i64::MIN), anchor)] }
    }

    /// Creates the schedule of calendar months in a time zone.
    pub fn calendar_months(zone: TimeZone) -> Self {
        let start = jiff::civil::date(2000, 1, 1).at(0, 0, 0, 0);
        let at = zone.to_timestamp(start).map_or(Timestamp::from_micros(0), Timestamp::from);
        Self::new(BillingAnchor::new(at, BillingInterval::MONTH, zone))
    }

    /// Sets the anchor that counts from a time on, which is not before that of an earlier call.
    #[must_use]
    pub fn then(mut self, since: Timestamp, anchor: BillingAnchor) -> Self {
        self.segments.retain(|(known, _)| *known < since);
        self.segments.push((since, anchor));
        self
    }

    /// Returns the period that contains a time.
    pub fn period_at(&self, at: Timestamp) -> BillingPeriod {
        let after = self.segments.partition_point(|(since, _)| *since <= at);
        let index = after.saturating_sub(1);
        let (since, anchor) = &self.segments[index];
        let BillingPeriod { start, end } = anchor.period_at(at);
        let next = self.segments.get(index + 1).map(|(since, _)| *since);
        BillingPeriod { start: start.max(*since), end: next.map_or(end, |next| end.min(next)) }
    }

    /// Returns the anchor that counts at a time.
    pub fn anchor_at(&self, at: Timestamp) -> &BillingAnchor {
        let after = self.segments.partition_point(|(since, _)| *since <= at);
        &self.segments[after.saturating_sub(1)].1
    }
}

/// The periods of a schedule. The last one is kept, because most times are in the same one as the time before.
#[derive(Clone, Debug)]
pub(crate) struct RecentPeriods {
    schedule: PeriodSchedule,
    last: BillingPeriod,
}

impl RecentPeriods {
    pub(crate) fn new(schedule: PeriodSchedule) -> Self {
        let nothing = Timestamp::default();
        Self { schedule, last: BillingPeriod { start: nothing, end: nothing } }
    }

    pub(crate) fn schedule(&self) -> &PeriodSchedule {
        &self.schedule
    }

    /// Returns the period that contains a time.
    pub(crate) fn period_at(&mut self, at: Timestamp) -> BillingPeriod {
        if !self.last.contains(at) {
            self.last = self.schedule.period_at(at);
        }
        self.last
    }
}

#[cfg(test)]
mod tests;
