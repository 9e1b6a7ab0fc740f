//! The handle of invoices.

use std::{fmt, sync::Arc};

use omnistack_core::{
    audit::{AuditEntry, AuditLog},
    clock::{Clock, Timestamp},
    db::{Db, Tx},
    events::Events,
    http::{CursorPage, Error, MAX_PAGE_SIZE},
    id::Id,
    identity::{Identity, TenantId},
    jobs::Jobs,
};
use serde_json::json;

use super::{
    amounts::discount,
    model::{Invoice, InvoiceId, InvoiceListItem},
    new_invoice::{NewDiscount, NewInvoice, PricedLine},
    settings::InvoiceSettings,
    snapshot::StoredDiscount,
    store::{self, InvoiceFilter, InvoiceRow, LineRow, StoredInvoice},
    usage_price::UsagePrice,
};
use crate::{ledger::Ledger, tax::TaxProvider, wallet::Wallets};

/// The invoices of all tenants. It is in the [`Context`](omnistack_core::module::Context) of an app with the module
/// `Billing`. Cheap to clone.
///
/// An invoice is drafted in the transaction that makes it due ([`draft_in`](Self::draft_in)), and finalised afterwards
/// ([`finalize`](Self::finalize)): then it gets its taxes and its number, and never changes. Numbers have no gaps.
#[derive(Clone)]
pub struct Invoices(pub(super) Arc<InvoiceParts>);

/// The dependencies of invoices.
pub(super) struct InvoiceParts {
    /// The app's own database, without tenant databases.
    pub(super) db: Db,
    pub(super) clock: Clock,
    pub(super) events: Events,
    pub(super) jobs: Jobs,
    pub(super) log: AuditLog,
    pub(super) ledger: Ledger,
    pub(super) wallets: Wallets,
    pub(super) settings: InvoiceSettings,
    pub(super) taxes: Arc<dyn TaxProvider>,
    pub(super) usage_prices: Arc<[UsagePrice]>,
}

impl Invoices {
    pub(super) fn new(parts: InvoiceParts) -> Self {
        Self(Arc::new(parts))
    }

    /// Drafts an invoice in the caller's transaction, which is one of the invoice's tenant in the app's database. Returns
    /// its id, or that of the invoice with the same key: what is billed once is not billed twice.
    ///
    /// # Errors
    /// 422 if a value is out of its range; the errors of the database.
    pub async fn draft_in(&self, tx: &mut Tx, invoice: NewInvoice) -> Result<InvoiceId, Error> {
        check_transaction(tx)?;
        let priced = invoice.priced()?;
        let (tenant, environment) = (invoice.tenant, invoice.environment);
        let draft = new_draft(invoice, &priced, self.now())?;
        if store::insert(tx, &draft).await? {
            return Ok(draft.row.id);
        }
        let known = store::id_of_key(tx, tenant, environment, &draft.row.key).await?;
        known.ok_or_else(|| Error::internal("the invoice with this key was deleted meanwhile"))
    }

    /// Returns an invoice of a tenant.
    ///
    /// # Errors
    /// 404 if the tenant has no such invoice; the errors of the database.
    pub async fn get(&self, tenant: TenantId, id: InvoiceId) -> Result<Invoice, Error> {
        let mut tx = self.0.db.tenant(tenant).begin_read().await?;
        let found = store::find(&mut tx, tenant, id).await?;
        tx.commit().await?;
        found.ok_or_else(no_invoice)?.read()
    }

    /// Deletes a draft of a tenant in the caller's transaction. It had no number, so none is missing.
    ///
    /// # Errors
    /// 404 if the tenant has no such draft; the errors of the database.
    pub async fn delete_draft_in(&self, tx: &mut Tx, tenant: TenantId, id: InvoiceId) -> Result<(), Error> {
        check_transaction(tx)?;
        if store::delete_draft(tx, tenant, id).await? {
            return Ok(());
        }
        Err(Error::not_found("the draft of an invoice"))
    }

    /// Returns a page of invoices, the newest first.
    pub(super) async fn list(&self, filter: InvoiceFilter, limit: u32) -> Result<CursorPage<InvoiceListItem>, Error> {
        let limit = limit.clamp(1, MAX_PAGE_SIZE);
        let mut tx = match filter.tenant {
            Some(tenant) => self.0.db.tenant(tenant).begin_read().await?,
            // An operator sees the invoices of all tenants.
            None => self.0.db.all_tenants().begin_read().await?,
        };
        let mut rows = store::list(&mut tx, filter, i64::from(limit) + 1).await?;
        tx.commit().await?;
        let size = usize::try_from(limit).unwrap_or(usize::MAX);
        let has_more = rows.len() > size;
        rows.truncate(size);
        let next_cursor = rows.last().filter(|_| has_more).map(|last| last.id.to_string());
        let items = rows.into_iter().map(InvoiceRow::list_item).collect::<Result<_, _>>()?;
        Ok(CursorPage { items, next_cursor })
    }

