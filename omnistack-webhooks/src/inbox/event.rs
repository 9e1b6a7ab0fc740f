//! The events that process webhooks.

use omnistack_core::{
    events::{Event, EventId},
    webhook::{InboundWebhook, WebhookId},
};
use serde::{Deserialize, Serialize};

use super::model::InboxRow;

/// The event that a webhook is stored and has to be processed. Its key is the object of the webhook, so that those of
/// one object are processed one after another.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct WebhookStored {
    pub(super) webhook: WebhookId,
    source: String,
    environment: String,
    /// The object, or else the id of the event.
    subject: String,
}

impl WebhookStored {
    pub(super) fn new(id: WebhookId, webhook: &InboundWebhook) -> Self {
        let event = &webhook.event;
        Self {
            webhook: id,
            source: webhook.source.clone(),
            environment: event.environment.as_str().to_owned(),
            subject: event.object.as_ref().unwrap_or(&event.id).clone(),
        }
    }
}

impl From<&InboxRow> for WebhookStored {
    fn from(row: &InboxRow) -> Self {
        Self {
            webhook: row.id,
            source: row.source.clone(),
            environment: row.environment.clone(),
            subject: row.subject().to_owned(),
        }
    }
}

impl Event for WebhookStored {
    const NAME: &'static str = "webhooks.stored";

    fn key(&self) -> String {
        format!("{}/{}/{}", self.source, self.environment, self.subject)
    }
}

/// The event that the attempts to process a webhook are used up.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct WebhookGivenUp {
    pub(super) webhook: WebhookId,
    /// The id of the event [`WebhookStored`] whose delivery has failed.
    pub(super) event: EventId,
}

impl Event for WebhookGivenUp {
    const NAME: &'static str = "webhooks.given_up";

    fn key(&self) -> String {
        self.webhook.to_string()
    }
}
