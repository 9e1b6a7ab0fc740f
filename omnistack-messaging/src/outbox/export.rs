//! The messages of a tenant in its exports, without subjects and contents, which may have codes.

use omnistack_core::{
    clock::Timestamp,
    db::{Arguments, Db},
    module::{Context, MissingDependency, Registry},
    tenant_export::ExportRow,
};
use serde::Serialize;
use uuid::Uuid;

/// Adds the rows to the exports of tenants.
pub(crate) fn register(registry: &mut Registry) {
    registry.tenant_export_table::<MessageRecord>("messages", app_database);
}

/// Returns the app's own database, which has the rows of all tenants, also if each tenant has a database.
fn app_database(ctx: &Context) -> Result<Db, MissingDependency> {
    Ok(ctx.get::<Db>()?.app_database())
}

#[derive(Serialize, omnistack_core::db::FromRow)]
struct MessageRecord {
    id: Uuid,
    channel: String,
    recipients: String,
    segments: Option<i64>,
    state: String,
    reason: Option<String>,
    provider: Option<String>,
    created_at: Timestamp,
    finished_at: Option<Timestamp>,
}

impl ExportRow for MessageRecord {
    const SELECT: &'static str = "select id, channel, recipients, segments, state, reason, provider, created_at,
        finished_at
        from omni_messages where tenant_id = $1";
    const KEY: &'static [&'static str] = &["id"];

    fn push_key(&self, values: &mut Arguments) {
        values.push(self.id);
    }
}
