//! What is done by the clock.

use async_trait::async_trait;
use omnistack_core::{
    identity::TenantId,
    jobs::{Job, JobCtx, JobError},
};
use serde::{Deserialize, Serialize};

use crate::{Archival, FileService};

/// Removes what is left over. Every hour.
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

/// Marks the files of a tenant that is gone as deleted, so long ago that the next sweep removes them.
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

/// Archives what the policy says. Every night.
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
