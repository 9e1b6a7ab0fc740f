//! Invoices in exports of tenants, without drafts. The pages of a provider's invoices are left out: their URLs open them
//! without a sign-in. A quantity, and the price of a unit in the currency, are whole numbers with so many decimals; other
//! amounts are in minor units.

use omnistack_core::{
    clock::Timestamp,
    db::{Arguments, Db},
    module::{Context, MissingDependency, Registry},
    tenant_export::{ExportRow, StoredJson},
};
use serde::Serialize;
use uuid::Uuid;

/// Adds the rows to the exports of tenants.
pub(crate) fn register(registry: &mut Registry) {
    registry
        .tenant_export_table::<InvoiceRecord>("billing-invoices", app_database)
        .tenant_export_table::<InvoiceLineRecord>("billing-invoice-lines", app_database)
        .tenant_export_table::<InvoicePaymentRecord>("billing-invoice-payments", app_database)
        .tenant_export_table::<ProviderInvoiceRecord>("billing-provider-invoices", app_database);
}

/// Returns the app's own database, which has the rows of all tenants, also if each tenant has a database.
fn app_database(ctx: &Context) -> Result<Db, MissingDependency> {
    Ok(ctx.get::<Db>()?.app_database())
}

#[derive(Serialize, omnistack_core::db::FromRow)]
struct InvoiceRecord {
    id: Uuid,
    environment: String,
    kind: String,
    status: String,
    series: Option<String>,
    number: Option<i64>,
    currency: String,
    period_start: Option<Timestamp>,
    period_end: Option<Timestamp>,
    discounts: StoredJson,
    note: String,
    net_minor: i64,
    tax_minor: i64,
    total_minor: i64,
    credits_minor: i64,
    paid_minor: i64,
    credited_minor: i64,
    snapshot: Option<StoredJson>,
    original_id: Option<Uuid>,
    issued_at: Option<Timestamp>,
    due_at: Option<Timestamp>,
    paid_at: Option<Timestamp>,
    voided_at: Option<Timestamp>,
    created_at: Timestamp,
}

impl ExportRow for InvoiceRecord {
    const SELECT: &'static str = "select id, environment, kind, status, series, number, currency, period_start,
        period_end, discounts, note, net as net_minor, tax as tax_minor, total as total_minor, credits_amount as
        credits_minor, paid as paid_minor, credited as credited_minor, snapshot, original_id, issued_at, due_at,
        paid_at, voided_at, created_at
        from omni_invoices where tenant_id = $1 and status <> 'draft'";
    const KEY: &'static [&'static str] = &["environment", "id"];

    fn push_key(&self, values: &mut Arguments) {
        values.push(self.environment.clone());
        values.push(self.id);
    }
}

#[derive(Serialize, omnistack_core::db::FromRow)]
struct InvoiceLineRecord {
    invoice_id: Uuid,
    position: i32,
    kind: String,
    description: String,
    quantity: i64,
    quantity_decimals: i32,
    unit: String,
    price: i64,
    price_decimals: i32,
    amount_minor: i64,
    discount_minor: i64,
    product: String,
    tax_category: Option<String>,
    tax_rate: Option<i32>,
    meter: Option<String>,
    period_start: Option<Timestamp>,
    period_end: Option<Timestamp>,
    original_position: Option<i32>,
}

impl ExportRow for InvoiceLineRecord {
    const SELECT: &'static str = "select l.invoice_id, l.position, l.kind, l.description, l.quantity,
        l.quantity_decimals, l.unit, l.price, l.price_decimals, l.amount as amount_minor, l.discount
        as discount_minor, l.product, l.tax_category, l.tax_rate, l.meter, l.period_start, l.period_end,
        l.original_position
        from omni_invoice_lines l join omni_invoices i on i.id = l.invoice_id where l.tenant_id = $1 and
        i.status <> 'draft'";
    const KEY: &'static [&'static str] = &["l.invoice_id", "l.position"];

    fn push_key(&self, values: &mut Arguments) {
        values.push(self.invoice_id);
        values.push(self.position);
    }
}

#[derive(Serialize, omnistack_core::db::FromRow)]
struct InvoicePaymentRecord {
    invoice_id: Uuid,
    reference: String,
    amount_minor: i64,
    paid_at: Timestamp,
}

impl ExportRow for InvoicePaymentRecord {
    const SELECT: &'static str = "select invoice_id, reference, amount as amount_minor, paid_at
        from omni_invoice_payments where tenant_id = $1";
    const KEY: &'static [&'static str] = &["invoice_id", "reference"];

    fn push_key(&self, values: &mut Arguments) {
        values.push(self.invoice_id);
        values.push(self.reference.clone());
    }
}

#[derive(Serialize, omnistack_core::db::FromRow)]
struct ProviderInvoiceRecord {
    environment: String,
    provider: String,
    external_id: String,
    number: Option<String>,
    status: String,
    currency: String,
    total_minor: i64,
    paid_minor: i64,
    period_start: Option<Timestamp>,
    period_end: Option<Timestamp>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl ExportRow for ProviderInvoiceRecord {
    const SELECT: &'static str = "select environment, provider, external_id, number, status, currency, total as
        total_minor, paid as paid_minor, period_start, period_end, created_at, updated_at
        from omni_provider_invoices where tenant_id = $1";
    const KEY: &'static [&'static str] = &["environment", "provider", "external_id"];

    fn push_key(&self, values: &mut Arguments) {
        values.push(self.environment.clone());
        values.push(self.provider.clone());
        values.push(self.external_id.clone());
    }
}
