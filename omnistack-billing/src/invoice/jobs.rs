//! The jobs of invoices.

use std::time::Duration;

use async_trait::async_trait;
use omnistack_core::{
    clock::Timestamp,
    db,
    identity::TenantId,
    jobs::{Job, JobContext, JobError},
};
use serde::{Deserialize, Serialize};

use super::{
    events::{InvoiceFinalized, InvoicePaid},
    handle::Invoices,
    model::{InvoiceId, InvoiceKind},
    period_invoice::PERIOD_KEY,
    settings::PeriodInvoices,
    store,
};

/// Number of accounts and of drafts that are searched for at once.
const ROWS_PER_SEARCH: usize = 500;
/// Largest number of periods of a tenant that one run of the job closes, after the job has not run for a long time.
const MAX_PERIODS_PER_RUN: usize = 24;
/// Time after which is looked again whether the source of taxes knows an invoice that was voided.
const ANNOUNCEMENT_DELAY: Duration = Duration::from_secs(60);

/// The job that tells the app, the source of taxes and the tenants of invoices that have become final.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct AnnounceInvoices {
    pub(super) invoices: Vec<(TenantId, InvoiceId)>,
}

#[async_trait]
impl Job for AnnounceInvoices {
    const NAME: &'static str = "invoices.announce";

    type State = Invoices;

    async fn run(self, invoices: &Invoices, _: &JobContext) -> Result<(), JobError> {
        for (tenant, id) in self.invoices {
            invoices.announce(tenant, id).await?;
        }
        Ok(())
    }
}

/// The job that tells the source of taxes that an invoice was voided, after it was told that the invoice is final:
/// otherwise the tax of a void invoice would be paid.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct VoidTaxes {
    pub(super) tenant: TenantId,
    pub(super) invoice: InvoiceId,
}

#[async_trait]
impl Job for VoidTaxes {
    const NAME: &'static str = "invoices.void_taxes";

    type State = Invoices;

    async fn run(self, invoices: &Invoices, _: &JobContext) -> Result<(), JobError> {
        let mut tx = invoices.0.db.tenant(self.tenant).begin_read().await?;
        let is_announced = store::is_announced(&mut tx, self.tenant, self.invoice).await?;
        tx.commit().await?;
        if !is_announced {
            return Err(JobError::snooze(ANNOUNCEMENT_DELAY));
        }
        invoices.0.taxes.void(&self.invoice.to_string()).await.map_err(JobError::retry)
    }
}

/// The job that drafts the invoices of billing periods that have ended, and finalises them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct BillPeriods {}

#[async_trait]
impl Job for BillPeriods {
    const NAME: &'static str = "invoices.bill_periods";

    type State = Invoices;

    async fn run(self, invoices: &Invoices, _: &JobContext) -> Result<(), JobError> {
        if invoices.0.settings.period_invoices == PeriodInvoices::Off {
            return Ok(());
        }
        let (mut after, mut failure) = (None, None);
        loop {
            let accounts = invoices.accounts_to_bill(after).await?;
            for (tenant, since) in &accounts {
                // One tenant that fails keeps no other from being billed.
                if let Err(error) = invoices.bill_ended_periods(*tenant, *since).await {
                    tracing::error!(target: "omnistack::billing", %tenant, %error, "a period could not be billed");
                    failure = Some(JobError::retry(error));
                }
            }
            if accounts.len() < ROWS_PER_SEARCH {
                break;
            }
            after = accounts.last().map(|(tenant, _)| *tenant);
        }
        // Also those that a run before has drafted and not finalised.
        loop {
            let drafts = invoices.period_drafts().await?;
            let is_last = drafts.len() < ROWS_PER_SEARCH;
            match invoices.finalize_all(&drafts).await {
                Ok(_) if is_last => break,
                Ok(_) => {}
                Err(error) => {
                    failure = Some(JobError::retry(error));
                    break;
                }
            }
        }
        failure.map_or(Ok(()), Err)
    }
}

impl Invoices {
    /// Tells of a final invoice once. The source of taxes may be told again, as its contract says.
    async fn announce(&self, tenant: TenantId, id: InvoiceId) -> Result<(), JobError> {
        let mut tx = self.0.db.tenant(tenant).begin_read().await?;
        let found = store::find(&mut tx, tenant, id).await?;
        let is_announced = store::is_announced(&mut tx, tenant, id).await?;
        tx.commit().await?;
        // A run that has failed at one of many invoices does not begin again with the first.
        let Some(found) = found.filter(|_| !is_announced) else { return Ok(()) };
        if found.row.kind() == InvoiceKind::Invoice {
            self.0.taxes.commit(&id.to_string()).await.map_err(JobError::retry)?;
        }
        let mut tx = self.0.db.tenant(tenant).begin().await?;
        if store::announce(&mut tx, tenant, id, self.now()).await? {
            self.0.events.publish_in(&mut tx, &InvoiceFinalized::new(&found.row)?).await?;
            // No payment follows that would tell of it.
            if found.row.is_paid_at_issue() {
                self.0.events.publish_in(&mut tx, &InvoicePaid::new(&found.row)?).await?;
            }
        }
        Ok(tx.commit().await?)
    }

    /// Returns accounts, and the time from which their usage is to be billed: the end of what is billed, or their creation.
    async fn accounts_to_bill(&self, after: Option<TenantId>) -> Result<Vec<(TenantId, Timestamp)>, db::Error> {
        // A job bills all tenants.
        let mut tx = self.0.db.all_tenants().begin_read().await?;
        let sql = "select tenant_id, coalesce(closed_until, created_at) as since from omni_billing_accounts
            where tenant_id > $1 and (closed_until is null or closed_until < $2) order by tenant_id limit $3";
        let select = tx.query(sql).bind(after.unwrap_or_else(|| TenantId::from_uuid(uuid::Uuid::nil())));
        let select = select.bind(self.now()).bind(i64::try_from(ROWS_PER_SEARCH).unwrap_or(i64::MAX));
        let accounts = select.fetch_all().await?;
        tx.commit().await?;
        Ok(accounts)
    }

    /// Drafts the invoices of the periods of a tenant that have ended since a time. Usage is in time until the grace after
    /// the end of its period.
    async fn bill_ended_periods(&self, tenant: TenantId, since: Timestamp) -> Result<(), omnistack_core::http::Error> {
        let grace = self.0.ledger.settings().grace;
        let now = self.now();
        let mut next = since;
        for _ in 0..MAX_PERIODS_PER_RUN {
            let account = self.0.ledger.accounts().schedule(tenant).await?;
            let period = account.schedule.period_at(next);
            if account.is_deleted() || period.end + grace > now {
                return Ok(());
            }
            self.close_period(tenant, &account, period).await?;
            next = period.end;
        }
        Ok(())
    }

    /// Returns drafts of billing periods, of all tenants, the oldest first.
    async fn period_drafts(&self) -> Result<Vec<InvoiceId>, db::Error> {
        let mut tx = self.0.db.all_tenants().begin_read().await?;
        let sql = "select id from omni_invoices where status = 'draft' and key like $1 order by id limit $2";
        let select = tx.query(sql).bind(format!("{PERIOD_KEY}%"));
        let select = select.bind(i64::try_from(ROWS_PER_SEARCH).unwrap_or(i64::MAX));
        let drafts: Vec<(InvoiceId,)> = select.fetch_all().await?;
        tx.commit().await?;
        Ok(drafts.into_iter().map(|(id,)| id).collect())
    }
}
