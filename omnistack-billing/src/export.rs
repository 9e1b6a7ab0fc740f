//! The rows of billing in exports of tenants: the account, subscriptions, usage and credits. Invoices have a file of their
//! own. Amounts in minor units of a currency end with `_minor`, and credits are in millionths. The numbers of usage are
//! in the smallest units of the meter, which has so many `decimals`.

use omnistack_core::{
    clock::Timestamp,
    db::{Arguments, Db},
    identity::TenantId,
    module::{Context, MissingDependency, Registry},
    tenant_export::{ExportRow, StoredJson},
};
use serde::Serialize;
use uuid::Uuid;

/// Adds the rows to the exports of tenants.
pub(crate) fn register(registry: &mut Registry) {
    registry
        .tenant_export_table::<AccountRecord>("billing-account", app_database)
        .tenant_export_table::<DetailsRecord>("billing-details", app_database)
        .tenant_export_table::<SubscriptionRecord>("billing-subscriptions", app_database)
        .tenant_export_table::<UsageRecord>("billing-usage", app_database)
        .tenant_export_table::<CreditGrantRecord>("billing-credit-grants", app_database)
        .tenant_export_table::<CreditEntryRecord>("billing-credit-entries", app_database);
}

/// Returns the app's own database, which has the rows of all tenants, also if each tenant has a database.
fn app_database(ctx: &Context) -> Result<Db, MissingDependency> {
    Ok(ctx.get::<Db>()?.app_database())
}

#[derive(Serialize, omnistack_core::db::FromRow)]
struct AccountRecord {
    tenant_id: TenantId,
    plan: Option<String>,
    plan_version: Option<i32>,
    seats: Option<i64>,
    zone: String,
    anchor: Option<Timestamp>,
    period: String,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl ExportRow for AccountRecord {
    const SELECT: &'static str = "select tenant_id, plan, plan_version, seats, zone, anchor, period, created_at,
        updated_at
        from omni_billing_accounts where tenant_id = $1";
    const KEY: &'static [&'static str] = &["tenant_id"];

    fn push_key(&self, values: &mut Arguments) {
        values.push(self.tenant_id);
    }
}

#[derive(Serialize, omnistack_core::db::FromRow)]
struct DetailsRecord {
    environment: String,
    details: StoredJson,
    updated_at: Timestamp,
}

impl ExportRow for DetailsRecord {
    const SELECT: &'static str = "select environment, details, updated_at
        from omni_billing_details where tenant_id = $1";
    const KEY: &'static [&'static str] = &["environment"];

    fn push_key(&self, values: &mut Arguments) {
        values.push(self.environment.clone());
    }
}

#[derive(Serialize, omnistack_core::db::FromRow)]
struct SubscriptionRecord {
    id: Uuid,
    environment: String,
    provider: String,
    external_id: String,
    status: String,
    plan: String,
    plan_version: i32,
    period: String,
    quantity: i64,
    period_start: Option<Timestamp>,
    period_end: Option<Timestamp>,
    trial_end: Option<Timestamp>,
    cancel_at: Option<Timestamp>,
    ended_at: Option<Timestamp>,
    entitled: bool,
    mrr_minor: i64,
    currency: String,
    provider_created_at: Timestamp,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl ExportRow for SubscriptionRecord {
    const SELECT: &'static str = "select id, environment, provider, external_id, status, plan, plan_version, period,
        quantity, period_start, period_end, trial_end, cancel_at, ended_at, entitled, mrr as mrr_minor, currency,
        provider_created_at, created_at, updated_at
        from omni_subscriptions where tenant_id = $1";
    const KEY: &'static [&'static str] = &["environment", "id"];

    fn push_key(&self, values: &mut Arguments) {
        values.push(self.environment.clone());
        values.push(self.id);
    }
}

#[derive(Serialize, omnistack_core::db::FromRow)]
struct UsageRecord {
    environment: String,
    meter: String,
    aggregation: Option<String>,
    grain: String,
    start: Timestamp,
    decimals: Option<i32>,
    sum: i64,
    events: i64,
    max: i64,
    last: i64,
    last_at: Timestamp,
    uniques: i64,
}

impl ExportRow for UsageRecord {
    const SELECT: &'static str = "select w.environment, w.meter, m.aggregation, w.grain, w.start, m.decimals, w.sum,
        w.events, w.max, w.last, w.last_at, w.uniques
        from omni_usage_windows w left join omni_usage_meters m on m.name = w.meter where w.tenant_id = $1 and
        w.grain in ('period', 'total')";
    const KEY: &'static [&'static str] = &["w.environment", "w.meter", "w.grain", "w.start"];

    fn push_key(&self, values: &mut Arguments) {
        values.push(self.environment.clone());
        values.push(self.meter.clone());
        values.push(self.grain.clone());
        values.push(self.start);
    }
}

#[derive(Serialize, omnistack_core::db::FromRow)]
struct CreditGrantRecord {
    id: Uuid,
    environment: String,
    description: String,
    priority: i32,
    amount_millionths: i64,
    remaining_millionths: i64,
    expires_at: Option<Timestamp>,
    created_at: Timestamp,
}

impl ExportRow for CreditGrantRecord {
    const SELECT: &'static str = "select id, environment, description, priority, amount as amount_millionths, remaining
        as remaining_millionths, expires_at, created_at
        from omni_wallet_grants where tenant_id = $1";
    const KEY: &'static [&'static str] = &["id"];

    fn push_key(&self, values: &mut Arguments) {
        values.push(self.id);
    }
}

#[derive(Serialize, omnistack_core::db::FromRow)]
struct CreditEntryRecord {
    id: Uuid,
    environment: String,
    kind: String,
    amount_millionths: i64,
    balance_millionths: i64,
    grant_id: Option<Uuid>,
    description: String,
    created_at: Timestamp,
}

impl ExportRow for CreditEntryRecord {
    const SELECT: &'static str = "select id, environment, kind, amount as amount_millionths, balance as
        balance_millionths, grant_id, description, created_at
        from omni_wallet_entries where tenant_id = $1";
    const KEY: &'static [&'static str] = &["environment", "id"];

    fn push_key(&self, values: &mut Arguments) {
        values.push(self.environment.clone());
        values.push(self.id);
    }
}
