//! The notifications about a tenant in its exports. Those about no tenant, and the preferences, are their users' own.

use omnistack_core::{
    clock::Timestamp,
    db::{Arguments, Db},
    identity::UserId,
    module::{Context, MissingDependency, Registry},
    tenant_export::{ExportRow, StoredJson},
};
use serde::Serialize;

use super::model::NotificationId;

/// Adds the rows to the exports of tenants.
pub(crate) fn register(registry: &mut Registry) {
    registry.tenant_export_table::<NotificationRecord>("notifications", app_database);
}

/// Returns the app's own database, which has the rows of all tenants, also if each tenant has a database.
fn app_database(ctx: &Context) -> Result<Db, MissingDependency> {
    Ok(ctx.get::<Db>()?.app_database())
}

#[derive(Serialize, omnistack_core::db::FromRow)]
struct NotificationRecord {
    id: NotificationId,
    user_id: UserId,
    kind: String,
    title: String,
    body: Option<String>,
    link: Option<String>,
    data: StoredJson,
    created_at: Timestamp,
    read_at: Option<Timestamp>,
}

impl ExportRow for NotificationRecord {
    const SELECT: &'static str = "select id, user_id, kind, title, body, link, data, created_at, read_at
        from omni_notifications where tenant_id = $1";
    const KEY: &'static [&'static str] = &["id"];

    fn push_key(&self, values: &mut Arguments) {
        values.push(self.id);
    }
}
