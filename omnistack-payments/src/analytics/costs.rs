//! The costs of payments, and what the same payments would have cost elsewhere.

use std::collections::BTreeMap;

use omnistack_core::{
    identity::ApiKeyId,
    money::{Currency, Money},
    payment::PaymentMethodKind,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    numbers::share,
    period::{DayRange, date},
    queries::{DayVolume, KeyVolumeRow, VolumeRow},
};
use crate::{
    payment::{no_api_key, read_name},
    router::RouteQuestion,
};

/// The volume of a service in a currency. Amounts are in minor units.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub(super) struct ServiceCosts {
    /// The name of the service.
    pub(super) provider: String,
    /// The ISO 4217 code of the currency.
    pub(super) currency: String,
    /// The payments that have taken money.
    pub(super) payments: i64,
    /// The money that was taken.
    pub(super) captured: i64,
    /// The fees in this currency. Those that are not known yet are estimated.
    pub(super) fees: i64,
    /// The fees as a share of the money; `null` without money.
    #[schema(required)]
    pub(super) fee_rate: Option<f64>,
}

/// The volume of a day in a currency. Amounts are in minor units.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub(super) struct DayCosts {
    /// The day of UTC, such as `2030-01-01`.
    pub(super) date: String,
    /// The ISO 4217 code of the currency.
    pub(super) currency: String,
    /// The payments that have taken money.
    pub(super) payments: i64,
    /// The money that was taken.
    pub(super) captured: i64,
    /// The fees.
    pub(super) fees: i64,
}

/// The volume that an API key has caused in a currency. Amounts are in minor units.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub(super) struct ApiKeyCosts {
    /// The API key; `null` for payments without one.
    #[schema(required, value_type = Option<String>, format = Uuid)]
    pub(super) api_key_id: Option<ApiKeyId>,
    /// The ISO 4217 code of the currency.
    pub(super) currency: String,
    /// The payments that have taken money.
    pub(super) payments: i64,
    /// The money that was taken.
    pub(super) captured: i64,
    /// The fees in this currency. Those that are not known yet are estimated.
    pub(super) fees: i64,
    /// The fees as a share of the money; `null` without money.
    #[schema(required)]
    pub(super) fee_rate: Option<f64>,
}

/// The volume of a month at the present rate. Amounts are in minor units.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub(super) struct ProjectedCosts {
    /// The ISO 4217 code of the currency.
    pub(super) currency: String,
    /// The money.
    pub(super) captured: i64,
    /// The fees.
    pub(super) fees: i64,
}

/// The costs that payments of other services would have had at a service, by its public prices, in minor units.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub(super) struct CostsElsewhere {
    /// The name of the service.
    pub(super) provider: String,
    /// The ISO 4217 code of the currency.
    pub(super) currency: String,
    /// The payments of other services that this one has a price for.
    pub(super) payments: i64,
    /// The fees that were paid for them.
    pub(super) fees_paid: i64,
    /// The fees that this service would have charged.
    pub(super) fees_estimated: i64,
    /// The fees that would have been saved; negative if they would have been higher.
    pub(super) saved: i64,
}

/// Returns the volume by service and currency.
pub(super) fn by_service(rows: &[VolumeRow]) -> Vec<ServiceCosts> {
    let mut sums: BTreeMap<(&str, &str), (i64, i64, i64)> = BTreeMap::new();
    for row in rows {
        let sum = sums.entry((row.service.as_str(), row.currency.as_str())).or_default();
        *sum = (sum.0 + row.payments, sum.1 + row.captured, sum.2 + row.fees);
    }
    let costs = sums.into_iter().map(|((service, currency), (payments, captured, fees))| ServiceCosts {
        provider: service.to_owned(),
        currency: currency.to_owned(),
        payments,
        captured,
        fees,
        fee_rate: share(fees, captured),
    });
    costs.collect()
}

/// Returns the volume by API key and currency.
pub(super) fn by_api_key(rows: Vec<KeyVolumeRow>) -> Vec<ApiKeyCosts> {
    let costs = rows.into_iter().map(|row| ApiKeyCosts {
        api_key_id: (row.api_key_id != no_api_key()).then_some(row.api_key_id),
        currency: row.currency,
        payments: row.payments,
        captured: row.captured,
        fees: row.fees,
        fee_rate: share(row.fees, row.captured),
    });
    costs.collect()
}

/// Returns the volume by day and currency.
pub(super) fn by_day(rows: &[DayVolume]) -> Vec<DayCosts> {
    let days = rows.iter().map(|(day, currency, payments, captured, fees)| DayCosts {
        date: date(*day),
        currency: currency.clone(),
        payments: *payments,
        captured: *captured,
        fees: *fees,
    });
    days.collect()
}

