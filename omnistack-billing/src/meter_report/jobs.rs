//! The jobs of reports.

use std::time::Duration;

use async_trait::async_trait;
use omnistack_core::jobs::{Job, JobContext, JobError};
use serde::{Deserialize, Serialize};

use super::{reporter::MeterReporter, store};

/// Age up to which reports that were sent are kept.
const KEEP_SENT: Duration = Duration::from_secs(400 * 24 * 60 * 60);
/// Age up to which the reported usage of a day is known: more than that of the oldest day that is reported.
const KEEP_DAYS: Duration = Duration::from_secs(40 * 24 * 60 * 60);

/// The job that reports usage to the providers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct SendMeterReports {}

#[async_trait]
impl Job for SendMeterReports {
    const NAME: &'static str = "meter_reports.send";
    // The next tick makes up for it.
    const MAX_ATTEMPTS: u32 = 1;

    type State = MeterReporter;

    async fn run(self, reporter: &MeterReporter, _: &JobContext) -> Result<(), JobError> {
        reporter.give_up_unknown().await?;
        for provider in reporter.providers() {
            reporter.collect(&**provider).await?;
            reporter.send(&**provider).await?;
        }
        Ok(())
    }
}

/// The job that deletes old reports.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct PurgeMeterReports {}

#[async_trait]
impl Job for PurgeMeterReports {
    const NAME: &'static str = "meter_reports.purge";

    type State = MeterReporter;

    async fn run(self, reporter: &MeterReporter, _: &JobContext) -> Result<(), JobError> {
        let now = reporter.now();
        // Retention concerns all tenants.
        let mut tx = reporter.0.db.all_tenants().begin().await?;
        store::purge(&mut tx, now - KEEP_SENT, now - KEEP_DAYS).await?;
        Ok(tx.commit().await?)
    }
}
