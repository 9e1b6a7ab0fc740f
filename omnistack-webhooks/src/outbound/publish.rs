//! Publishing: messages and their deliveries are stored in the caller's transaction.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
};

use async_trait::async_trait;
use omnistack_core::{
    clock::{Clock, Timestamp},
    db::{self, OutboxReceiver, Tx},
    trace::TraceContext,
    webhook::{PublishWebhook, WebhookCatalogue, WebhookEndpointDisabled, WebhookEvent},
};
use serde::Serialize;
use serde_json::Value;

use super::{
    endpoint::WebhookMessageId,
    store::messages::{self, NewMessage},
    wake::DeliveryWake,
};

/// Outbox kind of messages from tenant databases.
const OUTBOX_KIND: &str = "webhook_messages";

/// Largest body of a message, in bytes. Standard Webhooks advises less than 20 kB.
const MAX_PAYLOAD_BYTES: usize = 1024 * 1024;

/// Longest idempotency key, in bytes.
const MAX_KEY_BYTES: usize = 500;

/// The type of the event that an endpoint was disabled. The endpoint itself does not receive it.
pub(crate) const ENDPOINT_DISABLED: &str = <WebhookEndpointDisabled as WebhookEvent>::TYPE;

/// The body of a message.
#[derive(Serialize)]
struct MessageBody<'a> {
    r#type: &'a str,
    timestamp: Timestamp,
    data: &'a Value,
}

/// Returns the body of a message: `{"type", "timestamp", "data"}`.
pub(crate) fn message_body(kind: &str, timestamp: Timestamp, data: &Value) -> Result<String, serde_json::Error> {
    serde_json::to_string(&MessageBody { r#type: kind, timestamp, data })
}

/// A publisher that stores messages for the endpoints of a tenant. Cheap to clone.
#[derive(Clone)]
pub(crate) struct MessagePublisher {
    clock: Clock,
    catalogue: WebhookCatalogue,
    /// The versions of the types in the catalogue, which is complete when the first event is published.
    versions: Arc<OnceLock<HashMap<&'static str, u32>>>,
    wake: DeliveryWake,
}

impl MessagePublisher {
    pub(crate) fn new(clock: Clock, catalogue: WebhookCatalogue, wake: DeliveryWake) -> Self {
        Self { clock, catalogue, versions: Arc::default(), wake }
    }

    fn version(&self, kind: &str) -> u32 {
        let known = || self.catalogue.types().into_iter().map(|one| (one.r#type, one.version)).collect();
        self.versions.get_or_init(known).get(kind).copied().unwrap_or(1)
    }

    /// Inserts a message into the app's database, unless it exists already.
    async fn insert(&self, tx: &mut Tx, message: NewMessage) -> Result<(), db::Error> {
        if messages::insert(tx, message, self.clock.now()).await? {
            self.wake.wake_on_commit(tx);
        }
        Ok(())
    }
}

#[async_trait]
impl PublishWebhook for MessagePublisher {
    async fn publish_in(&self, tx: &mut Tx, kind: &str, data: Value, key: Option<String>) -> Result<(), db::Error> {
        let Some(tenant) = tx.tenant() else { return Ok(()) };
        let now = self.clock.now();
        let payload = message_body(kind, now, &data).map_err(|error| refused(&error.to_string()))?;
        if payload.len() > MAX_PAYLOAD_BYTES {
            return Err(refused("the data of a webhook event is larger than 1 MiB; send an id of what it describes"));
        }
        if key.as_ref().is_some_and(|key| key.len() > MAX_KEY_BYTES) {
            return Err(refused("the idempotency key of a webhook event is longer than 500 bytes; use a hash of it"));
        }
        let about = data.get("endpoint").and_then(Value::as_str).and_then(|id| id.parse().ok());
        let trace = TraceContext::current();
        let message = NewMessage {
            id: WebhookMessageId::new(now),
            tenant,
            kind: kind.to_owned(),
            version: self.version(kind).into(),
            payload,
            key,
            created_at: now,
            except: about.filter(|_| kind == ENDPOINT_DISABLED),
            trace_state: trace.as_ref().and_then(TraceContext::tracestate).map(str::to_owned),
            trace: trace.map(|trace| trace.traceparent().to_owned()),
        };
        if tx.in_tenant_database() {
            return db::add_to_outbox(tx, tenant, OUTBOX_KIND, &message, now).await;
        }
        self.insert(tx, message).await
    }
}

/// Receives the messages that transactions in tenant databases leave in their outbox.
#[async_trait]
impl OutboxReceiver for MessagePublisher {
    fn kind(&self) -> &'static str {
        OUTBOX_KIND
    }

    async fn receive_in(&self, tx: &mut Tx, content: &str) -> Result<(), db::Error> {
        let message = serde_json::from_str(content).map_err(|error| db::unreadable_row(&error.to_string()))?;
        self.insert(tx, message).await
    }
}

fn refused(message: &str) -> db::Error {
    db::Error::new(db::ErrorKind::InvalidValue, message.into())
}
