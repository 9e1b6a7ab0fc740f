//! Finalising drafts: taxes, credits, the number and the snapshot.
//!
//! The taxes are asked for outside of a transaction, since a provider may take seconds. The transaction then takes the
//! number and stores the invoice: both or neither, so numbers have no gaps, whatever fails.

use std::{collections::HashMap, time::Duration};

use omnistack_core::{
    BoxError,
    clock::Timestamp,
    db::Tx,
    http::Error,
    identity::{Identity, TenantId},
    money::Money,
    usage::DataEnvironment,
};
use serde_json::json;

use super::{
    amounts::{credits_for, tax_sums, worth_of},
    details,
    handle::{Invoices, no_invoice, sum_too_large},
    jobs::AnnounceInvoices,
    model::{Invoice, InvoiceId, InvoiceStatus},
    party::InvoiceParty,
    snapshot::{InvoiceSnapshot, StoredTax},
    store::{self, InvoiceRow, StoredInvoice},
};
use crate::{
    tax::{LineTax, TaxCategory, TaxItem, TaxQuestion, TaxQuote, TaxRate},
    wallet::{Credits, UseCredits},
};

/// Number of invoices that a transaction finalises. Others wait for numbers meanwhile.
const INVOICES_PER_TRANSACTION: usize = 100;
/// Number of times that an invoice is settled again because credits were used meanwhile.
const MAX_CREDIT_ATTEMPTS: usize = 5;

/// A draft with its taxes.
struct TaxedDraft {
    invoice: StoredInvoice,
    snapshot: InvoiceSnapshot,
}

impl Invoices {
    /// Finalises a draft: computes its taxes, lets credits pay it if it was drafted so, gives it the next number, and
    /// keeps the seller and the customer as they are now. Returns the invoice; one that is final already is returned as
    /// it is. An invoice of which nothing is owed is paid at once.
    ///
    /// # Errors
    /// 404 if the tenant has no such invoice; 409 `SELLER_UNKNOWN` if `BILLING_SELLER_NAME` is not set; 409
    /// `INVOICE_NEGATIVE` if the total is below zero; 503 `TAXES_UNAVAILABLE` if the taxes can't be found out; the errors
    /// of the database.
    pub async fn finalize(&self, tenant: TenantId, id: InvoiceId) -> Result<Invoice, Error> {
        for _ in 0..MAX_CREDIT_ATTEMPTS {
            let mut tx = self.0.db.tenant(tenant).begin_read().await?;
            let found = store::find(&mut tx, tenant, id).await?.ok_or_else(no_invoice)?;
            let customer = details::find(&mut tx, tenant, found.row.environment()).await?;
            tx.commit().await?;
            if found.row.status() != InvoiceStatus::Draft {
                return found.read();
            }
            let draft = self.tax(found, customer).await?;
            let credits = self.available_credits(&draft.invoice.row).await?;
            let mut tx = self.0.db.tenant(tenant).begin().await?;
            match self.settle_in(&mut tx, draft, credits).await {
                Ok(()) => tx.commit().await?,
                // Other credits were used, or another call has finalised it.
                Err(error) if matches!(error.code(), "CREDITS_EXHAUSTED" | RACED) => tx.rollback().await?,
                Err(error) => return Err(error),
            }
            let is_final = self.get(tenant, id).await?;
            if is_final.status != InvoiceStatus::Draft {
                return Ok(is_final);
            }
        }
        Err(Error::unavailable("INVOICE_BUSY", "the credits that pay the invoice are in use; try again"))
    }

