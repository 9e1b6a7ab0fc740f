//! The jobs of the outbox for text messages.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{SmsId, SmsStore, store::SmsClaim};
use crate::sms::{SmsError, SmsErrorKind, SmsMessage, SmsSender, SmsState, SmsSuppressionReason, SmsSuppressions};
use omnistack_core::{
    clock::Timestamp,
    jobs::{Job, JobContext, JobError},
};

/// The job that sends one text message of the outbox, at most once.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SendSms {
    /// The id of the message.
    pub message: SmsId,
}

/// State of the jobs of the outbox for text messages.
#[derive(Clone, Debug)]
pub struct SendSmsState {
    pub(in crate::sms) sender: SmsSender,
    pub(in crate::sms) store: SmsStore,
    pub(in crate::sms) suppressions: SmsSuppressions,
    /// The URL to which the provider sends delivery reports.
    pub(in crate::sms) status_url: Option<String>,
    pub(in crate::sms) give_up_after: Duration,
    pub(in crate::sms) keep: Duration,
}

/// Longest pause between two attempts.
const MAX_RETRY_PAUSE: Duration = Duration::from_secs(600);

#[async_trait]
impl Job for SendSms {
    const NAME: &'static str = "sms.send_message";
    const QUEUE: &'static str = "sms";
    /// Large, because `SMS_GIVE_UP_AFTER` limits the time, not the number of attempts.
    const MAX_ATTEMPTS: u32 = 10_000;
    const TIMEOUT: Duration = Duration::from_secs(120);

    type State = SendSmsState;

    async fn run(self, sender: &SendSmsState, ctx: &JobContext) -> Result<(), JobError> {
        let id = self.message;
        // From here on, the message counts as possibly sent until its outcome is known.
        let (content, created_at) = match sender.store.claim(id).await? {
            SmsClaim::Claimed { content, created_at } => (content, created_at),
            SmsClaim::OutcomeUnknown => {
                let reason = "an earlier attempt ended without a known outcome; the message is not sent again";
                sender.store.finish(id, SmsState::Unknown, reason).await?;
                tracing::warn!(target: "omnistack::sms", message = %id, reason);
                return Ok(());
            }
            SmsClaim::Finished => return Ok(()),
        };
        let mut message: SmsMessage = match serde_json::from_str(&content) {
            Ok(message) => message,
            Err(error) => return sender.give_up(id, format!("the stored message can't be read: {error}")).await,
        };
        match sender.suppressions.get(&message.to).await {
            Ok(None) => {}
            Ok(Some(suppressed)) => {
                let reason = format!("the number is suppressed: {}", suppressed.reason);
                return Ok(sender.store.finish(id, SmsState::Skipped, &reason).await?);
            }
            Err(error) => {
                sender.store.requeue(id).await?;
                return Err(JobError::retry(error));
            }
        }
        message.status_url = sender.status_url.as_ref().map(|url| format!("{url}?message={id}"));
        match sender.sender.send(&message).await {
            Ok(sent) => Ok(sender.store.mark_sent(id, &sent).await?),
            Err(error) => sender.handle_error(id, &message, created_at, error, ctx).await,
        }
    }

    /// Waits 5 s, 10 s, 20 s and so on, at most ten minutes.
    fn backoff(attempt: u32) -> Duration {
        Duration::from_secs(5 << attempt.saturating_sub(1).min(7)).min(MAX_RETRY_PAUSE)
    }
}

impl SendSmsState {
    async fn give_up(&self, id: SmsId, reason: String) -> Result<(), JobError> {
        self.store.finish(id, SmsState::Failed, &reason).await?;
        Err(JobError::fatal(reason))
    }

    async fn handle_error(
        &self,
        id: SmsId,
        message: &SmsMessage,
        created_at: Timestamp,
        error: SmsError,
        ctx: &JobContext,
    ) -> Result<(), JobError> {
        match error.kind() {
            SmsErrorKind::Unknown => {
                tracing::warn!(target: "omnistack::sms", message = %id, %error, "the message may have been sent; it is not sent again");
                return Ok(self.store.finish(id, SmsState::Unknown, &error.to_string()).await?);
            }
            SmsErrorKind::OptedOut => {
                self.suppressions.add(&message.to, SmsSuppressionReason::OptOut, Some(&error.to_string())).await?;
                return Ok(self.store.finish(id, SmsState::Skipped, &error.to_string()).await?);
            }
            SmsErrorKind::Invalid | SmsErrorKind::Refused => return self.give_up(id, error.to_string()).await,
            SmsErrorKind::RateLimited | SmsErrorKind::Unavailable | SmsErrorKind::Configuration => {}
        }
        let too_old = self.store.clock.now().duration_since(created_at) >= self.give_up_after;
        if too_old || ctx.is_last_attempt() {
            return self.give_up(id, error.to_string()).await;
        }
        // The message was certainly not accepted. If this update fails, the next attempt finds the state `sending`
        // and does not send it.
        self.store.requeue(id).await?;
        match error.retry_after() {
            // The provider responded with a time to wait: this is not a failed attempt.
            Some(wait) if error.kind() == SmsErrorKind::RateLimited => Err(JobError::snooze(wait.min(MAX_RETRY_PAUSE))),
            _ => Err(JobError::retry(error)),
        }
    }
}

/// The job that deletes messages that were finished longer ago than `SMS_KEEP`. It runs every night.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct PurgeSms {}

#[async_trait]
impl Job for PurgeSms {
    const NAME: &'static str = "sms.purge_messages";

    type State = SendSmsState;

    async fn run(self, sender: &SendSmsState, _: &JobContext) -> Result<(), JobError> {
        let forgotten = sender.store.purge(sender.keep).await?;
        tracing::debug!(target: "omnistack::sms", forgotten, "old messages were deleted");
        Ok(())
    }
}
