//! The rows of invoices and of their lines.

use omnistack_core::{
    clock::Timestamp,
    db::{self, FromRow},
    http,
    identity::TenantId,
    money::{Currency, Money},
    usage::{DataEnvironment, Decimal},
};

use crate::{
    invoice::{
        amounts::Factor,
        model::{Invoice, InvoiceId, InvoiceKind, InvoiceLine, InvoiceLineKind, InvoiceListItem, InvoiceStatus},
        snapshot::{InvoiceSnapshot, StoredDiscount, StoredTax},
    },
    period::BillingPeriod,
    quantity::Quantity,
    tax::{TaxCategory, TaxRate},
};

/// Digits of the number of an invoice.
const NUMBER_DIGITS: usize = 6;

/// An invoice as its row has it. A row whose columns can't be read is refused when it is loaded, so that the defaults of
/// the functions that read them never count.
#[derive(Clone, Debug, FromRow)]
pub(in crate::invoice) struct InvoiceRow {
    pub(in crate::invoice) id: InvoiceId,
    pub(in crate::invoice) tenant_id: TenantId,
    pub(super) environment: String,
    pub(super) kind: String,
    pub(super) status: String,
    pub(in crate::invoice) key: String,
    pub(in crate::invoice) series: Option<String>,
    pub(in crate::invoice) number: Option<i64>,
    pub(super) currency: String,
    pub(in crate::invoice) period_start: Option<Timestamp>,
    pub(in crate::invoice) period_end: Option<Timestamp>,
    pub(super) discounts: String,
    pub(in crate::invoice) uses_credits: bool,
    pub(in crate::invoice) note: String,
    pub(in crate::invoice) net: i64,
    pub(in crate::invoice) tax: i64,
    pub(in crate::invoice) total: i64,
    pub(in crate::invoice) credits_amount: i64,
    pub(in crate::invoice) credits_used: i64,
    pub(in crate::invoice) paid: i64,
    pub(in crate::invoice) credited: i64,
    pub(super) snapshot: Option<String>,
    pub(in crate::invoice) original_id: Option<InvoiceId>,
    pub(in crate::invoice) issued_at: Option<Timestamp>,
    pub(in crate::invoice) due_at: Option<Timestamp>,
    pub(in crate::invoice) paid_at: Option<Timestamp>,
    pub(in crate::invoice) voided_at: Option<Timestamp>,
    pub(in crate::invoice) created_at: Timestamp,
}

impl InvoiceRow {
    /// Creates a draft.
    pub(in crate::invoice) fn draft(
        id: InvoiceId,
        tenant: TenantId,
        environment: DataEnvironment,
        at: Timestamp,
    ) -> Self {
        Self {
            id,
            tenant_id: tenant,
            environment: environment.as_str().to_owned(),
            kind: InvoiceKind::Invoice.as_str().to_owned(),
            status: InvoiceStatus::Draft.as_str().to_owned(),
            key: String::new(),
            series: None,
            number: None,
            currency: String::new(),
            period_start: None,
            period_end: None,
            discounts: "[]".to_owned(),
            uses_credits: false,
            note: String::new(),
            net: 0,
            tax: 0,
            total: 0,
            credits_amount: 0,
            credits_used: 0,
            paid: 0,
            credited: 0,
            snapshot: None,
            original_id: None,
            issued_at: None,
            due_at: None,
            paid_at: None,
            voided_at: None,
            created_at: at,
        }
    }

    /// Returns the row that was loaded. Fails if one of its columns can't be read.
    pub(super) fn checked(self) -> Result<Self, db::Error> {
        for (column, is_readable) in [
            ("environment", self.environment.parse::<DataEnvironment>().is_ok()),
            ("kind", InvoiceKind::from_stored(&self.kind).is_some()),
            ("status", InvoiceStatus::from_stored(&self.status).is_some()),
        ] {
            if !is_readable {
                return Err(db::Error::unreadable("omni_invoices", self.id, column));
            }
        }
        self.currency()?;
        Ok(self)
    }

    pub(in crate::invoice) fn set_currency(&mut self, currency: Currency) {
        currency.code().clone_into(&mut self.currency);
    }

    pub(in crate::invoice) fn set_kind(&mut self, kind: InvoiceKind) {
        kind.as_str().clone_into(&mut self.kind);
    }

    pub(in crate::invoice) fn set_status(&mut self, status: InvoiceStatus) {
        status.as_str().clone_into(&mut self.status);
    }

    pub(in crate::invoice) fn set_discounts(&mut self, discounts: &[StoredDiscount]) -> Result<(), serde_json::Error> {
        self.discounts = serde_json::to_string(discounts)?;
        Ok(())
    }

    pub(in crate::invoice) fn set_snapshot(&mut self, snapshot: &InvoiceSnapshot) -> Result<(), serde_json::Error> {
        self.snapshot = Some(serde_json::to_string(snapshot)?);
        Ok(())
    }

