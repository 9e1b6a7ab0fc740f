//! Tests of limits that hold exactly.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::join_all;
use omnistack_core::{
    clock::Clock,
    db::{self, Db, Sql, Tx},
    http::{Error, StatusCode},
    id::Id,
    identity::{Entitlements, Plan, PlanSource, TenantId},
};
use omnistack_testkit::{TestDatabase, on_each_database};

const CREATE: Sql = Sql {
    postgres: "create table projects (tenant_id uuid not null)",
    sqlite: "create table projects (tenant_id blob not null)",
};

struct FiveProjects;

#[async_trait]
impl PlanSource for FiveProjects {
    async fn plan(&self, _: TenantId) -> Result<Arc<Plan>, Error> {
        Ok(Arc::new(Plan::new("small").limit("projects", 5)))
    }
}

async fn count(tx: &mut Tx, tenant: TenantId) -> Result<u64, db::Error> {
    let select = tx.query("select count(*) from projects where tenant_id = $1").bind(tenant);
    let (count,): (i64,) = select.fetch_one().await?;
    Ok(count.unsigned_abs())
}

/// Creates a project under the limit of a name.
async fn create(db: Db, entitlements: Entitlements, tenant: TenantId, limit: &'static str) -> Result<(), Error> {
    let plan = entitlements.plan(tenant).await?;
    let mut tx = db.tenant(tenant).begin().await?;
    entitlements.check_limit_in(&mut tx, &plan, tenant, limit, async |tx: &mut Tx| count(tx, tenant).await).await?;
    tx.query("insert into projects (tenant_id) values ($1)").bind(tenant).execute().await?;
    Ok(tx.commit().await?)
}

on_each_database! {
    async fn concurrent_transactions_never_exceed_a_limit(database: TestDatabase) {
        let processes = [database.open_db(), database.open_db()];
        processes[0].query(CREATE).execute().await.unwrap();
        let entitlements = Entitlements::new(FiveProjects);
        let now = Clock::system().now();
        let tenants: [TenantId; 2] = [Id::new(now), Id::new(now)];
        let tasks = (0..40).map(|number: usize| {
            let (db, tenant) = (processes[number % 2].clone(), tenants[number / 2 % 2]);
            tokio::spawn(create(db, entitlements.clone(), tenant, "projects"))
        });
        let results: Vec<_> = join_all(tasks).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 10);
        for error in results.into_iter().filter_map(Result::err) {
            assert_eq!((error.status(), error.code()), (StatusCode::PAYMENT_REQUIRED, "PLAN_LIMIT_REACHED"));
        }
        for tenant in tenants {
            let mut tx = processes[0].tenant(tenant).begin_read().await.unwrap();
            assert_eq!(count(&mut tx, tenant).await.unwrap(), 5);
            tx.commit().await.unwrap();
        }
        // The plan sets no limit of this name.
        create(processes[0].clone(), entitlements, tenants[0], "reports").await.unwrap();
    }
}
