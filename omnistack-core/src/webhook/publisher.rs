//! The port by which modules publish events to tenants.

use std::{fmt, marker::PhantomData, sync::Arc};

use async_trait::async_trait;
use serde_json::Value;

use super::WebhookEvent;
use crate::{
    db::{self, Tx},
    events::{Delivery, Event, Subscriber},
    jobs::JobError,
    trace::{self, SpanKind},
};

/// A publisher of events to the endpoints of a tenant.
#[async_trait]
pub trait PublishWebhook: Send + Sync + 'static {
    /// Publishes an event of the transaction's tenant in the transaction. `key` is the idempotency key: of the events
    /// of a tenant with the same key, one is sent.
    ///
    /// # Errors
    /// The errors of the database. The caller must roll back then.
    async fn publish_in(&self, tx: &mut Tx, kind: &str, data: Value, key: Option<String>) -> Result<(), db::Error>;
}

/// The handle that publishes events to tenants. It is in the [`Context`](crate::module::Context) of every app. Cheap to
/// clone.
#[doc(alias = "webhook")]
#[derive(Clone)]
pub struct WebhookPublisher(Option<Arc<dyn PublishWebhook>>);

impl WebhookPublisher {
    /// Creates a handle.
    pub fn new(publisher: impl PublishWebhook) -> Self {
        Self(Some(Arc::new(publisher)))
    }

    /// Creates a handle that publishes nothing.
    pub const fn disabled() -> Self {
        Self(None)
    }

    /// Publishes an event to the endpoints of the transaction's tenant. It is sent after the commit, in the
    /// [current trace](trace::TraceContext::current). A transaction without a tenant publishes nothing.
    ///
    /// # Errors
    /// The errors of the database. Roll back the transaction then.
    pub async fn publish_in<E: WebhookEvent>(&self, tx: &mut Tx, event: &E) -> Result<(), db::Error> {
        self.publish_once_in(tx, event, None).await
    }

    /// Like [`publish_in`](Self::publish_in), with an idempotency key: of the events of a tenant with the same key,
    /// one is sent.
    ///
    /// # Errors
    /// Fails as [`publish_in`](Self::publish_in) does.
    pub async fn publish_once_in<E: WebhookEvent>(
        &self,
        tx: &mut Tx,
        event: &E,
        key: Option<String>,
    ) -> Result<(), db::Error> {
        let Some(publisher) = self.0.as_ref().filter(|_| tx.tenant().is_some()) else { return Ok(()) };
        let data = serde_json::to_value(event).map_err(|error| db::Error::new(db::ErrorKind::Other, error.into()))?;
        let span = trace::messaging_span(SpanKind::Producer, "send", E::TYPE);
        span.run(publisher.publish_in(tx, E::TYPE, data, key)).await
    }
}

impl fmt::Debug for WebhookPublisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WebhookPublisher").field(&self.0.is_some()).finish()
    }
}

/// The subscriber that sends each event to the webhook endpoints of its tenant.
pub struct ForwardToWebhooks<E> {
    publisher: WebhookPublisher,
    event: PhantomData<fn(E)>,
}

impl<E> ForwardToWebhooks<E> {
    /// Creates the subscriber.
    pub fn new(publisher: WebhookPublisher) -> Self {
        Self { publisher, event: PhantomData }
    }
}

impl<E> fmt::Debug for ForwardToWebhooks<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ForwardToWebhooks").field(&self.publisher).finish()
    }
}

#[async_trait]
impl<E: Event + WebhookEvent> Subscriber for ForwardToWebhooks<E> {
    type Event = E;

    async fn handle(&self, event: E, delivery: &mut Delivery) -> Result<(), JobError> {
        let key = delivery.id().to_string();
        let tx = delivery.tx().await?;
        self.publisher.publish_once_in(tx, &event, Some(key)).await?;
        Ok(())
    }
}
