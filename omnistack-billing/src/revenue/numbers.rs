//! The numbers of revenue, made of what is stored.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::store::{ChangedRevenue, CurrentRevenue, FailedRevenue};

/// The recurring revenue in a currency. Amounts are in minor units.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct CurrencyRevenue {
    /// The ISO 4217 code.
    pub(super) currency: String,
    /// The recurring revenue of a month (MRR), less the discounts that recur.
    pub(super) mrr: i64,
    /// The recurring revenue of a month at the start of the period.
    pub(super) mrr_at_start: i64,
    /// The number of tenants that pay.
    pub(super) customers: i64,
    /// The number of subscriptions that are paid.
    pub(super) subscriptions: i64,
    /// The revenue of a month of each tenant that pays (ARPU), rounded half up.
    pub(super) average_revenue: i64,
    /// The changes in the period.
    pub(super) changes: RevenueChanges,
    /// The payments that have failed and were not made up for.
    pub(super) failed: FailedPayments,
}

/// The changes of recurring revenue in a period. Amounts are not negative.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct RevenueChanges {
    /// The revenue of tenants that have paid for the first time.
    pub(super) new: i64,
    /// The revenue of tenants that have come back.
    pub(super) reactivation: i64,
    /// The revenue that upgrades, further seats and the end of discounts have added.
    pub(super) expansion: i64,
    /// The revenue that downgrades, fewer seats and discounts have taken away.
    pub(super) contraction: i64,
    /// The revenue of tenants that have left.
    pub(super) churn: i64,
    /// The sum of all changes, which can be negative.
    pub(super) net: i64,
    /// The number of new customers.
    pub(super) new_customers: i64,
    /// The number of customers that have come back.
    pub(super) reactivated_customers: i64,
    /// The number of customers that have left.
    pub(super) churned_customers: i64,
    /// The churn and the contraction in basis points (hundredths of a percent) of the revenue at the start; 0 if there
    /// was none.
    pub(super) churn_basis_points: i64,
}

/// Payments of subscriptions that have failed and were not made up for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct FailedPayments {
    /// The number of subscriptions.
    pub(super) subscriptions: i64,
    /// The number of payments that have failed.
    pub(super) payments: i64,
    /// The recurring revenue of a month of the subscriptions whose tenants still have their plan.
    pub(super) mrr_at_risk: i64,
}

/// Returns the revenue of each currency, in the order of their codes.
pub(super) fn revenue(
    current: Vec<CurrentRevenue>,
    changes: &[ChangedRevenue],
    failed: Vec<FailedRevenue>,
) -> Vec<CurrencyRevenue> {
    let mut all: BTreeMap<String, CurrencyRevenue> = BTreeMap::new();
    for CurrentRevenue { currency, mrr, customers, subscriptions } in current {
        let entry = of_currency(&mut all, &currency);
        (entry.mrr, entry.customers, entry.subscriptions) = (mrr, customers, subscriptions);
        entry.average_revenue = rounded(mrr, customers);
    }
    for row in changes {
        of_currency(&mut all, &row.currency).changes.add(row);
    }
    for FailedRevenue { currency, subscriptions, mrr, payments } in failed {
        of_currency(&mut all, &currency).failed = FailedPayments { subscriptions, payments, mrr_at_risk: mrr };
    }
    let mut all: Vec<CurrencyRevenue> = all.into_values().collect();
    for entry in &mut all {
        entry.mrr_at_start = entry.mrr.saturating_sub(entry.changes.net);
        let lost = entry.changes.churn.saturating_add(entry.changes.contraction);
        entry.changes.churn_basis_points = rounded(lost.saturating_mul(10_000), entry.mrr_at_start);
    }
    all
}

fn of_currency<'a>(all: &'a mut BTreeMap<String, CurrencyRevenue>, currency: &str) -> &'a mut CurrencyRevenue {
    let new = || CurrencyRevenue { currency: currency.to_owned(), ..CurrencyRevenue::default() };
    all.entry(currency.to_owned()).or_insert_with(new)
}

impl RevenueChanges {
    fn add(&mut self, row: &ChangedRevenue) {
        self.net = self.net.saturating_add(row.difference);
        match row.kind.as_str() {
            "new" => {
                self.new = row.difference;
                self.new_customers = row.changes;
            }
            "reactivation" => {
                self.reactivation = row.difference;
                self.reactivated_customers = row.changes;
            }
            "expansion" => self.expansion = row.difference,
            "contraction" => self.contraction = row.difference.saturating_neg(),
            "churn" => {
                self.churn = row.difference.saturating_neg();
                self.churned_customers = row.changes;
            }
            _ => {}
        }
    }
}

/// Returns a quotient, rounded half up. Returns 0 if the divisor is not positive.
fn rounded(amount: i64, divisor: i64) -> i64 {
    if divisor <= 0 {
        return 0;
    }
    let (amount, divisor) = (i128::from(amount), i128::from(divisor));
    i64::try_from((2 * amount + divisor).div_euclid(2 * divisor)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(currency: &str, kind: &str, difference: i64, changes: i64) -> ChangedRevenue {
        ChangedRevenue { currency: currency.to_owned(), kind: kind.to_owned(), difference, changes }
    }

    #[test]
    fn currencies_are_kept_apart() {
        let current = vec![
            CurrentRevenue { currency: "EUR".to_owned(), mrr: 10_000, customers: 3, subscriptions: 4 },
            CurrentRevenue { currency: "JPY".to_owned(), mrr: 500, customers: 1, subscriptions: 1 },
        ];
        let changes = vec![
            changed("EUR", "churn", -2_900, 1),
            changed("EUR", "contraction", -100, 2),
            changed("EUR", "expansion", 1_000, 1),
            changed("EUR", "new", 4_000, 2),
            changed("EUR", "reactivation", 2_000, 1),
            changed("USD", "churn", -2_000, 1),
        ];
        let failed = vec![FailedRevenue { currency: "JPY".to_owned(), subscriptions: 2, mrr: 500, payments: 5 }];
        let [eur, jpy, usd] = revenue(current, &changes, failed).try_into().unwrap();
        assert_eq!((eur.mrr, eur.mrr_at_start, eur.average_revenue), (10_000, 6_000, 3_333));
        assert_eq!((eur.changes.new, eur.changes.expansion, eur.changes.contraction), (4_000, 1_000, 100));
        assert_eq!((eur.changes.churn, eur.changes.reactivation, eur.changes.net), (2_900, 2_000, 4_000));
        assert_eq!((eur.changes.new_customers, eur.changes.churned_customers), (2, 1));
        assert_eq!(eur.changes.churn_basis_points, 5_000);
        assert_eq!(jpy.failed, FailedPayments { subscriptions: 2, payments: 5, mrr_at_risk: 500 });
        assert_eq!((usd.mrr, usd.mrr_at_start, usd.average_revenue), (0, 2_000, 0));
        assert_eq!((usd.changes.churn_basis_points, jpy.changes.churn_basis_points), (10_000, 0));
    }
}
