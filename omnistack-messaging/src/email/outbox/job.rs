//! The jobs of the mail outbox.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{MailStore, MessageId};
use crate::email::{Email, EmailError, EmailErrorKind, Mailer, Suppressions};
use omnistack_core::{
    clock::Timestamp,
    identity::TenantId,
    jobs::{Job, JobContext, JobError},
};

/// The job that sends one mail of the outbox.
///
/// ```
/// use omnistack_messaging::email::SendMail;
/// use omnistack_core::jobs::{Job, JobFilter, JobState, Jobs};
/// # use omnistack_core::{app::App, config::Config, email::{Email, Mailer, MemoryProvider}};
/// # use omnistack_messaging::email::{Mail, MessageState, Outbox};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// # let config = Config::from_pairs([("DATABASE_URL", "sqlite::memory:")]);
/// # let nobody = Mailer::new(MemoryProvider::default());
/// # let app = App::builder(config.clone()).with(Mail::default()).replace(nobody).build()?;
/// # app.migrate().await?;
/// # let outbox: Outbox = app.context().get()?;
/// # let id = outbox.send(&Email::to("ada@example.com").subject("Welcome").text("Hello, Ada.")).await?;
/// # app.runner().run_until_idle().await?;
/// # assert_eq!(outbox.get(id).await?.map(|info| info.state), Some(MessageState::Failed));
/// # let config = config.with("EMAIL_FROM", "shop@example.com");
/// # let app = App::builder(config).db(app.db().clone()).with(Mail::default()).build()?;
/// // `EMAIL_FROM` was missing and is set now: the mails that failed without it are sent.
/// let jobs: Jobs = app.context().get()?;
/// let failed = JobFilter { name: Some(SendMail::NAME.into()), ..JobFilter::default() }.state(JobState::Dead);
/// assert_eq!(jobs.retry(&failed).await?, 1);
/// # app.runner().run_until_idle().await?;
/// # assert_eq!(outbox.get(id).await?.map(|info| info.state), Some(MessageState::Sent));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SendMail {
    /// The id of the mail.
    pub message: MessageId,
}

/// The job that deletes the mails and the template overrides of a deleted tenant.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::email) struct PurgeTenantMail {
    /// The id of the tenant.
    pub(in crate::email) tenant: TenantId,
}

#[async_trait]
impl Job for PurgeTenantMail {
    const NAME: &'static str = "email.purge_tenant";
    const QUEUE: &'static str = "mail";

    type State = SendMailState;

    async fn run(self, sender: &SendMailState, _: &JobContext) -> Result<(), JobError> {
        Ok(sender.store.purge_tenant(self.tenant).await?)
    }
}

/// State of the jobs of the mail outbox.
#[derive(Clone, Debug)]
pub struct SendMailState {
    pub(in crate::email) mailer: Mailer,
    pub(in crate::email) store: MailStore,
    pub(in crate::email) suppressions: Suppressions,
    pub(in crate::email) give_up_after: Duration,
    pub(in crate::email) keep: Duration,
}

/// Longest pause between two attempts, so that waiting mails are sent soon after the provider is available again.
const MAX_RETRY_PAUSE: Duration = Duration::from_secs(600);

#[async_trait]
impl Job for SendMail {
    const NAME: &'static str = "email.send_message";
    const QUEUE: &'static str = "mail";
    /// Large, because `EMAIL_GIVE_UP_AFTER` limits the time, not the number of attempts.
    const MAX_ATTEMPTS: u32 = 10_000;
    const TIMEOUT: Duration = Duration::from_secs(120);

    type State = SendMailState;

    async fn run(self, sender: &SendMailState, ctx: &JobContext) -> Result<(), JobError> {
        let id = self.message;
        let Some(waiting) = sender.store.pending(id).await? else {
            return Ok(());
        };
        let mut email: Email = match serde_json::from_str(&waiting.content) {
            Ok(email) => email,
            Err(error) => return sender.give_up(id, format!("the stored mail can't be read: {error}")).await,
        };
        let left_out = sender.remove_suppressed(&mut email).await?;
        // A mail needs a recipient in `to`. Recipients in `cc` may take that place, because they are visible
        // already; recipients in `bcc` must stay hidden.
        if email.to.is_empty() {
            email.to = std::mem::take(&mut email.cc);
        }
        if email.to.is_empty() {
            return Ok(sender.store.mark_skipped(id, left_out.unwrap_or_default()).await?);
        }
        // The same key at every attempt, and so the same `Message-ID`, which is derived from it.
        email.idempotency_key.get_or_insert_with(|| format!("mail-{id}"));
        match sender.mailer.send(&email).await {
            Ok(sent) => Ok(sender.store.mark_sent(id, &sent, left_out).await?),
            Err(error) => sender.handle_error(id, waiting.created_at, error, ctx).await,
        }
    }

