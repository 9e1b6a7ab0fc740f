//! Background jobs for files of tenants.

use async_trait::async_trait;
use omnistack_core::{
    identity::TenantId,
    jobs::{Job, JobContext, JobError},
};
use serde::{Deserialize, Serialize};

use super::FileService;

/// The job that deletes expired uploads and purges deleted files. Runs every hour.
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

/// The job that deletes the files of a deleted tenant: backdates their deletion so that the next cleanup purges them.
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
