//! The prices of usage, and the lines that they make: rules without I/O.

use std::collections::HashMap;

use jiff::tz::TimeZone;
use omnistack_core::{clock::Timestamp, money::Currency, usage::Decimal};

use super::{amounts::MAX_FACTOR_DECIMALS, model::InvoiceLineKind, new_invoice::NewInvoiceLine};
use crate::{
    meter::{Meter, MeterSet},
    period::BillingPeriod,
    quantity::Quantity,
    window::limit_units,
};

/// The price of a meter's unit.
///
/// ```
/// use omnistack_billing::UsagePrice;
/// use omnistack_core::{money::Currency, usage::Decimal};
///
/// // Pages beyond the limit of the plan `pro` cost a quarter of a cent each.
/// let price = UsagePrice::new("pages", Decimal::new(25, 4), Currency::USD).plan("pro").beyond_limit();
/// # let _ = price;
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct UsagePrice {
    meter: String,
    price: Decimal,
    currency: Currency,
    /// Empty for all plans.
    plans: Vec<String>,
    included: IncludedUsage,
}

/// The usage that costs nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum IncludedUsage {
    Units(u64),
    /// The plan's limit of the meter.
    Limit,
}

impl UsagePrice {
    /// Creates the price of a meter, in the currency, for tenants of all plans. It has at most nine decimals. It counts for
    /// invoices in this currency, which is that of the plan's price, if it has one.
    pub fn new(meter: impl Into<String>, price: Decimal, currency: Currency) -> Self {
        let included = IncludedUsage::Units(0);
        Self { meter: meter.into(), price, currency, plans: Vec::new(), included }
    }

    /// Sets a plan to which the price applies. Call it for each such plan.
    pub fn plan(mut self, key: impl Into<String>) -> Self {
        self.plans.push(key.into());
        self
    }

    /// Sets the number of units that cost nothing in each billing period.
    pub fn included(mut self, units: u64) -> Self {
        self.included = IncludedUsage::Units(units);
        self
    }

    /// Includes the plan's limit of the meter: usage beyond it costs the price. Make the limit soft, so that there is such
    /// usage. If the plan has no limit, all usage is included.
    pub fn beyond_limit(mut self) -> Self {
        self.included = IncludedUsage::Limit;
        self
    }

    /// Returns the name of the meter.
    pub(super) fn meter(&self) -> &str {
        &self.meter
    }

    pub(super) fn currency(&self) -> Currency {
        self.currency
    }

    pub(super) fn applies_to(&self, plan: &str) -> bool {
        self.plans.is_empty() || self.plans.iter().any(|key| key == plan)
    }

    /// Returns what is wrong with the price, or `None`.
    pub(super) fn problem(&self, meters: &MeterSet) -> Option<&'static str> {
        if meters.get(&self.meter).is_none() {
            return Some("the app has no such meter");
        }
        let price = self.price.normalize();
        if price.scale() > MAX_FACTOR_DECIMALS || price < Decimal::ZERO {
            return Some("the price must be zero or more, with at most nine decimals");
        }
        None
    }

    /// Returns the units that cost nothing, in the smallest units of the meter.
    fn included_units(&self, meter: &Meter, limits: &HashMap<String, u64>) -> i64 {
        match self.included {
            IncludedUsage::Units(units) => limit_units(meter, units),
            IncludedUsage::Limit => limits.get(&self.meter).map_or(i64::MAX, |limit| limit_units(meter, *limit)),
        }
    }
}

/// The late usage of a meter: the billing period in which it occurred, what was used in that period in time, and what was
/// reported late. In the smallest units of the meter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LateUnits {
    pub(super) period: BillingPeriod,
    pub(super) in_time: i64,
    pub(super) late: i64,
}

/// The usage of a tenant in a billing period, in the smallest units of each meter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PeriodUnits {
    pub(super) used: HashMap<String, i64>,
    pub(super) late: HashMap<String, Vec<LateUnits>>,
}

/// The plan of a tenant, as far as usage costs something.
#[derive(Clone, Copy, Debug)]
pub(super) struct UsageTerms<'a> {
    pub(super) plan: &'a str,
    pub(super) currency: Currency,
    pub(super) limits: &'a HashMap<String, u64>,
    pub(super) zone: &'a TimeZone,
}

