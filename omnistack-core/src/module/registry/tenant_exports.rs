//! Registration of the rows in exports of tenants.

use super::Registry;
use crate::{
    context::{Context, MissingDependency},
    db::Db,
    id::TenantId,
    tenant_export::{ExportRow, ExportRows, TenantExports, table_rows},
};

impl Registry {
    /// Adds rows to the exports of tenants: see [`tenant_export`](crate::tenant_export). `name` is the name of their file,
    /// such as `projects`.
    pub fn tenant_export<S>(
        &mut self,
        name: &'static str,
        rows: impl FnOnce(&Context) -> Result<S, MissingDependency> + Send + 'static,
    ) -> &mut Self
    where
        S: Fn(TenantId) -> ExportRows + Send + Sync + 'static,
    {
        self.contribute(move |ctx| {
            // Of two modules with the same name, the first one counts.
            _ = ctx.get::<TenantExports>()?.add(name, rows(ctx)?);
            Ok(())
        })
    }

    /// Adds the rows of a table to the exports of tenants, read page by page: see [`tenant_export`](crate::tenant_export).
    /// `db` returns the database that has the table: for a table that is in the app's own database, also if each tenant has
    /// one, `|ctx| Ok(ctx.get::<Db>()?.app_database())`.
    pub fn tenant_export_table<R: ExportRow>(
        &mut self,
        name: &'static str,
        db: impl FnOnce(&Context) -> Result<Db, MissingDependency> + Send + 'static,
    ) -> &mut Self {
        self.tenant_export(name, move |ctx| {
            let db = db(ctx)?;
            Ok(move |tenant| table_rows::<R>(db.clone(), tenant))
        })
    }
}
