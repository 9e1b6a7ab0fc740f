//! Deletes reservations that have expired, which returns their units to the limits.

use async_trait::async_trait;
use omnistack_core::jobs::{Job, JobContext, JobError};
use serde::{Deserialize, Serialize};

use super::handle::Quotas;

/// The job that deletes expired reservations. It runs every minute. A limit that needs the units of expired
/// reservations does not wait for it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct ReleaseReservations {}

#[async_trait]
impl Job for ReleaseReservations {
    const NAME: &'static str = "usage.release_reservations";

    type State = Quotas;

    async fn run(self, quotas: &Quotas, _: &JobContext) -> Result<(), JobError> {
        let deleted = quotas.delete_expired().await?;
        if deleted > 0 {
            tracing::info!(target: "omnistack::usage", deleted, "reservations have expired");
        }
        Ok(())
    }
}
