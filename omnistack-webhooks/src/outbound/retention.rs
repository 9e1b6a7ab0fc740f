//! The job that deletes old messages.

use std::time::Duration;

use omnistack_core::{
    async_trait,
    clock::Clock,
    db::Db,
    jobs::{Job, JobContext, JobError},
};
use serde::{Deserialize, Serialize};

use super::store::retention;

/// State of the job that deletes old messages.
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
