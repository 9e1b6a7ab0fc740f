//! The app's handle on its events.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, OnceLock},
};

use tokio::sync::{Notify, broadcast};

use super::{
    DeliveryFilter, DeliveryInfo, Event, EventId, SubscriberInfo,
    listeners::Listeners,
    store::{self, Row, Store},
};
use crate::{
    clock::Clock,
    db::{self, Db, Tx},
    jobs::{LARGEST_PAYLOAD, MAX_KEY_BYTES, hex, json},
    relay,
    trace::TraceContext,
};

/// An event was not published.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// It can't be written as JSON.
    #[error("the event can't be written as JSON")]
    Payload(#[source] serde_json::Error),
    /// It is too large.
    #[error(
        "an event `{name}` has {bytes} bytes, more than {LARGEST_PAYLOAD}; keep what is large in a table and its id in the event"
    )]
    TooLarge {
        /// Its kind.
        name: &'static str,
        /// Its size.
        bytes: usize,
    },
    /// Its key is too long to be found by.
    #[error("the key of an event `{name}` has {bytes} bytes, more than {MAX_KEY_BYTES}; hash what is longer")]
    KeyTooLong {
        /// Its kind.
        name: &'static str,
        /// The length.
        bytes: usize,
    },
    /// The database refused it.
    #[error(transparent)]
    Database(#[from] db::Error),
}

impl PublishError {
    /// Whether the same call may succeed later.
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

/// The names of those who subscribed, by the name of their event.
pub(crate) type Subscriptions = HashMap<&'static str, Vec<&'static str>>;

/// The app's events. Cheap to clone.
#[derive(Clone)]
pub struct Events {
    pub(super) store: Store,
    /// Wakes this process's dispatcher.
    pub(super) wake: Arc<Notify>,
    listeners: Arc<Listeners>,
    /// Known when every module has registered.
    subscriptions: Arc<OnceLock<Subscriptions>>,
}

impl Events {
    pub(crate) fn new(db: Db, clock: Clock) -> Self {
        let (wake, listeners, subscriptions) = (Arc::default(), Arc::default(), Arc::default());
        Self { store: Store { db, clock }, wake, listeners, subscriptions }
    }

    pub(crate) fn know(&self, subscriptions: Subscriptions) {
        _ = self.subscriptions.set(subscriptions);
    }

    /// Publishes an event in the caller's transaction: it is told when that commits. It belongs to the transaction's tenant,
    /// and to the [trace](TraceContext::current) it is published in.
    ///
    /// On PostgreSQL it waits for other transactions that have published with the same key, until they end: otherwise the order
    /// of the events could be another than that of what they tell of. Two transactions that publish with two keys in
    /// opposite order may wait for each other; PostgreSQL then ends one with an error that
    /// [is retryable](PublishError::is_retryable). Publish what you can at once, with [`publish_all_in`](Self::publish_all_in),
    /// which goes by an order of its own, and publish late.
    ///
    /// # Errors
    /// See [`PublishError`]. After a database error the transaction is best rolled back.
    pub async fn publish_in<E: Event>(&self, tx: &mut Tx, event: &E) -> Result<EventId, PublishError> {
        let mut all = self.publish_all_in(tx, [event]).await?;
        Ok(all.swap_remove(0))
    }

    /// Publishes an event on its own.
    ///
    /// # Errors
    /// See [`PublishError`]; nothing is published then.
    pub async fn publish<E: Event>(&self, event: &E) -> Result<EventId, PublishError> {
        let mut tx = self.store.db.begin().await?;
        let id = self.publish_in(&mut tx, event).await?;
        tx.commit().await?;
        Ok(id)
    }

