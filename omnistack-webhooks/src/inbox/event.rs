//! The events that process webhooks, and the limits of what sources say about theirs.

use omnistack_core::{
    crypto::Sha256,
    events::{Event, EventId},
    webhook::{InboundWebhook, SourceEvent, WebhookId},
};
use serde::{Deserialize, Serialize};

use super::model::InboxRow;

/// Largest id of an event and of an object, in bytes.
const MAX_ID_BYTES: usize = 200;
/// Largest type of an event, in bytes.
const MAX_KIND_BYTES: usize = 100;

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

/// Returns the event with texts that both databases can store and index. An id that is too long is replaced by its
/// hash, and a type that is too long is cut, so that no event is refused for them.
pub(super) fn within_limits(mut event: SourceEvent) -> SourceEvent {
    event.id = id_within_limit(event.id);
    event.object = event.object.filter(|object| !object.is_empty()).map(id_within_limit);
    event.kind = without_nul(event.kind);
    event.kind.truncate(event.kind.floor_char_boundary(MAX_KIND_BYTES));
    event
}

fn id_within_limit(id: String) -> String {
    let id = without_nul(id);
    if id.len() > MAX_ID_BYTES { format!("sha256:{}", Sha256::digest(&id)) } else { id }
}

/// Returns a text without the character NUL, which PostgreSQL can't store.
pub(super) fn without_nul(text: String) -> String {
    if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_is_shortened_and_stays_distinct() {
        let long = |end: &str| format!("{}{end}", "x".repeat(300));
        let event = |id: String| within_limits(SourceEvent::new(id, "é".repeat(80)).object(Some(long("o"))));
        let (one, other) = (event(long("1")), event(long("2")));
        assert_ne!(one.id, other.id);
        assert_eq!(one, event(long("1")));
        assert!(one.id.len() <= MAX_ID_BYTES && one.object.is_some_and(|object| object.len() <= MAX_ID_BYTES));
        assert_eq!(one.kind, "é".repeat(50));
        let short = within_limits(SourceEvent::new("evt\0_1", "paid").object(Some("")));
        assert_eq!((short.id.as_str(), short.kind.as_str(), short.object), ("evt\u{fffd}_1", "paid", None));
    }
}