/// Returns the volume of a month at the present rate, by currency.
pub(super) fn projected(days: DayRange, rows: &[DayVolume]) -> Vec<ProjectedCosts> {
    let mut by_currency: BTreeMap<&str, Vec<&DayVolume>> = BTreeMap::new();
    for row in rows {
        by_currency.entry(&row.1).or_default().push(row);
    }
    let projected = by_currency.into_iter().map(|(currency, rows)| ProjectedCosts {
        currency: currency.to_owned(),
        captured: days.projected_month(rows.iter().map(|row| (row.0, row.3))),
        fees: days.projected_month(rows.iter().map(|row| (row.0, row.4))),
    });
    projected.collect()
}

/// Returns what the payments of other services would have cost at each service, the largest savings of a currency
/// first.
/// `estimate` returns the fee of a payment at a service. Payments of the same currency, method and country are
/// estimated by their mean amount.
pub(super) fn elsewhere(
    rows: &[VolumeRow],
    services: &[&'static str],
    estimate: impl Fn(&str, &RouteQuestion) -> Option<Money>,
) -> Vec<CostsElsewhere> {
    let mut sums: BTreeMap<(&str, &str), (i64, i64, i64)> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.payments > 0 && row.captured > 0) {
        let Some(question) = mean_payment(row) else { continue };
        for service in services.iter().filter(|service| **service != row.service) {
            let fee = estimate(service, &question).filter(|fee| fee.currency() == question.amount.currency());
            let Some(fee) = fee else { continue };
            let sum = sums.entry((*service, row.currency.as_str())).or_default();
            let estimated = fee.minor().saturating_mul(row.payments);
            *sum = (sum.0 + row.payments, sum.1 + row.fees, sum.2.saturating_add(estimated));
        }
    }
    let mut costs: Vec<_> = sums
        .into_iter()
        .map(|((service, currency), (payments, fees_paid, fees_estimated))| CostsElsewhere {
            provider: service.to_owned(),
            currency: currency.to_owned(),
            payments,
            fees_paid,
            fees_estimated,
            saved: fees_paid.saturating_sub(fees_estimated),
        })
        .collect();
    costs.sort_by(|one, other| one.currency.cmp(&other.currency).then(other.saved.cmp(&one.saved)));
    costs
}

/// Returns the question about a payment of the mean amount.
fn mean_payment(row: &VolumeRow) -> Option<RouteQuestion> {
    let currency = Currency::from_code(&row.currency)?;
    let method: PaymentMethodKind = read_name(&row.method)?;
    let country = Some(row.country.clone()).filter(|country| !country.is_empty());
    let amount = Money::new(row.captured / row.payments, currency);
    Some(RouteQuestion { amount, method, country, provider: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(service: &str, currency: &str, payments: i64, captured: i64, fees: i64) -> VolumeRow {
        let text = |text: &str| text.to_owned();
        let (service, currency, method, country) = (text(service), text(currency), text("card"), text("DE"));
        VolumeRow { service, currency, method, country, payments, captured, fees }
    }

    #[test]
    fn past_volume_is_priced_at_the_other_services() {
        let rows =
            [row("dear", "EUR", 10, 100_000, 3_000), row("dear", "USD", 1, 500, 45), row("cheap", "EUR", 1, 100, 1)];
        // 1 % and 5 cents, in EUR only.
        let estimate = |service: &str, question: &RouteQuestion| {
            let is_priced = service == "cheap" && question.amount.currency().code() == "EUR";
            is_priced.then(|| Money::new(question.amount.minor() / 100 + 5, question.amount.currency()))
        };
        let costs = elsewhere(&rows, &["cheap", "dear"], estimate);
        let [cheap] = costs.as_slice() else { panic!("{costs:?}") };
        assert_eq!((cheap.provider.as_str(), cheap.currency.as_str(), cheap.payments), ("cheap", "EUR", 10));
        assert_eq!((cheap.fees_paid, cheap.fees_estimated, cheap.saved), (3_000, 1_050, 1_950));
        let totals: Vec<_> = by_service(&rows).into_iter().map(|one| (one.provider, one.fees, one.fee_rate)).collect();
        let text = |text: &str| text.to_owned();
        assert_eq!(
            totals,
            [(text("cheap"), 1, Some(0.01)), (text("dear"), 3_000, Some(0.03)), (text("dear"), 45, Some(0.09))]
        );
    }
}
