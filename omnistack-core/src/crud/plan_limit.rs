//! Limits of plans on the rows of a resource.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use sqlx::AssertSqlSafe;

use super::{Crud, Resource, Scope};
use crate::{
    BoxError,
    db::{self, Tx},
    http::Error,
    identity::{Entitlements, Identity, Plan, TenantId},
    module::{Context, MissingDependency},
};

/// The limit of plans on the rows of a tenant.
#[derive(Clone)]
pub(super) struct PlanLimit {
    entitlements: Entitlements,
    name: &'static str,
}

impl<R: Resource> Crud<R> {
    /// Limits the rows of a tenant by the limit of this name in its plan, exactly. Creating or restoring a row fails with
    /// 402 `PLAN_LIMIT_REACHED` beyond it. Declare how the rows are counted with
    /// [`Registry::limited_resource`](crate::module::Registry::limited_resource) and [`counter`](Self::counter), so that
    /// a tenant's overview of its plan shows them.
    ///
    /// ```
    /// # use omnistack_core::{module::{Context, MissingDependency, Registry}, crud::{Crud, Resource}};
    /// fn projects<R: Resource>(ctx: &Context) -> Result<Crud<R>, MissingDependency> {
    ///     Ok(Crud::from_ctx(ctx)?.limited_by_plan(ctx.get()?, "projects"))
    /// }
    /// # fn register<Project: Resource>(registry: &mut Registry) {
    /// registry.limited_resource("projects", Crud::<Project>::counter);
    /// # }
    /// ```
    #[must_use]
    pub fn limited_by_plan(mut self, entitlements: Entitlements, name: &'static str) -> Self {
        self.plan_limit = Some(PlanLimit { entitlements, name });
        self
    }

    /// Returns the number of rows of a tenant that are not deleted.
    ///
    /// # Errors
    /// The errors of the database.
    pub async fn count(&self, tenant: TenantId) -> Result<u64, db::Error> {
        let mut tx = self.db.tenant(tenant).begin_read().await?;
        let count = count_in::<R>(&mut tx, tenant).await?;
        tx.commit().await?;
        Ok(count)
    }

    /// Returns the function that counts the rows of a tenant, for
    /// [`Registry::limited_resource`](crate::module::Registry::limited_resource).
    ///
    /// # Errors
    /// [`MissingDependency`] if the app provides no database or no clock.
    pub fn counter(
        ctx: &Context,
    ) -> Result<
        impl Fn(TenantId) -> BoxFuture<'static, Result<u64, BoxError>> + Send + Sync + 'static + use<R>,
        MissingDependency,
    > {
        let rows = Self::from_ctx(ctx)?;
        Ok(move |tenant: TenantId| -> BoxFuture<'static, Result<u64, BoxError>> {
            let rows = rows.clone();
            Box::pin(async move { Ok(rows.count(tenant).await?) })
        })
    }

    /// Returns the plan of the caller's tenant, if plans limit the rows. Call it before a transaction begins, which
    /// would wait for another connection.
    pub(super) async fn load_plan(&self, caller: &Identity) -> Result<Option<Arc<Plan>>, Error> {
        match (&self.plan_limit, caller.tenant) {
            (Some(limit), Some(tenant)) => limit.entitlements.plan(tenant).await.map(Some),
            _ => Ok(None),
        }
    }

    /// Requires that the plan of the transaction's tenant allows another row. Without `plan`, it is loaded.
    pub(super) async fn check_plan_limit_in(&self, tx: &mut Tx, plan: Option<Arc<Plan>>) -> Result<(), Error> {
        self.check_rows_in(tx, plan, 0).await
    }

    /// Requires that the plan of the transaction's tenant allows the row that was restored in the transaction. Without
    /// `plan`, it is loaded.
    pub(super) async fn check_restored_in(&self, tx: &mut Tx, plan: Option<Arc<Plan>>) -> Result<(), Error> {
        self.check_rows_in(tx, plan, 1).await
    }

    /// Requires that the plan allows another row beside those that there are, less those that are new.
    async fn check_rows_in(&self, tx: &mut Tx, plan: Option<Arc<Plan>>, new: u64) -> Result<(), Error> {
        let (Some(PlanLimit { entitlements, name }), Some(tenant)) = (&self.plan_limit, tx.tenant()) else {
            return Ok(());
        };
        if R::SCOPE == Scope::Global {
            return Ok(());
        }
        let plan = match plan {
            Some(plan) => plan,
            None => entitlements.plan(tenant).await?,
        };
        let count = async |tx: &mut Tx| Ok(count_in::<R>(tx, tenant).await?.saturating_sub(new));
        entitlements.check_limit_in(tx, &plan, tenant, name, count).await
    }
}

async fn count_in<R: Resource>(tx: &mut Tx, tenant: TenantId) -> Result<u64, db::Error> {
    let kept = if R::SOFT_DELETE { " and deleted_at is null" } else { "" };
    let sql = format!("select count(*) from {} where tenant_id = $1{kept}", R::TABLE);
    let (count,): (i64,) = tx.query(AssertSqlSafe(sql)).bind(tenant).fetch_one().await?;
    Ok(count.unsigned_abs())
}
