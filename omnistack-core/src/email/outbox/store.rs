//! The SQL of the outbox.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::AssertSqlSafe;
use utoipa::ToSchema;

use super::{Message, MessageId};
use crate::{
    clock::{Clock, Timestamp},
    db::{self, Db, TenantDb, Tx},
    email::{Email, Invalid, Sent, recipients::FORGOTTEN_AFTER},
    id::Id,
    identity::TenantId,
    relay,
};

/// What became of a mail.
///
/// ```
/// use omnistack_core::email::{MessageInfo, MessageState};
/// # use omnistack_core::{app::App, config::Config, email::{Email, Mail, Outbox, Reason, Suppressions}};
///
/// fn told(info: &MessageInfo) -> String {
///     match info.state {
///         MessageState::Queued => "It is on its way.".into(),
///         MessageState::Sent => "It was sent.".into(),
///         MessageState::Skipped | MessageState::Failed => {
///             format!("It was not sent: {}", info.reason.as_deref().unwrap_or("nobody knows why"))
///         }
///     }
/// }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// # let config = Config::from_pairs([("DATABASE_URL", "sqlite::memory:"), ("EMAIL_FROM", "shop@example.com")]);
/// # let app = App::builder(config).with(Mail::default()).build()?;
/// # app.migrate().await?;
/// # let outbox: Outbox = app.ctx().get()?;
/// # let suppressions: Suppressions = app.ctx().get()?;
/// # suppressions.add(&"gone@example.com".parse()?, Reason::Manual, None).await?;
/// # let id = outbox.send(&Email::to("gone@example.com").subject("Welcome").text("Hello.")).await?;
/// # assert_eq!(outbox.get(id).await?.map(|info| told(&info)).as_deref(), Some("It is on its way."));
/// # app.runner().run_until_idle().await?;
/// # let told = outbox.get(id).await?.map(|info| told(&info));
/// # assert_eq!(told.as_deref(), Some("It was not sent: gone@example.com is suppressed: manual"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum MessageState {
    /// It waits, or waits to be tried again.
    Queued,
    /// A provider took it.
    Sent,
    /// Everybody it was to, or who had a copy for all to see, is suppressed.
    Skipped,
    /// It was refused, or given up. The content is kept, so its job can be retried.
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

    fn of(text: &str) -> Self {
        let all = [Self::Sent, Self::Skipped, Self::Failed];
        all.into_iter().find(|state| state.as_str() == text).unwrap_or(Self::Queued)
    }
}

/// A mail in the outbox, without its content.
///
/// ```
/// use omnistack_core::{app::App, config::Config, email::{Email, Mail, MessageState, Outbox}};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// # let config = Config::from_pairs([("DATABASE_URL", "sqlite::memory:"), ("EMAIL_FROM", "shop@example.com")]);
/// # let app = App::builder(config).with(Mail::default()).build()?;
/// # app.migrate().await?;
/// let outbox: Outbox = app.ctx().get()?;
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
    /// Its id.
    #[schema(value_type = String, format = "uuid")]
    pub id: MessageId,
    /// The tenant it is sent for.
    #[schema(required, value_type = Option<String>, format = "uuid")]
    pub tenant: Option<TenantId>,
    /// For whom: mailboxes, separated by commas.
    pub recipients: String,
    /// What about.
    pub subject: String,
    /// What became of it.
    pub state: MessageState,
    /// Who was left out and why, or why it was not sent.
    #[schema(required)]
    pub reason: Option<String>,
    /// Who took it.
    #[schema(required)]
    pub provider: Option<String>,
    /// The provider's name for it.
    #[schema(required)]
    pub provider_id: Option<String>,
    /// When it was put there.
    pub created_at: Timestamp,
    /// When it was sent, skipped or given up.
    #[schema(required)]
    pub finished_at: Option<Timestamp>,
}

