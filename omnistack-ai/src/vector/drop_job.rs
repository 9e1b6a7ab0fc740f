//! The deletion of points in the background.

use std::sync::Arc;

use async_trait::async_trait;
use omnistack_core::{
    events::{Delivery, Subscriber, TenantDeleted},
    identity::TenantId,
    jobs::{Job, JobContext, JobError},
};
use serde::{Deserialize, Serialize};

use super::{
    index::VectorIndex,
    model::{VectorCollectionId, VectorSpace},
};

/// The job that deletes the points of a collection that was deleted.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct DropVectorCollection {
    pub(super) tenant: TenantId,
    pub(super) collection: VectorCollectionId,
    pub(super) dimensions: u32,
}

#[async_trait]
impl Job for DropVectorCollection {
    const NAME: &'static str = "ai.drop_vector_collection";
    const MAX_ATTEMPTS: u32 = 20;
    type State = Arc<dyn VectorIndex>;

    async fn run(self, index: &Self::State, _: &JobContext) -> Result<(), JobError> {
        let space = VectorSpace::new(self.tenant, self.collection, self.dimensions);
        Ok(index.drop_collection(space).await?)
    }
}

/// The subscriber that deletes the points of a tenant that was permanently deleted.
pub(super) struct DropTenantVectors(pub(super) Arc<dyn VectorIndex>);

#[async_trait]
impl Subscriber for DropTenantVectors {
    type Event = TenantDeleted;

    async fn handle(&self, event: TenantDeleted, _: &mut Delivery) -> Result<(), JobError> {
        Ok(self.0.drop_tenant(event.tenant).await?)
    }
}
