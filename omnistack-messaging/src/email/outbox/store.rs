//! The SQL of the mail outbox.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::AssertSqlSafe;
use utoipa::ToSchema;

use super::{MessageId, MessageMarker};
use crate::email::{Email, InvalidEmail, RecipientLimit, SentMail};
use omnistack_core::{
    async_trait,
    clock::{Clock, Timestamp},
    db::{self, Db, OutboxReceiver, TenantScope, Tx},
    id::Id,
    identity::TenantId,
};

/// The state of a mail in the outbox.
///
/// ```
/// use omnistack_messaging::email::{MessageInfo, MessageState};
/// # use omnistack_core::{app::App, config::Config, email::Email};
/// # use omnistack_messaging::email::{Mail, Outbox, SuppressionReason, Suppressions};
///
/// fn describe(info: &MessageInfo) -> String {
///     match info.state {
///         MessageState::Queued => "It is waiting to be sent.".into(),
///         MessageState::Sent => "It was sent.".into(),
///         MessageState::Skipped | MessageState::Failed => {
///             format!("It was not sent: {}", info.reason.as_deref().unwrap_or("the reason is unknown"))
///         }
///     }
/// }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// # let config = Config::from_pairs([("DATABASE_URL", "sqlite::memory:"), ("EMAIL_FROM", "shop@example.com")]);
/// # let app = App::builder(config).with(Mail::default()).build()?;
/// # app.migrate().await?;
/// # let outbox: Outbox = app.context().get()?;
/// # let suppressions: Suppressions = app.context().get()?;
/// # suppressions.add(&"gone@example.com".parse()?, SuppressionReason::Manual, None).await?;
/// # let id = outbox.send(&Email::to("gone@example.com").subject("Welcome").text("Hello.")).await?;
/// # assert_eq!(outbox.get(id).await?.map(|info| describe(&info)).as_deref(), Some("It is waiting to be sent."));
/// # app.runner().run_until_idle().await?;
/// # let described = outbox.get(id).await?.map(|info| describe(&info));
/// # assert_eq!(described.as_deref(), Some("It was not sent: gone@example.com is suppressed: manual"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum MessageState {
    /// The mail waits for its first or its next attempt.
    Queued,
    /// A provider accepted the mail.
    Sent,
    /// The mail was not sent, because all recipients in `to` and `cc` are suppressed.
    Skipped,
    /// The mail was refused or given up. Its content is kept, so that its job can be retried.
    Failed,
}

impl MessageState {
    fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Sent => "sent",
            Self::Skipped => "skipped",
            Self::Failed => "failed",
        }
    }

    fn from_stored(text: &str) -> Self {
        let all = [Self::Sent, Self::Skipped, Self::Failed];
        all.into_iter().find(|state| state.as_str() == text).unwrap_or(Self::Queued)
    }
}

/// A mail in the outbox, without its content.
///
/// ```
/// use omnistack_core::{app::App, config::Config, email::Email};
/// use omnistack_messaging::email::{Mail, MessageState, Outbox};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// # let config = Config::from_pairs([("DATABASE_URL", "sqlite::memory:"), ("EMAIL_FROM", "shop@example.com")]);
/// # let app = App::builder(config).with(Mail::default()).build()?;
/// # app.migrate().await?;
/// let outbox: Outbox = app.context().get()?;
/// let id = outbox.send(&Email::to("ada@example.com").subject("Welcome").text("Hello, Ada.")).await?;
/// app.runner().run_until_idle().await?;
///
/// if let Some(info) = outbox.get(id).await? {
///     assert_eq!((info.recipients.as_str(), info.state), ("ada@example.com", MessageState::Sent));
///     assert_eq!(info.provider.as_deref(), Some("console"));
///     assert!(info.finished_at >= Some(info.created_at));
/// }
/// # assert!(outbox.get(id).await?.is_some());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[non_exhaustive]
pub struct MessageInfo {
    /// The id of the mail.
    #[schema(value_type = String, format = "uuid")]
    pub id: MessageId,
    /// The tenant that the mail is sent for.
    #[schema(required, value_type = Option<String>, format = "uuid")]
    pub tenant: Option<TenantId>,
    /// The recipients: mailboxes, separated by commas.
    pub recipients: String,
    /// The subject.
    pub subject: String,
    /// The state of the mail.
    pub state: MessageState,
    /// The recipients that were left out and the reason, or the reason why the mail was not sent.
    #[schema(required)]
    pub reason: Option<String>,
    /// The name of the provider that accepted the mail.
    #[schema(required)]
    pub provider: Option<String>,
    /// The provider's id of the mail.
    #[schema(required)]
    pub provider_id: Option<String>,
    /// The time at which the mail was put into the outbox.
    pub created_at: Timestamp,
    /// The time at which the mail was sent, skipped or given up.
    #[schema(required)]
    pub finished_at: Option<Timestamp>,
}

