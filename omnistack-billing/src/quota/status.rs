//! The used and the remaining part of quotas.

use omnistack_core::{
    db::{self, Tx},
    http::Error,
    identity::TenantId,
    usage::{DataEnvironment, Decimal},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{claim::MeterLimit, handle::Quotas};
use crate::{
    account::Entitled,
    meter::Meter,
    period::BillingPeriod,
    quantity::Quantity,
    window::{WindowKey, WindowNumbers},
};

/// Reads the numbers of a window.
const SELECT_NUMBERS: &str = "select sum, events, max, last, uniques, reserved from omni_usage_windows
    where tenant_id = $1 and environment = $2 and meter = $3 and grain = $4 and start = $5";

/// The state of a quota: the limit of a meter, and what is used of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[non_exhaustive]
pub struct QuotaStatus {
    /// The name of the meter.
    pub meter: String,
    /// The unit of a quantity, such as `bytes`.
    pub unit: String,
    /// The amount that is used, in the billing period or, for what is kept, in all.
    pub used: Quantity,
    /// The amount that is reserved for work in progress. Of work that has just finished, it is reserved until it is
    /// stored as used.
    pub reserved: Quantity,
    /// The limit; `null` if there is none.
    #[schema(required)]
    pub limit: Option<Quantity>,
    /// The amount that the limit has left; `null` if there is no limit.
    #[schema(required)]
    pub remaining: Option<Quantity>,
    /// The used share of the limit in percent; `null` if there is no limit or it is 0.
    #[schema(required)]
    pub percent: Option<Quantity>,
    /// Whether work beyond the limit is refused. Otherwise it is only reported.
    pub enforced: bool,
}

/// The quotas of a tenant.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct QuotaList {
    /// The key of the plan.
    plan: String,
    /// Whether it is real usage, or that of a test.
    environment: DataEnvironment,
    /// The current billing period.
    period: BillingPeriod,
    /// The quotas, ordered by meter.
    quotas: Vec<QuotaStatus>,
}

impl QuotaStatus {
    fn new(meter: &Meter, limit: MeterLimit, numbers: &WindowNumbers) -> Self {
        let quantity = |units: i64| Quantity::from_units(units, meter.decimals);
        let used = numbers.value(meter);
        let (limit, enforced) = match limit {
            MeterLimit::Unlimited => (None, false),
            MeterLimit::Soft(limit) => (Some(limit), false),
            MeterLimit::Hard(limit) => (Some(limit), true),
        };
        let left = |limit: i64| limit.saturating_sub(used).saturating_sub(numbers.reserved).max(0);
        let share = |limit: i64| Decimal::from(used) * Decimal::ONE_HUNDRED / Decimal::from(limit);
        Self {
            meter: meter.name().to_owned(),
            unit: meter.unit.to_owned(),
            used: quantity(used),
            reserved: quantity(numbers.reserved),
            limit: limit.map(quantity),
            remaining: limit.map(|limit| quantity(left(limit))),
            percent: limit.filter(|limit| *limit > 0).map(|limit| Quantity(share(limit).round_dp(1))),
            enforced,
        }
    }
}

impl Quotas {
    /// Returns what a tenant has used and has left of a meter.
    ///
    /// # Errors
    /// 500 if the app has no such meter; 503 if the database is unavailable.
    pub async fn status(
        &self,
        tenant: TenantId,
        environment: DataEnvironment,
        meter: &str,
    ) -> Result<QuotaStatus, Error> {
        let meter = self.meter(meter)?;
        let entitled = self.entitled(tenant).await?;
        let period = self.current_period(tenant).await?;
        let mut tx = self.db().tenant(tenant).begin_read().await?;
        let key = WindowKey::of_limit(tenant, environment, meter, period.start);
        let status = read(&mut tx, &key, meter, &entitled).await?;
        tx.commit().await?;
        Ok(status)
    }

    /// Returns the quotas of a tenant: the limits of its plan for what is metered.
    pub(super) async fn list(&self, tenant: TenantId, environment: DataEnvironment) -> Result<QuotaList, Error> {
        let entitled = self.entitled(tenant).await?;
        let period = self.current_period(tenant).await?;
        let mut quotas = Vec::new();
        let mut tx = self.db().tenant(tenant).begin_read().await?;
        let is_limited = |meter: &&Meter| !matches!(MeterLimit::of(&entitled, meter), MeterLimit::Unlimited);
        for meter in self.ledger().meters().iter().filter(is_limited) {
            let key = WindowKey::of_limit(tenant, environment, meter, period.start);
            quotas.push(read(&mut tx, &key, meter, &entitled).await?);
        }
        tx.commit().await?;
        Ok(QuotaList { plan: entitled.plan.key.clone(), environment, period, quotas })
    }

    async fn current_period(&self, tenant: TenantId) -> Result<BillingPeriod, Error> {
        Ok(self.accounts().schedule(tenant).await?.schedule.period_at(self.clock().now()))
    }
}

/// Reads the state of a quota.
async fn read(tx: &mut Tx, key: &WindowKey, meter: &Meter, entitled: &Entitled) -> Result<QuotaStatus, db::Error> {
    let select = tx.query(SELECT_NUMBERS).bind(key.tenant).bind(key.environment.as_str()).bind(key.meter.clone());
    let numbers: Option<WindowNumbers> = select.bind(key.grain.as_str()).bind(key.start).fetch_optional().await?;
    Ok(QuotaStatus::new(meter, MeterLimit::of(entitled, meter), &numbers.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_counts_what_is_reserved() {
        let hours = Meter::sum("gpu_hours", "hours").decimals(2);
        let numbers = WindowNumbers { sum: 8_050, reserved: 500, ..WindowNumbers::default() };
        for (limit, expected) in [
            (MeterLimit::Hard(10_000), ["100", "14.5", "80.5", "true"]),
            (MeterLimit::Soft(10_000), ["100", "14.5", "80.5", "false"]),
            (MeterLimit::Hard(8_100), ["81", "0", "99.4", "true"]),
            (MeterLimit::Hard(0), ["0", "0", "null", "true"]),
            (MeterLimit::Unlimited, ["null", "null", "null", "false"]),
        ] {
            let status = serde_json::to_value(QuotaStatus::new(&hours, limit, &numbers)).unwrap();
            let shown = ["limit", "remaining", "percent", "enforced"].map(|name| status[name].to_string());
            assert_eq!(shown, expected, "{limit:?}");
            assert_eq!((status["used"].to_string(), status["reserved"].to_string()), ("80.5".into(), "5".into()));
        }
    }
}
