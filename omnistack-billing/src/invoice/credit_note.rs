//! Credit notes, which correct an invoice that is final.

use std::collections::{BTreeMap, HashMap};

use omnistack_core::{
    db::Tx,
    http::{Error, FieldError},
    id::Id,
    identity::{Identity, TenantId},
};
use serde_json::json;

use super::{
    amounts::{Factor, TaxSums, TaxedSum, credited_tax},
    handle::{Invoices, check_transaction, no_invoice, sum_too_large},
    jobs::AnnounceInvoices,
    model::{Invoice, InvoiceId, InvoiceKind, InvoiceLineKind, InvoiceReference, InvoiceStatus},
    new_invoice::{MAX_DESCRIPTION_CHARS, MAX_INVOICE_KEY_CHARS, decimals_of, has_control_characters},
    snapshot::{InvoiceSnapshot, StoredTax},
    store::{self, InvoiceRow, LineRow, StoredInvoice},
};

/// A credit note to make.
///
/// ```
/// use omnistack_billing::NewCreditNote;
///
/// // All of the second line, and ten of the third.
/// let note = NewCreditNote::new("refund/4711").line(2).part_of_line(3, 1000).reason("The export failed.");
/// # let _ = note;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct NewCreditNote {
    key: String,
    /// The positions of lines, and the amounts without tax; `None` for what is left of a line. Empty for all lines.
    lines: BTreeMap<u32, Option<i64>>,
    reason: String,
}

impl NewCreditNote {
    /// Creates a credit note of all that is left of an invoice. `key` names what is given back, with 1 to 200 characters: a
    /// second credit note of the tenant with the same key is not made.
    pub fn new(key: impl Into<String>) -> Self {
        Self { key: key.into(), lines: BTreeMap::new(), reason: String::new() }
    }

    /// Limits the credit note to lines, and adds what is left of one, by its position.
    pub fn line(mut self, position: u32) -> Self {
        self.lines.insert(position, None);
        self
    }

    /// Limits the credit note to lines, and adds a part of one: an amount without tax, in minor units.
    pub fn part_of_line(mut self, position: u32, minor: i64) -> Self {
        self.lines.insert(position, Some(minor));
        self
    }

    /// Sets the reason for the customer, at most 500 characters.
    pub fn reason(mut self, reason: impl Into<String>) -> Self {
        self.reason = reason.into();
        self
    }

    fn check(&self) -> Result<(), Error> {
        let mut problems = Vec::new();
        if !(1..=MAX_INVOICE_KEY_CHARS).contains(&self.key.chars().count()) {
            problems.push(FieldError::new("key", format!("must have 1 to {MAX_INVOICE_KEY_CHARS} characters")));
        }
        if self.reason.chars().count() > MAX_DESCRIPTION_CHARS {
            problems.push(FieldError::new("reason", format!("must have at most {MAX_DESCRIPTION_CHARS} characters")));
        }
        for (field, text) in [("key", &self.key), ("reason", &self.reason)] {
            if has_control_characters(text) {
                problems.push(FieldError::new(field, "must have no control characters but tabs and line breaks"));
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(Error::invalid(problems)) }
    }
}

impl Invoices {
    /// Makes a credit note of an invoice, in the caller's transaction, which is one of the tenant in the app's database.
    /// It gets a number at once, and reduces what is owed. Money is not paid back: refund the payment for that. Returns the
    /// id of the credit note, or that of the one with the same key.
    ///
    /// Tax is computed of the sum of the lines, as for the invoice; the last credit note of an invoice takes what is left.
    ///
    /// # Errors
    /// 404 if the tenant has no such invoice; 409 `INVOICE_NOT_FINAL` for a draft, a void invoice and a credit note; 409
    /// `CREDIT_NOTE_TOO_LARGE` if more would be credited than is left of a line or of the invoice; 409
    /// `CREDIT_NOTE_NEGATIVE` if its total would be below zero; 409 `CREDIT_NOTE_CONFLICT` if another invoice has a credit
    /// note with this key; 422 if a value is out of its range; the errors of the database.
    pub async fn credit_in(
        &self,
        tx: &mut Tx,
        tenant: TenantId,
        id: InvoiceId,
        note: NewCreditNote,
    ) -> Result<InvoiceId, Error> {
        check_transaction(tx)?;
        note.check()?;
        let mut original = store::lock(tx, tenant, id).await?.ok_or_else(no_invoice)?;
        let key = format!("credit/{}", note.key);
        if let Some(known) = store::id_of_key(tx, tenant, original.environment(), &key).await? {
            let is_of_invoice = store::original_of(tx, tenant, known).await? == Some(id);
            return if is_of_invoice { Ok(known) } else { Err(key_conflict()) };
        }
        let is_final = matches!(original.status(), InvoiceStatus::Open | InvoiceStatus::Paid);
        if original.kind() == InvoiceKind::CreditNote || !is_final {
            let message = "only an invoice that is open or paid can be credited; delete a draft instead";
            return Err(Error::conflict("INVOICE_NOT_FINAL", message).with_detail("status", original.status()));
        }
        let lines = store::lines(tx, &[id]).await?;
        let earlier = store::credit_notes(tx, tenant, id).await?;
        let snapshot = original.snapshot().map_err(Error::internal)?;
        let snapshot = snapshot.ok_or_else(|| Error::internal("a final invoice has no snapshot"))?;
        let mut credit = self.new_credit_note(&original, &lines, &earlier, snapshot, &note)?;
        credit.row.key = key;
        let credited = original.credited.checked_add(credit.row.total).ok_or_else(sum_too_large)?;
        check_total(&original, credit.row.total, credited)?;
        let series = self.0.settings.credit_note_prefix.0.clone();
        credit.row.number = Some(store::take_numbers(tx, &series, original.environment(), 1).await?);
        credit.row.series = Some(series);
        if !store::insert(tx, &credit).await? {
            // The lock of the invoice keeps others from making one of the same invoice.
            return Err(key_conflict());
        }
        original.credited = credited;
        self.settle(tx, &mut original).await?;
        let announced = AnnounceInvoices { invoices: vec![(tenant, credit.row.id)] };
        self.0.jobs.enqueue_in(tx, announced).await?;
        Ok(credit.row.id)
    }

