//! The jobs that delete old messages, and the deliveries of endpoints that were deleted.

use std::time::Duration;

use omnistack_core::{
    async_trait,
    clock::Clock,
    db::Db,
    id::TenantId,
    jobs::{Job, JobContext, JobError},
};
use serde::{Deserialize, Serialize};

use super::{
    endpoint::WebhookEndpointId,
    store::{endpoints, retention},
};

/// Number of deliveries that one transaction deletes, with their attempts.
pub(super) const DELIVERIES_PER_DELETE: i64 = 1_000;

/// State of the jobs that delete messages and deliveries.
#[derive(Clone, Debug)]
pub(crate) struct MessageRetention {
    pub(crate) db: Db,
    pub(crate) clock: Clock,
    pub(crate) keep: Duration,
}

/// The job that deletes messages that are older than `WEBHOOKS_KEEP`, with their deliveries. It runs every night.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct PurgeWebhookMessages {}

#[async_trait]
impl Job for PurgeWebhookMessages {
    const NAME: &'static str = "webhooks.purge_messages";

    type State = MessageRetention;

    async fn run(self, state: &MessageRetention, _: &JobContext) -> Result<(), JobError> {
        let deleted = retention::purge(&state.db, state.clock.now() - state.keep).await?;
        tracing::debug!(target: "omnistack::webhooks", deleted, "old webhook messages were deleted");
        Ok(())
    }
}

/// The job that deletes the deliveries of an endpoint that was deleted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DeleteEndpointDeliveries {
    pub(crate) tenant: TenantId,
    pub(crate) endpoint: WebhookEndpointId,
}

#[async_trait]
impl Job for DeleteEndpointDeliveries {
    const NAME: &'static str = "webhooks.delete_endpoint_deliveries";

    type State = MessageRetention;

    async fn run(self, state: &MessageRetention, _: &JobContext) -> Result<(), JobError> {
        loop {
            let mut tx = state.db.tenant(self.tenant).begin().await?;
            let deleted = endpoints::delete_deliveries(&mut tx, self.endpoint, DELIVERIES_PER_DELETE).await?;
            tx.commit().await?;
            if deleted < DELIVERIES_PER_DELETE.unsigned_abs() {
                return Ok(());
            }
        }
    }
}
