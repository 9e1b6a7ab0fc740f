//! The contract of channels.

use std::{error::Error, fmt, time::Duration};

use async_trait::async_trait;
use serde::{Serialize, de::DeserializeOwned};

use super::MessageId;
use crate::suppression::{Recipient, Suppression};
use omnistack_core::{
    clock::Clock,
    db::{self, Tx},
    identity::TenantId,
    metrics::Metric,
};

/// A way by which messages reach their recipients, such as mail. Its name is [`Recipient::CHANNEL`].
#[async_trait]
pub trait Channel: Clone + Copy + fmt::Debug + Default + Send + Sync + 'static {
    /// The type of recipients.
    type Recipient: Recipient;
    /// The type of messages. The outbox stores them as JSON.
    type Message: Serialize + DeserializeOwned + Send + Sync;
    /// The reason why a message is not valid.
    type Invalid: Error + Send + Sync + 'static;
    /// The data with which the outbox composes and checks messages, such as a limit.
    type Options: Clone + fmt::Debug + Send + Sync + 'static;
    /// The handle by which the job sends messages.
    type Sender: Clone + fmt::Debug + Send + Sync + 'static;
    /// The error of sending a message.
    type Error: Error + Send + Sync + 'static;

    /// The counter of attempts to send a message, by result.
    const ATTEMPTS: &'static Metric;
    /// The name of the job that sends a message.
    const SEND_JOB: &'static str;
    /// The name of the job that deletes old messages.
    const PURGE_JOB: &'static str;
    /// The cron schedule of that job.
    const PURGE_SCHEDULE: &'static str;
    /// The queue of the job that sends a message.
    const QUEUE: &'static str;
    /// The pause after the first failed attempt. It doubles with each further attempt.
    const FIRST_RETRY_PAUSE: Duration;
    /// Whether a message that may have been accepted is not sent again. The content of such a message is deleted with
    /// the last attempt. Otherwise a message is sent again if the outcome is unknown, and a failed message keeps its
    /// content, so that its job can be retried.
    const AT_MOST_ONCE: bool;

    /// Validates a message before it is stored.
    ///
    /// # Errors
    /// Returns the first reason why the message is not valid.
    fn check(message: &Self::Message, options: &Self::Options) -> Result<(), Self::Invalid>;

    /// Returns the parts of a message that the outbox shows.
    fn envelope(message: &Self::Message) -> Envelope;

    /// Returns all recipients of a message.
    fn recipients(message: &Self::Message) -> Vec<&Self::Recipient>;

    /// Removes suppressed recipients from a message. Returns whether the message can be sent to the others.
    fn remove_suppressed(message: &mut Self::Message, suppressed: &[Suppression]) -> bool;

    /// Sends a message. Every attempt has the same `id`.
    ///
    /// # Errors
    /// Returns an error if the message was not accepted, or if it is unknown whether it was.
    async fn send(
        sender: &Self::Sender,
        id: MessageId,
        message: &mut Self::Message,
    ) -> Result<SendReceipt, Self::Error>;

    /// Returns what an error means for the message.
    fn failure(error: &Self::Error) -> SendFailure;

    /// Deletes expired rows of the channel's own tables, in the transaction that deletes old messages.
    ///
    /// # Errors
    /// Fails if the database fails.
    async fn purge_in(_tx: &mut Tx, _clock: &Clock) -> Result<(), db::Error> {
        Ok(())
    }
}

/// The parts of a message that the outbox shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The tenant that the message is sent for.
    pub tenant: Option<TenantId>,
    /// The recipients, separated by commas.
    pub recipients: String,
    /// The subject, if messages of the channel have one.
    pub subject: Option<String>,
    /// The number of segments in which the message is sent, if the channel has segments.
    pub segments: Option<i64>,
}

/// The receipt for a message that a provider accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendReceipt {
    /// The name of the provider.
    pub provider: &'static str,
    /// The provider's id of the message.
    pub id: Option<String>,
}

/// The meaning of a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendFailure {
    /// The message will never be accepted.
    Refused,
    /// The recipient wants no messages. It is put on the suppression list.
    OptedOut,
    /// The message may have been accepted.
    Unknown,
    /// The message was not accepted. The provider asks to wait this long before the next attempt.
    RateLimited(Duration),
    /// The message was not accepted, and may be later.
    Unavailable,
}

impl SendFailure {
    /// Returns the name in spans, such as `refused`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::OptedOut => "opted_out",
            Self::Unknown => "unknown",
            Self::RateLimited(_) => "rate_limited",
            Self::Unavailable => "unavailable",
        }
    }
}
