//! Background jobs.

use async_trait::async_trait;
use omnistack_core::{
    identity::TenantId,
    jobs::{Job, JobContext, JobError},
};
use serde::{Deserialize, Serialize};

use crate::{Archival, FileId, FileService};

/// Deletes expired uploads and purges deleted files. Runs every hour.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct CleanUpFiles {}

#[async_trait]
impl Job for CleanUpFiles {
    const NAME: &'static str = "files.clean_up";
    type State = FileService;

    async fn run(self, files: &FileService, _: &JobContext) -> Result<(), JobError> {
        files.clean_up().await?;
        Ok(())
    }
}

/// Deletes the files of a deleted tenant: backdates their deletion so that the next cleanup purges them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DeleteTenantFiles {
    pub(crate) tenant: TenantId,
}

#[async_trait]
impl Job for DeleteTenantFiles {
    const NAME: &'static str = "files.delete_tenant";
    type State = FileService;

    async fn run(self, files: &FileService, _: &JobContext) -> Result<(), JobError> {
        files.delete_tenant(self.tenant).await?;
        Ok(())
    }
}

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

/// Restores a file from the external archive.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct RestoreFromArchive {
    pub(crate) tenant_id: TenantId,
    pub(crate) file_id: FileId,
}

#[async_trait]
impl Job for RestoreFromArchive {
    const NAME: &'static str = "files.restore_archived";
    const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(6 * 60 * 60);
    type State = Archival;

    async fn run(self, archival: &Archival, _: &JobContext) -> Result<(), JobError> {
        archival.restore_from_external(self).await?;
        Ok(())
    }
}
