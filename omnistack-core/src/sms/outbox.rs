//! Messages that are sent by a job: written with the caller's rows, handed over once.

mod job;
mod store;

pub use job::{ForgetSms, SendSms, SmsSender};
pub use store::{SmsInfo, SmsState};

pub(super) use store::{Store, Told};

use super::{SmsInvalid, SmsMessage};
use crate::{
    clock::Clock,
    db::{self, Db, Tx},
    id::Id,
    jobs::{Draft, EnqueueError, Jobs},
};

/// The id of a message in the outbox.
pub type SmsId = Id<SmsMessage>;

/// Why a message is not in the outbox.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SmsOutboxError {
    /// It can't be sent by anybody.
    #[error("the message can't be sent: {0}")]
    Invalid(#[from] SmsInvalid),
    /// The job could not be enqueued.
    #[error(transparent)]
    Enqueue(#[from] EnqueueError),
    /// The database refused it.
    #[error(transparent)]
    Database(#[from] db::Error),
}

impl SmsOutboxError {
    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Invalid(_) => false,
            Self::Enqueue(error) => error.is_retryable(),
            Self::Database(error) => error.is_retryable(),
        }
    }
}

impl From<SmsOutboxError> for crate::http::Error {
    fn from(error: SmsOutboxError) -> Self {
        match error {
            SmsOutboxError::Database(error) => error.into(),
            SmsOutboxError::Enqueue(error) => error.into(),
            error @ SmsOutboxError::Invalid(_) => Self::internal(error),
        }
    }
}

/// The way to send a text message from a request: it is a row and a job, in the caller's transaction, and so is sent only when
/// what it is about has happened. The module [`Sms`](super::Sms) provides it. Cheap to clone.
///
/// ```
/// use omnistack_core::{app::App, config::Config, sms::{Sms, SmsMessage, SmsOutbox, SmsState}};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let config = Config::from_pairs([("DATABASE_URL", "sqlite::memory:")]);
/// let app = App::builder(config).with(Sms::default()).build()?;
/// # app.migrate().await?;
/// let outbox: SmsOutbox = app.ctx().get()?;
///
/// let mut tx = app.db().begin().await?;
/// // … keep the order …
/// let id = outbox.send_in(&mut tx, &SmsMessage::new("+491701234567".parse()?, "Your order is on its way.")).await?;
/// tx.commit().await?;
/// # assert_eq!(app.runner().run_until_idle().await?, 1);
/// assert_eq!(outbox.get(id).await?.unwrap().state, SmsState::Sent);
/// # Ok(())
/// # }
/// ```
///
/// # What is promised
///
/// - **At most once.** A message that may have been taken is never sent again. When nobody can say, its state is
///   [`Unknown`](SmsState::Unknown).
/// - **Tried until then.** What was certainly not taken is tried again until `SMS_GIVE_UP_AFTER` has passed.
/// - **Not kept.** The text, which may be a code, is deleted with the last attempt.
#[derive(Clone, Debug)]
pub struct SmsOutbox {
    jobs: Jobs,
    store: Store,
    limit: usize,
}

impl SmsOutbox {
    /// In this database, for messages of so many parts at most.
    pub fn new(db: Db, clock: Clock, jobs: Jobs, limit: usize) -> Self {
        Self { jobs, store: Store { db, clock }, limit }
    }

    /// Sends a message when the caller's transaction commits, and not otherwise.
    ///
    /// # Errors
    /// See [`SmsOutboxError`]. After a database error the transaction is best rolled back.
    pub async fn send_in(&self, tx: &mut Tx, message: &SmsMessage) -> Result<SmsId, SmsOutboxError> {
        message.check(self.limit)?;
        let id = self.store.add(tx, message).await?;
        let mut job = Draft::new(SendSms { message: id });
        if let Some(tenant) = message.tenant {
            job = job.tenant(tenant);
        }
        self.jobs.enqueue_in(tx, job).await?;
        Ok(id)
    }

    /// Sends a message, in a transaction of its own.
    ///
    /// # Errors
    /// See [`SmsOutboxError`]; nothing is sent then.
    pub async fn send(&self, message: &SmsMessage) -> Result<SmsId, SmsOutboxError> {
        let mut tx = self.store.db.begin().await?;
        let id = self.send_in(&mut tx, message).await?;
        tx.commit().await?;
        Ok(id)
    }

    /// What became of a message; nothing when there is none of this id, or no more.
    ///
    /// # Errors
    /// The database's.
    pub async fn get(&self, id: SmsId) -> Result<Option<SmsInfo>, db::Error> {
        self.store.get(id).await
    }
}
