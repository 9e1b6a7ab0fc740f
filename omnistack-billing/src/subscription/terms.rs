//! The terms of a subscription: the plan, the interval, the number of units and the price.

use omnistack_core::money::Money;
use serde::{Deserialize, Serialize};

use crate::{
    period::{BillingInterval, IntervalUnit},
    plan::PlanDefinition,
};

/// The terms of a subscription: what is bought, and for how much.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SubscriptionTerms {
    /// The key of the plan.
    pub(super) plan: String,
    /// The version of the plan.
    pub(super) version: u32,
    /// The group of the plan.
    pub(super) group: String,
    /// The interval of the price, such as `month`.
    pub(super) interval: String,
    /// The number of units.
    pub(super) quantity: u64,
    /// Whether a unit is a seat.
    pub(super) per_seat: bool,
    /// The price of a month without discounts, in minor units.
    pub(super) monthly_price: i64,
    /// The ISO 4217 code of the currency.
    pub(super) currency: String,
}

impl SubscriptionTerms {
    /// Creates the terms of units of a plan. Returns `None` if the plan is not sold by the interval.
    pub(super) fn new(plan: &PlanDefinition, interval: BillingInterval, quantity: u64) -> Option<Self> {
        let price = plan.sale_price(interval)?;
        Some(Self {
            plan: plan.key.clone(),
            version: plan.version,
            group: plan.group.clone(),
            interval: interval.to_string(),
            quantity,
            per_seat: plan.per_seat,
            monthly_price: monthly_amount(price, interval, quantity),
            currency: price.currency().code().to_owned(),
        })
    }

    /// Returns whether the customer gets the same by other terms.
    pub(super) fn gives_same_as(&self, other: &Self) -> bool {
        self.has_plan_of(other) && self.quantity == other.quantity
    }

    /// Returns whether the plan, its version and the interval are those of other terms.
    pub(super) fn has_plan_of(&self, other: &Self) -> bool {
        (&self.plan, self.version, &self.interval) == (&other.plan, other.version, &other.interval)
    }
}

/// Returns the amount of a month in minor units, rounded half up. A week is 12/52 of a month, a day 12/365.
pub(super) fn monthly_amount(price: Money, interval: BillingInterval, quantity: u64) -> i64 {
    let (times, months) = match interval.unit() {
        IntervalUnit::Day => (365, 12),
        IntervalUnit::Week => (52, 12),
        IntervalUnit::Month => (1, 1),
        IntervalUnit::Year => (1, 12),
    };
    let divisor = months * i128::from(interval.count());
    let amount = i128::from(price.minor()).saturating_mul(i128::from(quantity)).saturating_mul(times);
    i64::try_from(amount.saturating_add(divisor / 2).div_euclid(divisor)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_are_those_of_a_month() {
        for (minor, interval, quantity, expected) in [
            (2_900, "month", 1, 2_900),
            (2_900, "month", 7, 20_300),
            (29_000, "year", 1, 2_417),
            (8_700, "3 months", 1, 2_900),
            (1_000, "week", 1, 4_333),
            (100, "day", 2, 6_083),
            (i64::MAX, "month", u64::MAX, i64::MAX),
            (i64::MAX, "day", u64::MAX, i64::MAX),
        ] {
            let price = Money::new(minor, omnistack_core::money::Currency::USD);
            assert_eq!(monthly_amount(price, interval.parse().unwrap(), quantity), expected, "{minor} {interval}");
        }
    }
}
