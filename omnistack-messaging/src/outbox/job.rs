//! The jobs of the outbox.

use std::{fmt, marker::PhantomData, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{Channel, MessageId, MessageState, MessageStore, OutboxLimits, SendFailure, store::MessageClaim};
use crate::suppression::{Recipient, Suppression, SuppressionList, SuppressionReason};
use omnistack_core::{
    clock::Timestamp,
    jobs::{Job, JobContext, JobError},
    trace::{Span, SpanKind},
};

/// The job that sends one message of the outbox. Its names are `email::SendMail` and `sms::SendSms`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct SendMessage<C> {
    /// The id of the message.
    pub message: MessageId,
    #[serde(skip)]
    channel: PhantomData<fn() -> C>,
}

impl<C> SendMessage<C> {
    /// Creates the job that sends this message.
    pub fn new(message: MessageId) -> Self {
        Self { message, channel: PhantomData }
    }
}

/// State of the jobs of an outbox.
#[derive(Clone)]
pub struct OutboxWorker<C: Channel> {
    pub(super) sender: C::Sender,
    pub(super) store: MessageStore<C>,
    pub(super) suppressions: SuppressionList<C::Recipient>,
    pub(super) limits: OutboxLimits,
}

impl<C: Channel> fmt::Debug for OutboxWorker<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutboxWorker").field("sender", &self.sender).finish_non_exhaustive()
    }
}

/// Longest pause between two attempts, so that waiting messages are sent soon after the provider is available again.
const MAX_RETRY_PAUSE: Duration = Duration::from_secs(600);

#[async_trait]
impl<C: Channel> Job for SendMessage<C> {
    const NAME: &'static str = C::SEND_JOB;
    const QUEUE: &'static str = C::QUEUE;
    /// Large, because `EMAIL_GIVE_UP_AFTER` and `SMS_GIVE_UP_AFTER` limit the time, not the number of attempts.
    const MAX_ATTEMPTS: u32 = 10_000;
    const TIMEOUT: Duration = Duration::from_secs(120);

    type State = OutboxWorker<C>;

    async fn run(self, worker: &OutboxWorker<C>, ctx: &JobContext) -> Result<(), JobError> {
        let id = self.message;
        // From here on, a message that is sent at most once counts as possibly sent until its outcome is known.
        let (content, created_at) = match worker.store.claim(id).await? {
            MessageClaim::Claimed { content, created_at } => (content, created_at),
            MessageClaim::OutcomeUnknown => {
                let reason = "an earlier attempt ended without a known outcome; the message is not sent again";
                return worker.stop_with_unknown_outcome(id, reason).await;
            }
            MessageClaim::Finished => return Ok(()),
        };
        let mut message: C::Message = match serde_json::from_str(&content) {
            Ok(message) => message,
            Err(error) => return worker.give_up(id, format!("the stored message can't be read: {error}")).await,
        };
        let suppressed = match worker.suppressions.suppressed_among(C::recipients(&message)).await {
            Ok(suppressed) => suppressed,
            Err(error) => {
                worker.store.release(id).await?;
                return Err(error.into());
            }
        };
        let left_out = describe(&suppressed);
        if !C::remove_suppressed(&mut message, &suppressed) {
            let reason = left_out.unwrap_or_default();
            count::<C>("skipped");
            return Ok(worker.store.finish(id, MessageState::Skipped, &reason).await?);
        }
        let span = Span::child(SpanKind::Client, || format!("send {}", C::Recipient::CHANNEL).into());
        let sent = span.run(C::send(&worker.sender, id, &mut message)).await;
        match sent {
            Ok(receipt) => {
                count::<C>("sent");
                Ok(worker.store.mark_sent(id, receipt, left_out).await?)
            }
            Err(error) => {
                span.set_error(C::failure(&error).as_str());
                worker.handle_error(id, &message, created_at, error, ctx).await
            }
        }
    }

