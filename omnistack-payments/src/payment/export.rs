//! Payments in exports of tenants, with their attempts, refunds, disputes and entries in the ledger. The pages of attempts
//! are left out: their URLs open them without a sign-in. Amounts are in minor units of the currency.

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
        .tenant_export_table::<PaymentRecord>("payments", app_database)
        .tenant_export_table::<AttemptRecord>("payment-attempts", app_database)
        .tenant_export_table::<RefundRecord>("payment-refunds", app_database)
        .tenant_export_table::<DisputeRecord>("payment-disputes", app_database)
        .tenant_export_table::<EntryRecord>("payment-entries", app_database);
}

/// Returns the app's own database, which has the rows of all tenants, also if each tenant has a database.
fn app_database(ctx: &Context) -> Result<Db, MissingDependency> {
    Ok(ctx.get::<Db>()?.app_database())
}

#[derive(Serialize, omnistack_core::db::FromRow)]
struct PaymentRecord {
    id: Uuid,
    environment: String,
    amount_minor: i64,
    currency: String,
    method: String,
    capture: String,
    country: Option<String>,
    description: Option<String>,
    metadata: StoredJson,
    api_key_id: Option<Uuid>,
    status: String,
    captured_minor: i64,
    refunded_minor: i64,
    charged_back_minor: i64,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl ExportRow for PaymentRecord {
    const SELECT: &'static str = "select id, environment, amount as amount_minor, currency, method, capture, country,
        description, metadata, api_key_id, status, captured as captured_minor, refunded as refunded_minor,
        charged_back as charged_back_minor, created_at, updated_at
        from omni_payments where tenant_id = $1";
    const KEY: &'static [&'static str] = &["environment", "id"];

    fn push_key(&self, values: &mut Arguments) {
        values.push(self.environment.clone());
        values.push(self.id);
    }
}

#[derive(Serialize, omnistack_core::db::FromRow)]
struct AttemptRecord {
    payment_id: Uuid,
    number: i32,
    environment: String,
    service: String,
    state: String,
    provider_payment_id: Option<String>,
    captured_minor: i64,
    refunded_minor: i64,
    charged_back_minor: i64,
    fee_minor: Option<i64>,
    fee_currency: Option<String>,
    error_code: Option<String>,
    error_message: Option<String>,
    started_at: Timestamp,
    ended_at: Option<Timestamp>,
}

impl ExportRow for AttemptRecord {
    const SELECT: &'static str = "select payment_id, number, environment, service, state, provider_payment_id, captured
        as captured_minor, refunded as refunded_minor, charged_back as charged_back_minor, fee as fee_minor,
        fee_currency, error_code, error_message, started_at, ended_at
        from omni_payment_attempts where tenant_id = $1";
    const KEY: &'static [&'static str] = &["payment_id", "number"];

    fn push_key(&self, values: &mut Arguments) {
        values.push(self.payment_id);
        values.push(self.number);
    }
}

#[derive(Serialize, omnistack_core::db::FromRow)]
struct RefundRecord {
    id: Uuid,
    payment_id: Uuid,
    attempt: i32,
    environment: String,
    state: String,
    amount_minor: i64,
    reason: Option<String>,
    provider_refund_id: Option<String>,
    error_code: Option<String>,
    error_message: Option<String>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl ExportRow for RefundRecord {
    const SELECT: &'static str = "select id, payment_id, attempt, environment, state, amount as amount_minor, reason,
        provider_refund_id, error_code, error_message, created_at, updated_at
        from omni_payment_refunds where tenant_id = $1";
    const KEY: &'static [&'static str] = &["id"];

    fn push_key(&self, values: &mut Arguments) {
        values.push(self.id);
    }
}

#[derive(Serialize, omnistack_core::db::FromRow)]
struct DisputeRecord {
    id: Uuid,
    payment_id: Uuid,
    attempt: i32,
    environment: String,
    provider_dispute_id: String,
    state: String,
    amount_minor: i64,
    currency: String,
    fee_minor: Option<i64>,
    fee_currency: Option<String>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl ExportRow for DisputeRecord {
    const SELECT: &'static str = "select id, payment_id, attempt, environment, provider_dispute_id, state, amount as
        amount_minor, currency, fee as fee_minor, fee_currency, created_at, updated_at
        from omni_payment_disputes where tenant_id = $1";
    const KEY: &'static [&'static str] = &["id"];

    fn push_key(&self, values: &mut Arguments) {
        values.push(self.id);
    }
}

#[derive(Serialize, omnistack_core::db::FromRow)]
struct EntryRecord {
    id: Uuid,
    environment: String,
    payment_id: Uuid,
    posting_id: Uuid,
    account: String,
    amount_minor: i64,
    currency: String,
    created_at: Timestamp,
}

impl ExportRow for EntryRecord {
    const SELECT: &'static str = "select id, environment, payment_id, posting_id, account, amount as amount_minor,
        currency, created_at
        from omni_payment_entries where tenant_id = $1";
    const KEY: &'static [&'static str] = &["id"];

    fn push_key(&self, values: &mut Arguments) {
        values.push(self.id);
    }
}