#[derive(omnistack_core::db::FromRow)]
struct MailRow {
    id: MessageId,
    tenant_id: Option<TenantId>,
    recipients: String,
    subject: String,
    state: String,
    reason: Option<String>,
    provider: Option<String>,
    provider_id: Option<String>,
    created_at: Timestamp,
    finished_at: Option<Timestamp>,
}

/// A mail to be inserted.
#[derive(Serialize, Deserialize)]
struct NewMail {
    id: MessageId,
    tenant: Option<TenantId>,
    recipients: String,
    subject: String,
    content: String,
    created_at: Timestamp,
}

const INSERT: &str = "insert into omni_email_messages (id, tenant_id, recipients, subject, content, state, created_at)
    values ($1, $2, $3, $4, $5, 'queued', $6)";

/// Does nothing if the mail exists already. In PostgreSQL, row-level security must then make the row visible.
const INSERT_ONCE: &str =
    "insert into omni_email_messages (id, tenant_id, recipients, subject, content, state, created_at)
    values ($1, $2, $3, $4, $5, 'queued', $6) on conflict (id) do nothing";

impl NewMail {
    async fn insert(self, tx: &mut Tx, sql: &'static str) -> Result<(), db::Error> {
        tx.query(sql)
            .bind(self.id)
            .bind(self.tenant)
            .bind(self.recipients)
            .bind(self.subject)
            .bind(self.content)
            .bind(self.created_at)
            .execute()
            .await
            .map(drop)
    }
}

/// Outbox kind of mails from tenant databases.
const OUTBOX_KIND: &str = "mail";

/// Receives the mails that transactions in tenant databases leave in their outbox.
#[derive(Clone, Copy, Debug)]
pub(in crate::email) struct MailReceiver;

#[async_trait]
impl OutboxReceiver for MailReceiver {
    fn kind(&self) -> &'static str {
        OUTBOX_KIND
    }

    /// Inserts the mail, unless it was inserted before.
    async fn receive_in(&self, tx: &mut Tx, content: &str) -> Result<(), db::Error> {
        let new: NewMail = serde_json::from_str(content).map_err(|error| db::unreadable_row(&error.to_string()))?;
        new.insert(tx, INSERT_ONCE).await
    }
}

/// A mail that has still to be sent.
#[derive(omnistack_core::db::FromRow)]
pub(super) struct PendingMail {
    pub(super) content: String,
    pub(super) created_at: Timestamp,
}

/// The database access of the mail outbox.
#[derive(Clone, Debug)]
pub(in crate::email) struct MailStore {
    pub(in crate::email) db: Db,
    pub(in crate::email) clock: Clock,
}

impl MailStore {
    pub(super) async fn add(&self, tx: &mut Tx, email: &Email) -> Result<MessageId, super::OutboxError> {
        let now = self.clock.now();
        let id: Id<MessageMarker> = Id::new(now);
        // Only a mail with an invalid address fails to serialize, and the check has excluded that.
        let content = serde_json::to_string(email).map_err(|_| InvalidEmail::NoRecipients)?;
        let recipients: Vec<_> = email.recipients().map(|address| address.mailbox()).collect();
        let (recipients, subject) = (recipients.join(", "), email.subject.as_str().to_owned());
        let new = NewMail { id, tenant: email.tenant, recipients, subject, content, created_at: now };
        match tx.tenant().filter(|_| tx.in_tenant_database()) {
            Some(tenant) if new.tenant.is_some_and(|of| of != tenant) => {
                let refused = "a transaction of a tenant database can send only mails of that tenant or of the app";
                return Err(db::Error::new(db::ErrorKind::InvalidValue, refused.into()).into());
            }
            Some(tenant) => db::add_to_outbox(tx, tenant, OUTBOX_KIND, &new, now).await?,
            None => new.insert(tx, INSERT).await?,
        }
        Ok(id)
    }