    /// Waits 15 s, 30 s, 60 s and so on, at most ten minutes.
    fn backoff(attempt: u32) -> Duration {
        Duration::from_secs(15 << attempt.saturating_sub(1).min(6)).min(MAX_RETRY_PAUSE)
    }
}

impl SendMailState {
    /// Removes suppressed recipients from the mail. Returns who was removed and why, or `None` if there were none.
    async fn remove_suppressed(&self, email: &mut Email) -> Result<Option<String>, JobError> {
        let suppressed = self.suppressions.suppressed_among(email.recipients()).await?;
        if suppressed.is_empty() {
            return Ok(None);
        }
        let is_free = |address: &crate::email::Address| !suppressed.iter().any(|one| one.matches(address));
        email.to.retain(is_free);
        email.cc.retain(is_free);
        email.bcc.retain(is_free);
        let left_out: Vec<_> =
            suppressed.iter().map(|one| format!("{} is suppressed: {}", one.address, one.reason)).collect();
        Ok(Some(left_out.join("; ")))
    }

    async fn give_up(&self, id: MessageId, reason: String) -> Result<(), JobError> {
        self.store.mark_failed(id, reason.clone()).await?;
        Err(JobError::fatal(reason))
    }

    async fn handle_error(
        &self,
        id: MessageId,
        created_at: Timestamp,
        error: EmailError,
        ctx: &JobContext,
    ) -> Result<(), JobError> {
        let refused = matches!(error.kind(), EmailErrorKind::Invalid | EmailErrorKind::Refused);
        let too_old = self.store.clock.now().duration_since(created_at) >= self.give_up_after;
        if refused || too_old || ctx.is_last_attempt() {
            return self.give_up(id, error.to_string()).await;
        }
        match error.retry_after() {
            // The provider responded with a time to wait: this is not a failed attempt.
            Some(wait) if error.kind() == EmailErrorKind::RateLimited => {
                Err(JobError::snooze(wait.min(MAX_RETRY_PAUSE)))
            }
            _ => Err(JobError::retry(error)),
        }
    }
}

/// The job that deletes mails that were sent, skipped or given up longer ago than `EMAIL_KEEP`. It runs every
/// night.
///
/// ```
/// use omnistack_core::{clock::MockClock, jobs::Jobs};
/// use omnistack_messaging::email::{PurgeMail, Outbox};
/// # use omnistack_core::{app::App, config::Config, email::Email};
/// # use omnistack_messaging::email::Mail;
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// let clock = MockClock::at("2030-01-01T00:00:00Z".parse()?);
/// # let config = Config::from_pairs([("DATABASE_URL", "sqlite::memory:"), ("EMAIL_FROM", "shop@example.com")]);
/// let app = App::builder(config).clock(clock.clock()).with(Mail::default()).build()?;
/// # app.migrate().await?;
/// let (outbox, jobs): (Outbox, Jobs) = (app.context().get()?, app.context().get()?);
/// let id = outbox.send(&Email::to("ada@example.com").subject("Welcome").text("Hello, Ada.")).await?;
/// app.runner().run_until_idle().await?;
///
/// // It runs every night; this enqueues it now.
/// clock.advance(Duration::from_secs(31 * 24 * 3600));
/// jobs.enqueue(PurgeMail {}).await?;
/// app.runner().run_until_idle().await?;
/// assert_eq!(outbox.get(id).await?, None);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct PurgeMail {}

/// Retention of processed webhook events: longer than any provider sends them again.
const EVENT_TTL: Duration = Duration::from_secs(30 * 24 * 3600);

#[async_trait]
impl Job for PurgeMail {
    const NAME: &'static str = "email.purge_messages";

    type State = SendMailState;

    async fn run(self, sender: &SendMailState, _: &JobContext) -> Result<(), JobError> {
        let forgotten = sender.store.purge(sender.keep, EVENT_TTL).await?;
        tracing::debug!(target: "omnistack::email", forgotten, "old mails were deleted");
        Ok(())
    }
}
