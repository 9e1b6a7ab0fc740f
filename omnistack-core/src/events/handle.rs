//! The handle of the app's events.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, OnceLock},
};

use tokio::sync::{Notify, broadcast};

use super::{
    DeliveryFilter, DeliveryInfo, Event, EventId, SubscriberInfo,
    in_process::Listeners,
    store::{self, EventRow, EventStore},
};
use async_trait::async_trait;

use crate::{
    clock::Clock,
    db::{self, Db, OutboxReceiver, Tx},
    jobs::{MAX_KEY_BYTES, MAX_PAYLOAD_BYTES, hex, json},
    trace::{self, SpanKind, TraceContext},
};

/// An error that kept an event from being published.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The event can't be serialized as JSON.
    #[error("the event can't be serialized as JSON")]
    Payload(#[source] serde_json::Error),
    /// The payload is too large.
    #[error(
        "the payload of event `{name}` has {bytes} bytes, more than the limit of {MAX_PAYLOAD_BYTES}; store large data \
         in a table and its id in the event"
    )]
    TooLarge {
        /// Name of the event.
        name: &'static str,
        /// Size of the payload, in bytes.
        bytes: usize,
    },
    /// The key is too long to be indexed.
    #[error("the key of event `{name}` has {bytes} bytes, more than the limit of {MAX_KEY_BYTES}; use a hash of it")]
    KeyTooLong {
        /// Name of the event.
        name: &'static str,
        /// Length of the key, in bytes.
        bytes: usize,
    },
    /// The error of the database.
    #[error(transparent)]
    Database(#[from] db::Error),
}

impl PublishError {
    /// Returns whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Database(error) if error.is_retryable())
    }
}

impl From<PublishError> for crate::http::Error {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::Database(error) => error.into(),
            error => Self::internal(error),
        }
    }
}

/// The names of the subscribers by the name of their event.
pub(crate) type Subscriptions = HashMap<&'static str, Vec<&'static str>>;

/// The events of the app. Cheap to clone.
#[doc(alias = "outbox")]
#[derive(Clone)]
pub struct Events {
    pub(super) store: EventStore,
    /// Notifies the dispatcher of this process.
    pub(super) wake: Arc<Notify>,
    listeners: Arc<Listeners>,
    /// Set after all modules have registered.
    subscriptions: Arc<OnceLock<Subscriptions>>,
}

impl Events {
    /// Creates the events of a program without an [`App`](crate::app::App), in a database in which core's migrations
    /// have run. Nothing is published until a [`Dispatcher`](super::Dispatcher) is built from this handle or a clone of
    /// it, because an event is stored for the subscribers that the dispatcher knows.
    pub fn new(db: Db, clock: Clock) -> Self {
        let (wake, listeners, subscriptions) = (Arc::default(), Arc::default(), Arc::default());
        Self { store: EventStore { db, clock }, wake, listeners, subscriptions }
    }

    /// Returns whether a dispatcher was built for these events.
    pub(super) fn has_subscriptions(&self) -> bool {
        self.subscriptions.get().is_some()
    }

    pub(crate) fn set_subscriptions(&self, subscriptions: Subscriptions) {
        _ = self.subscriptions.set(subscriptions);
    }

    /// Publishes an event in the caller's transaction. It is delivered after the commit. It belongs to the
    /// transaction's tenant and to the [current trace](TraceContext::current).
    ///
    /// On PostgreSQL it waits until other transactions that have published with the same key end. Without that,
    /// the order of the events could differ from the order of the changes they describe. Two transactions that
    /// publish with two keys in opposite order may wait for each other; PostgreSQL then fails one of them with an
    /// error that [is retryable](PublishError::is_retryable). To avoid that, publish several events together with
    /// [`publish_all_in`](Self::publish_all_in), which takes their locks in a fixed order, and publish late in
    /// the transaction.
    ///
    /// # Errors
    /// See [`PublishError`]. Roll back the transaction after a database error.
    pub async fn publish_in<E: Event>(&self, tx: &mut Tx, event: &E) -> Result<EventId, PublishError> {
        let mut all = self.publish_all_in(tx, [event]).await?;
        Ok(all.swap_remove(0))
    }

    /// Publishes an event in a transaction of its own.
    ///
    /// # Errors
    /// See [`PublishError`]. Nothing is published then.
    pub async fn publish<E: Event>(&self, event: &E) -> Result<EventId, PublishError> {
        let mut tx = self.store.db.begin().await?;
        let id = self.publish_in(&mut tx, event).await?;
        tx.commit().await?;
        Ok(id)
    }

