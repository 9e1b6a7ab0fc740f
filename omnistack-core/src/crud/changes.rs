//! Events of changed rows.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    events::{Delivery, Event, Events, Subscriber, deliver_once, topic_message},
    identity::TenantId,
    jobs::JobError,
    pubsub::PubSub,
    realtime::{RealtimeChannel, RealtimeMessage, RealtimePublisher},
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

impl RowChange {
    /// Returns the name as in JSON, such as `created`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Deleted => "deleted",
            Self::Restored => "restored",
        }
    }
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
    /// The topic of [`pubsub`](crate::pubsub) to which the event is forwarded, if any.
    #[serde(default)]
    pub topic: Option<String>,
    /// The channel in which connected clients see the change, if any.
    #[serde(default)]
    pub channel: Option<RealtimeChannel>,
}

impl Event for ResourceChanged {
    const NAME: &'static str = "resource.changed";

    fn key(&self) -> String {
        format!("{}/{}", self.resource, self.id)
    }
}

/// The destinations of the changes of a resource.
#[derive(Clone, Default)]
pub(super) struct ChangeDestinations {
    /// The events of the app; `None` if changes are not published.
    pub(super) events: Option<Events>,
    pub(super) topic: Option<&'static str>,
    /// Whether connected clients see the changes.
    pub(super) realtime: bool,
}

/// Subscriber that forwards each [`ResourceChanged`] to its topic and its channel.
pub(super) struct ChangePublisher {
    messages: PubSub,
    realtime: RealtimePublisher,
}

impl ChangePublisher {
    pub(super) fn new(messages: PubSub, realtime: RealtimePublisher) -> Self {
        Self { messages, realtime }
    }
}

/// The change of a row as connected clients see it.
#[derive(Serialize)]
struct RowChanged {
    r#type: String,
    id: Uuid,
}

#[async_trait]
impl Subscriber for ChangePublisher {
    type Event = ResourceChanged;

    async fn handle(&self, event: ResourceChanged, delivery: &mut Delivery) -> Result<(), JobError> {
        if let Some(channel) = event.channel.clone() {
            let data = RowChanged { r#type: format!("{}.{}", event.resource, event.change.as_str()), id: event.id };
            let message = RealtimeMessage::new(channel, &data).map_err(JobError::fatal)?;
            deliver_once(&self.realtime, message, delivery, Self::MAX_ATTEMPTS).await?;
        }
        if let Some(topic) = &event.topic {
            self.messages.publish(topic, topic_message(&event, delivery)?).await;
        }
        Ok(())
    }
}
