//! Registration of the rows in exports of tenants.

use super::Registry;
use crate::{
    context::{Context, MissingDependency},
    id::TenantId,
    tenant_export::{ExportRows, TenantExports},
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
}
