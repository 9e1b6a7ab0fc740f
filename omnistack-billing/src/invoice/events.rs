//! The events of invoices.

use omnistack_core::{
    db,
    events::Event,
    id::Id,
    identity::TenantId,
    money::{Currency, Money},
    usage::DataEnvironment,
    webhook::WebhookEvent,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    model::{InvoiceId, InvoiceKind},
    store::InvoiceRow,
};

/// The id of the tenant in the examples of the events.
const EXAMPLE_TENANT: Uuid = Uuid::from_u128(0x0197_2a4e_8c00_7000_8000_0000_0000_0001);
/// The id of the invoice in the examples of the events.
const EXAMPLE_INVOICE: Uuid = Uuid::from_u128(0x0197_2a4e_8c00_7000_8000_0000_0000_0017);

/// The invoice of an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[non_exhaustive]
pub struct InvoiceFacts {
    /// The tenant.
    #[schema(value_type = String, format = Uuid)]
    pub tenant: TenantId,
    /// The environment.
    pub environment: DataEnvironment,
    /// The id of the invoice.
    #[schema(value_type = String, format = Uuid)]
    pub invoice: InvoiceId,
    /// The kind.
    pub kind: InvoiceKind,
    /// The number.
    pub number: String,
    /// The total.
    pub total: Money,
    /// The amount that is owed.
    pub due: Money,
}

impl InvoiceFacts {
    fn new(row: &InvoiceRow) -> Result<Self, db::Error> {
        let currency = row.currency()?;
        Ok(Self {
            tenant: row.tenant_id,
            environment: row.environment(),
            invoice: row.id,
            kind: row.kind(),
            number: row.number_text().unwrap_or_default(),
            total: Money::new(row.total, currency),
            due: Money::new(row.balance().max(0), currency),
        })
    }

    fn example(due: i64) -> Self {
        Self {
            tenant: TenantId::from_uuid(EXAMPLE_TENANT),
            environment: DataEnvironment::Live,
            invoice: Id::from_uuid(EXAMPLE_INVOICE),
            kind: InvoiceKind::Invoice,
            number: "INV-000017".to_owned(),
            total: Money::new(3451, Currency::EUR),
            due: Money::new(due, Currency::EUR),
        }
    }

    fn key(&self) -> String {
        self.invoice.to_string()
    }
}

/// Event: an invoice or a credit note is final. It has its number and its taxes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InvoiceFinalized(pub InvoiceFacts);

/// Event: an invoice is paid. Nothing is owed any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InvoicePaid(pub InvoiceFacts);

/// Event: an invoice was voided. It is not to be paid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InvoiceVoided(pub InvoiceFacts);

impl InvoiceFinalized {
    pub(super) fn new(row: &InvoiceRow) -> Result<Self, db::Error> {
        InvoiceFacts::new(row).map(Self)
    }
}

impl InvoicePaid {
    pub(super) fn new(row: &InvoiceRow) -> Result<Self, db::Error> {
        InvoiceFacts::new(row).map(Self)
    }
}

impl InvoiceVoided {
    pub(super) fn new(row: &InvoiceRow) -> Result<Self, db::Error> {
        InvoiceFacts::new(row).map(Self)
    }
}

impl Event for InvoiceFinalized {
    const NAME: &'static str = "invoice.finalized";

    fn key(&self) -> String {
        self.0.key()
    }
}

impl Event for InvoicePaid {
    const NAME: &'static str = "invoice.paid";

    fn key(&self) -> String {
        self.0.key()
    }
}

impl Event for InvoiceVoided {
    const NAME: &'static str = "invoice.voided";

    fn key(&self) -> String {
        self.0.key()
    }
}

impl WebhookEvent for InvoiceFinalized {
    const TYPE: &'static str = <Self as Event>::NAME;
    const DESCRIPTION: &'static str = "An invoice or a credit note is final: it has its number.";

    fn example() -> Self {
        Self(InvoiceFacts::example(3451))
    }
}

impl WebhookEvent for InvoicePaid {
    const TYPE: &'static str = <Self as Event>::NAME;
    const DESCRIPTION: &'static str = "Nothing is owed of an invoice any more.";

    fn example() -> Self {
        Self(InvoiceFacts::example(0))
    }
}

impl WebhookEvent for InvoiceVoided {
    const TYPE: &'static str = <Self as Event>::NAME;
    const DESCRIPTION: &'static str = "An invoice was voided.";

    fn example() -> Self {
        Self(InvoiceFacts::example(0))
    }
}
