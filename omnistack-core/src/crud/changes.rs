//! Events of changed rows.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    events::{Delivery, Event, Subscriber, topic_message},
    identity::TenantId,
    jobs::JobError,
    pubsub::PubSub,
};

/// The kind of a change of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RowChange {
    /// The row was created.
    Created,
    /// The row was updated.
    Updated,
    /// The row was deleted, with or without soft delete.
    Deleted,
    /// The soft-deleted row was restored.
    Restored,
}

/// The event that a caller has changed a row of a resource whose [`Crud`](super::Crud)
/// [publishes changes](super::Crud::publish_changes). Events of one row are delivered in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ResourceChanged {
    /// The [name](super::Resource::NAME) of the resource.
    pub resource: String,
    /// The id of the row.
    pub id: Uuid,
    /// The kind of the change.
    pub change: RowChange,
    /// The tenant of the row, or `None` if the resource belongs to no tenant.
    pub tenant: Option<TenantId>,
    /// The topic of [`pubsub`](crate::pubsub) to which the event is forwarded.
    pub topic: String,
}

impl Event for ResourceChanged {
    const NAME: &'static str = "resource.changed";

    fn key(&self) -> String {
        format!("{}/{}", self.resource, self.id)
    }
}

/// Subscriber that forwards each [`ResourceChanged`] to its topic.
pub(super) struct ChangePublisher(PubSub);

impl ChangePublisher {
    pub(super) fn new(publisher: PubSub) -> Self {
        Self(publisher)
    }
}

#[async_trait]
impl Subscriber for ChangePublisher {
    type Event = ResourceChanged;

    async fn handle(&self, event: ResourceChanged, delivery: &mut Delivery) -> Result<(), JobError> {
        self.0.publish(&event.topic, topic_message(&event, delivery)?).await;
        Ok(())
    }
}
