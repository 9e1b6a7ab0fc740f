//! The invoice of a billing period: the plan and the usage, from the tenant's account and the ledger.

use std::{collections::HashMap, sync::Arc, time::Duration};

use omnistack_core::{
    clock::Timestamp,
    db::{self, Arguments, Tx},
    http::Error,
    identity::TenantId,
    money::{Currency, Money},
    usage::{DataEnvironment, Decimal},
};
use sqlx::AssertSqlSafe;

use super::{
    handle::Invoices,
    model::InvoiceId,
    new_invoice::{NewInvoice, NewInvoiceLine, decimal_of},
    settings::PeriodInvoices,
    usage_price::{LateUnits, PeriodUnits, UsageTerms, usage_lines},
};
use crate::{
    account::{Entitled, schedule::AccountSchedule},
    meter::{Aggregation, Meter, MeterSet},
    period::{BillingInterval, BillingPeriod, PeriodSchedule},
    plan::PlanPrice,
    window::{Grain, WindowNumbers, total_start},
};

/// The beginning of the keys of invoices of billing periods.
pub(super) const PERIOD_KEY: &str = "period/";

/// Number of decimals of the share of a period that was cut short.
const SHARE_DECIMALS: u32 = 6;
/// Longest time by which another time zone moves the boundary of a period, which changes no price.
const MAX_ZONE_SHIFT: Duration = Duration::from_secs(2 * 24 * 60 * 60);

/// The plan that an invoice of a period bills.
pub(super) struct BilledPlan<'a> {
    entitled: &'a Entitled,
    schedule: &'a PeriodSchedule,
    /// `None` if the plan has no price and no usage has one.
    pub(super) currency: Option<Currency>,
    limits: HashMap<String, u64>,
}

impl<'a> BilledPlan<'a> {
    pub(super) fn new(invoices: &Invoices, entitled: &'a Entitled, schedule: &'a PeriodSchedule) -> Self {
        let definition = &entitled.definition;
        let of_plan = match definition.price {
            PlanPrice::Fixed { price, .. } => Some(price.currency()),
            PlanPrice::Free | PlanPrice::Custom => None,
        };
        let prices = invoices.0.usage_prices.iter().filter(|price| price.applies_to(&definition.key));
        let currency = of_plan.or_else(|| prices.map(|price| price.currency()).next());
        let limits = definition.limits.iter();
        let limits = limits.filter_map(|(name, most)| Some((name.clone(), u64::try_from(*most).ok()?))).collect();
        Self { entitled, schedule, currency, limits }
    }

    /// Returns the line of the plan in a period. A period that a change of the plan has cut short costs its share. A plan
    /// with another interval than the billing period, whose price would be that of another time, has no line.
    fn line(&self, period: BillingPeriod) -> Option<NewInvoiceLine> {
        let (price, interval) = self.price()?;
        let anchor = self.schedule.anchor_at(period.start);
        if interval != anchor.interval() {
            let plan = self.entitled.definition.key.as_str();
            tracing::warn!(
                target: "omnistack::billing", plan,
                "the plan is not billed: its interval differs from the billing period; assign it with its interval"
            );
            return None;
        }
        let name = self.entitled.definition.name.as_str();
        let share = share_of_period(period, anchor.period_at(period.start));
        Some(NewInvoiceLine::plan(name, share, decimal_of(price)).period(period))
    }

    /// Returns the price of the plan in each of its intervals.
    pub(super) fn price(&self) -> Option<(Money, BillingInterval)> {
        match self.entitled.definition.price {
            PlanPrice::Fixed { price, interval } => Some((price, interval)),
            PlanPrice::Free | PlanPrice::Custom => None,
        }
    }

    pub(super) fn entitled(&self) -> &Entitled {
        self.entitled
    }
}

impl Invoices {
    /// Returns the lines of a billing period.
    pub(super) fn period_lines(
        &self,
        plan: &BilledPlan<'_>,
        period: BillingPeriod,
        units: &PeriodUnits,
        with_plan: bool,
    ) -> Vec<NewInvoiceLine> {
        let Some(currency) = plan.currency else { return Vec::new() };
        let zone = plan.schedule.anchor_at(period.start).zone();
        let terms = UsageTerms { plan: &plan.entitled.definition.key, currency, limits: &plan.limits, zone };
        let usage = usage_lines(&self.0.usage_prices, self.0.ledger.meters(), terms, period, units);
        with_plan.then(|| plan.line(period)).flatten().into_iter().chain(usage).collect()
    }

    /// Reads the usage of a billing period: of the meters that have a price.
    pub(super) async fn period_units(
        &self,
        tx: &mut Tx,
        tenant: TenantId,
        environment: DataEnvironment,
        period: BillingPeriod,
        schedule: &PeriodSchedule,
    ) -> Result<PeriodUnits, db::Error> {
        let meters = self.priced_meters();
        if meters.is_empty() {
            return Ok(PeriodUnits::default());
        }
        let scope = (tenant, environment);
        let mut units = PeriodUnits { used: windows(tx, scope, &meters, period.start).await?, late: HashMap::new() };
        for BilledLateRow { meter: name, used_in, sum, events } in late(tx, scope, &meters, period.start).await? {
            let Some(meter) = self.0.ledger.meters().get(&name) else { continue };
            let late = WindowNumbers { sum, events, ..WindowNumbers::default() }.value(meter);
            let in_time = windows(tx, scope, &[meter], used_in).await?.get(&name).copied().unwrap_or(0);
            let period = schedule.period_at(used_in);
            units.late.entry(name).or_default().push(LateUnits { period, in_time, late });
        }
        Ok(units)
    }