    /// Makes a credit note for an operator.
    pub(super) async fn credit_as_operator(
        &self,
        operator: &Identity,
        id: InvoiceId,
        note: NewCreditNote,
    ) -> Result<Invoice, Error> {
        let tenant = self.tenant_of(id).await?;
        let mut tx = self.0.db.tenant(tenant).begin().await?;
        let credit = self.credit_in(&mut tx, tenant, id, note).await?;
        let details = json!({ "credit_note": credit });
        self.audit(&mut tx, operator, tenant, "invoice.credited", id, details).await?;
        tx.commit().await?;
        self.get(tenant, credit).await
    }

    fn new_credit_note(
        &self,
        original: &InvoiceRow,
        lines: &[LineRow],
        earlier: &[StoredInvoice],
        snapshot: InvoiceSnapshot,
        note: &NewCreditNote,
    ) -> Result<StoredInvoice, Error> {
        let now = self.now();
        let mut row = InvoiceRow::draft(Id::new(now), original.tenant_id, original.environment(), now);
        row.set_kind(InvoiceKind::CreditNote);
        row.set_status(InvoiceStatus::Paid);
        row.set_currency(original.currency()?);
        (row.period_start, row.period_end) = (original.period_start, original.period_end);
        row.note.clone_from(&note.reason);
        row.original_id = Some(original.id);
        (row.issued_at, row.paid_at) = (Some(now), Some(now));

        let credited = credited_lines(row.id, original, lines, earlier, note)?;
        let invoiced: TaxSums = snapshot
            .taxes
            .iter()
            .map(|tax| ((tax.category, tax.rate), TaxedSum { net: tax.net, tax: tax.tax }))
            .collect();
        let taxes = credited_taxes(&invoiced, &credited, earlier)?;
        let reasons: HashMap<_, _> =
            snapshot.taxes.iter().map(|tax| ((tax.category, tax.rate), tax.reason.clone())).collect();
        row.net = taxes.values().map(|sum| sum.net).sum();
        row.tax = taxes.values().map(|sum| sum.tax).sum();
        row.total = row.net.checked_add(row.tax).ok_or_else(sum_too_large)?;
        let taxes = taxes.into_iter().map(|((category, rate), TaxedSum { net, tax })| {
            let reason = reasons.get(&(category, rate)).cloned().flatten();
            StoredTax { category, rate, net, tax, reason }
        });
        let issued_at = original.issued_at.unwrap_or(now);
        let number = original.number_text().unwrap_or_default();
        let snapshot = InvoiceSnapshot {
            taxes: taxes.collect(),
            original: Some(InvoiceReference { id: original.id, number, issued_at }),
            ..snapshot
        };
        row.set_snapshot(&snapshot).map_err(Error::internal)?;
        Ok(StoredInvoice { row, lines: credited })
    }
}

fn key_conflict() -> Error {
    let message = "there is an invoice or a credit note of another invoice with this key; use another key";
    Error::conflict("CREDIT_NOTE_CONFLICT", message)
}

/// Checks the total of a credit note, and the sum of all credit notes of the invoice with it. Both are wrong if what is
/// sold is credited without what the invoice gives back, or the other way round.
fn check_total(original: &InvoiceRow, total: i64, credited: i64) -> Result<(), Error> {
    if total < 0 {
        let message = "the total of the credit note is below zero; credit lines below zero together with what was sold";
        return Err(Error::conflict("CREDIT_NOTE_NEGATIVE", message).with_detail("total", total));
    }
    if credited > original.total {
        let left = original.total.saturating_sub(original.credited);
        let message = format!(
            "of the invoice, {left} minor units are left to credit; credit its lines below zero together with the others"
        );
        return Err(Error::conflict("CREDIT_NOTE_TOO_LARGE", message).with_detail("left", left));
    }
    Ok(())
}

/// Returns the lines of a credit note.
fn credited_lines(
    id: InvoiceId,
    original: &InvoiceRow,
    lines: &[LineRow],
    earlier: &[StoredInvoice],
    note: &NewCreditNote,
) -> Result<Vec<LineRow>, Error> {
    let mut before: HashMap<i32, i64> = HashMap::new();
    for line in earlier.iter().flat_map(|credit| &credit.lines) {
        if let Some(position) = line.original_position {
            *before.entry(position).or_default() += line.net();
        }
    }
    let wanted: Vec<(i32, Option<i64>)> = if note.lines.is_empty() {
        lines.iter().map(|line| (line.position, None)).collect()
    } else {
        note.lines.iter().map(|(position, amount)| (i32::try_from(*position).unwrap_or(i32::MAX), *amount)).collect()
    };
    let decimals = decimals_of(original.currency()?);
    let mut credited = Vec::with_capacity(wanted.len());
    for (position, amount) in wanted {
        let line = lines
            .iter()
            .find(|line| line.position == position)
            .ok_or_else(|| Error::invalid([FieldError::new("lines", format!("the invoice has no line {position}"))]))?;
        let left = line.net() - before.get(&position).copied().unwrap_or(0);
        let amount = amount.unwrap_or(left);
        let is_part = if left < 0 { (left..=0).contains(&amount) } else { (0..=left).contains(&amount) };
        if !is_part {
            let message = format!("of line {position}, {left} minor units are left to credit; credit at most as much");
            return Err(Error::conflict("CREDIT_NOTE_TOO_LARGE", message).with_detail("left", left));
        }
        if amount == 0 {
            continue;
        }
        let number = i32::try_from(credited.len() + 1).unwrap_or(i32::MAX);
        let (one, price) = (Factor { units: 1, decimals: 0 }, Factor { units: amount, decimals });
        let mut new = LineRow {
            description: line.description.clone(),
            amount,
            product: line.product.clone(),
            meter: line.meter.clone(),
            period_start: line.period_start,
            period_end: line.period_end,
            original_position: Some(position),
            ..LineRow::new(id, number, InvoiceLineKind::Item, one, price)
        };
        if let Some((category, rate)) = line.tax() {
            new.set_tax(category, rate);
        }
        credited.push(new);
    }
    if credited.is_empty() {
        let message = "nothing of the invoice is left to credit";
        return Err(Error::conflict("CREDIT_NOTE_TOO_LARGE", message).with_detail("left", 0));
    }
    Ok(credited)
}

/// Returns the taxes of a credit note.
fn credited_taxes(invoiced: &TaxSums, lines: &[LineRow], earlier: &[StoredInvoice]) -> Result<TaxSums, Error> {
    let mut before = TaxSums::new();
    for credit in earlier {
        let snapshot = credit.row.snapshot().map_err(Error::internal)?;
        for tax in snapshot.iter().flat_map(|snapshot| &snapshot.taxes) {
            let sum = before.entry((tax.category, tax.rate)).or_default();
            sum.net += tax.net;
            sum.tax += tax.tax;
        }
    }
    let mut sums = TaxSums::new();
    for line in lines {
        let key = line.tax().ok_or_else(|| Error::internal("a line of a final invoice has no tax"))?;
        let sum = sums.entry(key).or_default();
        sum.net = sum.net.checked_add(line.net()).ok_or_else(sum_too_large)?;
    }
    for (key, sum) in &mut sums {
        let of_invoice = invoiced.get(key).copied().unwrap_or_default();
        let credited = before.get(key).copied().unwrap_or_default();
        sum.tax = credited_tax(of_invoice, credited, sum.net, key.1);
    }
    Ok(sums)
}
