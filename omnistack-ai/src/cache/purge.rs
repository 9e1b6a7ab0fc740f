//! Deletes answers that have expired, and those beyond a tenant's limit.

use async_trait::async_trait;
use omnistack_core::{
    db,
    jobs::{Job, JobContext, JobError},
};
use serde::{Deserialize, Serialize};

use super::{AnswerCache, store};

/// Largest number of answers that one statement deletes, so that its locks are short.
const BATCH: u64 = 1_000;
/// Largest number of tenants with too many answers that one run of the job visits.
const MAX_TENANTS_PER_RUN: i64 = 1_000;

/// The job that deletes answers which are no longer needed. It runs every hour.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PurgeAnswers {}

#[async_trait]
impl Job for PurgeAnswers {
    const NAME: &'static str = "ai.purge_answers";

    type State = AnswerCache;

    async fn run(self, cache: &AnswerCache, _: &JobContext) -> Result<(), JobError> {
        let expired = cache.purge_expired().await?;
        let surplus = cache.purge_surplus().await?;
        tracing::debug!(target: "omnistack::ai", expired, surplus, "stored answers were deleted");
        Ok(())
    }
}

impl AnswerCache {
    async fn purge_expired(&self) -> Result<u64, db::Error> {
        let (now, mut all) = (self.clock.now(), 0);
        loop {
            // The job has no caller, so it accesses all tenants.
            let mut tx = self.db.all_tenants().begin().await?;
            let deleted = store::delete_expired(&mut tx, now, as_limit(BATCH)).await?;
            tx.commit().await?;
            all += deleted;
            if deleted < BATCH {
                return Ok(all);
            }
        }
    }

    async fn purge_surplus(&self) -> Result<u64, db::Error> {
        let most = as_limit(self.max_answers);
        let mut tx = self.db.all_tenants().begin_read().await?;
        let tenants = store::crowded_tenants(&mut tx, most, MAX_TENANTS_PER_RUN).await?;
        tx.commit().await?;
        let mut all = 0;
        for (tenant,) in tenants {
            loop {
                let mut tx = self.db.tenant(tenant).begin().await?;
                let deleted = store::delete_oldest(&mut tx, tenant, most, as_limit(BATCH)).await?;
                tx.commit().await?;
                all += deleted;
                if deleted < BATCH {
                    break;
                }
            }
        }
        Ok(all)
    }
}

fn as_limit(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
