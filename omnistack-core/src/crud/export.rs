//! The rows of a resource in exports of tenants.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::{Crud, Resource, Scope, resource::columns};
use crate::{BoxError, id::Id, identity::TenantId, tenant_export::ExportRows};

/// Rows that one query reads.
const ROWS_PER_PAGE: usize = 500;

impl<R: Resource> Crud<R> {
    /// Returns all rows of a tenant, including the deleted ones that can be restored, oldest first, for
    /// [`Registry::tenant_export`](crate::module::Registry::tenant_export). Those of a [`Scope::Owner`] resource are of all
    /// users of the tenant. A [`Scope::Global`] resource has none.
    ///
    /// ```
    /// # use omnistack_core::{crud::{Crud, Resource}, module::Registry};
    /// # fn register<Project: Resource>(registry: &mut Registry) {
    /// registry.tenant_export("projects", |ctx| {
    ///     let projects = ctx.get::<Crud<Project>>()?;
    ///     Ok(move |tenant| projects.export(tenant))
    /// });
    /// # }
    /// ```
    pub fn export(&self, tenant: TenantId) -> ExportRows {
        if R::SCOPE == Scope::Global {
            return stream::empty().boxed();
        }
        let db = self.db.clone();
        let names: Vec<_> = columns::<R>().iter().map(|column| column.name).collect();
        let sql = format!(
            "select {} from {} where tenant_id = $1 and id > $2 order by id limit {ROWS_PER_PAGE}",
            names.join(", "),
            R::TABLE
        );
        let start = Some(Id::<R>::from_uuid(Uuid::nil()));
        let pages = stream::try_unfold(start, move |after| {
            let (db, sql) = (db.clone(), sql.clone());
            async move {
                let Some(after) = after else { return Ok::<_, BoxError>(None) };
                let mut tx = db.tenant(tenant).begin_read().await?;
                // The names of the table and of the columns are those of the resource.
                let rows: Vec<R> = tx.query(AssertSqlSafe(sql)).bind(tenant).bind(after).fetch_all().await?;
                tx.commit().await?;
                let next = rows.last().map(R::id).filter(|_| rows.len() == ROWS_PER_PAGE);
                let values: Vec<_> = rows.iter().map(|row| serde_json::to_value(row).map_err(BoxError::from)).collect();
                Ok(Some((stream::iter(values), next)))
            }
        });
        pages.try_flatten().boxed()
    }
}
