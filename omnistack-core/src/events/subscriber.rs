//! Subscribers and deliveries.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;

use super::{
    Event, EventId,
    store::{ClaimedDelivery, EventStore},
};
use crate::{
    clock::Timestamp,
    db::{self, ErrorKind, Tx},
    identity::TenantId,
    jobs::{JobError, exponential_backoff},
    trace::TraceContext,
};

/// A subscriber: handles each event of a type in the transaction that acknowledges it.
///
/// ```
/// use omnistack_core::{events::{Delivery, Event, Subscriber}, jobs::JobError};
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # struct MemberJoined { project: String }
/// # impl Event for MemberJoined {
/// #     const NAME: &'static str = "member.joined";
/// #     fn key(&self) -> String { self.project.clone() }
/// # }
///
/// struct CountMembers;
///
/// #[async_trait::async_trait]
/// impl Subscriber for CountMembers {
///     type Event = MemberJoined;
///
///     async fn handle(&self, event: MemberJoined, delivery: &mut Delivery) -> Result<(), JobError> {
///         let tx = delivery.tx().await?;
///         let count = "update projects set members = members + 1 where id = $1";
///         tx.query(count).bind(event.project).execute().await?;
///         Ok(())
///     }
/// }
/// ```
///
/// Effects outside the transaction, such as a call to a provider, may happen more than once: [`Delivery::id`] is
/// the same each time. Complete them before requesting the transaction, which should be short: on SQLite no other
/// transaction can write meanwhile.
///
/// A subscriber fails like a job: with [`JobError`], by a panic or by a timeout. Then its rows are rolled back
/// and the delivery is retried later. Later events with the same key wait.
#[async_trait]
pub trait Subscriber: Send + Sync + 'static {
    /// Type of the events.
    type Event: Event;
    /// Most attempts of a delivery, including those that crashed; then it becomes a dead letter.
    const MAX_ATTEMPTS: u32 = 10;
    /// Longest duration of an attempt.
    const TIMEOUT: Duration = Duration::from_secs(30);

    /// Handles an event. If it returns `Ok`, the delivery is acknowledged together with the rows written through
    /// [`Delivery::tx`].
    ///
    /// # Errors
    /// After any error the delivery is retried, after the [`backoff`](Self::backoff), until its attempts are used
    /// up. After [`JobError::fatal`] it is not retried; after [`JobError::snooze`] it is retried without counting
    /// the attempt.
    async fn handle(&self, event: Self::Event, delivery: &mut Delivery) -> Result<(), JobError>;

    /// Returns the delay after a failed attempt, counted from 1. Up to a fifth is added or subtracted. The
    /// default is 2 s, 4 s, 8 s and so on, up to an hour.
    fn backoff(attempt: u32) -> Duration {
        exponential_backoff(attempt)
    }
}

/// The delivery of an event to a subscriber.
pub struct Delivery {
    claimed: ClaimedDelivery,
    store: EventStore,
    tx: Option<Tx>,
    pub(super) status: DeliveryStatus,
}

/// The state of a delivery during an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DeliveryStatus {
    Open,
    /// The database could not be reached.
    Unknown,
    /// Another process has taken it over, or an operator has skipped it.
    Lost,
    /// An earlier attempt has committed the subscriber's rows in the tenant database.
    Handled,
}

impl Delivery {
    pub(super) fn new(claimed: ClaimedDelivery, store: EventStore) -> Self {
        Self { claimed, store, tx: None, status: DeliveryStatus::Open }
    }

    /// Returns the id of the event. It is the same in all attempts, so it can serve as an idempotency key for
    /// calls to providers.
    pub fn id(&self) -> EventId {
        self.claimed.id
    }

    /// Returns the sequence number of the event. It is greater than that of all earlier events with the same key.
    pub fn sequence(&self) -> i64 {
        self.claimed.seq
    }

    /// Returns the key of the event.
    pub fn key(&self) -> &str {
        &self.claimed.key
    }

    /// Returns the name of the subscriber.
    pub fn subscriber(&self) -> &str {
        &self.claimed.subscriber
    }

    /// Returns the number of the attempt, counted from 1.
    pub fn attempt(&self) -> u32 {
        self.claimed.attempt.unsigned_abs()
    }

    /// Returns the tenant of the transaction that published the event.
    pub fn tenant(&self) -> Option<TenantId> {
        self.claimed.tenant
    }

    /// Returns the trace the event was published in. It is the [current](TraceContext::current) trace while the
    /// event is handled.
    pub fn trace(&self) -> Option<TraceContext> {
        self.claimed.trace()
    }

    /// Returns when the event was published.
    pub fn published_at(&self) -> Timestamp {
        Timestamp::from_micros(self.claimed.published_at)
    }

    /// Returns the transaction that acknowledges the event. It begins at the first call, sees the rows of the
    /// event's [tenant](Self::tenant), and commits after the handler has returned `Ok`.
    ///
    /// With tenant databases it is a transaction of the tenant's database, which records that the event was
    /// handled: its rows are stored once, and the event is acknowledged afterwards.
    ///
    /// # Errors
    /// The errors of the database. [`ErrorKind::Conflict`] if an earlier attempt has committed, if another
    /// process has taken over the delivery because this attempt outlived its lease, or if the delivery was
    /// skipped. Nothing is acknowledged then, regardless of what the handler returns.
    pub async fn tx(&mut self) -> Result<&mut Tx, db::Error> {
        if self.tx.is_none() {
            self.tx = Some(self.begin().await?);
        }
        // `tx` is always set here.
        self.tx.as_mut().ok_or_else(|| taken_over(&self.claimed))
    }

