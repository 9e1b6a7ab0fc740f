//! The module of the audit log, and the nightly deletion of old entries.

use std::{future::ready, time::Duration};

use async_trait::async_trait;
use futures_util::{StreamExt as _, TryStreamExt as _};
use serde::{Deserialize, Serialize};

use super::{AuditLog, AuditSettings, AuditStore, Error, store::AuditReceiver};
use crate::{
    BoxError,
    clock::Timestamp,
    identity::TenantId,
    jobs::{Cron, Job, JobContext, JobError, MissedTickBehavior},
    module::{Context, Module, Registry},
    realtime::RealtimePublisher,
};

/// Module of the audit log: the [`AuditStore`], unless a module provides one, and every night the deletion of old
/// entries if `AUDIT_RETENTION` is set. At the start, it begins the activity feed.
pub(crate) struct AuditModule;

#[async_trait]
impl Module for AuditModule {
    fn name(&self) -> &'static str {
        "core"
    }

    fn register(&self, registry: &mut Registry) {
        registry.outbox_receiver(AuditReceiver(registry.clock())).after_modules(|registry| {
            if let Some(db) = registry.provided() {
                registry.provide_default(AuditStore::new(db, registry.clock()));
            }
            registry.tenant_export("audit", |ctx| {
                let store = ctx.get::<AuditStore>()?;
                Ok(move |tenant: TenantId| {
                    let lines = store.export(tenant).map_err(BoxError::from);
                    lines.and_then(|line| ready(serde_json::from_str(&line).map_err(BoxError::from))).boxed()
                })
            });
        });
        let Some(keep) = registry.config::<AuditSettings>().and_then(|settings| settings.retention) else { return };
        registry
            .job::<DeleteOldAuditEntries>(move |ctx| Ok((ctx.get()?, keep)))
            .cron(Cron::new("0 3 * * *", DeleteOldAuditEntries {}).missed_ticks(MissedTickBehavior::CatchUp));
    }

    async fn start(&self, ctx: &Context) -> Result<(), BoxError> {
        ctx.get::<AuditLog>()?.begin_feed(&ctx.get::<RealtimePublisher>()?);
        Ok(())
    }
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
