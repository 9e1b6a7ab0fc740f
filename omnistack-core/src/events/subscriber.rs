//! Who gets events.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;

use super::{
    Event, EventId,
    store::{Claimed, Store},
};
use crate::{
    clock::Timestamp,
    db::{self, ErrorKind, Tx},
    identity::TenantId,
    jobs::{JobError, exponential},
    relay,
    trace::TraceContext,
};

/// Does something about each event of a kind, in the transaction that acknowledges it.
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
/// What it does elsewhere, such as a call to somebody's API, may happen more than once: [`Delivery::id`] is the same each time.
/// Do that before asking for the transaction, which is better short: on SQLite nobody else can write meanwhile.
///
/// It fails as a job does: with [`JobError`], by a panic or by taking too long. Then nothing it wrote is there, and it is tried
/// again, later; the events after it with the same key wait.
#[async_trait]
pub trait Subscriber: Send + Sync + 'static {
    /// What it is told.
    type Event: Event;
    /// How often a delivery is begun at most, crashes counted; then it is a dead letter.
    const MAX_ATTEMPTS: u32 = 10;
    /// How long an attempt may take.
    const TIMEOUT: Duration = Duration::from_secs(30);

    /// Does the work. Without an error the delivery is over, together with what was written through [`Delivery::tx`].
    ///
    /// # Errors
    /// Any error is tried again later, by [`backoff`](Self::backoff), until the attempts are used up; [`JobError::fatal`] is not,
    /// and [`JobError::snooze`] is tried again without counting.
    async fn handle(&self, event: Self::Event, delivery: &mut Delivery) -> Result<(), JobError>;

    /// How long to wait after a failed attempt, counted from 1; a fifth more or less is added. By default 2 s, 4 s, 8 s … to an
    /// hour.
    fn backoff(attempt: u32) -> Duration {
        exponential(attempt)
    }
}

/// An event on its way to a subscriber.
pub struct Delivery {
    claimed: Claimed,
    store: Store,
    tx: Option<Tx>,
    pub(super) standing: Standing,
}

/// Whether a delivery is still to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Open,
    /// The database could not be asked.
    Unknown,
    /// Somebody else's by now, or given up.
    Lost,
    /// Its rows are in the tenant's own database since an attempt before this one.
    Handled,
}

impl Delivery {
    pub(super) fn new(claimed: Claimed, store: Store) -> Self {
        Self { claimed, store, tx: None, standing: Standing::Open }
    }

    /// The event's id: the same in each attempt, and so an idempotency key for what is called.
    pub fn id(&self) -> EventId {
        self.claimed.id
    }

    /// The event's place: larger than that of each event before it with the same key.
    pub fn sequence(&self) -> i64 {
        self.claimed.seq
    }

    /// The event's key.
    pub fn key(&self) -> &str {
        &self.claimed.key
    }

    /// Who is being told.
    pub fn subscriber(&self) -> &str {
        &self.claimed.subscriber
    }

    /// Which attempt this is, counted from 1.
    pub fn attempt(&self) -> u32 {
        self.claimed.attempt.unsigned_abs()
    }

    /// The tenant of the transaction it was published in.
    pub fn tenant(&self) -> Option<TenantId> {
        self.claimed.tenant
    }

    /// The trace it was published in; [current](TraceContext::current) while it is handled.
    pub fn trace(&self) -> Option<TraceContext> {
        self.claimed.trace()
    }

    /// When it was published.
    pub fn published_at(&self) -> Timestamp {
        Timestamp::from_micros(self.claimed.published_at)
    }

    /// The transaction that acknowledges the event, begun when it is first asked for. It sees the rows of the event's
    /// [tenant](Self::tenant), and commits when the handler is done.
    ///
    /// Where tenants have databases of their own, it is one of the tenant's, which remembers that it was told: its rows are there
    /// once, and the event is acknowledged after it.
    ///
    /// # Errors
    /// The database's; and [`ErrorKind::Conflict`] when an earlier attempt has committed already, or the delivery is somebody else's by now, because this attempt outlived its
    /// lease, or was given up. Nothing is acknowledged then, whatever the handler returns.
    pub async fn tx(&mut self) -> Result<&mut Tx, db::Error> {
        if self.tx.is_none() {
            self.tx = Some(self.begin().await?);
        }
        // There is one.
        self.tx.as_mut().ok_or_else(|| lost(&self.claimed))
    }

