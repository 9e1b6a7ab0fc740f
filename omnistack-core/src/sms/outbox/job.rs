//! The jobs of the outbox.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{SmsId, Store, store::Begun};
use crate::{
    clock::Timestamp,
    jobs::{Job, JobCtx, JobError},
    sms::{SmsError, SmsErrorKind, SmsMessage, SmsReason, SmsState, SmsSuppressions, Texter},
};

/// Sends a message of the outbox.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SendSms {
    /// Which.
    pub message: SmsId,
}

/// What sending needs.
#[derive(Clone, Debug)]
pub struct SmsSender {
    pub(in crate::sms) texter: Texter,
    pub(in crate::sms) store: Store,
    pub(in crate::sms) suppressions: SmsSuppressions,
    /// Where the provider is to tell what becomes of messages.
    pub(in crate::sms) status_url: Option<String>,
    pub(in crate::sms) give_up_after: Duration,
    pub(in crate::sms) keep: Duration,
}

/// Between two attempts, at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

#[async_trait]
impl Job for SendSms {
    const NAME: &'static str = "send_sms";
    const QUEUE: &'static str = "sms";
    /// Time decides, not attempts: `SMS_GIVE_UP_AFTER`.
    const MAX_ATTEMPTS: u32 = 10_000;
    const TIMEOUT: Duration = Duration::from_secs(120);

    type State = SmsSender;

    async fn run(self, sender: &SmsSender, ctx: &JobCtx) -> Result<(), JobError> {
        let id = self.message;
        // From here on it counts as sent, until somebody knows better.
        let (content, created_at) = match sender.store.begin(id).await? {
            Begun::Now { content, created_at } => (content, created_at),
            Begun::Before => {
                let reason = "an attempt to send it ended without a word, and it is not sent twice";
                sender.store.finish(id, SmsState::Unknown, reason).await?;
                tracing::warn!(target: "omnistack::sms", message = %id, reason);
                return Ok(());
            }
            Begun::Ended => return Ok(()),
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
                sender.store.again(id).await?;
                return Err(JobError::retry(error));
            }
        }
        message.status_url = sender.status_url.as_ref().map(|url| format!("{url}?message={id}"));
        match sender.texter.send(&message).await {
            Ok(sent) => Ok(sender.store.sent(id, &sent).await?),
            Err(error) => sender.failed(id, &message, created_at, error, ctx).await,
        }
    }

    /// 5 s, 10 s, 20 s … to ten minutes.
    fn backoff(attempt: u32) -> Duration {
        Duration::from_secs(5 << attempt.saturating_sub(1).min(7)).min(LONGEST_PAUSE)
    }
}

impl SmsSender {
    async fn give_up(&self, id: SmsId, reason: String) -> Result<(), JobError> {
        self.store.finish(id, SmsState::Failed, &reason).await?;
        Err(JobError::fatal(reason))
    }

    async fn failed(
        &self,
        id: SmsId,
        message: &SmsMessage,
        created_at: Timestamp,
        error: SmsError,
        ctx: &JobCtx,
    ) -> Result<(), JobError> {
        match error.kind() {
            SmsErrorKind::Unknown => {
                tracing::warn!(target: "omnistack::sms", message = %id, %error, "nobody knows whether it was sent");
                return Ok(self.store.finish(id, SmsState::Unknown, &error.to_string()).await?);
            }
            SmsErrorKind::OptedOut => {
                self.suppressions.add(&message.to, SmsReason::OptOut, Some(&error.to_string())).await?;
                return Ok(self.store.finish(id, SmsState::Skipped, &error.to_string()).await?);
            }
            SmsErrorKind::Invalid | SmsErrorKind::Refused => return self.give_up(id, error.to_string()).await,
            SmsErrorKind::RateLimited | SmsErrorKind::Unavailable | SmsErrorKind::Configuration => {}
        }
        let too_old = self.store.clock.now().since(created_at) >= self.give_up_after;
        if too_old || ctx.is_last_attempt() {
            return self.give_up(id, error.to_string()).await;
        }
        // Certainly not taken. If this can't be written, the next attempt finds one that ended without a word.
        self.store.again(id).await?;
        match error.retry_after() {
            // The provider named a time, so it is there: no failure of ours.
            Some(wait) if error.kind() == SmsErrorKind::RateLimited => Err(JobError::snooze(wait.min(LONGEST_PAUSE))),
            _ => Err(JobError::retry(error)),
        }
    }
}

/// Forgets messages that were finished long ago: `SMS_KEEP`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ForgetSms {}

#[async_trait]
impl Job for ForgetSms {
    const NAME: &'static str = "forget_sms";

    type State = SmsSender;

    async fn run(self, sender: &SmsSender, _: &JobCtx) -> Result<(), JobError> {
        let forgotten = sender.store.forget(sender.keep).await?;
        tracing::debug!(target: "omnistack::sms", forgotten, "old messages are forgotten");
        Ok(())
    }
}
