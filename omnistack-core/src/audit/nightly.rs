//! Nightly deletion of old entries.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{AuditSettings, AuditStore, Error};
use crate::{
    app::Registry,
    clock::Timestamp,
    jobs::{Cron, Job, JobContext, JobError, MissedTickBehavior},
};

/// Enqueues [`DeleteOldAuditEntries`] every night if `AUDIT_RETENTION` is set; otherwise registers nothing.
pub(crate) fn register(registry: &mut Registry) {
    let Some(keep) = registry.config::<AuditSettings>().and_then(|settings| settings.retention) else { return };
    registry
        .job::<DeleteOldAuditEntries>(move |ctx| Ok((ctx.get()?, keep)))
        .cron(Cron::new("0 3 * * *", DeleteOldAuditEntries {}).missed_ticks(MissedTickBehavior::CatchUp));
}

/// Job that deletes entries older than `AUDIT_RETENTION` at the time it runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct DeleteOldAuditEntries {}

#[async_trait]
impl Job for DeleteOldAuditEntries {
    const NAME: &'static str = "audit.delete_expired";
    // After a timeout, the next attempt continues where this one stopped.
    const TIMEOUT: Duration = Duration::from_secs(60 * 60);
    type State = (AuditStore, Duration);

    async fn run(self, (store, keep): &Self::State, _: &JobContext) -> Result<(), JobError> {
        let before = (store.clock.now() - *keep).max(Timestamp::from_micros(0));
        match store.delete_before(before).await {
            Ok(removed) => {
                tracing::info!(target: "omnistack::audit", removed, "deleted old audit entries");
                Ok(())
            }
            // An operator must investigate: the entries that were tampered with are kept, and so is this dead
            // letter.
            Err(error @ Error::Broken(_)) => Err(JobError::fatal(error)),
            Err(error) => Err(error.into()),
        }
    }
}