/// Returns the lines of usage in the order of the prices. What costs nothing has no line.
pub(super) fn usage_lines(
    prices: &[UsagePrice],
    meters: &MeterSet,
    terms: UsageTerms<'_>,
    period: BillingPeriod,
    units: &PeriodUnits,
) -> Vec<NewInvoiceLine> {
    let mut lines = Vec::new();
    for price in prices.iter().filter(|price| price.currency == terms.currency && price.applies_to(terms.plan)) {
        let Some(meter) = meters.get(&price.meter) else { continue };
        let included = price.included_units(meter, terms.limits);
        let beyond = |units: i64| units.saturating_sub(included).max(0);
        let mut add = |kind, description: String, units: i64, period| {
            // Usage that was taken back is billed as zero, and not paid out.
            if units <= 0 || price.price.is_zero() {
                return;
            }
            let quantity = Quantity::from_units(units, meter.decimals).0;
            let mut line = NewInvoiceLine::usage(kind, meter.name, description, quantity);
            line.unit_price = price.price;
            lines.push(line.unit(meter.unit).period(period));
        };
        let used = units.used.get(meter.name).copied().unwrap_or(0);
        add(InvoiceLineKind::Usage, format!("Usage: {}", title(meter)), beyond(used), period);
        for LateUnits { period, in_time, late } in units.late.get(meter.name).into_iter().flatten().copied() {
            let description = format!("Late usage {}: {}", month(period.start, terms.zone), title(meter));
            let billed = beyond(in_time.saturating_add(late)).saturating_sub(beyond(in_time));
            add(InvoiceLineKind::LateUsage, description, billed, period);
        }
    }
    lines
}

/// Returns the name of a meter for customers.
fn title(meter: &Meter) -> String {
    meter.name.replace('_', " ")
}

/// Returns the name of the month of a time, with the year.
fn month(at: Timestamp, zone: &TimeZone) -> String {
    zone.to_datetime(at.to_jiff()).strftime("%B %Y").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn period(start: &str, end: &str) -> BillingPeriod {
        let time = |day: &str| format!("{day}T00:00:00Z").parse().unwrap();
        BillingPeriod { start: time(start), end: time(end) }
    }

    fn lines(price: UsagePrice, used: i64, late: Option<(i64, i64)>) -> Vec<(String, String)> {
        let (meters, _) = MeterSet::new(&[Meter::sum("gpu_hours", "hours").decimals(2)]);
        let july = period("2030-07-01", "2030-08-01");
        let late = late.map(|(in_time, late)| LateUnits { period: period("2030-06-01", "2030-07-01"), in_time, late });
        let units = PeriodUnits {
            used: HashMap::from([("gpu_hours".to_owned(), used)]),
            late: HashMap::from([("gpu_hours".to_owned(), late.into_iter().collect())]),
        };
        let limits = HashMap::from([("gpu_hours".to_owned(), 10)]);
        let terms = UsageTerms { plan: "pro", currency: Currency::USD, limits: &limits, zone: &TimeZone::UTC };
        let lines = usage_lines(&[price], &meters, terms, july, &units);
        lines.into_iter().map(|line| (line.description, line.quantity.normalize().to_string())).collect()
    }

    fn price() -> UsagePrice {
        UsagePrice::new("gpu_hours", Decimal::new(5, 1), Currency::USD)
    }

    // Case 35.
    #[test]
    fn late_usage_has_a_line_of_its_own() {
        let line = |description: &str, quantity: &str| (description.to_owned(), quantity.to_owned());
        let (usage, late) = ("Usage: gpu hours", "Late usage June 2030: gpu hours");
        assert_eq!(lines(price(), 150, Some((300, 25))), [line(usage, "1.5"), line(late, "0.25")]);
        // The limit of June had ten hours, of which nine were used in time.
        assert_eq!(lines(price().beyond_limit(), 1250, Some((900, 300))), [line(usage, "2.5"), line(late, "2")]);
        assert_eq!(lines(price().beyond_limit(), 1000, Some((1200, 100))), [line(late, "1")]);
    }

    #[test]
    fn what_costs_nothing_has_no_line() {
        assert!(lines(price(), 0, None).is_empty());
        assert!(lines(price(), -100, None).is_empty());
        assert!(lines(price().included(2), 200, None).is_empty());
        assert!(lines(price().plan("free"), 150, None).is_empty());
        assert!(lines(UsagePrice::new("gpu_hours", Decimal::ZERO, Currency::USD), 150, None).is_empty());
        assert!(lines(UsagePrice::new("gpu_hours", Decimal::ONE, Currency::EUR), 150, None).is_empty());
        assert_eq!(lines(price().plan("free").plan("pro").included(1), 150, None).len(), 1);
    }
}
