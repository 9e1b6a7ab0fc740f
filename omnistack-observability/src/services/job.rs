//! The job that checks all services.

use std::time::Duration;

use async_trait::async_trait;
use omnistack_core::jobs::{Job, JobContext, JobError};
use serde::{Deserialize, Serialize};

use super::checks::ServiceChecks;

/// Job that runs the checks of all services, records their results and deletes old ones.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct CheckServices {}

#[async_trait]
impl Job for CheckServices {
    const NAME: &'static str = "observability.check_services";
    // The next tick is a better retry: another attempt would count as another check.
    const MAX_ATTEMPTS: u32 = 2;
    const TIMEOUT: Duration = Duration::from_secs(4 * 60);
    type State = ServiceChecks;

    async fn run(self, checks: &ServiceChecks, _: &JobContext) -> Result<(), JobError> {
        checks.run_all().await?;
        checks.purge().await?;
        Ok(())
    }
}
