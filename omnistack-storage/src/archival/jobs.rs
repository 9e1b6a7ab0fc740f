//! Background jobs for archival.

use std::time::Duration;

use async_trait::async_trait;
use omnistack_core::{
    identity::TenantId,
    jobs::{Job, JobContext, JobError},
};
use serde::{Deserialize, Serialize};

use super::Archival;
use crate::FileId;

/// Archives the files that match a rule. Runs every night.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ArchiveFiles {}

#[async_trait]
impl Job for ArchiveFiles {
    const NAME: &'static str = "files.archive";
    type State = Archival;

    async fn run(self, archival: &Archival, _: &JobContext) -> Result<(), JobError> {
        archival.run().await?;
        Ok(())
    }
}

/// The job that restores a file from the external archive.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct RestoreFromArchive {
    pub(crate) tenant_id: TenantId,
    pub(crate) file_id: FileId,
}

#[async_trait]
impl Job for RestoreFromArchive {
    const NAME: &'static str = "files.restore_archived";
    const TIMEOUT: Duration = Duration::from_secs(6 * 60 * 60);
    type State = Archival;

    async fn run(self, archival: &Archival, _: &JobContext) -> Result<(), JobError> {
        archival.restore_from_external(self).await?;
        Ok(())
    }
}