    /// Returns the tenant of an invoice, for operators.
    ///
    /// # Errors
    /// 404 if there is no such invoice.
    pub(super) async fn tenant_of(&self, id: InvoiceId) -> Result<TenantId, Error> {
        let mut tx = self.0.db.all_tenants().begin_read().await?;
        let tenant = store::tenant_of(&mut tx, id).await?;
        tx.commit().await?;
        tenant.ok_or_else(no_invoice)
    }

    /// Returns an invoice of any tenant, for operators.
    pub(crate) async fn get_of_any_tenant(&self, id: InvoiceId) -> Result<Invoice, Error> {
        let tenant = self.tenant_of(id).await?;
        self.get(tenant, id).await
    }

    /// Deletes a draft for an operator.
    pub(super) async fn delete_draft_as_operator(&self, operator: &Identity, id: InvoiceId) -> Result<(), Error> {
        let tenant = self.tenant_of(id).await?;
        let mut tx = self.0.db.tenant(tenant).begin().await?;
        self.delete_draft_in(&mut tx, tenant, id).await?;
        self.audit(&mut tx, operator, tenant, "invoice.draft_deleted", id, json!({})).await?;
        Ok(tx.commit().await?)
    }

    /// Records what an operator has done with an invoice.
    pub(super) async fn audit(
        &self,
        tx: &mut Tx,
        operator: &Identity,
        tenant: TenantId,
        action: &str,
        id: InvoiceId,
        details: serde_json::Value,
    ) -> Result<(), Error> {
        let entry = AuditEntry::new(action).actor(operator).for_tenant(tenant).resource("invoice", id);
        Ok(self.0.log.record_in(tx, entry.details(details)).await?)
    }

    pub(super) fn now(&self) -> Timestamp {
        self.0.clock.now()
    }
}

impl fmt::Debug for Invoices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Invoices")
    }
}

/// Creates the rows of a draft.
pub(super) fn new_draft(invoice: NewInvoice, priced: &[PricedLine], now: Timestamp) -> Result<StoredInvoice, Error> {
    let mut row = InvoiceRow::draft(Id::new(now), invoice.tenant, invoice.environment, now);
    row.set_currency(invoice.currency);
    row.uses_credits = invoice.uses_credits;
    row.period_start = invoice.period.map(|period| period.start);
    row.period_end = invoice.period.map(|period| period.end);

    let discounts = invoice.ordered_discounts();
    let amounts: Vec<i64> = priced.iter().map(|line| line.amount).collect();
    let wanted: Vec<_> = discounts.iter().map(NewDiscount::amount).collect();
    let (of_discounts, of_lines) = discount(&amounts, &wanted);
    let stored = discounts.into_iter().zip(of_discounts).map(|(discount, amount)| match discount {
        NewDiscount::Percent(description, percent) => StoredDiscount { description, percent: Some(percent), amount },
        NewDiscount::Amount(description, _) => StoredDiscount { description, percent: None, amount },
    });
    row.set_discounts(&stored.collect::<Vec<_>>()).map_err(Error::internal)?;

    let mut lines = Vec::with_capacity(priced.len());
    for (index, ((line, priced), discount)) in invoice.lines.into_iter().zip(priced).zip(of_lines).enumerate() {
        let position = i32::try_from(index + 1).unwrap_or(i32::MAX);
        lines.push(LineRow {
            description: line.description,
            unit: line.unit,
            amount: priced.amount,
            discount,
            product: line.product,
            meter: line.meter,
            period_start: line.period.map(|period| period.start),
            period_end: line.period.map(|period| period.end),
            ..LineRow::new(row.id, position, line.kind, priced.quantity, priced.price)
        });
    }
    let net = lines.iter().try_fold(0_i64, |sum, line| sum.checked_add(line.net()));
    row.net = net.ok_or_else(sum_too_large)?;
    row.total = row.net;
    row.key = invoice.key;
    row.note = invoice.note;
    Ok(StoredInvoice { row, lines })
}

/// Fails if a transaction is in a tenant database, which has no invoices.
pub(super) fn check_transaction(tx: &Tx) -> Result<(), Error> {
    if tx.in_tenant_database() {
        let message = "invoices are in the app's database: begin the transaction by `db.app_database().tenant(…)`";
        return Err(Error::internal(message));
    }
    Ok(())
}

pub(super) fn no_invoice() -> Error {
    Error::not_found("the invoice")
}

pub(super) fn sum_too_large() -> Error {
    Error::conflict("INVOICE_TOO_LARGE", "the sum of the invoice has more than 18 digits; make several invoices")
}