    /// Rolls back the rows that were written through [`tx`](Self::tx). Call it before an error is recorded in another
    /// transaction, because on SQLite no other transaction can write while this one is open. The delivery is not acknowledged by this, and the next call
    /// of `tx` begins another transaction.
    ///
    /// # Errors
    /// Fails as [`tx`](Self::tx) does. The caller must record nothing then, because another process may have taken
    /// over the delivery.
    pub async fn rollback(&mut self) -> Result<(), db::Error> {
        let tx = match self.tx.take() {
            Some(tx) => tx,
            // Fails if the delivery was taken over.
            None => self.begin().await?,
        };
        tx.rollback().await
    }

    async fn begin(&mut self) -> Result<Tx, db::Error> {
        self.status = DeliveryStatus::Unknown;
        let db = &self.store.db;
        if let (Some(tenant), Some(_)) = (self.claimed.tenant, db.tenant_databases()) {
            return self.begin_in_tenant_database(tenant).await;
        }
        let mut tx = match self.claimed.tenant {
            Some(tenant) => db.tenant(tenant).begin().await?,
            None => db.begin().await?,
        };
        // Acknowledges first, so that of two concurrent attempts only one continues.
        if self.store.acknowledge_in(&mut tx, &self.claimed).await? {
            self.status = DeliveryStatus::Open;
            return Ok(tx);
        }
        self.status = DeliveryStatus::Lost;
        tx.rollback().await?;
        Err(taken_over(&self.claimed))
    }

    /// Begins the transaction in the tenant database, which records the event's id.
    async fn begin_in_tenant_database(&mut self, tenant: TenantId) -> Result<Tx, db::Error> {
        if !self.store.is_leased(&self.claimed).await? {
            self.status = DeliveryStatus::Lost;
            return Err(taken_over(&self.claimed));
        }
        let mut tx = self.store.db.tenant(tenant).begin().await?;
        let (id, subscriber) = (self.claimed.id.uuid(), &self.claimed.subscriber);
        // Records it first, so that of two concurrent attempts only one continues.
        if db::mark_received(&mut tx, id, subscriber, self.store.clock.now()).await? {
            self.status = DeliveryStatus::Open;
            return Ok(tx);
        }
        self.status = DeliveryStatus::Handled;
        tx.rollback().await?;
        let message = format!("event {id} was handled by `{subscriber}` before; it is acknowledged now");
        Err(db::Error::new(ErrorKind::Conflict, message.into()))
    }

    /// Acknowledges the delivery and commits the subscriber's rows.
    pub(super) async fn commit(mut self) -> Result<(), db::Error> {
        if self.claimed.tenant.is_some() && self.store.db.tenant_databases().is_some() {
            if let Some(tx) = self.tx.take() {
                tx.commit().await?;
            }
            return self.acknowledge().await;
        }
        self.tx().await?;
        if let Some(mut tx) = self.tx.take() {
            self.store.release_lane(&mut tx, &self.claimed).await?;
            tx.commit().await?;
        }
        Ok(())
    }
}

impl Delivery {
    /// Acknowledges the delivery only; the subscriber's rows are already committed.
    pub(super) async fn acknowledge(self) -> Result<(), db::Error> {
        let mut tx = self.store.db.begin().await?;
        if self.store.acknowledge_in(&mut tx, &self.claimed).await? {
            self.store.release_lane(&mut tx, &self.claimed).await?;
        }
        // Otherwise another process has taken over the delivery. It will find that it was handled.
        tx.commit().await
    }
}

fn taken_over(delivery: &ClaimedDelivery) -> db::Error {
    let ClaimedDelivery { id, subscriber, .. } = delivery;
    let message = format!("the delivery of event {id} to `{subscriber}` was taken over by another process or skipped");
    db::Error::new(ErrorKind::Conflict, message.into())
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ClaimedDelivery { id, subscriber, key, attempt, .. } = &self.claimed;
        f.debug_struct("Delivery")
            .field("id", id)
            .field("subscriber", subscriber)
            .field("key", key)
            .field("attempt", attempt)
            .finish_non_exhaustive()
    }
}

/// The registered handler of a subscriber.
#[derive(Clone)]
pub(crate) struct SubscriberHandler {
    pub(crate) name: &'static str,
    pub(super) event: &'static str,
    pub(super) max_attempts: u32,
    pub(super) timeout: Duration,
    pub(super) backoff: fn(u32) -> Duration,
    pub(super) handle: Arc<dyn ErasedSubscriber>,
}

impl SubscriberHandler {
    pub(crate) fn new<S: Subscriber>(name: &'static str, subscriber: S) -> Self {
        Self {
            name,
            event: S::Event::NAME,
            max_attempts: S::MAX_ATTEMPTS,
            timeout: S::TIMEOUT,
            backoff: S::backoff,
            handle: Arc::new(TypedSubscriber(subscriber)),
        }
    }
}

/// A subscriber without its event type.
#[async_trait]
pub(super) trait ErasedSubscriber: Send + Sync {
    /// Deserializes the event and handles it.
    async fn handle(&self, payload: &str, delivery: &mut Delivery) -> Result<(), JobError>;
}

struct TypedSubscriber<S>(S);

#[async_trait]
impl<S: Subscriber> ErasedSubscriber for TypedSubscriber<S> {
    async fn handle(&self, payload: &str, delivery: &mut Delivery) -> Result<(), JobError> {
        let event = serde_json::from_str(payload)
            .map_err(|error| JobError::fatal(format!("the payload can't be read as `{}`: {error}", S::Event::NAME)))?;
        self.0.handle(event, delivery).await
    }
}
