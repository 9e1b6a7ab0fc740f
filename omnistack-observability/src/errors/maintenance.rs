//! The jobs that delete old errors and update the status of groups.

use std::time::Duration;

use omnistack_core::{
    async_trait,
    jobs::{Job, JobContext, JobError},
};
use serde::{Deserialize, Serialize};

use super::store::ErrorStore;

/// State of the job that deletes old errors.
#[derive(Clone, Debug)]
pub(super) struct PurgeState {
    pub(super) store: ErrorStore,
    pub(super) keep: Duration,
}

/// The job that deletes errors that are older than `ERRORS_KEEP`. It runs every night.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct PurgeErrors {}

#[async_trait]
impl Job for PurgeErrors {
    const NAME: &'static str = "errors.purge";

    type State = PurgeState;

    async fn run(self, state: &PurgeState, _: &JobContext) -> Result<(), JobError> {
        let deleted = state.store.purge(state.keep, state.store.clock.now()).await?;
        tracing::debug!(target: "omnistack::errors", deleted, "old errors were deleted");
        Ok(())
    }
}

/// The job that makes groups open that are no longer new or escalating. It runs every hour.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct ReviewErrorGroups {}

#[async_trait]
impl Job for ReviewErrorGroups {
    const NAME: &'static str = "errors.review_groups";

    type State = ErrorStore;

    async fn run(self, store: &ErrorStore, _: &JobContext) -> Result<(), JobError> {
        let opened = store.review(store.clock.now()).await?;
        tracing::debug!(target: "omnistack::errors", opened, "groups are no longer new or escalating");
        Ok(())
    }
}
