//! Deletes the usage of deleted tenants.
//!
//! Counters in memory and reports that wait can be stored after their tenant was deleted, by any process. So its
//! account is closed for ever first. Then no transaction adds rows, and the rows are deleted.

use std::time::Duration;

use async_trait::async_trait;
use omnistack_core::{
    db::{self, Db, Dialect},
    identity::TenantId,
    jobs::{Job, JobContext, JobError},
};
use serde::{Deserialize, Serialize};
use sqlx::AssertSqlSafe;

use super::Ledger;

/// The tables with the usage of tenants, and the columns of their primary keys.
const TABLES: [(&str, &str); 5] = [
    ("omni_usage_events", "tenant_id, environment, source, event_id"),
    ("omni_usage_windows", "tenant_id, environment, meter, grain, start"),
    ("omni_usage_dimensions", "tenant_id, environment, meter, grain, start, category, user_id, api_key_id"),
    ("omni_usage_late", "tenant_id, environment, meter, billed_in, used_in"),
    ("omni_usage_uniques", "tenant_id, environment, meter, grain, start, value"),
];
/// Largest number of rows that one transaction deletes, so that its locks are short.
const MAX_DELETIONS_PER_TRANSACTION: u64 = 5_000;

/// The job that deletes the usage of a deleted tenant.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct DeleteTenantUsage {
    pub(super) tenant: TenantId,
}

#[async_trait]
impl Job for DeleteTenantUsage {
    const NAME: &'static str = "usage.delete_tenant";
    // After a timeout, the next attempt continues where this one stopped.
    const TIMEOUT: Duration = Duration::from_secs(60 * 60);

    type State = Ledger;

    async fn run(self, ledger: &Ledger, _: &JobContext) -> Result<(), JobError> {
        ledger.accounts().close_for_ever(self.tenant).await?;
        for (table, key) in TABLES {
            while delete_rows(ledger.db(), self.tenant, table, key).await? == MAX_DELETIONS_PER_TRANSACTION {}
        }
        Ok(())
    }
}

/// Deletes rows of a tenant, at most [`MAX_DELETIONS_PER_TRANSACTION`]. Returns their number.
async fn delete_rows(db: &Db, tenant: TenantId, table: &str, key: &str) -> Result<u64, db::Error> {
    let mut tx = db.tenant(tenant).begin().await?;
    let rows = |row| format!("select {row} from {table} where tenant_id = $1 limit {MAX_DELETIONS_PER_TRANSACTION}");
    let sql = match tx.dialect() {
        Dialect::Postgres => format!("delete from {table} where ctid = any (array({}))", rows("ctid")),
        Dialect::Sqlite => format!("delete from {table} where ({key}) in ({})", rows(key)),
    };
    let deleted = tx.query(AssertSqlSafe(sql)).bind(tenant).execute().await?;
    tx.commit().await?;
    Ok(deleted)
}
