//! The outbox: messages are stored in the caller's transaction and sent by a job.
//!
//! A [`MessageOutbox`] is that of one [`Channel`], mail or text messages. The channel says what a message is, who
//! receives it, and whether it is sent again when the outcome of an attempt is unknown. The rows of all channels are in
//! one table. A transaction in a tenant database leaves its messages in the outbox of that database, from which they
//! are relayed.

mod channel;
#[cfg(feature = "sms")]
mod delivery_report;
mod export;
mod job;
mod message;
mod store;

pub use channel::{Channel, Envelope, SendFailure, SendReceipt};
pub use job::{OutboxWorker, PurgeMessages, SendMessage};
pub use message::{MessageId, MessageInfo, MessageMarker, MessageState};

#[cfg(feature = "sms")]
pub(crate) use delivery_report::DeliveryReport;
pub(crate) use store::MessageStore;

pub use crate::suppression::MIGRATIONS;

use std::{error::Error, time::Duration};

use omnistack_core::{
    BoxError,
    clock::Clock,
    db::{self, Db, Tx},
    jobs::{Cron, EnqueueError, Jobs, NewJob, Queue},
    module::{Context, MissingDependency, Registry},
};

use crate::suppression::SuppressionList;

/// The reason why a message was not put into the outbox. `I` is the reason why a message of the channel is not valid.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError<I: Error + 'static> {
    /// The message is not valid.
    #[error("the message can't be sent: {0}")]
    Invalid(#[source] I),
    /// The template can't be rendered with these values.
    #[error(transparent)]
    Template(BoxError),
    /// The job could not be enqueued.
    #[error(transparent)]
    Enqueue(#[from] EnqueueError),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] db::Error),
}

impl<I: Error + 'static> MessageError<I> {
    /// Returns whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Invalid(_) | Self::Template(_) => false,
            Self::Enqueue(error) => error.is_retryable(),
            Self::Database(error) => error.is_retryable(),
        }
    }
}

impl<I: Error + Send + Sync + 'static> From<MessageError<I>> for omnistack_core::http::Error {
    fn from(error: MessageError<I>) -> Self {
        match error {
            MessageError::Database(error) => error.into(),
            MessageError::Enqueue(error) => error.into(),
            error => Self::internal(error),
        }
    }
}

/// The outbox of one channel. Its names are `email::Outbox` and `sms::SmsOutbox`. It is cheap to clone.
#[derive(Clone, Debug)]
pub struct MessageOutbox<C: Channel> {
    jobs: Jobs,
    store: MessageStore<C>,
    options: C::Options,
}

impl<C: Channel> MessageOutbox<C> {
    /// Creates an outbox in this database, with the options of the channel.
    pub fn new(db: Db, clock: Clock, jobs: Jobs, options: C::Options) -> Self {
        Self { jobs, store: MessageStore::new(db, clock), options }
    }

    /// Returns the state of the jobs that send the messages of this outbox and delete old ones, for a program without an
    /// [`App`](omnistack_core::app::App). Sending a message is retried for `give_up_after`; the state of a finished
    /// message is kept for `keep`.
    pub fn worker(&self, sender: C::Sender, give_up_after: Duration, keep: Duration) -> OutboxWorker<C> {
        let store = self.store.clone();
        let suppressions = SuppressionList::<C::Recipient>::new(store.db.clone(), store.clock.clone());
        OutboxWorker { sender, store, suppressions, limits: OutboxLimits { give_up_after, keep } }
    }

    /// Returns the options of the channel.
    #[cfg(feature = "email")]
    pub(crate) fn options(&self) -> &C::Options {
        &self.options
    }

    /// Stores a message in the caller's transaction. It is sent if that transaction commits.
    ///
    /// # Errors
    /// Returns a [`MessageError`]. After a database error, roll the transaction back.
    pub async fn send_in(&self, tx: &mut Tx, message: &C::Message) -> Result<MessageId, MessageError<C::Invalid>> {
        C::check(message, &self.options).map_err(MessageError::Invalid)?;
        let envelope = C::envelope(message);
        let tenant = envelope.tenant;
        let id = self.store.add(tx, envelope, message).await?;
        let mut job = NewJob::new(SendMessage::<C>::new(id));
        if let Some(tenant) = tenant {
            job = job.tenant(tenant);
        }
        self.jobs.enqueue_in(tx, job).await?;
        Ok(id)
    }

    /// Stores a message in a transaction of its own, to be sent.
    ///
    /// # Errors
    /// Returns a [`MessageError`]; the message is not sent then.
    pub async fn send(&self, message: &C::Message) -> Result<MessageId, MessageError<C::Invalid>> {
        let mut tx = self.store.db.begin().await?;
        let id = self.send_in(&mut tx, message).await?;
        tx.commit().await?;
        Ok(id)
    }

    /// Returns the state of a message. Returns `None` if this channel has no message with this id, or if it was deleted
    /// after `EMAIL_KEEP` or `SMS_KEEP`.
    ///
    /// # Errors
    /// Fails if the database fails.
    pub async fn get(&self, id: MessageId) -> Result<Option<MessageInfo>, db::Error> {
        self.store.get(id).await
    }
}

/// The times that limit the outbox of a channel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OutboxLimits {
    /// The time for which sending a message is retried.
    pub(crate) give_up_after: Duration,
    /// The time for which the state of a finished message is kept.
    pub(crate) keep: Duration,
}

/// Adds the tables of the outbox to the app, provides the outbox and the suppressions of the channel, and adds the jobs
/// that send messages and delete old ones.
pub(crate) fn register<C: Channel>(
    registry: &mut Registry,
    outbox: MessageOutbox<C>,
    limits: OutboxLimits,
    sender: impl Fn(&Context) -> Result<C::Sender, MissingDependency> + Clone + Send + 'static,
) {
    let store = outbox.store.clone();
    let suppressions = SuppressionList::<C::Recipient>::new(store.db.clone(), store.clock.clone());
    registry
        .provide(outbox)
        .provide(suppressions.clone())
        .outbox_receiver(store::MessageReceiver::<C>::default())
        .tenant_tables(["omni_messages"])
        .queue(Queue::new(C::QUEUE))
        .cron(Cron::new(C::PURGE_SCHEDULE, PurgeMessages::<C>::default()));
    export::register(registry);
    let worker = move |ctx: &Context| Ok(OutboxWorker { sender: sender(ctx)?, store, suppressions, limits });
    registry.job::<SendMessage<C>>(worker.clone()).job::<PurgeMessages<C>>(worker);
}
