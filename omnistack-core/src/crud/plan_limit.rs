//! Limits of plans on the rows of a resource.

use std::sync::Arc;

use sqlx::AssertSqlSafe;

use super::{Crud, Resource, Scope};
use crate::{
    db::{self, Tx},
    http::Error,
    identity::{Entitlements, Identity, Plan, TenantId},
};

/// The limit of plans on the rows of a tenant.
#[derive(Clone)]
pub(super) struct PlanLimit {
    entitlements: Entitlements,
    name: &'static str,
}

impl<R: Resource> Crud<R> {
    /// Limits the rows of a tenant by the limit of this name in its plan, exactly. Creating or restoring a row fails with
    /// 402 `PLAN_LIMIT_REACHED` beyond it. [`ResourceMount::limited_by_plan`](super::ResourceMount::limited_by_plan) also
    /// declares how the rows are counted, so that a tenant's overview of its plan shows them.
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