    pub(in crate::invoice) fn environment(&self) -> DataEnvironment {
        self.environment.parse().unwrap_or_default()
    }

    pub(in crate::invoice) fn kind(&self) -> InvoiceKind {
        InvoiceKind::from_stored(&self.kind).unwrap_or(InvoiceKind::Invoice)
    }

    pub(in crate::invoice) fn status(&self) -> InvoiceStatus {
        InvoiceStatus::from_stored(&self.status).unwrap_or(InvoiceStatus::Draft)
    }

    /// Returns the currency.
    ///
    /// # Errors
    /// Fails if the stored code can't be read.
    pub(in crate::invoice) fn currency(&self) -> Result<Currency, db::Error> {
        let unreadable = || db::Error::unreadable("omni_invoices", self.id, "currency");
        Currency::from_code(&self.currency).ok_or_else(unreadable)
    }

    /// Returns the number with its prefix. Numbers of tests begin with `TEST-`.
    pub(in crate::invoice) fn number_text(&self) -> Option<String> {
        let (series, number) = (self.series.as_deref()?, self.number?);
        let test = if self.environment() == DataEnvironment::Test { "TEST-" } else { "" };
        Some(format!("{test}{series}{number:0NUMBER_DIGITS$}"))
    }

    pub(in crate::invoice) fn snapshot(&self) -> Result<Option<InvoiceSnapshot>, serde_json::Error> {
        self.snapshot.as_deref().map(serde_json::from_str).transpose()
    }

    pub(in crate::invoice) fn period(&self) -> Option<BillingPeriod> {
        let (start, end) = self.period_start.zip(self.period_end)?;
        Some(BillingPeriod { start, end })
    }

    /// Returns the amount that is owed, below zero if more was paid or credited.
    pub(in crate::invoice) fn balance(&self) -> i64 {
        match (self.kind(), self.status()) {
            (InvoiceKind::CreditNote, _) | (_, InvoiceStatus::Void) => 0,
            _ => {
                let owed = self.total.saturating_sub(self.credits_amount).saturating_sub(self.paid);
                owed.saturating_sub(self.credited)
            }
        }
    }

    /// Returns whether nothing was owed when the invoice became final: credits have paid it, or it costs nothing.
    pub(in crate::invoice) fn is_paid_at_issue(&self) -> bool {
        self.kind() == InvoiceKind::Invoice && self.number.is_some() && self.total <= self.credits_amount
    }

    pub(in crate::invoice) fn list_item(self) -> Result<InvoiceListItem, db::Error> {
        let currency = self.currency()?;
        Ok(InvoiceListItem {
            id: self.id,
            tenant_id: self.tenant_id,
            environment: self.environment(),
            kind: self.kind(),
            status: self.status(),
            number: self.number_text(),
            period: self.period(),
            total: Money::new(self.total, currency),
            due: Money::new(self.balance().max(0), currency),
            issued_at: self.issued_at,
            due_at: self.due_at,
            created_at: self.created_at,
        })
    }
}

/// A line as its row has it.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub(in crate::invoice) struct LineRow {
    pub(in crate::invoice) invoice_id: InvoiceId,
    pub(in crate::invoice) position: i32,
    pub(in crate::invoice) kind: String,
    pub(in crate::invoice) description: String,
    pub(in crate::invoice) quantity: i64,
    pub(in crate::invoice) quantity_decimals: i32,
    pub(in crate::invoice) unit: String,
    pub(in crate::invoice) price: i64,
    pub(in crate::invoice) price_decimals: i32,
    pub(in crate::invoice) amount: i64,
    pub(in crate::invoice) discount: i64,
    pub(in crate::invoice) product: String,
    pub(in crate::invoice) tax_category: Option<String>,
    pub(in crate::invoice) tax_rate: Option<i32>,
    pub(in crate::invoice) meter: Option<String>,
    pub(in crate::invoice) period_start: Option<Timestamp>,
    pub(in crate::invoice) period_end: Option<Timestamp>,
    pub(in crate::invoice) original_position: Option<i32>,
}

impl LineRow {
    pub(in crate::invoice) fn new(
        invoice: InvoiceId,
        position: i32,
        kind: InvoiceLineKind,
        quantity: Factor,
        price: Factor,
    ) -> Self {
        let decimals = |factor: Factor| i32::try_from(factor.decimals).unwrap_or(i32::MAX);
        Self {
            invoice_id: invoice,
            position,
            kind: kind.as_str().to_owned(),
            description: String::new(),
            quantity: quantity.units,
            quantity_decimals: decimals(quantity),
            unit: String::new(),
            price: price.units,
            price_decimals: decimals(price),
            amount: 0,
            discount: 0,
            product: String::new(),
            tax_category: None,
            tax_rate: None,
            meter: None,
            period_start: None,
            period_end: None,
            original_position: None,
        }
    }

