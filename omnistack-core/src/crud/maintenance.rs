//! Jobs of core that delete rows of deleted tenants and rows that were soft-deleted long ago.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use sqlx::AssertSqlSafe;

use super::{Resource, Scope, changes::ChangePublisher};
use crate::{
    clock::{Clock, Timestamp},
    db::{BindValue, Db, Dialect, Error, ErrorKind, TenantDatabases, TenantScope},
    events::{EnqueueJob, TenantDeleted},
    identity::TenantId,
    jobs::{Cron, Job, JobContext, JobError, MissedTickBehavior},
    module::{DeclaredTable, Module, Registry},
};

/// Largest number of rows that one transaction deletes, so that its locks are short.
const MAX_DELETIONS_PER_TRANSACTION: u64 = 1_000;

/// Returns the table of a resource.
pub(super) fn table_of<R: Resource>() -> DeclaredTable {
    DeclaredTable {
        name: R::TABLE,
        has_tenant: R::SCOPE != Scope::Global,
        is_resource: true,
        purge_after: R::PURGE_AFTER.filter(|_| R::SOFT_DELETE),
    }
}

/// Module of the jobs for the tables that modules have declared.
pub(crate) struct CrudModule;

impl Module for CrudModule {
    fn name(&self) -> &'static str {
        "core"
    }

    fn register(&self, registry: &mut Registry) {
        registry.after_modules(|registry| {
            let tables = registry.take_tables();
            if tables.iter().any(|table| table.is_resource) {
                registry.subscribe("publish-resource-changes", |ctx| Ok(ChangePublisher::new(ctx.get()?, ctx.get()?)));
            }
            let of_tenants: BTreeSet<_> =
                tables.iter().filter(|table| table.has_tenant).map(|table| table.name).collect();
            if !of_tenants.is_empty() {
                registry
                    .job::<DeleteTenantRows>(move |ctx| Ok((ctx.get()?, of_tenants.into_iter().collect())))
                    .subscribe("delete-tenant-rows", |ctx| {
                        Ok(EnqueueJob::new(ctx.get()?, |gone: TenantDeleted| DeleteTenantRows { tenant: gone.tenant }))
                    });
            }
            let purged: BTreeMap<_, _> =
                tables.iter().filter_map(|table| Some((table.name, table.purge_after?))).collect();
            if !purged.is_empty() {
                registry
                    .job::<PurgeDeletedRows>(move |ctx| Ok((ctx.get()?, ctx.get()?, purged.into_iter().collect())))
                    .cron(Cron::new("27 3 * * *", PurgeDeletedRows {}).missed_ticks(MissedTickBehavior::CatchUp));
            }
        });
    }
}

/// Job that deletes the rows of a deleted tenant in all tables that modules have declared.
#[derive(Debug, Serialize, Deserialize)]
struct DeleteTenantRows {
    tenant: TenantId,
}

