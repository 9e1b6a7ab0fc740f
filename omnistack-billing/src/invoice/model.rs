//! Invoices as the app and the API see them.

use std::fmt;

use omnistack_core::{clock::Timestamp, id::Id, identity::TenantId, money::Money, usage::DataEnvironment};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::party::InvoiceParty;
use crate::{
    period::BillingPeriod,
    quantity::Quantity,
    tax::{TaxCategory, TaxRate},
};

/// The id of an invoice.
pub type InvoiceId = Id<Invoice>;

/// The kind of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum InvoiceKind {
    /// An invoice.
    Invoice,
    /// A credit note, which reduces what is owed by an invoice. Its amounts are positive.
    CreditNote,
}

impl InvoiceKind {
    /// Returns the name, as JSON has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invoice => "invoice",
            Self::CreditNote => "credit_note",
        }
    }

    pub(super) fn from_stored(text: &str) -> Option<Self> {
        [Self::Invoice, Self::CreditNote].into_iter().find(|kind| kind.as_str() == text)
    }
}

/// The status of an invoice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum InvoiceStatus {
    /// Not final: it has no number and no tax yet.
    Draft,
    /// Final, and to be paid.
    Open,
    /// Final, and nothing is owed. Credit notes always are.
    Paid,
    /// Final, and not to be paid. It keeps its number.
    Void,
}

impl InvoiceStatus {
    /// Returns the name, as JSON has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Open => "open",
            Self::Paid => "paid",
            Self::Void => "void",
        }
    }

    pub(super) fn from_stored(text: &str) -> Option<Self> {
        [Self::Draft, Self::Open, Self::Paid, Self::Void].into_iter().find(|status| status.as_str() == text)
    }
}

/// Shown as in JSON.
impl fmt::Display for InvoiceStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The kind of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum InvoiceLineKind {
    /// A plan.
    Plan,
    /// The usage of the billed period.
    Usage,
    /// The usage of an earlier period, which was reported late.
    LateUsage,
    /// Anything else.
    Item,
}

impl InvoiceLineKind {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Usage => "usage",
            Self::LateUsage => "late_usage",
            Self::Item => "item",
        }
    }

    pub(super) fn from_stored(text: &str) -> Option<Self> {
        [Self::Plan, Self::Usage, Self::LateUsage, Self::Item].into_iter().find(|kind| kind.as_str() == text)
    }
}

/// An invoice or a credit note.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[non_exhaustive]
pub struct Invoice {
    /// The id.
    #[schema(value_type = String, format = Uuid)]
    pub id: InvoiceId,
    /// The tenant.
    #[schema(value_type = String, format = Uuid)]
    pub tenant_id: TenantId,
    /// The environment.
    pub environment: DataEnvironment,
    /// The kind.
    pub kind: InvoiceKind,
    /// The status.
    pub status: InvoiceStatus,
    /// The number, such as `INV-000017`; `null` for a draft.
    #[schema(required)]
    pub number: Option<String>,
    /// The billed period; `null` if there is none.
    #[schema(required)]
    pub period: Option<BillingPeriod>,
    /// The seller; `null` for a draft.
    #[schema(required)]
    pub seller: Option<InvoiceParty>,
    /// The customer; `null` for a draft.
    #[schema(required)]
    pub customer: Option<InvoiceParty>,
    /// The lines.
    pub lines: Vec<InvoiceLine>,
    /// The discounts, in the order in which they are applied: percentages first.
    pub discounts: Vec<InvoiceDiscount>,
    /// The taxes: one entry for each category and rate.
    pub taxes: Vec<InvoiceTax>,
    /// The sum of the lines after discounts, without tax.
    pub net: Money,
    /// The sum of the taxes. A draft has none yet.
    pub tax: Money,
    /// The total.
    pub total: Money,
    /// The part of the total that credits of the wallet have paid.
    pub credits: Money,
    /// The amount that was paid otherwise.
    pub paid: Money,
    /// The sum of the credit notes.
    pub credited: Money,
    /// The amount that is owed, never below zero.
    pub due: Money,
    /// A text for the customer.
    pub note: String,
    /// The invoice that a credit note corrects; `null` for an invoice.
    #[schema(required)]
    pub original: Option<InvoiceReference>,
    /// When it was finalised.
    #[schema(required)]
    pub issued_at: Option<Timestamp>,
    /// When it is to be paid.
    #[schema(required)]
    pub due_at: Option<Timestamp>,
    /// When it was paid.
    #[schema(required)]
    pub paid_at: Option<Timestamp>,
    /// When it was voided.
    #[schema(required)]
    pub voided_at: Option<Timestamp>,
    /// When it was drafted.
    pub created_at: Timestamp,
}

