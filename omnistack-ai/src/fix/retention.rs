//! The jobs that delete old findings and end fixes whose job is gone.

use std::time::Duration;

use async_trait::async_trait;
use omnistack_core::{
    db,
    identity::TenantId,
    jobs::{Job, JobContext, JobError},
};
use serde::{Deserialize, Serialize};

use super::{
    model::FixId,
    service::Fixes,
    state::{FixEvent, FixFailure, FixStatus},
    store,
};

/// Most findings that one statement deletes, so that its locks are short.
const FINDINGS_PER_DELETE: i64 = 200;
/// Most fixes that one run ends.
const FIXES_PER_RUN: i64 = 1_000;
/// The time without an event after which the job of a fix is gone: longer than all its attempts.
const MAX_SILENCE: Duration = Duration::from_secs(6 * 60 * 60);

/// The job that deletes findings whose retention has ended, with their fixes and ledgers. It runs every night.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct PurgeFixes {}

#[async_trait]
impl Job for PurgeFixes {
    const NAME: &'static str = "ai.purge_fixes";

    type State = Fixes;

    async fn run(self, fixes: &Fixes, _: &JobContext) -> Result<(), JobError> {
        let before = fixes.now() - fixes.0.settings.keep;
        loop {
            // The job has no caller, so it accesses all tenants.
            let mut tx = fixes.0.db.all_tenants().begin().await?;
            let sql = "delete from omni_ai_fix_findings where id in (
                select id from omni_ai_fix_findings where created_at < $1 order by created_at limit $2)";
            let deleted = tx.query(sql).bind(before).bind(FINDINGS_PER_DELETE).execute().await?;
            tx.commit().await?;
            if deleted < FINDINGS_PER_DELETE.unsigned_abs() {
                return Ok(());
            }
        }
    }
}

/// The job that ends fixes whose own job has become a dead letter, such as after crashes. It runs every hour.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct EndSilentFixes {}

#[async_trait]
impl Job for EndSilentFixes {
    const NAME: &'static str = "ai.end_silent_fixes";

    type State = Fixes;

    async fn run(self, fixes: &Fixes, _: &JobContext) -> Result<(), JobError> {
        for (tenant, fix) in silent(fixes).await? {
            let mut tx = fixes.begin(tenant).await?;
            let Some(record) = store::lock(&mut tx, tenant, fix).await? else { continue };
            if record.updated_at >= fixes.now() - MAX_SILENCE {
                continue;
            }
            let failure = FixFailure { code: "FIX_TIMED_OUT".into(), message: "the job of the fix is gone".into() };
            let event = match record.state.status {
                FixStatus::Queued | FixStatus::Generating => FixEvent::Failed { failure },
                FixStatus::Applying | FixStatus::OpeningPullRequest => {
                    FixEvent::DeliveryFailed { failure, is_final: false }
                }
                _ => continue,
            };
            fixes.record(&mut tx, record, &event, None).await?;
            tx.commit().await?;
        }
        Ok(())
    }
}

/// Returns the fixes in progress that have had no event for long.
async fn silent(fixes: &Fixes) -> Result<Vec<(TenantId, FixId)>, db::Error> {
    // The job has no caller, so it accesses all tenants.
    let mut tx = fixes.0.db.all_tenants().begin_read().await?;
    let sql = "select tenant_id, id from omni_ai_fixes where updated_at < $1
        and status in ('queued', 'generating', 'applying', 'opening_pull_request') order by updated_at limit $2";
    let rows = tx.query(sql).bind(fixes.now() - MAX_SILENCE).bind(FIXES_PER_RUN).fetch_all().await?;
    tx.commit().await?;
    Ok(rows)
}