    /// Doubles the pause with each attempt, up to ten minutes.
    fn backoff(attempt: u32) -> Duration {
        (C::FIRST_RETRY_PAUSE * (1 << attempt.saturating_sub(1).min(7))).min(MAX_RETRY_PAUSE)
    }
}

/// Counts an attempt to send a message.
fn count<C: Channel>(status: &'static str) {
    C::ATTEMPTS.counter([status]).increment(1);
}

/// Returns which recipients are suppressed and why. Returns `None` if there are none.
fn describe(suppressed: &[Suppression]) -> Option<String> {
    let reasons: Vec<_> =
        suppressed.iter().map(|one| format!("{} is suppressed: {}", one.recipient, one.reason)).collect();
    (!reasons.is_empty()).then(|| reasons.join("; "))
}

impl<C: Channel> OutboxWorker<C> {
    async fn give_up(&self, id: MessageId, reason: String) -> Result<(), JobError> {
        count::<C>("failed");
        self.store.finish(id, MessageState::Failed, &reason).await?;
        Err(JobError::fatal(reason))
    }

    async fn stop_with_unknown_outcome(&self, id: MessageId, reason: &str) -> Result<(), JobError> {
        let channel = C::Recipient::CHANNEL;
        count::<C>("unknown");
        tracing::warn!(target: "omnistack::outbox", channel, message = %id, reason, "the message may have been sent; it is not sent again");
        Ok(self.store.finish(id, MessageState::Unknown, reason).await?)
    }

    async fn handle_error(
        &self,
        id: MessageId,
        message: &C::Message,
        created_at: Timestamp,
        error: C::Error,
        ctx: &JobContext,
    ) -> Result<(), JobError> {
        let failure = C::failure(&error);
        match failure {
            SendFailure::Unknown if C::AT_MOST_ONCE => {
                return self.stop_with_unknown_outcome(id, &error.to_string()).await;
            }
            SendFailure::OptedOut => {
                let reason = error.to_string();
                for recipient in C::recipients(message) {
                    self.suppressions.add(recipient, SuppressionReason::OptOut, Some(&reason)).await?;
                }
                count::<C>("skipped");
                return Ok(self.store.finish(id, MessageState::Skipped, &reason).await?);
            }
            SendFailure::Refused => return self.give_up(id, error.to_string()).await,
            SendFailure::Unknown | SendFailure::RateLimited(_) | SendFailure::Unavailable => {}
        }
        let too_old = self.store.clock.now().duration_since(created_at) >= self.limits.give_up_after;
        if too_old || ctx.is_last_attempt() {
            return self.give_up(id, error.to_string()).await;
        }
        count::<C>("retried");
        // If this update fails, the next attempt finds the state `sending` and does not send the message.
        self.store.release(id).await?;
        match failure {
            // The provider responded with a time to wait: this is not a failed attempt.
            SendFailure::RateLimited(wait) => Err(JobError::snooze(wait.min(MAX_RETRY_PAUSE))),
            _ => Err(JobError::retry(error)),
        }
    }
}

/// The job that deletes messages that were finished longer ago than `EMAIL_KEEP` or `SMS_KEEP`. It runs every night. Its
/// names are `email::PurgeMail` and `sms::PurgeSms`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct PurgeMessages<C> {
    #[serde(skip)]
    channel: PhantomData<fn() -> C>,
}

impl<C> Default for PurgeMessages<C> {
    fn default() -> Self {
        Self { channel: PhantomData }
    }
}

#[async_trait]
impl<C: Channel> Job for PurgeMessages<C> {
    const NAME: &'static str = C::PURGE_JOB;

    type State = OutboxWorker<C>;

    async fn run(self, worker: &OutboxWorker<C>, _: &JobContext) -> Result<(), JobError> {
        let deleted = worker.store.purge(worker.limits.keep).await?;
        tracing::debug!(target: "omnistack::outbox", channel = C::Recipient::CHANNEL, deleted, "old messages were deleted");
        Ok(())
    }
}
