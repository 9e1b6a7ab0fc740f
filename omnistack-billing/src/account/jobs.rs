//! The job that deletes old overrides.

use std::time::Duration;

use async_trait::async_trait;
use omnistack_core::{
    db,
    jobs::{Job, JobContext, JobError},
};
use serde::{Deserialize, Serialize};

use super::{handle::BillingAccounts, store};

/// The time for which overrides are kept after they have expired.
const EXPIRED_OVERRIDE_RETENTION: Duration = Duration::from_secs(90 * 86_400);
/// Largest number of overrides that one statement deletes, so that its locks are short.
const OVERRIDES_PER_DELETE: u64 = 1_000;

/// The job that deletes overrides that expired 90 days ago. It runs every night.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct DeleteExpiredOverrides {}

#[async_trait]
impl Job for DeleteExpiredOverrides {
    const NAME: &'static str = "billing.delete_expired_overrides";

    type State = BillingAccounts;

    async fn run(self, accounts: &BillingAccounts, _: &JobContext) -> Result<(), JobError> {
        let deleted = accounts.delete_expired_overrides().await?;
        tracing::debug!(target: "omnistack::billing", deleted, "expired overrides were deleted");
        Ok(())
    }
}

impl BillingAccounts {
    /// Deletes the overrides whose retention has ended. Returns their number.
    async fn delete_expired_overrides(&self) -> Result<u64, db::Error> {
        let before = self.0.clock.now() - EXPIRED_OVERRIDE_RETENTION;
        let mut all = 0;
        loop {
            // The job has no caller, so it accesses all tenants.
            let mut tx = self.0.db.all_tenants().begin().await?;
            let deleted = store::delete_overrides(&mut tx, before, OVERRIDES_PER_DELETE).await?;
            tx.commit().await?;
            all += deleted;
            if deleted < OVERRIDES_PER_DELETE {
                return Ok(all);
            }
        }
    }
}
