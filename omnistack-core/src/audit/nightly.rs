//! Removing what is old, every night.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{AuditSettings, AuditStore, Error};
use crate::{
    app::Registry,
    clock::Timestamp,
    jobs::{Cron, Job, JobCtx, JobError, Missed},
};

/// With `AUDIT_RETENTION`, enqueues [`RetainAudit`] every night; without it, nothing is registered.
pub(crate) fn register(registry: &mut Registry) {
    let Some(keep) = registry.config::<AuditSettings>().and_then(|settings| settings.retention) else { return };
    registry
        .job::<RetainAudit>(move |ctx| Ok((ctx.get()?, keep)))
        .cron(Cron::new("0 3 * * *", RetainAudit {}).missed(Missed::RunOnce));
}

/// Removes entries older than the setting says when it runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct RetainAudit {}

#[async_trait]
impl Job for RetainAudit {
    const NAME: &'static str = "retain_audit";
    // Cut off, it goes on where it was.
    const TIMEOUT: Duration = Duration::from_secs(60 * 60);
    type State = (AuditStore, Duration);

    async fn run(self, (store, keep): &Self::State, _: &JobCtx) -> Result<(), JobError> {
        let before = (store.clock.now() - *keep).max(Timestamp::from_micros(0));
        match store.retain(before).await {
            Ok(removed) => {
                tracing::info!(target: "omnistack::audit", removed, "old entries are removed");
                Ok(())
            }
            // Somebody must look at it: what was tampered with stays, and so does this dead letter.
            Err(error @ Error::Broken(_)) => Err(JobError::fatal(error)),
            Err(error) => Err(error.into()),
        }
    }
}