    async fn begin(&mut self) -> Result<Tx, db::Error> {
        self.standing = Standing::Unknown;
        let db = &self.store.db;
        if let (Some(tenant), Some(_)) = (self.claimed.tenant, db.tenant_databases()) {
            return self.begin_apart(tenant).await;
        }
        let mut tx = match self.claimed.tenant {
            Some(tenant) => db.tenant(tenant).begin().await?,
            None => db.begin().await?,
        };
        // First of all, so that of two only one gets any further.
        if self.store.done(&mut tx, &self.claimed).await? {
            self.standing = Standing::Open;
            return Ok(tx);
        }
        self.standing = Standing::Lost;
        tx.rollback().await?;
        Err(lost(&self.claimed))
    }

    /// In the tenant's own database, where it is remembered under the event's id.
    async fn begin_apart(&mut self, tenant: TenantId) -> Result<Tx, db::Error> {
        if !self.store.holds(&self.claimed).await? {
            self.standing = Standing::Lost;
            return Err(lost(&self.claimed));
        }
        let mut tx = self.store.db.tenant(tenant).begin().await?;
        let (id, subscriber) = (self.claimed.id.uuid(), &self.claimed.subscriber);
        // First of all, so that of two only one gets any further.
        if relay::received(&mut tx, id, subscriber, self.store.clock.now()).await? {
            self.standing = Standing::Open;
            return Ok(tx);
        }
        self.standing = Standing::Handled;
        tx.rollback().await?;
        let message = format!("event {id} was handled by `{subscriber}` before; it is acknowledged now");
        Err(db::Error::new(ErrorKind::Conflict, message.into()))
    }

    /// Acknowledges, with what was written.
    pub(super) async fn commit(mut self) -> Result<(), db::Error> {
        if self.claimed.tenant.is_some() && self.store.db.tenant_databases().is_some() {
            if let Some(tx) = self.tx.take() {
                tx.commit().await?;
            }
            return self.acknowledge().await;
        }
        self.tx().await?;
        if let Some(mut tx) = self.tx.take() {
            self.store.free(&mut tx, &self.claimed).await?;
            tx.commit().await?;
        }
        Ok(())
    }
}

impl Delivery {
    /// Acknowledges alone, what was written being there already.
    pub(super) async fn acknowledge(self) -> Result<(), db::Error> {
        let mut tx = self.store.db.begin().await?;
        if self.store.done(&mut tx, &self.claimed).await? {
            self.store.free(&mut tx, &self.claimed).await?;
        }
        // If not, it is somebody else's by now, who finds that it was handled.
        tx.commit().await
    }
}

fn lost(delivery: &Claimed) -> db::Error {
    let Claimed { id, subscriber, .. } = delivery;
    let message = format!("event {id} is delivered to `{subscriber}` by somebody else by now, or was given up");
    db::Error::new(ErrorKind::Conflict, message.into())
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Claimed { id, subscriber, key, attempt, .. } = &self.claimed;
        f.debug_struct("Delivery")
            .field("id", id)
            .field("subscriber", subscriber)
            .field("key", key)
            .field("attempt", attempt)
            .finish_non_exhaustive()
    }
}

/// What the dispatcher knows of a subscriber.
#[derive(Clone)]
pub(crate) struct Handler {
    pub(crate) name: &'static str,
    pub(super) event: &'static str,
    pub(super) max_attempts: u32,
    pub(super) timeout: Duration,
    pub(super) backoff: fn(u32) -> Duration,
    pub(super) handle: Arc<dyn Handle>,
}

impl Handler {
    pub(crate) fn new<S: Subscriber>(name: &'static str, subscriber: S) -> Self {
        Self {
            name,
            event: S::Event::NAME,
            max_attempts: S::MAX_ATTEMPTS,
            timeout: S::TIMEOUT,
            backoff: S::backoff,
            handle: Arc::new(Typed(subscriber)),
        }
    }
}

/// A subscriber of any kind of event.
#[async_trait]
pub(super) trait Handle: Send + Sync {
    /// Reads the event and hands it over.
    async fn handle(&self, payload: &str, delivery: &mut Delivery) -> Result<(), JobError>;
}

struct Typed<S>(S);

#[async_trait]
impl<S: Subscriber> Handle for Typed<S> {
    async fn handle(&self, payload: &str, delivery: &mut Delivery) -> Result<(), JobError> {
        let event = serde_json::from_str(payload)
            .map_err(|error| JobError::fatal(format!("the payload is no `{}` any more: {error}", S::Event::NAME)))?;
        self.0.handle(event, delivery).await
    }
}