    pub(super) async fn get(&self, id: MessageId) -> Result<Option<MessageInfo>, db::Error> {
        let mut tx = self.all_tenants().begin_read().await?;
        let row: Option<MailRow> = tx
            .query(
                "select id, tenant_id, recipients, subject, state, reason, provider, provider_id, created_at, finished_at
                 from omni_email_messages where id = $1",
            )
            .bind(id)
            .fetch_optional()
            .await?;
        tx.commit().await?;
        Ok(row.map(|row| MessageInfo {
            id: row.id,
            tenant: row.tenant_id,
            recipients: row.recipients,
            subject: row.subject,
            state: MessageState::from_stored(&row.state),
            reason: row.reason,
            provider: row.provider,
            provider_id: row.provider_id,
            created_at: row.created_at,
            finished_at: row.finished_at,
        }))
    }

    /// Returns the mail that has still to be sent. Returns `None` if it was sent or skipped.
    pub(super) async fn pending(&self, id: MessageId) -> Result<Option<PendingMail>, db::Error> {
        let mut tx = self.all_tenants().begin_read().await?;
        let waiting = tx
            .query("select content, created_at from omni_email_messages where id = $1 and content is not null")
            .bind(id)
            .fetch_optional()
            .await?;
        tx.commit().await?;
        Ok(waiting)
    }

    /// Marks a mail as sent and deletes its content.
    pub(super) async fn mark_sent(
        &self,
        id: MessageId,
        sent: &SentMail,
        left_out: Option<String>,
    ) -> Result<(), db::Error> {
        let mut tx = self.all_tenants().begin().await?;
        tx.query(
            "update omni_email_messages set state = 'sent', content = null, reason = $2, provider = $3, provider_id = $4,
             finished_at = $5 where id = $1",
        )
        .bind(id)
        .bind(left_out)
        .bind(sent.provider)
        .bind(sent.id.clone())
        .bind(self.clock.now())
        .execute()
        .await?;
        tx.commit().await
    }

    /// Marks a mail as skipped, because all its recipients are suppressed, and deletes its content.
    pub(super) async fn mark_skipped(&self, id: MessageId, reason: String) -> Result<(), db::Error> {
        self.finish(id, "state = 'skipped', content = null", reason).await
    }

    /// Marks a mail as failed. The content is kept, so that the job can be retried.
    pub(super) async fn mark_failed(&self, id: MessageId, reason: String) -> Result<(), db::Error> {
        self.finish(id, "state = 'failed'", reason).await
    }

    async fn finish(&self, id: MessageId, set: &'static str, reason: String) -> Result<(), db::Error> {
        // The text consists of constants only.
        let sql = format!("update omni_email_messages set {set}, reason = $2, finished_at = $3 where id = $1");
        let mut tx = self.all_tenants().begin().await?;
        tx.query(AssertSqlSafe(sql))
            .bind(id)
            .bind(reason.replace('\0', "\u{fffd}"))
            .bind(self.clock.now())
            .execute()
            .await?;
        tx.commit().await
    }

    /// Deletes all mails and template overrides of a tenant.
    pub(super) async fn purge_tenant(&self, tenant: TenantId) -> Result<(), db::Error> {
        let mut tx = self.db.app_database().tenant(tenant).begin().await?;
        for sql in [
            "delete from omni_email_messages where tenant_id = $1",
            "delete from omni_email_templates where tenant_id = $1",
        ] {
            tx.query(sql).bind(tenant).execute().await?;
        }
        tx.commit().await
    }

    /// Deletes mails that were finished longer ago than `mails`, webhook events that are older than `events`, and
    /// expired counters of recipients. Returns the number of deleted mails.
    pub(super) async fn purge(&self, mails: Duration, events: Duration) -> Result<u64, db::Error> {
        let now = self.clock.now();
        let mut tx = self.all_tenants().begin().await?;
        let forgotten =
            tx.query("delete from omni_email_messages where finished_at < $1").bind(now - mails).execute().await?;
        tx.query("delete from omni_email_events where received_at < $1").bind(now - events).execute().await?;
        RecipientLimit::new(self.clock.clone()).purge_in(&mut tx).await?;
        tx.commit().await?;
        Ok(forgotten)
    }

    /// Returns access to the mails of every tenant and of the app: the worker sends all of them, and finds each by
    /// its id.
    fn all_tenants(&self) -> TenantScope<'_> {
        self.db.all_tenants()
    }
}