    /// Publishes many events of a kind in the caller's transaction, in this order. On PostgreSQL each key is a lock until the
    /// transaction ends; a server has room for some thousands (`max_locks_per_transaction` × `max_connections`).
    ///
    /// # Errors
    /// See [`PublishError`].
    pub async fn publish_all_in<'e, E: Event>(
        &self,
        tx: &mut Tx,
        events: impl IntoIterator<Item = &'e E>,
    ) -> Result<Vec<EventId>, PublishError> {
        let now = self.store.clock.now();
        let (mut ids, mut rows) = (Vec::new(), Vec::new());
        for event in events {
            let payload = serde_json::to_string(event).map_err(PublishError::Payload)?;
            let (name, key) = (E::NAME, event.key());
            if payload.len() > LARGEST_PAYLOAD {
                return Err(PublishError::TooLarge { name, bytes: payload.len() });
            }
            if key.len() > MAX_KEY_BYTES {
                return Err(PublishError::KeyTooLong { name, bytes: key.len() });
            }
            let id = EventId::new(now);
            ids.push(id);
            rows.push(Row { id: hex(id.uuid()), lock: store::lock(name, &key), key, payload });
        }
        let subscribers = self.subscriptions.get().and_then(|known| known.get(E::NAME));
        if let (Some(subscribers), false) = (subscribers, rows.is_empty()) {
            let trace = TraceContext::current();
            let publish = store::Publish {
                name: E::NAME.to_owned(),
                rows,
                subscribers: json(subscribers),
                trace_state: trace.as_ref().and_then(|trace| trace.tracestate()).map(ToOwned::to_owned),
                trace: trace.map(|trace| trace.traceparent().to_owned()),
                tenant: tx.tenant(),
                now: now.as_micros(),
            };
            match tx.tenant().filter(|_| tx.is_apart()) {
                None => self.store_in(tx, &publish).await?,
                Some(tenant) => {
                    // So that the order in the outbox is that of the commits.
                    store::lock_keys(tx, &publish.rows).await?;
                    relay::put(tx, tenant, relay::Kind::Events, &publish, now).await?;
                }
            }
            rows = publish.rows;
        }
        if let Some(listeners) = self.listeners.of::<E>() {
            tx.on_commit(move || {
                for row in rows {
                    // As a subscriber would read it. An error means that nobody listens any more.
                    _ = serde_json::from_str(&row.payload).map(|event| listeners.send(Arc::new(event)));
                }
            });
        }
        Ok(ids)
    }

    async fn store_in(&self, tx: &mut Tx, publish: &store::Publish) -> Result<(), db::Error> {
        store::publish(tx, publish).await?;
        let wake = Arc::clone(&self.wake);
        tx.on_commit(move || wake.notify_one());
        Ok(())
    }

    /// Stores what was put into the outbox of a tenant's database, unless it was before.
    pub(crate) async fn carry_in(&self, tx: &mut Tx, content: &str) -> Result<(), db::Error> {
        let mut publish: store::Publish =
            serde_json::from_str(content).map_err(|error| relay::unreadable(&error.to_string()))?;
        for row in &mut publish.rows {
            row.lock = store::lock(&publish.name, &row.key);
        }
        self.store_in(tx, &publish).await
    }

    /// Listens to events of a kind that this process publishes from now on, told when they are committed: at best, for what may
    /// be missed, as a cache that is dropped sooner. One who falls 1,024 behind is told how many were missed.
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

    /// The newest deliveries that match, at most `limit` of them, in falling order of sequence and subscriber, from before these
    /// on.
    ///
    /// # Errors
    /// The database's.
    pub async fn deliveries(
        &self,
        filter: &DeliveryFilter,
        before: Option<(i64, &str)>,
        limit: u32,
    ) -> Result<Vec<DeliveryInfo>, db::Error> {
        self.store.list(filter, before, limit).await
    }

    /// How each subscriber stands that has, or lately had, something to do.
    ///
    /// # Errors
    /// The database's.
    pub async fn subscribers(&self) -> Result<Vec<SubscriberInfo>, db::Error> {
        self.store.subscribers().await
    }

    /// Delivers dead letters that match again, with all their attempts; returns how many there were.
    ///
    /// # Errors
    /// The database's.
    pub async fn retry(&self, filter: &DeliveryFilter) -> Result<u64, db::Error> {
        let retried = self.store.retry(filter).await?;
        self.wake.notify_one();
        Ok(retried)
    }

    /// Gives up deliveries that match and are dead or waiting, so that what comes after them in their keys goes on; returns how
    /// many there were.
    ///
    /// # Errors
    /// The database's.
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
