//! The cost of the running billing period, and invoices on demand.

use omnistack_core::{
    clock::Timestamp,
    http::{Error, FieldError, StatusCode},
    identity::TenantId,
    money::Money,
    usage::DataEnvironment,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    handle::{Invoices, new_draft},
    model::{Invoice, InvoiceLine},
    new_invoice::NewInvoice,
    period_invoice::{BilledPlan, period_key},
    store,
};
use crate::period::BillingPeriod;

/// The period of an invoice on demand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum DemandedPeriod {
    /// The running billing period.
    Current,
    /// The last billing period that has ended.
    Monthly,
}

/// The cost of a billing period.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct CostSummary {
    /// The key of the plan.
    plan: String,
    /// The name of the plan.
    plan_name: String,
    /// The environment.
    environment: DataEnvironment,
    /// The billing period.
    period: BillingPeriod,
    /// The part of the period that is over, in percent.
    elapsed_percent: u32,
    /// The lines of the plan and of usage so far.
    lines: Vec<InvoiceLine>,
    /// The cost so far, without tax; `null` if nothing has a price.
    #[schema(required)]
    net: Option<Money>,
    /// The amount that is owed of all open invoices in this currency.
    #[schema(required)]
    due: Option<Money>,
}

impl Invoices {
    /// Returns the cost of the running billing period, without tax.
    pub(super) async fn summary(&self, tenant: TenantId, environment: DataEnvironment) -> Result<CostSummary, Error> {
        let now = self.now();
        let accounts = self.0.ledger.accounts();
        let entitled = accounts.entitled(tenant).await?;
        let schedule = accounts.schedule(tenant).await?.schedule;
        let plan = BilledPlan::new(self, &entitled, &schedule);
        let period = schedule.period_at(now);
        let mut tx = self.0.db.tenant(tenant).begin_read().await?;
        let units = self.period_units(&mut tx, tenant, environment, period, &schedule).await?;
        let due = match plan.currency {
            Some(currency) => {
                let sql = "select cast(coalesce(sum(total - credits_amount - paid - credited), 0) as bigint)
                    from omni_invoices where tenant_id = $1 and environment = $2 and status = 'open' and currency = $3";
                let select = tx.query(sql).bind(tenant).bind(environment.as_str()).bind(currency.code());
                let (due,): (i64,) = select.fetch_one().await?;
                Some(Money::new(due, currency))
            }
            None => None,
        };
        tx.commit().await?;
        let draft = self.preview(tenant, environment, &plan, period, &units)?;
        let (lines, net) = draft.map_or((Vec::new(), None), |draft| (draft.lines, Some(draft.net)));
        let definition = &plan.entitled().definition;
        Ok(CostSummary {
            plan: definition.key.clone(),
            plan_name: definition.name.clone(),
            environment,
            period,
            elapsed_percent: elapsed_percent(period, now),
            lines,
            net: net.or(plan.currency.map(|currency| Money::new(0, currency))),
            due,
        })
    }

    /// Returns the invoice of a billing period: the stored one, or what it would be now. The latter is a draft without tax
    /// that is not stored.
    ///
    /// # Errors
    /// 404 if there is no stored one, and nothing costs anything.
    pub(super) async fn on_demand(
        &self,
        tenant: TenantId,
        environment: DataEnvironment,
        demanded: DemandedPeriod,
    ) -> Result<Invoice, Error> {
        let schedule = self.0.ledger.accounts().schedule(tenant).await?.schedule;
        let current = schedule.period_at(self.now());
        let period = match demanded {
            DemandedPeriod::Current => current,
            DemandedPeriod::Monthly => schedule.period_at(current.start - std::time::Duration::from_micros(1)),
        };
        let entitled = self.entitled_in(tenant, period).await?;
        let plan = BilledPlan::new(self, &entitled, &schedule);
        let mut tx = self.0.db.tenant(tenant).begin_read().await?;
        let stored = match store::id_of_key(&mut tx, tenant, environment, &period_key(period)).await? {
            Some(id) => store::find(&mut tx, tenant, id).await?,
            None => None,
        };
        let units = self.period_units(&mut tx, tenant, environment, period, &schedule).await?;
        tx.commit().await?;
        if let Some(stored) = stored {
            return stored.read();
        }
        let draft = self.preview(tenant, environment, &plan, period, &units)?;
        let nothing = "nothing that costs money was used in this period, so it has no invoice";
        draft.ok_or_else(|| Error::new(StatusCode::NOT_FOUND, "NOT_FOUND", nothing))
    }

    fn preview(
        &self,
        tenant: TenantId,
        environment: DataEnvironment,
        plan: &BilledPlan<'_>,
        period: BillingPeriod,
        units: &super::usage_price::PeriodUnits,
    ) -> Result<Option<Invoice>, Error> {
        let lines = self.period_lines(plan, period, units, true);
        let Some(currency) = plan.currency.filter(|_| !lines.is_empty()) else { return Ok(None) };
        let invoice = NewInvoice::new(tenant, period_key(period), currency).environment(environment).period(period);
        let invoice = lines.into_iter().fold(invoice, NewInvoice::line);
        let priced = invoice.priced()?;
        new_draft(invoice, &priced, self.now())?.read().map(Some)
    }

    /// Returns the cursor of a list of invoices as an id.
    pub(super) fn cursor(cursor: Option<&str>) -> Result<Option<super::model::InvoiceId>, Error> {
        let parsed = cursor.map(str::parse).transpose();
        parsed.map_err(|_| Error::invalid([FieldError::new("cursor", "must be the `next_cursor` of a previous page")]))
    }
}

/// Returns the part of a period that is over, in whole percent.
fn elapsed_percent(period: BillingPeriod, now: Timestamp) -> u32 {
    let (whole, over) = (period.end.duration_since(period.start), now.duration_since(period.start));
    let percent = over.as_secs().saturating_mul(100) / whole.as_secs().max(1);
    u32::try_from(percent.min(100)).unwrap_or(100)
}