/// The invoice that a credit note corrects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[non_exhaustive]
pub struct InvoiceReference {
    /// The id.
    #[schema(value_type = String, format = Uuid)]
    pub id: InvoiceId,
    /// The number.
    pub number: String,
    /// When it was finalised.
    pub issued_at: Timestamp,
}

/// A line of an invoice.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[non_exhaustive]
pub struct InvoiceLine {
    /// The position, from 1.
    pub position: u32,
    /// The kind.
    pub kind: InvoiceLineKind,
    /// The description of the goods or the service.
    pub description: String,
    /// The quantity.
    pub quantity: Quantity,
    /// The unit of the quantity, such as `pages`; empty for pieces.
    pub unit: String,
    /// The price of a unit in the currency: a decimal number as a text, so that no digit is lost.
    #[schema(examples("0.0025"))]
    pub unit_price: String,
    /// The quantity times the price, rounded.
    pub amount: Money,
    /// The line's part of the discounts.
    pub discount: Money,
    /// The amount less the discount, without tax.
    pub net: Money,
    /// The product by which the tax is determined; empty for the app's service.
    pub product: String,
    /// The category of the tax; `null` for a draft.
    #[schema(required)]
    pub tax_category: Option<TaxCategory>,
    /// The rate of the tax in percent; `null` for a draft.
    #[schema(required)]
    pub tax_rate: Option<TaxRate>,
    /// The meter of a line of usage.
    #[schema(required)]
    pub meter: Option<String>,
    /// The time of the service.
    #[schema(required)]
    pub period: Option<BillingPeriod>,
    /// The position of the line that a line of a credit note corrects.
    #[schema(required)]
    pub original_position: Option<u32>,
}

/// A discount of an invoice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[non_exhaustive]
pub struct InvoiceDiscount {
    /// The reason.
    pub description: String,
    /// The percentage; `null` for an amount.
    #[schema(required)]
    pub percent: Option<TaxRate>,
    /// The amount by which the invoice is reduced.
    pub amount: Money,
}

/// The tax of the lines of an invoice with one category and rate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[non_exhaustive]
pub struct InvoiceTax {
    /// The category.
    pub category: TaxCategory,
    /// The rate in percent.
    pub rate: TaxRate,
    /// The sum of the lines.
    pub net: Money,
    /// The tax of this sum.
    pub tax: Money,
    /// The reason why no tax applies.
    #[schema(required)]
    pub reason: Option<String>,
}

/// An invoice in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[non_exhaustive]
pub struct InvoiceListItem {
    /// The id.
    #[schema(value_type = String, format = Uuid)]
    pub id: InvoiceId,
    /// The tenant.
    #[schema(value_type = String, format = Uuid)]
    pub tenant_id: TenantId,
    /// The environment.
    pub environment: DataEnvironment,
    /// The kind.
    pub kind: InvoiceKind,
    /// The status.
    pub status: InvoiceStatus,
    /// The number; `null` for a draft.
    #[schema(required)]
    pub number: Option<String>,
    /// The billed period.
    #[schema(required)]
    pub period: Option<BillingPeriod>,
    /// The total; that of a draft is without tax.
    pub total: Money,
    /// The amount that is owed.
    pub due: Money,
    /// When it was finalised.
    #[schema(required)]
    pub issued_at: Option<Timestamp>,
    /// When it is to be paid.
    #[schema(required)]
    pub due_at: Option<Timestamp>,
    /// When it was drafted.
    pub created_at: Timestamp,
}

/// An invoice that a payment provider has made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[non_exhaustive]
pub struct MirroredInvoice {
    /// The name of the provider, such as `stripe`.
    pub provider: String,
    /// The id at the provider.
    pub id: String,
    /// The number; `null` for a draft of the provider.
    #[schema(required)]
    pub number: Option<String>,
    /// The status at the provider.
    pub status: String,
    /// The total.
    pub total: Money,
    /// The amount that was paid.
    pub paid: Money,
    /// The billed period.
    #[schema(required)]
    pub period: Option<BillingPeriod>,
    /// The page on which the customer can pay it.
    #[schema(required)]
    pub hosted_url: Option<String>,
    /// The URL of the provider's PDF.
    #[schema(required)]
    pub pdf_url: Option<String>,
    /// When the provider has made it.
    pub created_at: Timestamp,
}
