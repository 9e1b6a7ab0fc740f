//! Webhooks to a tenant in its exports: endpoints without secrets and headers, messages and deliveries.

use omnistack_core::{
    clock::Timestamp,
    db::{Arguments, Db},
    module::{Context, MissingDependency, Registry},
    tenant_export::{ExportRow, StoredJson},
};
use serde::{Serialize, Serializer};
use uuid::Uuid;

use super::operator::without_query;

/// Adds the rows to the exports of tenants.
pub(crate) fn register(registry: &mut Registry) {
    registry
        .tenant_export_table::<EndpointRecord>("webhook-endpoints", app_database)
        .tenant_export_table::<MessageRecord>("webhook-messages", app_database)
        .tenant_export_table::<DeliveryRecord>("webhook-deliveries", app_database);
}

/// Returns the app's own database, which has the rows of all tenants, also if each tenant has a database.
fn app_database(ctx: &Context) -> Result<Db, MissingDependency> {
    Ok(ctx.get::<Db>()?.app_database())
}

#[derive(Serialize, omnistack_core::db::FromRow)]
struct EndpointRecord {
    id: Uuid,
    #[serde(serialize_with = "shown_url")]
    url: String,
    description: String,
    events: StoredJson,
    scheme: String,
    rate_per_second: Option<i64>,
    status: String,
    disabled_reason: Option<String>,
    disabled_at: Option<Timestamp>,
    failing_since: Option<Timestamp>,
    is_default: bool,
    created_by: Option<Uuid>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl ExportRow for EndpointRecord {
    const SELECT: &'static str = "select id, url, description, events, scheme, rate_per_second, status,
        disabled_reason, disabled_at, failing_since, is_default, created_by, created_at, updated_at
        from omni_webhook_endpoints where tenant_id = $1";
    const KEY: &'static [&'static str] = &["id"];

    fn push_key(&self, values: &mut Arguments) {
        values.push(self.id);
    }
}

#[derive(Serialize, omnistack_core::db::FromRow)]
struct MessageRecord {
    id: Uuid,
    kind: String,
    version: i64,
    payload: StoredJson,
    created_at: Timestamp,
}

impl ExportRow for MessageRecord {
    const SELECT: &'static str = "select id, kind, version, payload, created_at
        from omni_webhook_messages where tenant_id = $1";
    const KEY: &'static [&'static str] = &["id"];

    fn push_key(&self, values: &mut Arguments) {
        values.push(self.id);
    }
}

#[derive(Serialize, omnistack_core::db::FromRow)]
struct DeliveryRecord {
    id: Uuid,
    endpoint_id: Uuid,
    message_id: Uuid,
    state: String,
    attempts: i64,
    status_code: Option<i64>,
    error: Option<String>,
    created_at: Timestamp,
    finished_at: Option<Timestamp>,
}

impl ExportRow for DeliveryRecord {
    const SELECT: &'static str = "select id, endpoint_id, message_id, state, attempts, status_code, error, created_at,
        finished_at
        from omni_webhook_deliveries where tenant_id = $1";
    const KEY: &'static [&'static str] = &["message_id", "id"];

    fn push_key(&self, values: &mut Arguments) {
        values.push(self.message_id);
        values.push(self.id);
    }
}

/// Serializes a URL without its query, which may have a token of the receiver.
fn shown_url<S: Serializer>(url: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&without_query(url))
}
