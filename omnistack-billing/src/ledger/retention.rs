//! Deletes old events, and the usage of old minutes and hours. The usage of days, months and billing periods is kept.

use std::time::Duration;

use async_trait::async_trait;
use omnistack_core::{
    clock::{Clock, Timestamp},
    db::{self, Db, IntoSql, Sql},
    jobs::{Job, JobContext, JobError},
};
use serde::{Deserialize, Serialize};

use crate::settings::UsageSettings;

/// Largest number of rows that one statement deletes, so that its locks are short.
const BATCH: i64 = 5_000;

/// SQLite has no index on the time of receipt: its row ids are in that order.
const DELETE_EVENTS: Sql = Sql {
    postgres: "delete from omni_usage_events where ctid = any (array(
        select ctid from omni_usage_events where received_at < $1 limit $2))",
    sqlite: "delete from omni_usage_events where rowid in (
        select rowid from (select rowid, received_at from omni_usage_events order by rowid limit $2)
        where received_at < $1)",
};
const DELETE_WINDOWS: Sql = Sql {
    postgres: "delete from omni_usage_windows where ctid = any (array(
        select ctid from omni_usage_windows where grain = $3 and grain in ('minute', 'hour', 'day') and start < $1
        limit $2))",
    sqlite: "delete from omni_usage_windows where (tenant_id, environment, meter, grain, start) in (
        select tenant_id, environment, meter, grain, start from omni_usage_windows
        where grain = $3 and grain in ('minute', 'hour', 'day') and start < $1 limit $2)",
};
const DELETE_UNIQUES: Sql = Sql {
    postgres: "delete from omni_usage_uniques where ctid = any (array(
        select ctid from omni_usage_uniques where grain = $3 and grain in ('minute', 'hour') and start < $1 limit $2))",
    sqlite: "delete from omni_usage_uniques where (tenant_id, environment, meter, grain, start, value) in (
        select tenant_id, environment, meter, grain, start, value from omni_usage_uniques
        where grain = $3 and grain in ('minute', 'hour') and start < $1 limit $2)",
};

/// The times for which usage is kept.
#[derive(Clone)]
pub(crate) struct LedgerRetention {
    pub(crate) db: Db,
    pub(crate) clock: Clock,
    pub(crate) settings: UsageSettings,
}

impl LedgerRetention {
    /// Deletes what is older than its retention. Returns the number of events and windows.
    async fn purge(&self) -> Result<(u64, u64), db::Error> {
        let now = self.clock.now();
        let UsageSettings { keep_events, keep_minutes, keep_hours, max_age, grace, .. } = self.settings;
        // An event must be too old to be accepted before its id is forgotten.
        let keep_events = keep_events.max(max_age + grace + Duration::from_secs(24 * 60 * 60));
        let events = self.delete(DELETE_EVENTS, now - keep_events, None).await?;
        let mut windows = 0;
        for (grain, keep) in [("minute", keep_minutes), ("hour", keep_hours)] {
            windows += self.delete(DELETE_WINDOWS, now - keep, Some(grain)).await?;
            self.delete(DELETE_UNIQUES, now - keep, Some(grain)).await?;
        }
        Ok((events, windows))
    }

    async fn delete(
        &self,
        sql: impl IntoSql + Copy,
        before: Timestamp,
        grain: Option<&'static str>,
    ) -> Result<u64, db::Error> {
        let mut all = 0;
        loop {
            // The job has no caller, so it accesses all tenants.
            let mut tx = self.db.all_tenants().begin().await?;
            let delete = tx.query(sql).bind(before).bind(BATCH);
            let delete = match grain {
                Some(grain) => delete.bind(grain),
                None => delete,
            };
            let deleted = delete.execute().await?;
            tx.commit().await?;
            all += deleted;
            if deleted < BATCH.unsigned_abs() {
                return Ok(all);
            }
        }
    }
}

/// The job that deletes old usage. It runs every night.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct PurgeUsage {}

#[async_trait]
impl Job for PurgeUsage {
    const NAME: &'static str = "usage.purge";

    type State = LedgerRetention;

    async fn run(self, retention: &LedgerRetention, _: &JobContext) -> Result<(), JobError> {
        let (events, windows) = retention.purge().await?;
        tracing::debug!(target: "omnistack::usage", events, windows, "old usage was deleted");
        Ok(())
    }
}
