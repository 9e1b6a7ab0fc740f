//! The flags that are set for a tenant in its exports.

use omnistack_core::{
    clock::Timestamp,
    db::{Arguments, Db},
    module::{Context, MissingDependency, Registry},
    tenant_export::{ExportRow, StoredJson},
};
use serde::Serialize;

/// Adds the rows to the exports of tenants.
pub(crate) fn register(registry: &mut Registry) {
    registry.tenant_export_table::<OverrideRecord>("flag-overrides", app_database);
}

/// Returns the app's own database, which has the rows of all tenants, also if each tenant has a database.
fn app_database(ctx: &Context) -> Result<Db, MissingDependency> {
    Ok(ctx.get::<Db>()?.app_database())
}

#[derive(Serialize, omnistack_core::db::FromRow)]
struct OverrideRecord {
    key: String,
    definition: StoredJson,
    updated_at: Timestamp,
}

impl ExportRow for OverrideRecord {
    const SELECT: &'static str = "select key, definition, updated_at
        from omni_flag_overrides where tenant_id = $1";
    const KEY: &'static [&'static str] = &["key"];

    fn push_key(&self, values: &mut Arguments) {
        values.push(self.key.clone());
    }
}