    /// Returns what a tenant was entitled to at the end of a period. It may have another plan since, such as after a
    /// cancellation at the end of the period.
    pub(super) async fn entitled_in(&self, tenant: TenantId, period: BillingPeriod) -> Result<Arc<Entitled>, Error> {
        self.0.ledger.accounts().entitled_at(tenant, period.end - Duration::from_micros(1)).await
    }

    /// Closes a billing period of a tenant, and drafts its invoice. Returns `None` if nothing is to be billed. The period
    /// is closed once: a second call drafts nothing.
    pub(super) async fn close_period(
        &self,
        tenant: TenantId,
        account: &AccountSchedule,
        period: BillingPeriod,
    ) -> Result<Option<InvoiceId>, Error> {
        let entitled = self.entitled_in(tenant, period).await?;
        let plan = BilledPlan::new(self, &entitled, &account.schedule);
        let with_plan = self.0.settings.period_invoices == PeriodInvoices::All;
        let environment = DataEnvironment::Live;
        let mut tx = self.0.db.tenant(tenant).begin().await?;
        // From here on, usage of the period is late, so the sums are final.
        self.0.ledger.close_in(&mut tx, tenant, period.end).await?;
        let units = self.period_units(&mut tx, tenant, environment, period, &account.schedule).await?;
        let lines = self.period_lines(&plan, period, &units, with_plan);
        let draft = match plan.currency {
            Some(currency) if !lines.is_empty() => {
                let invoice = NewInvoice::new(tenant, period_key(period), currency).period(period).pay_with_credits();
                Some(self.draft_in(&mut tx, lines.into_iter().fold(invoice, NewInvoice::line)).await?)
            }
            _ => None,
        };
        tx.commit().await?;
        Ok(draft)
    }

    fn priced_meters(&self) -> Vec<&Meter> {
        let meters: &MeterSet = self.0.ledger.meters();
        let mut priced: Vec<&Meter> =
            self.0.usage_prices.iter().filter_map(|price| meters.get(price.meter())).collect();
        priced.sort_unstable_by_key(|meter| meter.name);
        priced.dedup_by_key(|meter| meter.name);
        priced
    }
}

/// Returns the part that a period is of a whole one, with six decimals.
fn share_of_period(period: BillingPeriod, whole: BillingPeriod) -> Decimal {
    let length = |period: BillingPeriod| period.end.duration_since(period.start);
    if length(period) + MAX_ZONE_SHIFT >= length(whole) {
        return Decimal::ONE;
    }
    (Decimal::from(length(period).as_secs()) / Decimal::from(length(whole).as_secs())).round_dp(SHARE_DECIMALS)
}

/// Returns the key of the invoice of a billing period.
pub(super) fn period_key(period: BillingPeriod) -> String {
    format!("{PERIOD_KEY}{}", period.start)
}

#[derive(omnistack_core::db::FromRow)]
struct BilledWindowRow {
    meter: String,
    #[sqlx(flatten)]
    numbers: WindowNumbers,
}

/// Returns what meters have counted in the billing period that starts at a time; lifetime meters, in all.
async fn windows(
    tx: &mut Tx,
    (tenant, environment): (TenantId, DataEnvironment),
    meters: &[&Meter],
    start: Timestamp,
) -> Result<HashMap<String, i64>, db::Error> {
    let mut all = HashMap::new();
    for (lifetime, grain, start) in [(false, Grain::Period, start), (true, Grain::Total, total_start())] {
        let mut args = Arguments::new(tx.dialect());
        let names: Vec<_> = meters.iter().filter(|meter| meter.lifetime == lifetime).collect();
        if names.is_empty() {
            continue;
        }
        let list: Vec<String> = names.iter().map(|meter| format!("${}", args.push(meter.name))).collect();
        let (list, tenant, environment) = (list.join(", "), args.push(tenant), args.push(environment.as_str()));
        let (start, grain) = (args.push(start), grain.as_str());
        let sql = format!(
            "select meter, sum, events, max, last, uniques, reserved from omni_usage_windows
            where tenant_id = ${tenant} and environment = ${environment} and meter in ({list}) and grain = '{grain}'
            and start = ${start}"
        );
        let rows: Vec<BilledWindowRow> = tx.query(AssertSqlSafe(sql)).args(args).fetch_all().await?;
        for BilledWindowRow { meter: name, numbers } in rows {
            let Some(meter) = names.iter().find(|meter| meter.name == name) else { continue };
            all.insert(name, numbers.value(meter));
        }
    }
    Ok(all)
}

#[derive(omnistack_core::db::FromRow)]
struct BilledLateRow {
    meter: String,
    used_in: Timestamp,
    sum: i64,
    events: i64,
}

/// Returns the late usage that is billed in the period that starts at a time. Only meters that add up have some.
async fn late(
    tx: &mut Tx,
    (tenant, environment): (TenantId, DataEnvironment),
    meters: &[&Meter],
    start: Timestamp,
) -> Result<Vec<BilledLateRow>, db::Error> {
    let adds_up = |meter: &&&Meter| matches!(meter.aggregation, Aggregation::Sum | Aggregation::Count);
    let mut args = Arguments::new(tx.dialect());
    let list: Vec<String> = meters.iter().filter(adds_up).map(|meter| format!("${}", args.push(meter.name))).collect();
    if list.is_empty() {
        return Ok(Vec::new());
    }
    let (list, tenant, environment) = (list.join(", "), args.push(tenant), args.push(environment.as_str()));
    let start = args.push(start);
    let sql = format!(
        "select meter, used_in, sum, events from omni_usage_late
        where tenant_id = ${tenant} and environment = ${environment} and meter in ({list}) and billed_in = ${start}
        order by meter, used_in"
    );
    tx.query(AssertSqlSafe(sql)).args(args).fetch_all().await
}
