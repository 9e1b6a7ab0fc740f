//! The digest: one mail about the notifications that a user has not read for a while.

use async_trait::async_trait;
use omnistack_core::{
    email::{Email, UserContact},
    identity::UserId,
    jobs::{Job, JobContext, JobError, JobId, NewJob},
};
use serde::{Deserialize, Serialize};

use super::{
    deliver::NotificationService,
    mail::NotificationMailer,
    mail_texts::MailLanguage,
    store::{self, MailedNotification},
};

/// Largest number of notifications that a digest lists.
const MAX_LISTED_NOTIFICATIONS: u32 = 20;
/// Number of users for whom jobs are enqueued in one statement.
const USERS_PER_STATEMENT: u32 = 500;

/// The job that enqueues a digest for each user who has a notification that is due. It runs every five minutes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct FindNotificationDigests {}

#[async_trait]
impl Job for FindNotificationDigests {
    const NAME: &'static str = "realtime.find_notification_digests";

    type State = NotificationService;

    async fn run(self, service: &NotificationService, _: &JobContext) -> Result<(), JobError> {
        // Without digests, those that an earlier setting has left are not sent.
        if service.digest_after.is_none() {
            return Ok(());
        }
        let mut after = None;
        loop {
            let mut tx = service.store.begin_job().await?;
            let now = service.store.clock.now();
            let users = store::users_with_due_digest(&mut tx, after, now, USERS_PER_STATEMENT).await?;
            tx.commit().await?;
            let Some(last) = users.last().copied() else { return Ok(()) };
            let jobs =
                users.iter().map(|user| NewJob::new(SendNotificationDigest { user: *user }).unique(user.to_string()));
            service.jobs.enqueue_all(jobs).await?;
            after = Some(last);
        }
    }
}

/// The job that puts a digest for a user into the outbox.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct SendNotificationDigest {
    user: UserId,
}

#[async_trait]
impl Job for SendNotificationDigest {
    const NAME: &'static str = "realtime.send_notification_digest";

    type State = NotificationMailer;

    async fn run(self, state: &NotificationMailer, ctx: &JobContext) -> Result<(), JobError> {
        let Some(digest) = state.prepare(self.user, ctx.id()).await? else { return Ok(()) };
        let mail = state.compose(&digest).idempotency_key(format!("digest-{}", ctx.id()));
        let mut tx = state.store.begin_job().await?;
        if store::mark_digest_mailed(&mut tx, self.user, ctx.id(), state.store.clock.now()).await? {
            state.enqueue_in(&mut tx, &mail).await?;
        }
        tx.commit().await?;
        Ok(())
    }
}

/// A digest that is to be sent.
struct NotificationDigest {
    contact: UserContact,
    /// The number of its notifications, which is at least 1.
    count: u64,
    /// The newest of its notifications.
    newest: Vec<MailedNotification>,
}

impl NotificationMailer {
    /// Collects the digest of a job. The same notifications are in it at each attempt of the job. Those about a tenant
    /// in which the user is no longer a member are left out. Returns `None` if none is left.
    async fn prepare(&self, user: UserId, job: JobId) -> Result<Option<NotificationDigest>, JobError> {
        let mut tx = self.store.begin_job().await?;
        let counts = store::claim_digest(&mut tx, user, job).await?;
        tx.commit().await?;
        let (mut recipient, mut count, mut left_out) = (None, 0, Vec::new());
        for (tenant, of_tenant) in counts {
            match self.contacts.find(user, tenant).await? {
                Some(contact) => {
                    count += of_tenant.unsigned_abs();
                    recipient = Some(contact);
                }
                None => left_out.push(tenant),
            }
        }
        let mut tx = self.store.begin_job().await?;
        for tenant in left_out {
            store::remove_from_digest(&mut tx, user, job, tenant).await?;
        }
        let newest = store::newest_of_digest(&mut tx, user, job, MAX_LISTED_NOTIFICATIONS).await?;
        tx.commit().await?;
        Ok(recipient.map(|contact| NotificationDigest { contact, count, newest }))
    }

    fn compose(&self, digest: &NotificationDigest) -> Email {
        let NotificationDigest { contact, count, newest } = digest;
        let language = MailLanguage::of_locale(contact.locale.as_deref());
        let subject = language.unread(*count, &self.app);
        let mut lines: Vec<String> = newest.iter().map(|notification| self.item(notification)).collect();
        let unlisted = count.saturating_sub(u64::try_from(newest.len()).unwrap_or(u64::MAX));
        if unlisted > 0 {
            lines.push(language.more(unlisted));
        }
        let text = format!("{subject}:\n\n{}\n\n-- \n{}\n", lines.join("\n"), language.digest_reason(&self.app));
        Email::to(&contact.address).subject(subject).text(text).tag("template", "notification_digest")
    }

    /// Returns the lines of a notification in a digest.
    fn item(&self, notification: &MailedNotification) -> String {
        let title = &notification.title;
        match &notification.link {
            Some(link) => format!("- {title}\n  {}", self.url(link)),
            None => format!("- {title}"),
        }
    }
}
