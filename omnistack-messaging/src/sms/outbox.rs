//! The outbox for text messages: messages are stored in the caller's transaction and sent at most once by a job.

mod job;
mod store;

pub use job::{PurgeSms, SendSms, SendSmsState};
pub use store::{SmsInfo, SmsState};

pub(super) use store::{DeliveryReport, SmsStore};

use super::{InvalidSms, SmsMessage};
use omnistack_core::{
    clock::Clock,
    db::{self, Db, Tx},
    id::Id,
    jobs::{EnqueueError, Jobs, NewJob},
};

/// The id of a text message in the outbox.
pub type SmsId = Id<SmsMessage>;

/// The reason why a text message was not put into the outbox.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SmsOutboxError {
    /// The message is not valid.
    #[error("the message can't be sent: {0}")]
    Invalid(#[from] InvalidSms),
    /// The job could not be enqueued.
    #[error(transparent)]
    Enqueue(#[from] EnqueueError),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] db::Error),
}

impl SmsOutboxError {
    /// Returns whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Invalid(_) => false,
            Self::Enqueue(error) => error.is_retryable(),
            Self::Database(error) => error.is_retryable(),
        }
    }
}

impl From<SmsOutboxError> for omnistack_core::http::Error {
    fn from(error: SmsOutboxError) -> Self {
        match error {
            SmsOutboxError::Database(error) => error.into(),
            SmsOutboxError::Enqueue(error) => error.into(),
            error @ SmsOutboxError::Invalid(_) => Self::internal(error),
        }
    }
}

/// The outbox for text messages, by which requests send messages: a message is a row and a job in the caller's
/// transaction, so it is sent only if that transaction commits. The module [`Sms`](super::Sms) provides it. It is
/// cheap to clone.
///
/// ```
/// use omnistack_core::{app::App, config::Config};
/// use omnistack_messaging::sms::{Sms, SmsMessage, SmsOutbox, SmsState};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let config = Config::from_pairs([("DATABASE_URL", "sqlite::memory:")]);
/// let app = App::builder(config).with(Sms::default()).build()?;
/// # app.migrate().await?;
/// let outbox: SmsOutbox = app.context().get()?;
///
/// let mut tx = app.db().begin().await?;
/// // … insert the order …
/// let id = outbox.send_in(&mut tx, &SmsMessage::new("+491701234567".parse()?, "Your order is on its way.")).await?;
/// tx.commit().await?;
/// # assert_eq!(app.runner().run_until_idle().await?, 1);
/// assert_eq!(outbox.get(id).await?.unwrap().state, SmsState::Sent);
/// # Ok(())
/// # }
/// ```
///
/// # Guarantees
///
/// - **At most once.** A message that may have been accepted is never sent again. If the outcome is unknown, the
///   message's state is [`Unknown`](SmsState::Unknown).
/// - **Retries.** A message that was certainly not accepted is retried until `SMS_GIVE_UP_AFTER` has passed.
/// - **No copy is kept.** The text, which may contain a code, is deleted after the last attempt.
#[derive(Clone, Debug)]
pub struct SmsOutbox {
    jobs: Jobs,
    store: SmsStore,
    limit: usize,
}

impl SmsOutbox {
    /// Creates an outbox in this database, for messages of at most `limit` segments.
    pub fn new(db: Db, clock: Clock, jobs: Jobs, limit: usize) -> Self {
        Self { jobs, store: SmsStore { db, clock }, limit }
    }

    /// Stores a message in the caller's transaction. It is sent if that transaction commits.
    ///
    /// # Errors
    /// Returns an [`SmsOutboxError`]. After a database error, roll the transaction back.
    pub async fn send_in(&self, tx: &mut Tx, message: &SmsMessage) -> Result<SmsId, SmsOutboxError> {
        message.check(self.limit)?;
        let id = self.store.add(tx, message).await?;
        let mut job = NewJob::new(SendSms { message: id });
        if let Some(tenant) = message.tenant {
            job = job.tenant(tenant);
        }
        self.jobs.enqueue_in(tx, job).await?;
        Ok(id)
    }

    /// Stores a message in a transaction of its own, to be sent.
    ///
    /// # Errors
    /// Returns an [`SmsOutboxError`]; the message is not sent then.
    pub async fn send(&self, message: &SmsMessage) -> Result<SmsId, SmsOutboxError> {
        let mut tx = self.store.db.begin().await?;
        let id = self.send_in(&mut tx, message).await?;
        tx.commit().await?;
        Ok(id)
    }

    /// Returns the state of a message. Returns `None` if there is no message with this id, or if it was deleted
    /// after `SMS_KEEP`.
    ///
    /// # Errors
    /// Fails if the database fails.
    pub async fn get(&self, id: SmsId) -> Result<Option<SmsInfo>, db::Error> {
        self.store.get(id).await
    }
}
