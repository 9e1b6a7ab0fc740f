//! The numbers of a meter in a range: rules without I/O. Amounts are in the smallest units of the meter.

use std::{collections::BTreeMap, time::Duration};

use omnistack_core::{clock::Timestamp, usage::Decimal};
use serde::Serialize;
use utoipa::ToSchema;

use super::range::ReportRange;
use crate::{
    meter::{Aggregation, Meter},
    quantity::Quantity,
};

/// Decimals of shares and growths in percent.
const PERCENT_DECIMALS: u32 = 2;
/// Decimals of an average in addition to those of its meter.
const AVERAGE_DECIMALS: u32 = 2;

/// The usage in an interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct UsagePoint {
    /// The start of the interval.
    start: Timestamp,
    /// The usage.
    quantity: Quantity,
}

/// The usage of each interval that has any, by its start.
pub(super) type Intervals = BTreeMap<Timestamp, i64>;

/// The numbers that a meter has counted in a range of days.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RangeNumbers {
    /// The usage of the range: the sum of the days, the largest day, or the latest one, by the meter's aggregation.
    pub(super) value: i64,
    /// The sum of the days, for the average.
    pub(super) sum_of_days: i64,
    pub(super) events: i64,
    /// The first of the days with the largest usage, and its usage.
    pub(super) peak: Option<(Timestamp, i64)>,
}

impl RangeNumbers {
    /// Adds up the days of a meter that adds up, or that takes the largest quantity.
    pub(super) fn of_days(meter: &Meter, days: &Intervals, events: i64) -> Self {
        let sum_of_days = days.values().fold(0_i64, |sum, units| sum.saturating_add(*units));
        let mut peak: Option<(Timestamp, i64)> = None;
        for (start, units) in days {
            if peak.is_none_or(|(_, most)| most < *units) {
                peak = Some((*start, *units));
            }
        }
        let value = if adds_up(meter) { sum_of_days } else { peak.map_or(0, |(_, most)| most) };
        Self { value, sum_of_days, events, peak }
    }

    /// Returns the average of a day.
    pub(super) fn average(&self, meter: &Meter, range: ReportRange) -> Quantity {
        let sum = quantity(meter, self.sum_of_days);
        Quantity((sum.0 / Decimal::from(range.days().max(1))).round_dp(meter.decimals + AVERAGE_DECIMALS))
    }

    /// Returns the day with the largest usage; `None` if no day has any.
    pub(super) fn peak(&self, meter: &Meter) -> Option<UsagePoint> {
        let (start, units) = self.peak.filter(|(_, units)| *units > 0)?;
        Some(UsagePoint { start, quantity: quantity(meter, units) })
    }
}

/// The numbers of a meter in a range of days, and its usage in the range before.
#[derive(Clone, Copy, Debug)]
pub(super) struct MeterReport<'a> {
    pub(super) meter: &'a Meter,
    pub(super) numbers: RangeNumbers,
    pub(super) previous: i64,
    /// Whether there is usage in either range.
    pub(super) is_used: bool,
}

impl<'a> MeterReport<'a> {
    /// Creates the report; `None` is a range without usage.
    pub(super) fn new(meter: &'a Meter, numbers: Option<RangeNumbers>, previous: Option<i64>) -> Self {
        let is_used = numbers.is_some() || previous.is_some();
        Self { meter, numbers: numbers.unwrap_or_default(), previous: previous.unwrap_or_default(), is_used }
    }
}

/// Returns whether the usage of several days, users and categories is the sum of that of each.
pub(super) fn adds_up(meter: &Meter) -> bool {
    matches!(meter.aggregation, Aggregation::Sum | Aggregation::Count)
}

/// Returns smallest units as an amount.
pub(super) fn quantity(meter: &Meter, units: i64) -> Quantity {
    Quantity::from_units(units, meter.decimals)
}

