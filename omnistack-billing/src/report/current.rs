//! The usage of the current billing period, and the limits of the plan.

use omnistack_core::{
    clock::Timestamp,
    http::Error,
    usage::{DataEnvironment, Decimal},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    UsageReports,
    numbers::{quantity, share},
    store::{self, UsageScope},
};
use crate::{
    account::Entitled,
    meter::Meter,
    quantity::Quantity,
    window::{WindowNumbers, limit_units},
};

/// The usage of the current billing period.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PeriodUsage {
    /// The key of the plan.
    plan: String,
    /// The environment.
    environment: DataEnvironment,
    /// The start of the billing period.
    start: Timestamp,
    /// The end of the billing period.
    end: Timestamp,
    /// The meters with usage or with a limit, ordered by name.
    meters: Vec<PeriodMeter>,
}

/// The usage of a meter in the current billing period; that of a lifetime meter since the beginning.
#[derive(Debug, Serialize, ToSchema)]
struct PeriodMeter {
    /// The name of the meter.
    meter: &'static str,
    /// The unit of its quantities.
    unit: &'static str,
    /// The usage, without late usage.
    used: Quantity,
    /// The amount that is held for work that is not done yet.
    reserved: Quantity,
    /// The limit of the plan. `null` is unlimited.
    #[schema(required)]
    limit: Option<Quantity>,
    /// The amount that is left of the limit.
    #[schema(required)]
    remaining: Option<Quantity>,
    /// The usage in percent of the limit. 100 if the limit is zero.
    #[schema(required)]
    percent: Option<Quantity>,
    /// The usage of earlier billing periods that is billed in this one.
    late: Vec<LateQuantity>,
}

/// The late usage of a billing period.
#[derive(Debug, Serialize, ToSchema)]
struct LateQuantity {
    /// The start of the billing period in which it occurred.
    used_in: Timestamp,
    /// The usage.
    quantity: Quantity,
}

impl PeriodMeter {
    fn new(meter: &Meter, window: WindowNumbers, limit: Option<u64>, late: &[(Timestamp, i64)]) -> Self {
        let used = window.value(meter);
        let most = limit.map(|limit| limit_units(meter, limit));
        let percent = |most: i64| if most == 0 { Some(Quantity::from(100)) } else { share(used, most) };
        let left = |most: i64| most.saturating_sub(used).saturating_sub(window.reserved).max(0);
        let late = late.iter().map(|(start, sum)| LateQuantity { used_in: *start, quantity: quantity(meter, *sum) });
        Self {
            meter: meter.name,
            unit: meter.unit,
            used: quantity(meter, used),
            reserved: quantity(meter, window.reserved),
            limit: limit.map(whole),
            remaining: most.map(|most| quantity(meter, left(most))),
            percent: most.and_then(percent),
            late: late.collect(),
        }
    }
}

/// Returns a limit as an amount.
pub(super) fn whole(limit: u64) -> Quantity {
    Quantity(Decimal::from(limit))
}

/// Returns a limit by its name, also one that is not enforced. `None` is unlimited.
pub(super) fn limit_of(entitled: &Entitled, name: &str) -> Option<u64> {
    entitled.definition.limits.get(name).and_then(|most| u64::try_from(*most).ok())
}

impl PeriodUsage {
    /// Returns the usage without that of a meter.
    pub(super) fn without(mut self, meter: &str) -> Self {
        self.meters.retain(|shown| shown.meter != meter);
        self
    }
}

impl UsageReports {
    /// Returns the usage of the current billing period.
    pub(super) async fn current_period(&self, scope: UsageScope) -> Result<PeriodUsage, Error> {
        let accounts = self.ledger.accounts();
        let entitled = accounts.entitled(scope.tenant).await?;
        let period = accounts.schedule(scope.tenant).await?.schedule.period_at(self.now());
        let meters: Vec<&Meter> = self.meters().iter().collect();
        let mut tx = self.db().tenant(scope.tenant).begin_read().await?;
        let windows = store::limit_windows(&mut tx, scope, &meters, period.start).await?;
        let late = store::late(&mut tx, scope, &meters, period.start).await?;
        tx.commit().await?;
        let shown = meters.into_iter().filter_map(|meter| {
            let (window, limit) = (windows.get(meter.name), limit_of(&entitled, meter.name));
            let late = late.get(meter.name).map(Vec::as_slice).unwrap_or_default();
            let is_shown = window.is_some() || limit.is_some() || !late.is_empty();
            is_shown.then(|| PeriodMeter::new(meter, window.copied().unwrap_or_default(), limit, late))
        });
        Ok(PeriodUsage {
            plan: entitled.plan.key.clone(),
            environment: scope.environment,
            start: period.start,
            end: period.end,
            meters: shown.collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_and_what_is_left_of_them() {
        let meter = Meter::sum("hours", "hours").decimals(1);
        for (sum, reserved, limit, remaining, percent) in [
            (25, 5, Some(10), Some("7"), Some("25")),
            (0, 0, Some(10), Some("10"), Some("0")),
            (125, 0, Some(10), Some("0"), Some("125")),
            (99, 5, Some(10), Some("0"), Some("99")),
            (0, 0, Some(0), Some("0"), Some("100")),
            (5, 0, Some(0), Some("0"), Some("100")),
            (5, 0, None, None, None),
            (-5, 0, Some(10), Some("10.5"), Some("-5")),
        ] {
            let window = WindowNumbers { sum, reserved, ..WindowNumbers::default() };
            let shown = PeriodMeter::new(&meter, window, limit, &[]);
            let text = |quantity: Option<Quantity>| quantity.map(|quantity| quantity.to_string());
            let found = (text(shown.remaining), text(shown.percent));
            assert_eq!((found.0.as_deref(), found.1.as_deref()), (remaining, percent), "{sum} of {limit:?}");
        }
        // A limit that the units of the meter can't hold.
        let shown = PeriodMeter::new(&meter, WindowNumbers::default(), Some(u64::MAX), &[]);
        assert_eq!(shown.limit.map(|limit| limit.to_string()).as_deref(), Some("18446744073709551615"));
    }
}
