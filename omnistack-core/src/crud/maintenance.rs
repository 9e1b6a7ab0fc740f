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
    module::Registry,
};

/// Largest number of rows that one transaction deletes, so that its locks are short.
const MAX_DELETIONS_PER_TRANSACTION: u64 = 1_000;

/// The table of a resource.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ResourceTable {
    name: &'static str,
    has_tenant: bool,
    purge_after: Option<Duration>,
}

impl ResourceTable {
    pub(super) fn of<R: Resource>() -> Self {
        let purge_after = R::PURGE_AFTER.filter(|_| R::SOFT_DELETE);
        Self { name: R::TABLE, has_tenant: R::SCOPE != Scope::Global, purge_after }
    }
}

/// The tables that modules have declared.
#[derive(Debug, Default)]
pub(crate) struct TenantDataTables {
    of_tenants: BTreeSet<&'static str>,
    purged: BTreeMap<&'static str, Duration>,
    has_resources: bool,
}

impl TenantDataTables {
    /// Adds tables whose rows belong to the tenant in the column `tenant_id`.
    pub(crate) fn add_tenant_tables(&mut self, tables: impl IntoIterator<Item = &'static str>) {
        self.of_tenants.extend(tables);
    }

    pub(crate) fn add_resources(&mut self, tables: Vec<ResourceTable>) {
        for ResourceTable { name, has_tenant, purge_after } in tables {
            self.has_resources = true;
            self.of_tenants.extend(has_tenant.then_some(name));
            self.purged.extend(purge_after.map(|age| (name, age)));
        }
    }
}

/// Registers the jobs for the tables that modules have declared. Called after all modules have registered.
pub(crate) fn register(registry: &mut Registry) {
    let TenantDataTables { of_tenants, purged, has_resources } = std::mem::take(&mut registry.tables);
    if has_resources {
        registry.subscribe("publish-resource-changes", |ctx| Ok(ChangePublisher::new(ctx.get()?)));
    }
    if !of_tenants.is_empty() {
        registry
            .job::<DeleteTenantRows>(move |ctx| Ok((ctx.get()?, of_tenants.into_iter().collect())))
            .subscribe("delete-tenant-rows", |ctx| {
                Ok(EnqueueJob::new(ctx.get()?, |gone: TenantDeleted| DeleteTenantRows { tenant: gone.tenant }))
            });
    }
    if !purged.is_empty() {
        registry
            .job::<PurgeDeletedRows>(move |ctx| Ok((ctx.get()?, ctx.get()?, purged.into_iter().collect())))
            .cron(Cron::new("27 3 * * *", PurgeDeletedRows {}).missed_ticks(MissedTickBehavior::CatchUp));
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