/// Returns the change from an earlier amount in percent of it; `None` if that is zero.
pub(super) fn growth(units: i64, earlier: i64) -> Option<Quantity> {
    let (now, before) = (Decimal::from(units), Decimal::from(earlier));
    let change = (!before.is_zero()).then(|| (now - before) * Decimal::ONE_HUNDRED / before.abs());
    change.map(|change| Quantity(change.round_dp(PERCENT_DECIMALS)))
}

/// Returns a part in percent of the whole; `None` unless the whole is positive.
pub(super) fn share(part: i64, whole: i64) -> Option<Quantity> {
    let share = || Decimal::from(part) * Decimal::ONE_HUNDRED / Decimal::from(whole);
    (whole > 0).then(|| Quantity(share().round_dp(PERCENT_DECIMALS)))
}

/// Returns the usage of each interval of a range, also of those without usage.
pub(super) fn points(meter: &Meter, range: ReportRange, step: Duration, used: &Intervals) -> Vec<UsagePoint> {
    let units = |start: Timestamp| used.get(&start).copied().unwrap_or_default();
    range.starts(step).map(|start| UsagePoint { start, quantity: quantity(meter, units(start)) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::range::{DAY, UsagePeriod};

    fn text(quantity: Option<Quantity>) -> Option<String> {
        quantity.map(|quantity| quantity.to_string())
    }

    #[test]
    fn growth_is_in_percent_of_the_earlier_amount() {
        for (units, earlier, expected) in [
            (150, 100, Some("50")),
            (50, 100, Some("-50")),
            (0, 100, Some("-100")),
            (100, 100, Some("0")),
            (2, 3, Some("-33.33")),
            (5, 0, None),
            (0, 0, None),
            // Of what is stored now, less was deleted than before.
            (-50, -100, Some("50")),
            (50, -100, Some("150")),
            (i64::MAX, 1, Some("922337203685477580600")),
            (i64::MIN, i64::MAX, Some("-200")),
        ] {
            assert_eq!(text(growth(units, earlier)).as_deref(), expected, "{units} after {earlier}");
        }
    }

    #[test]
    fn shares_are_in_percent_of_the_whole() {
        for (part, whole, expected) in [
            (1, 4, Some("25")),
            (1, 3, Some("33.33")),
            (2, 3, Some("66.67")),
            (0, 3, Some("0")),
            (1, 0, None),
            (1, -1, None),
        ] {
            assert_eq!(text(share(part, whole)).as_deref(), expected, "{part} of {whole}");
        }
    }

    #[test]
    fn days_become_the_numbers_of_their_range() {
        let range = ReportRange::days_until(Timestamp::from_micros(1_900_000_000_000_000), UsagePeriod::Week);
        let day = |day: u32| range.start + DAY * day;
        let days = Intervals::from([(day(1), 250), (day(3), 400), (day(5), 400)]);
        for (meter, value) in [
            (Meter::sum("hours", "hours").decimals(2), 1_050),
            (Meter::new("level", "units", Aggregation::Max).decimals(2), 400),
        ] {
            let numbers = RangeNumbers::of_days(&meter, &days, 7);
            assert_eq!(numbers, RangeNumbers { value, sum_of_days: 1_050, events: 7, peak: Some((day(3), 400)) });
            assert_eq!(numbers.average(&meter, range).to_string(), "1.5");
            assert_eq!(numbers.peak(&meter).map(|peak| peak.quantity.to_string()).as_deref(), Some("4"));
        }
        let none = RangeNumbers::of_days(&Meter::sum("hours", "hours"), &Intervals::new(), 0);
        assert_eq!(none, RangeNumbers::default());
        let meter = Meter::sum("hours", "hours");
        assert_eq!((none.average(&meter, range).to_string().as_str(), none.peak(&meter)), ("0", None));
        let filled: Vec<_> = points(&meter, range, DAY, &days).iter().map(|point| point.quantity.to_string()).collect();
        assert_eq!(filled, ["0", "250", "0", "400", "0", "400", "0"]);
    }
}