#[derive(sqlx::FromRow)]
struct Row {
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

/// A mail that comes in.
#[derive(Serialize, Deserialize)]
struct New {
    id: MessageId,
    tenant: Option<TenantId>,
    recipients: String,
    subject: String,
    content: String,
    created_at: Timestamp,
}

const INSERT: &str = "insert into email_messages (id, tenant_id, recipients, subject, content, state, created_at)
    values ($1, $2, $3, $4, $5, 'queued', $6)";

/// Unless it is there already. For PostgreSQL it has to be visible then.
const INSERT_ONCE: &str = "insert into email_messages (id, tenant_id, recipients, subject, content, state, created_at)
    values ($1, $2, $3, $4, $5, 'queued', $6) on conflict (id) do nothing";

impl New {
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

/// Inserts what was put into the outbox of a tenant's database, unless it was before. The transaction is one of all tenants.
pub(crate) async fn carry_in(tx: &mut Tx, content: &str) -> Result<(), db::Error> {
    let new: New = serde_json::from_str(content).map_err(|error| relay::unreadable(&error.to_string()))?;
    new.insert(tx, INSERT_ONCE).await
}

/// A mail to be sent.
#[derive(sqlx::FromRow)]
pub(super) struct Waiting {
    pub(super) content: String,
    pub(super) created_at: Timestamp,
}

/// The outbox's rows.
#[derive(Clone, Debug)]
pub(in crate::email) struct Store {
    pub(in crate::email) db: Db,
    pub(in crate::email) clock: Clock,
}

impl Store {
    pub(super) async fn add(&self, tx: &mut Tx, email: &Email) -> Result<MessageId, super::OutboxError> {
        let now = self.clock.now();
        let id: Id<Message> = Id::new(now);
        // Only an address that is none can't be written, and there is none after the check.
        let content = serde_json::to_string(email).map_err(|_| Invalid::NoRecipients)?;
        let recipients: Vec<_> = email.recipients().map(|address| address.mailbox()).collect();
        let (recipients, subject) = (recipients.join(", "), email.subject.as_str().to_owned());
        let new = New { id, tenant: email.tenant, recipients, subject, content, created_at: now };
        match tx.tenant().filter(|_| tx.is_apart()) {
            Some(tenant) if new.tenant.is_some_and(|of| of != tenant) => {
                let refused = "a transaction of a tenant's own database sends that tenant's mails and the app's only";
                return Err(db::Error::new(db::ErrorKind::InvalidValue, refused.into()).into());
            }
            Some(tenant) => relay::put(tx, tenant, relay::Kind::Mail, &new, now).await?,
            None => new.insert(tx, INSERT).await?,
        }
        Ok(id)
    }

    pub(super) async fn get(&self, id: MessageId) -> Result<Option<MessageInfo>, db::Error> {
        let mut tx = self.everybodys().read().await?;
        let row: Option<Row> = tx
            .query(
                "select id, tenant_id, recipients, subject, state, reason, provider, provider_id, created_at, finished_at
                 from email_messages where id = $1",
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
            state: MessageState::of(&row.state),
            reason: row.reason,
            provider: row.provider,
            provider_id: row.provider_id,
            created_at: row.created_at,
            finished_at: row.finished_at,
        }))
    }

    /// What is still to be sent: nothing when it was sent or skipped.
    pub(super) async fn waiting(&self, id: MessageId) -> Result<Option<Waiting>, db::Error> {
        let mut tx = self.everybodys().read().await?;
        let waiting = tx
            .query("select content, created_at from email_messages where id = $1 and content is not null")
            .bind(id)
            .fetch_optional()
            .await?;
        tx.commit().await?;
        Ok(waiting)
    }

    /// It was taken: the content is forgotten.
    pub(super) async fn sent(&self, id: MessageId, sent: &Sent, left_out: Option<String>) -> Result<(), db::Error> {
        let mut tx = self.everybodys().begin().await?;
        tx.query(
            "update email_messages set state = 'sent', content = null, reason = $2, provider = $3, provider_id = $4,
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

    /// There was nobody to send it to.
    pub(super) async fn skipped(&self, id: MessageId, reason: String) -> Result<(), db::Error> {
        self.finish(id, "state = 'skipped', content = null", reason).await
    }

    /// It was given up; the content stays for who retries.
    pub(super) async fn failed(&self, id: MessageId, reason: String) -> Result<(), db::Error> {
        self.finish(id, "state = 'failed'", reason).await
    }

    async fn finish(&self, id: MessageId, set: &'static str, reason: String) -> Result<(), db::Error> {
        // Composed of constants.
        let sql = format!("update email_messages set {set}, reason = $2, finished_at = $3 where id = $1");
        let mut tx = self.everybodys().begin().await?;
        tx.query(AssertSqlSafe(sql))
            .bind(id)
            .bind(reason.replace('\0', "\u{fffd}"))
            .bind(self.clock.now())
            .execute()
            .await?;
        tx.commit().await
    }

    /// All of a tenant, sent or not.
    pub(super) async fn forget_tenant(&self, tenant: TenantId) -> Result<(), db::Error> {
        let mut tx = self.db.main().tenant(tenant).begin().await?;
        for sql in
            ["delete from email_messages where tenant_id = $1", "delete from email_templates where tenant_id = $1"]
        {
            tx.query(sql).bind(tenant).execute().await?;
        }
        tx.commit().await
    }

    /// Forgets mails that were finished so long ago, events so old that nobody sends them again, and counts of recipients that
    /// mean nothing any more.
    pub(super) async fn forget(&self, mails: Duration, events: Duration) -> Result<u64, db::Error> {
        let now = self.clock.now();
        let mut tx = self.everybodys().begin().await?;
        let forgotten =
            tx.query("delete from email_messages where finished_at < $1").bind(now - mails).execute().await?;
        tx.query("delete from email_events where received_at < $1").bind(now - events).execute().await?;
        let counts = tx.query("delete from email_recipients where last_at <= $1").bind(now - FORGOTTEN_AFTER);
        counts.execute().await?;
        tx.commit().await?;
        Ok(forgotten)
    }

    /// The mails of every tenant and of the app: the worker sends them all, and knows each by its id.
    fn everybodys(&self) -> TenantDb<'_> {
        self.db.all_tenants()
    }
}