    /// Publishes several events of one type in the caller's transaction, in this order. On PostgreSQL each key
    /// takes a lock until the transaction ends; a server can hold some thousands (`max_locks_per_transaction` ×
    /// `max_connections`).
    ///
    /// # Errors
    /// See [`PublishError`].
    pub async fn publish_all_in<'e, E: Event>(
        &self,
        tx: &mut Tx,
        events: impl IntoIterator<Item = &'e E>,
    ) -> Result<Vec<EventId>, PublishError> {
        let span = trace::messaging_span(SpanKind::Producer, "send", E::NAME);
        span.run(async {
            let current = TraceContext::current();
            self.publish_rows(tx, events.into_iter().map(|event| (event, current.clone()))).await
        })
        .await
    }

    /// Like [`publish_all_in`](Self::publish_all_in), for events that belong to traces of their own, such as those of
    /// several requests that share a transaction.
    ///
    /// # Errors
    /// See [`PublishError`].
    pub async fn publish_traced_in<'e, E: Event>(
        &self,
        tx: &mut Tx,
        events: impl IntoIterator<Item = (&'e E, Option<TraceContext>)>,
    ) -> Result<Vec<EventId>, PublishError> {
        self.publish_rows(tx, events).await
    }

    async fn publish_rows<'e, E: Event>(
        &self,
        tx: &mut Tx,
        events: impl IntoIterator<Item = (&'e E, Option<TraceContext>)>,
    ) -> Result<Vec<EventId>, PublishError> {
        let now = self.store.clock.now();
        let (mut ids, mut rows) = (Vec::new(), Vec::new());
        for (event, trace) in events {
            let payload = serde_json::to_string(event).map_err(PublishError::Payload)?;
            let (name, key) = (E::NAME, event.key());
            if payload.len() > MAX_PAYLOAD_BYTES {
                return Err(PublishError::TooLarge { name, bytes: payload.len() });
            }
            if key.len() > MAX_KEY_BYTES {
                return Err(PublishError::KeyTooLong { name, bytes: key.len() });
            }
            let id = EventId::new(now);
            ids.push(id);
            rows.push(EventRow {
                id: hex(id.uuid()),
                lock: store::lock_number(name, &key),
                key,
                payload,
                trace_state: trace.as_ref().and_then(|trace| trace.tracestate()).map(ToOwned::to_owned),
                trace: trace.map(|trace| trace.traceparent().to_owned()),
            });
        }
        let subscribers = self.subscriptions.get().and_then(|known| known.get(E::NAME));
        if let (Some(subscribers), false) = (subscribers, rows.is_empty()) {
            let publish = store::PublishBatch {
                name: E::NAME.to_owned(),
                rows,
                subscribers: json(subscribers),
                tenant: tx.tenant(),
                now: now.as_micros(),
            };
            match tx.tenant().filter(|_| tx.in_tenant_database()) {
                None => self.store_in(tx, &publish).await?,
                Some(tenant) => {
                    // So that the order in the outbox is the order of the commits.
                    store::lock_keys(tx, &publish.rows).await?;
                    db::add_to_outbox(tx, tenant, OUTBOX_KIND, &publish, now).await?;
                }
            }
            rows = publish.rows;
        }
        if let Some(listeners) = self.listeners.sender::<E>() {
            tx.on_commit(move || {
                for row in rows {
                    // Parsed as a subscriber would parse it. An error means that there are no listeners any more.
                    _ = serde_json::from_str(&row.payload).map(|event| listeners.send(Arc::new(event)));
                }
            });
        }
        Ok(ids)
    }

    async fn store_in(&self, tx: &mut Tx, publish: &store::PublishBatch) -> Result<(), db::Error> {
        store::publish(tx, publish).await?;
        let wake = Arc::clone(&self.wake);
        tx.on_commit(move || wake.notify_one());
        Ok(())
    }

    /// Returns a receiver of the events of one type that this process publishes from now on, after their
    /// transactions commit. Delivery is at most once, so use it only where a missed event is harmless, such as
    /// for invalidating a cache early. A receiver that falls 1,024 events behind gets an error with the number of
    /// missed events.
    ///
    /// ```
    /// # use omnistack_core::events::{Event, Events};
    /// # async fn refresh<E: Event>(events: Events, drop_from_cache: fn(&E)) {
    /// let mut changes = events.subscribe::<E>();
    /// while let Ok(change) = changes.recv().await {
    ///     drop_from_cache(&change);
    /// }
    /// # }
    /// ```
    pub fn subscribe<E: Event>(&self) -> broadcast::Receiver<Arc<E>> {
        self.listeners.subscribe()
    }

    /// Returns the newest deliveries that match, at most `limit`, in descending order of sequence and subscriber.
    /// With `before`, only deliveries before that sequence and subscriber.
    ///
    /// # Errors
    /// The errors of the database.
    pub async fn deliveries(
        &self,
        filter: &DeliveryFilter,
        before: Option<(i64, &str)>,
        limit: u32,
    ) -> Result<Vec<DeliveryInfo>, db::Error> {
        self.store.list(filter, before, limit).await
    }

    /// Returns the state of each subscriber that has deliveries, including recently finished ones.
    ///
    /// # Errors
    /// The errors of the database.
    pub async fn subscribers(&self) -> Result<Vec<SubscriberInfo>, db::Error> {
        self.store.subscribers().await
    }

    /// Makes dead letters that match due again, with all their attempts. Returns their number.
    ///
    /// # Errors
    /// The errors of the database.
    pub async fn retry(&self, filter: &DeliveryFilter) -> Result<u64, db::Error> {
        let retried = self.store.retry(filter).await?;
        self.wake.notify_one();
        Ok(retried)
    }

    /// Skips deliveries that match and are dead or waiting, so that the next deliveries of their keys continue.
    /// Returns their number.
    ///
    /// # Errors
    /// The errors of the database.
    pub async fn skip(&self, filter: &DeliveryFilter) -> Result<u64, db::Error> {
        let skipped = self.store.skip(filter).await?;
        self.wake.notify_one();
        Ok(skipped)
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").field("subscriptions", &self.subscriptions.get()).finish_non_exhaustive()
    }
}

/// Outbox kind of events from tenant databases.
const OUTBOX_KIND: &str = "events";

#[async_trait]
impl OutboxReceiver for Events {
    fn kind(&self) -> &'static str {
        OUTBOX_KIND
    }

    /// Stores the events, unless they were stored before.
    async fn receive_in(&self, tx: &mut Tx, content: &str) -> Result<(), db::Error> {
        let mut publish: store::PublishBatch =
            serde_json::from_str(content).map_err(|error| db::unreadable_row(&error.to_string()))?;
        for row in &mut publish.rows {
            row.lock = store::lock_number(&publish.name, &row.key);
        }
        self.store_in(tx, &publish).await
    }
}
