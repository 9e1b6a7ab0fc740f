//! Payments of invoices, and voiding them.

use omnistack_core::{
    db::Tx,
    http::{Error, FieldError},
    identity::{Identity, TenantId},
    money::Money,
};
use serde_json::json;

use super::{
    events::{InvoicePaid, InvoiceVoided},
    finalize::credit_key,
    handle::{Invoices, check_transaction, no_invoice},
    jobs::VoidTaxes,
    model::{Invoice, InvoiceId, InvoiceKind, InvoiceStatus},
    new_invoice::MAX_INVOICE_KEY_CHARS,
    store::{self, InvoiceRow},
};
use crate::wallet::Credits;

impl Invoices {
    /// Adds a payment to an invoice, in the caller's transaction, which is one of the tenant in the app's database.
    /// `reference` names the payment, with 1 to 200 characters: a second payment with the same reference changes nothing.
    /// Returns what is owed afterwards. An invoice of which nothing is owed becomes paid.
    ///
    /// # Errors
    /// 404 if the tenant has no such invoice; 409 `INVOICE_NOT_OPEN` for a draft, a void invoice and a credit note; 422
    /// for an amount that is not more than zero or in another currency, and for a reference out of its range; the errors
    /// of the database.
    pub async fn record_payment_in(
        &self,
        tx: &mut Tx,
        tenant: TenantId,
        id: InvoiceId,
        amount: Money,
        reference: &str,
    ) -> Result<Money, Error> {
        check_transaction(tx)?;
        if !(1..=MAX_INVOICE_KEY_CHARS).contains(&reference.chars().count()) {
            let message = format!("must have 1 to {MAX_INVOICE_KEY_CHARS} characters");
            return Err(Error::invalid([FieldError::new("reference", message)]));
        }
        let mut row = store::lock(tx, tenant, id).await?.ok_or_else(no_invoice)?;
        let currency = row.currency()?;
        if row.kind() == InvoiceKind::CreditNote || matches!(row.status(), InvoiceStatus::Draft | InvoiceStatus::Void) {
            return Err(not_open(&row));
        }
        if amount.minor() <= 0 || amount.currency() != currency {
            let message = format!("must be more than zero, in {}", currency.code());
            return Err(Error::invalid([FieldError::new("amount", message)]));
        }
        let now = self.now();
        if store::insert_payment(tx, &row, reference, amount.minor(), now).await? {
            let paid = row.paid.checked_add(amount.minor());
            row.paid = paid.ok_or_else(|| Error::invalid([FieldError::new("amount", "is too large")]))?;
            self.settle(tx, &mut row).await?;
        }
        Ok(Money::new(row.balance().max(0), currency))
    }

    /// Voids an invoice that is open, in the caller's transaction. It keeps its number. Credits that have paid a part of
    /// it are returned to the wallet.
    ///
    /// # Errors
    /// 404 if the tenant has no such invoice; 409 `INVOICE_NOT_OPEN` if it is not open; 409 `INVOICE_PARTLY_PAID` if a
    /// part was paid or credited; the errors of the database.
    pub async fn void_in(&self, tx: &mut Tx, tenant: TenantId, id: InvoiceId) -> Result<(), Error> {
        check_transaction(tx)?;
        let mut row = store::lock(tx, tenant, id).await?.ok_or_else(no_invoice)?;
        if row.kind() == InvoiceKind::CreditNote || row.status() != InvoiceStatus::Open {
            return Err(not_open(&row));
        }
        if row.paid > 0 || row.credited > 0 {
            let message = "a part of the invoice is paid or credited; make a credit note for the rest instead";
            return Err(Error::conflict("INVOICE_PARTLY_PAID", message));
        }
        let now = self.now();
        row.set_status(InvoiceStatus::Void);
        row.voided_at = Some(now);
        let credits = Credits::from_millionths(row.credits_used);
        store::update(tx, &row, now).await?;
        if credits > Credits::ZERO {
            let (wallets, environment) = (&self.0.wallets, row.environment());
            wallets.return_in(tx, tenant, environment, &credit_key(id), credits).await?;
        }
        self.0.jobs.enqueue_in(tx, VoidTaxes { tenant, invoice: id }).await?;
        self.0.events.publish_in(tx, &InvoiceVoided::new(&row)?).await?;
        Ok(())
    }

    /// Adds a payment for an operator, such as a bank transfer.
    pub(super) async fn record_payment_as_operator(
        &self,
        operator: &Identity,
        id: InvoiceId,
        amount: Money,
        reference: &str,
    ) -> Result<Invoice, Error> {
        let tenant = self.tenant_of(id).await?;
        let mut tx = self.0.db.tenant(tenant).begin().await?;
        self.record_payment_in(&mut tx, tenant, id, amount, reference).await?;
        let details = json!({ "amount": amount, "reference": reference });
        self.audit(&mut tx, operator, tenant, "invoice.payment_recorded", id, details).await?;
        tx.commit().await?;
        self.get(tenant, id).await
    }

    /// Voids an invoice for an operator.
    pub(super) async fn void_as_operator(&self, operator: &Identity, id: InvoiceId) -> Result<Invoice, Error> {
        let tenant = self.tenant_of(id).await?;
        let mut tx = self.0.db.tenant(tenant).begin().await?;
        self.void_in(&mut tx, tenant, id).await?;
        self.audit(&mut tx, operator, tenant, "invoice.voided", id, json!({})).await?;
        tx.commit().await?;
        self.get(tenant, id).await
    }

    /// Stores what was paid or credited of an invoice, which becomes paid if nothing is owed any more.
    pub(super) async fn settle(&self, tx: &mut Tx, row: &mut InvoiceRow) -> Result<(), Error> {
        let now = self.now();
        let becomes_paid = row.status() == InvoiceStatus::Open && row.balance() <= 0;
        if becomes_paid {
            row.set_status(InvoiceStatus::Paid);
            row.paid_at = Some(now);
        }
        store::update(tx, row, now).await?;
        if becomes_paid {
            self.0.events.publish_in(tx, &InvoicePaid::new(row)?).await?;
        }
        Ok(())
    }
}

fn not_open(row: &InvoiceRow) -> Error {
    let message = match (row.kind(), row.status()) {
        (InvoiceKind::CreditNote, _) => "a credit note is not paid; use the invoice that it corrects".to_owned(),
        (_, InvoiceStatus::Draft) => "the invoice is a draft; finalise it first".to_owned(),
        (_, status) => format!("the invoice is {status}; it must be open"),
    };
    Error::conflict("INVOICE_NOT_OPEN", message).with_detail("status", row.status())
}
