//! Background jobs.

use async_trait::async_trait;
use omnistack_core::{
    identity::TenantId,
    jobs::{Job, JobCtx, JobError},
};
use serde::{Deserialize, Serialize};

use crate::{Archival, FileId, FileService};

/// Deletes expired uploads and purges deleted files. Runs every hour.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Sweep {}

#[async_trait]
impl Job for Sweep {
    const NAME: &'static str = "files.sweep";
    type State = FileService;

    async fn run(self, files: &FileService, _: &JobCtx) -> Result<(), JobError> {
        files.sweep().await?;
        Ok(())
    }
}

/// Deletes the files of a deleted tenant: backdates their deletion so that the next cleanup purges them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ForgetTenant {
    pub(crate) tenant: TenantId,
}

#[async_trait]
impl Job for ForgetTenant {
    const NAME: &'static str = "files.forget_tenant";
    type State = FileService;

    async fn run(self, files: &FileService, _: &JobCtx) -> Result<(), JobError> {
        files.forget_tenant(self.tenant).await?;
        Ok(())
    }
}

/// Archives the files that match a rule. Runs every night.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Archive {}

#[async_trait]
impl Job for Archive {
    const NAME: &'static str = "files.archive";
    type State = Archival;

    async fn run(self, archival: &Archival, _: &JobCtx) -> Result<(), JobError> {
        archival.run().await?;
        Ok(())
    }
}

/// Restores a file from the external archive.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct BringBack {
    pub(crate) tenant_id: TenantId,
    pub(crate) file_id: FileId,
}

#[async_trait]
impl Job for BringBack {
    const NAME: &'static str = "files.bring_back";
    const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(6 * 60 * 60);
    type State = Archival;

    async fn run(self, archival: &Archival, _: &JobCtx) -> Result<(), JobError> {
        archival.bring_back(self).await?;
        Ok(())
    }
}
