//! The templates that a tenant has overridden in its exports. They are in the tenant's database, if it has one.

use omnistack_core::{
    clock::Timestamp,
    db::{Arguments, Db},
    module::Registry,
    tenant_export::ExportRow,
};
use serde::Serialize;

/// Adds the rows to the exports of tenants.
pub(crate) fn register(registry: &mut Registry) {
    registry.tenant_export_table::<TemplateRecord>("mail-templates", |ctx| ctx.get::<Db>());
}

#[derive(Serialize, omnistack_core::db::FromRow)]
struct TemplateRecord {
    name: String,
    locale: String,
    source: String,
    updated_at: Timestamp,
}

impl ExportRow for TemplateRecord {
    const SELECT: &'static str = "select name, locale, source, updated_at
        from omni_email_templates where tenant_id = $1";
    const KEY: &'static [&'static str] = &["name", "locale"];

    fn push_key(&self, values: &mut Arguments) {
        values.push(self.name.clone());
        values.push(self.locale.clone());
    }
}