    /// Returns the line that was loaded. Fails if one of its columns can't be read.
    pub(super) fn checked(self) -> Result<Self, db::Error> {
        let is_number = |number: i32| u32::try_from(number).is_ok();
        for (column, is_readable) in [
            ("position", is_number(self.position)),
            ("kind", InvoiceLineKind::from_stored(&self.kind).is_some()),
            ("quantity_decimals", is_number(self.quantity_decimals)),
            ("price_decimals", is_number(self.price_decimals)),
            ("tax_category", self.tax_category.as_deref().is_none_or(|code| TaxCategory::from_code(code).is_some())),
            ("tax_rate", self.tax_rate.is_none_or(is_number)),
            ("original_position", self.original_position.is_none_or(is_number)),
        ] {
            if !is_readable {
                let id = format!("{}/{}", self.invoice_id, self.position);
                return Err(db::Error::unreadable("omni_invoice_lines", id, column));
            }
        }
        Ok(self)
    }

    pub(in crate::invoice) fn net(&self) -> i64 {
        self.amount - self.discount
    }

    pub(in crate::invoice) fn tax(&self) -> Option<(TaxCategory, TaxRate)> {
        let category = self.tax_category.as_deref().and_then(TaxCategory::from_code)?;
        let rate = u32::try_from(self.tax_rate?).ok()?;
        Some((category, TaxRate::from_millionths(rate)))
    }

    pub(in crate::invoice) fn set_tax(&mut self, category: TaxCategory, rate: TaxRate) {
        self.tax_category = Some(category.code().to_owned());
        self.tax_rate = i32::try_from(rate.millionths()).ok();
    }

    fn read(self, currency: Currency) -> InvoiceLine {
        let money = |minor| Money::new(minor, currency);
        let decimal = |units: i64, decimals: i32| {
            Decimal::from_i128_with_scale(units.into(), u32::try_from(decimals).unwrap_or(0))
        };
        let (tax, net) = (self.tax(), self.net());
        let position = |position: i32| u32::try_from(position).unwrap_or(0);
        let period = self.period_start.zip(self.period_end).map(|(start, end)| BillingPeriod { start, end });
        InvoiceLine {
            position: position(self.position),
            kind: InvoiceLineKind::from_stored(&self.kind).unwrap_or(InvoiceLineKind::Item),
            quantity: Quantity(decimal(self.quantity, self.quantity_decimals).normalize()),
            unit_price: decimal(self.price, self.price_decimals).normalize().to_string(),
            description: self.description,
            unit: self.unit,
            amount: money(self.amount),
            discount: money(self.discount),
            net: money(net),
            product: self.product,
            tax_category: tax.map(|(category, _)| category),
            tax_rate: tax.map(|(_, rate)| rate),
            meter: self.meter,
            period,
            original_position: self.original_position.map(position),
        }
    }
}

/// An invoice with its lines.
#[derive(Clone, Debug)]
pub(in crate::invoice) struct StoredInvoice {
    pub(in crate::invoice) row: InvoiceRow,
    pub(in crate::invoice) lines: Vec<LineRow>,
}

impl StoredInvoice {
    /// Returns the invoice as the app sees it.
    pub(in crate::invoice) fn read(self) -> Result<Invoice, http::Error> {
        let Self { row, lines } = self;
        let currency = row.currency()?;
        let money = |minor| Money::new(minor, currency);
        let snapshot = row.snapshot().map_err(http::Error::internal)?;
        let discounts: Vec<StoredDiscount> = serde_json::from_str(&row.discounts).map_err(http::Error::internal)?;
        let taxes = snapshot.iter().flat_map(|snapshot| &snapshot.taxes).map(|tax: &StoredTax| tax.read(currency));
        Ok(Invoice {
            id: row.id,
            tenant_id: row.tenant_id,
            environment: row.environment(),
            kind: row.kind(),
            status: row.status(),
            number: row.number_text(),
            period: row.period(),
            taxes: taxes.collect(),
            seller: snapshot.as_ref().map(|snapshot| snapshot.seller.clone()),
            customer: snapshot.as_ref().map(|snapshot| snapshot.customer.clone()),
            original: snapshot.and_then(|snapshot| snapshot.original),
            lines: lines.into_iter().map(|line| line.read(currency)).collect(),
            discounts: discounts.into_iter().map(|discount| discount.read(currency)).collect(),
            net: money(row.net),
            tax: money(row.tax),
            total: money(row.total),
            credits: money(row.credits_amount),
            paid: money(row.paid),
            credited: money(row.credited),
            due: money(row.balance().max(0)),
            issued_at: row.issued_at,
            due_at: row.due_at,
            paid_at: row.paid_at,
            voided_at: row.voided_at,
            created_at: row.created_at,
            note: row.note,
        })
    }
}