    /// Finalises drafts of any tenants, a hundred in a transaction. Those that are final already stay as they are.
    /// Returns the number of invoices that this call has finalised.
    ///
    /// # Errors
    /// The first error of [`finalize`](Self::finalize). The other drafts are finalised nevertheless.
    pub async fn finalize_all(&self, ids: &[InvoiceId]) -> Result<usize, Error> {
        let (mut done, mut alone, mut failure) = (0, Vec::new(), None);
        for ids in ids.chunks(INVOICES_PER_TRANSACTION) {
            match self.finalize_together(ids).await {
                Ok((count, others)) => {
                    done += count;
                    alone.extend(others);
                }
                Err(_) => alone.extend_from_slice(ids),
            }
        }
        // By themselves, so that one that fails keeps no other from being finalised.
        for id in alone {
            match self.finalize_alone(id).await {
                Ok(is_new) => done += usize::from(is_new),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        failure.map_or(Ok(done), Err)
    }

    /// Finalises an invoice for an operator.
    pub(super) async fn finalize_as_operator(&self, operator: &Identity, id: InvoiceId) -> Result<Invoice, Error> {
        let tenant = self.tenant_of(id).await?;
        let before = self.get(tenant, id).await?;
        let invoice = self.finalize(tenant, id).await?;
        if before.status == InvoiceStatus::Draft {
            let mut tx = self.0.db.tenant(tenant).begin().await?;
            let details = json!({ "number": invoice.number, "total": invoice.total });
            self.audit(&mut tx, operator, tenant, "invoice.finalized", id, details).await?;
            tx.commit().await?;
        }
        Ok(invoice)
    }

    /// Finalises one of several drafts. Returns whether it was a draft.
    async fn finalize_alone(&self, id: InvoiceId) -> Result<bool, Error> {
        let tenant = self.tenant_of(id).await?;
        if self.get(tenant, id).await?.status != InvoiceStatus::Draft {
            return Ok(false);
        }
        self.finalize(tenant, id).await?;
        Ok(true)
    }

    /// Finalises drafts in one transaction. Returns their number, and those that credits pay, which lock a wallet each.
    async fn finalize_together(&self, ids: &[InvoiceId]) -> Result<(usize, Vec<InvoiceId>), Error> {
        // A job finalises the drafts of all tenants.
        let mut tx = self.0.db.all_tenants().begin_read().await?;
        let mut found = store::find_all(&mut tx, ids).await?;
        found.retain(|invoice| invoice.row.status() == InvoiceStatus::Draft);
        let keys: Vec<_> = found.iter().map(|invoice| (invoice.row.tenant_id, invoice.row.environment())).collect();
        let customers = details::find_all(&mut tx, &keys).await?;
        tx.commit().await?;

        let (mut drafts, mut paid_with_credits) = (Vec::with_capacity(found.len()), Vec::new());
        for invoice in found {
            if invoice.row.uses_credits {
                paid_with_credits.push(invoice.row.id);
                continue;
            }
            let key = (invoice.row.tenant_id, invoice.row.environment());
            let customer = customers.get(&key).cloned().unwrap_or_else(InvoiceParty::unknown);
            drafts.push(self.tax(invoice, customer).await?);
        }
        let count = drafts.len();
        if !drafts.is_empty() {
            let mut tx = self.0.db.all_tenants().begin().await?;
            self.store_in(&mut tx, drafts).await?;
            tx.commit().await?;
        }
        Ok((count, paid_with_credits))
    }

    /// Finds the taxes of a draft, and computes its sums.
    async fn tax(&self, mut invoice: StoredInvoice, customer: InvoiceParty) -> Result<TaxedDraft, Error> {
        let settings = &self.0.settings;
        if settings.seller_name.is_none() {
            let message = "invoices can't be finalised without a seller; set `BILLING_SELLER_NAME`";
            return Err(Error::conflict("SELLER_UNKNOWN", message));
        }
        let seller = InvoiceParty::seller(settings);
        let row = &invoice.row;
        let question = TaxQuestion {
            invoice: row.id.to_string(),
            tenant: row.tenant_id,
            environment: row.environment(),
            currency: row.currency()?,
            // The end is the first moment of the next period, which may have another rate.
            at: row.period_end.map_or_else(|| self.now(), |end| end - Duration::from_micros(1)),
            seller: seller.tax_party(),
            customer: customer.tax_party(),
            items: invoice.lines.iter().map(|line| TaxItem::new(line.net(), line.product.clone())).collect(),
        };
        let unavailable = |cause: BoxError| {
            let message = "the taxes of the invoice can't be found out now; try again later";
            Error::unavailable("TAXES_UNAVAILABLE", message).with_source(cause)
        };
        let TaxQuote { lines, evidence } = self.0.taxes.quote(&question).await.map_err(unavailable)?;
        if lines.len() != invoice.lines.len() {
            return Err(Error::internal("the taxes have another number of lines than the invoice"));
        }
        for (line, LineTax { category, rate, .. }) in invoice.lines.iter_mut().zip(&lines) {
            line.set_tax(*category, *rate);
        }
        let taxed = lines.iter().zip(&invoice.lines).map(|(tax, line)| (tax.category, tax.rate, line.net()));
        let sums = tax_sums(taxed).ok_or_else(sum_too_large)?;
        let tax = sums.values().try_fold(0_i64, |sum, of_rate| sum.checked_add(of_rate.tax));
        let tax = tax.ok_or_else(sum_too_large)?;
        let total = invoice.row.net.checked_add(tax).ok_or_else(sum_too_large)?;
        if total < 0 {
            let message = "the total of the invoice is below zero; bill what is given back together with what is sold, or \
                make a credit note";
            return Err(Error::conflict("INVOICE_NEGATIVE", message).with_detail("total", total));
        }
        (invoice.row.tax, invoice.row.total) = (tax, total);
        let reason =
            |key: (TaxCategory, TaxRate)| lines.iter().find(|line| (line.category, line.rate) == key)?.reason.clone();
        let taxes = sums.iter().map(|(key, sum)| {
            let (category, rate) = *key;
            StoredTax { category, rate, net: sum.net, tax: sum.tax, reason: reason(*key) }
        });
        let taxes = taxes.collect();
        Ok(TaxedDraft { snapshot: InvoiceSnapshot { seller, customer, taxes, evidence, original: None }, invoice })
    }

    /// Returns the credits that can pay a draft: all that the tenant has.
    async fn available_credits(&self, row: &InvoiceRow) -> Result<Credits, Error> {
        if !row.uses_credits || self.credit_value(row)?.is_none() {
            return Ok(Credits::ZERO);
        }
        Ok(self.0.wallets.balance(row.tenant_id, row.environment()).await?.balance)
    }

    /// Returns the worth of a credit in minor units, if credits pay invoices in this currency.
    fn credit_value(&self, row: &InvoiceRow) -> Result<Option<i64>, Error> {
        let currency = row.currency()?;
        let value = self.0.settings.credit_value.map(|value| value.0);
        Ok(value.filter(|value| value.currency() == currency).map(Money::minor))
    }

    /// Uses credits for a draft, and stores it as final.
    async fn settle_in(&self, tx: &mut Tx, mut draft: TaxedDraft, available: Credits) -> Result<(), Error> {
        let row = &mut draft.invoice.row;
        if let Some(value) = self.credit_value(row)?
            && let amount @ 1.. = worth_of(available.millionths(), value).min(row.total)
        {
            let credits = credits_for(amount, value);
            let used = UseCredits::new(row.tenant_id, credit_key(row.id), Credits::from_millionths(credits));
            let used = used.environment(row.environment()).description("Invoice");
            self.0.wallets.use_in(tx, used).await?;
            (row.credits_amount, row.credits_used) = (amount, credits);
        }
        self.store_in(tx, vec![draft]).await
    }

    /// Gives drafts their numbers, and stores them as final. Fails with [`RACED`] if one is no draft any more.
    async fn store_in(&self, tx: &mut Tx, drafts: Vec<TaxedDraft>) -> Result<(), Error> {
        let now = self.now();
        let mut announced = Vec::with_capacity(drafts.len());
        let mut next = HashMap::new();
        let series = self.0.settings.invoice_prefix.0.as_str();
        // In a fixed order, so that two transactions don't wait for each other.
        for environment in [DataEnvironment::Live, DataEnvironment::Test] {
            let of_environment = drafts.iter().filter(|draft| draft.invoice.row.environment() == environment);
            let count = i64::try_from(of_environment.count()).map_err(Error::internal)?;
            if count > 0 {
                next.insert(environment, store::take_numbers(tx, series, environment, count).await?);
            }
        }
        for TaxedDraft { invoice: StoredInvoice { mut row, lines }, snapshot } in drafts {
            let number = next.get_mut(&row.environment()).ok_or_else(|| Error::internal("no number was taken"))?;
            row.number = Some(*number);
            *number += 1;
            row.series = Some(series.to_owned());
            row.set_snapshot(&snapshot).map_err(Error::internal)?;
            self.close(&mut row, now);
            if !store::finalize(tx, &row, now).await? {
                return Err(Error::conflict(RACED, "the invoice was finalised meanwhile"));
            }
            store::set_taxes(tx, row.tenant_id, &lines).await?;
            announced.push((row.tenant_id, row.id));
        }
        self.0.jobs.enqueue_in(tx, AnnounceInvoices { invoices: announced }).await?;
        Ok(())
    }

    /// Sets the times and the status of an invoice that becomes final.
    fn close(&self, row: &mut InvoiceRow, now: Timestamp) {
        row.issued_at = Some(now);
        row.due_at = Some(now + self.0.settings.payment_terms);
        row.set_status(InvoiceStatus::Open);
        if row.balance() <= 0 {
            row.set_status(InvoiceStatus::Paid);
            row.paid_at = Some(now);
        }
    }
}

/// The code of the error by which a transaction is given up, because another one has finalised an invoice.
const RACED: &str = "INVOICE_FINALIZED";

/// Returns the key of the use of credits that pays an invoice.
pub(super) fn credit_key(id: InvoiceId) -> String {
    format!("invoice/{id}")
}
