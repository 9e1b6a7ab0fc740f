//! The mail about one notification.

use async_trait::async_trait;
use omnistack_core::{
    config::PublicUrl,
    db::{ErrorKind, Tx},
    email::{Email, MailOutbox, UserContacts},
    jobs::{Job, JobContext, JobError},
    notification::NotificationKinds,
};
use serde::{Deserialize, Serialize};

use super::{
    mail_texts::MailLanguage,
    model::NotificationId,
    store::{self, MailedNotification, NotificationStore},
};

/// The state of the jobs that compose mails. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct NotificationMailer {
    pub(super) store: NotificationStore,
    pub(super) kinds: NotificationKinds,
    pub(super) contacts: UserContacts,
    pub(super) outbox: MailOutbox,
    /// The name of the app.
    pub(super) app: String,
    pub(super) public_url: PublicUrl,
}

impl NotificationMailer {
    /// Puts a mail into the outbox, in the transaction that marks its notifications as mailed. So a process that ends
    /// before the commit has put none, and one that ends after it puts no other. Fails for good if the mail is not
    /// valid.
    pub(super) async fn enqueue_in(&self, tx: &mut Tx, mail: &Email) -> Result<(), JobError> {
        self.outbox.enqueue_in(tx, mail).await.map_err(|error| match error.kind() {
            ErrorKind::InvalidValue => JobError::fatal(error),
            _ => error.into(),
        })
    }

    /// Returns the URL of a link.
    pub(super) fn url(&self, link: &str) -> String {
        if link.starts_with('/') { format!("{}{link}", self.public_url) } else { link.to_owned() }
    }

    /// Returns the text of a mail about a notification.
    fn text(&self, notification: &MailedNotification, language: MailLanguage) -> String {
        let MailedNotification { kind, title, body, link, .. } = notification;
        let kind = self.kinds.get(kind).map_or(kind.as_str(), |kind| kind.title);
        let link = link.as_deref().map(|link| self.url(link));
        let parts = [Some(body.as_deref().unwrap_or(title)), link.as_deref()];
        let parts: Vec<&str> = parts.into_iter().flatten().collect();
        format!("{}\n\n-- \n{}\n", parts.join("\n\n"), language.reason(kind, &self.app))
    }
}

/// The job that puts a mail about a notification into the outbox, unless its user can get none: see
/// [`UserContacts::find`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct SendNotificationMail {
    pub(super) id: NotificationId,
}

#[async_trait]
impl Job for SendNotificationMail {
    const NAME: &'static str = "realtime.send_notification_mail";

    type State = NotificationMailer;

    async fn run(self, state: &NotificationMailer, _: &JobContext) -> Result<(), JobError> {
        let mut tx = state.store.begin_job().await?;
        let found = store::find_unmailed(&mut tx, self.id).await?;
        tx.commit().await?;
        let Some(notification) = found else { return Ok(()) };
        let contact = state.contacts.find(notification.user_id, notification.tenant_id).await?;
        let Some(contact) = contact else { return Ok(()) };
        let language = MailLanguage::of_locale(contact.locale.as_deref());
        let mut mail = Email::to(&contact.address)
            .subject(notification.title.clone())
            .text(state.text(&notification, language))
            .tag("template", "user_notification")
            .idempotency_key(format!("notification-{}", self.id));
        mail.tenant = notification.tenant_id;
        let mut tx = state.store.begin_job().await?;
        if store::mark_mailed(&mut tx, self.id, state.store.clock.now()).await? {
            state.enqueue_in(&mut tx, &mail).await?;
        }
        tx.commit().await?;
        Ok(())
    }
}
