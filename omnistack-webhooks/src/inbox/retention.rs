//! Deletes webhooks whose retention has ended. Those with the status `received` are kept until they are processed.

use std::time::Duration;

use async_trait::async_trait;
use omnistack_core::{
    clock::Timestamp,
    db::{self, Sql},
    jobs::{Job, JobContext, JobError},
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{list::least_id, settings::SourceRetention, store::InboxStore};

/// Largest number of webhooks that one statement deletes, so that its locks are short.
const BATCH: u64 = 1_000;

/// Deletes webhooks of one source.
const DELETE_OF_SOURCE: &str = "delete from omni_webhooks where id in (
    select id from omni_webhooks where id < $1 and source = $2 and status <> 'received' order by id limit $3)";

/// Deletes webhooks of all sources but some.
const DELETE_OF_OTHERS: Sql = Sql {
    postgres: "delete from omni_webhooks where id in (
    select id from omni_webhooks where id < $1 and source not in (select json_array_elements_text($2::json))
    and status <> 'received' order by id limit $3)",
    sqlite: "delete from omni_webhooks where id in (
    select id from omni_webhooks where id < $1 and source not in (select value from json_each($2))
    and status <> 'received' order by id limit $3)",
};

/// The times for which webhooks are kept.
#[derive(Clone)]
pub(super) struct InboxRetention {
    pub(super) store: InboxStore,
    /// The time for sources without one of their own.
    pub(super) keep: Duration,
    pub(super) sources: Vec<SourceRetention>,
}

impl InboxRetention {
    /// Deletes the webhooks whose retention has ended. Returns their number.
    async fn purge(&self) -> Result<u64, db::Error> {
        let now = self.store.clock.now();
        let names: Vec<_> = self.sources.iter().map(|one| one.source.as_str()).collect();
        let mut deleted = self.delete(DELETE_OF_OTHERS, now - self.keep, &json!(names).to_string()).await?;
        for SourceRetention { source, keep } in &self.sources {
            let sql = Sql { postgres: DELETE_OF_SOURCE, sqlite: DELETE_OF_SOURCE };
            deleted += self.delete(sql, now - *keep, source).await?;
        }
        Ok(deleted)
    }

    async fn delete(&self, sql: Sql, before: Timestamp, sources: &str) -> Result<u64, db::Error> {
        let mut all = 0;
        loop {
            // The job has no caller, so it accesses all tenants.
            let mut tx = self.store.db.all_tenants().begin().await?;
            let delete = tx.query(sql).bind(least_id(before)).bind(sources.to_owned());
            let deleted = delete.bind(i64::try_from(BATCH).unwrap_or(i64::MAX)).execute().await?;
            tx.commit().await?;
            all += deleted;
            if deleted < BATCH {
                return Ok(all);
            }
        }
    }
}

/// The job that deletes webhooks whose retention has ended. It runs every night.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct PurgeWebhookInbox {}

#[async_trait]
impl Job for PurgeWebhookInbox {
    const NAME: &'static str = "webhooks.purge_inbox";

    type State = InboxRetention;

    async fn run(self, retention: &InboxRetention, _: &JobContext) -> Result<(), JobError> {
        let deleted = retention.purge().await?;
        tracing::debug!(target: "omnistack::webhooks", deleted, "old webhooks were deleted");
        Ok(())
    }
}