#[async_trait]
impl Job for DeleteTenantRows {
    const NAME: &'static str = "crud.delete_tenant_rows";
    // After a timeout, the next attempt continues where this one stopped.
    const TIMEOUT: Duration = Duration::from_secs(60 * 60);
    type State = (Db, Arc<[&'static str]>);

    async fn run(self, (db, tables): &Self::State, _: &JobContext) -> Result<(), JobError> {
        // A tenant database is dropped as a whole. What is left are rows in the app's own database.
        let db = db.app_database();
        let mut waiting = tables.to_vec();
        while !waiting.is_empty() {
            let mut referenced = Vec::new();
            let mut refused = None;
            for &table in &waiting {
                match delete_rows(&db.tenant(self.tenant), table, "tenant_id = $1", self.tenant).await {
                    Ok(_) => {}
                    // Rows of another table refer to these: that table has to be emptied before.
                    Err(error) if error.kind() == ErrorKind::ForeignKey => {
                        referenced.push(table);
                        refused = Some(error);
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            if let Some(error) = refused.filter(|_| referenced.len() == waiting.len()) {
                return Err(error.into());
            }
            waiting = referenced;
        }
        Ok(())
    }
}

/// Nightly job that deletes the rows that were soft-deleted longer ago than [`Resource::PURGE_AFTER`].
#[derive(Clone, Debug, Serialize, Deserialize)]
struct PurgeDeletedRows {}

#[async_trait]
impl Job for PurgeDeletedRows {
    const NAME: &'static str = "crud.purge_deleted_rows";
    // After a timeout, the next attempt continues where this one stopped.
    const TIMEOUT: Duration = Duration::from_secs(60 * 60);
    type State = (Db, Clock, Arc<[(&'static str, Duration)]>);

    async fn run(self, (db, clock, tables): &Self::State, _: &JobContext) -> Result<(), JobError> {
        let now = clock.now();
        let mut failed = purge(&db.app_database(), tables, now).await.err();
        if let Some(databases) = db.tenant_databases() {
            for tenant in databases.all().await? {
                if let Err(error) = purge_tenant_database(databases, tenant, tables, now).await {
                    tracing::warn!(target: "omnistack::crud", %tenant, %error, "soft-deleted rows of a tenant database could not be purged; the job is retried");
                    failed = Some(error);
                }
            }
        }
        failed.map_or(Ok(()), |error| Err(error.into()))
    }
}

async fn purge_tenant_database(
    databases: &TenantDatabases,
    tenant: TenantId,
    tables: &[(&'static str, Duration)],
    now: Timestamp,
) -> Result<(), Error> {
    let purged = async {
        let visit = databases.open_temporarily(tenant).await?;
        let purged = purge(visit.db(), tables, now).await;
        visit.end().await;
        purged
    };
    match purged.await {
        // A database that was never migrated has no rows.
        Err(error) if error.kind() == ErrorKind::Schema => Ok(()),
        // The tenant may have been deleted in the meantime.
        Err(error) => {
            if databases.is_deleted(tenant).await? {
                return Ok(());
            }
            Err(error)
        }
        Ok(()) => Ok(()),
    }
}

/// Purges all tables of a database. If one fails, the others are purged before its error is returned.
async fn purge(db: &Db, tables: &[(&'static str, Duration)], now: Timestamp) -> Result<(), Error> {
    let mut failed = None;
    for &(table, age) in tables {
        // The job has no caller, so it accesses all tenants.
        match delete_rows(&db.all_tenants(), table, "deleted_at < $1", now - age).await {
            Ok(0) => {}
            Ok(rows) => tracing::info!(target: "omnistack::crud", table, rows, "purged soft-deleted rows"),
            Err(error) => failed = Some(error),
        }
    }
    failed.map_or(Ok(()), Err)
}

/// Deletes the rows that match a condition, in transactions of [`MAX_DELETIONS_PER_TRANSACTION`] rows. Returns their
/// number.
async fn delete_rows(
    scope: &TenantScope<'_>,
    table: &str,
    condition: &str,
    value: impl BindValue + Copy,
) -> Result<u64, Error> {
    let mut deleted = 0;
    loop {
        let mut tx = scope.begin().await?;
        let rows = |row| format!("select {row} from {table} where {condition} limit {MAX_DELETIONS_PER_TRANSACTION}");
        let sql = match tx.dialect() {
            // The condition is repeated, because partitions of a table may have rows with the same `ctid`.
            Dialect::Postgres => {
                format!("delete from {table} where {condition} and ctid = any(array({}))", rows("ctid"))
            }
            Dialect::Sqlite => format!("delete from {table} where rowid in ({})", rows("rowid")),
        };
        let count = tx.query(AssertSqlSafe(sql)).bind(value).execute().await?;
        tx.commit().await?;
        deleted += count;
        if count < MAX_DELETIONS_PER_TRANSACTION {
            return Ok(deleted);
        }
    }
}
