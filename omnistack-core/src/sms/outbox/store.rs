//! The SQL of the outbox.

use std::{fmt, time::Duration};

use serde::Serialize;
use utoipa::ToSchema;

use super::{SmsId, SmsOutboxError};
use crate::{
    clock::{Clock, Timestamp},
    db::{self, Db, TenantDb, Tx},
    id::Id,
    identity::TenantId,
    sms::{PhoneNumber, SmsInvalid, SmsMessage, SmsSent},
};

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum SmsState {
    /// It waits, or waits to be tried again.
    Queued,
    /// The provider is being asked.
    Sending,
    /// The provider took it.
    Sent,
    /// It arrived, as the provider says.
    Delivered,
    /// It did not arrive, as the provider says.
    Undelivered,
    /// The number is suppressed, or its owner wants no messages.
    Skipped,
    /// It was refused, or given up. It was certainly not sent.
    Failed,
    /// It may have been sent, and nobody can say. It is not sent again.
    Unknown,
}

impl SmsState {
    const ALL: [Self; 8] = [
        Self::Queued,
        Self::Sending,
        Self::Sent,
        Self::Delivered,
        Self::Undelivered,
        Self::Skipped,
        Self::Failed,
        Self::Unknown,
    ];

    /// As it is kept: `undelivered`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Sending => "sending",
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Undelivered => "undelivered",
            Self::Skipped => "skipped",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }

    fn of(text: &str) -> Self {
        Self::ALL.into_iter().find(|state| state.as_str() == text).unwrap_or(Self::Unknown)
    }
}

impl fmt::Display for SmsState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A message in the outbox, without its text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[non_exhaustive]
pub struct SmsInfo {
    /// Its id.
    #[schema(value_type = String, format = Uuid)]
    pub id: SmsId,
    /// The tenant it is sent for.
    #[schema(required, value_type = Option<String>, format = Uuid)]
    pub tenant: Option<TenantId>,
    /// Whom to.
    pub recipient: String,
    /// The parts it is sent in.
    pub segments: i64,
    /// What became of it.
    pub state: SmsState,
    /// Why it was not sent, or did not arrive.
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
    id: SmsId,
    tenant_id: Option<TenantId>,
    recipient: String,
    segments: i64,
    state: String,
    reason: Option<String>,
    provider: Option<String>,
    provider_id: Option<String>,
    created_at: Timestamp,
    finished_at: Option<Timestamp>,
}

/// Whether an attempt may be made.
pub(super) enum Begun {
    /// It may: nobody else makes one.
    Now {
        /// The message, as JSON.
        content: String,
        /// When it was put there.
        created_at: Timestamp,
    },
    /// One was begun and never ended.
    Before,
    /// There is nothing left to send.
    Ended,
}

/// What a provider tells of a message it took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::sms) struct Told {
    /// The outbox's name for it, if the provider was told.
    pub(in crate::sms) message: Option<SmsId>,
    /// The provider.
    pub(in crate::sms) provider: &'static str,
    /// Its name for the message.
    pub(in crate::sms) provider_id: String,
    /// `Sent`, `Delivered` or `Undelivered`.
    pub(in crate::sms) state: SmsState,
    /// Why it did not arrive.
    pub(in crate::sms) reason: Option<String>,
}

/// The outbox's rows.
#[derive(Clone, Debug)]
pub(in crate::sms) struct Store {
    pub(in crate::sms) db: Db,
    pub(in crate::sms) clock: Clock,
}

impl Store {
    pub(super) async fn add(&self, tx: &mut Tx, message: &SmsMessage) -> Result<SmsId, SmsOutboxError> {
        let now = self.clock.now();
        let id: SmsId = Id::new(now);
        // Numbers and texts can be written.
        let content = serde_json::to_string(message).map_err(|_| SmsInvalid::NoText)?;
        tx.query(
            "insert into sms_messages (id, tenant_id, recipient, content, segments, state, created_at)
             values ($1, $2, $3, $4, $5, 'queued', $6)",
        )
        .bind(id)
        .bind(message.tenant)
        .bind(message.to.as_str())
        .bind(content)
        .bind(i64::try_from(message.segments().count).unwrap_or(i64::MAX))
        .bind(now)
        .execute()
        .await?;
        Ok(id)
    }

    pub(super) async fn get(&self, id: SmsId) -> Result<Option<SmsInfo>, db::Error> {
        let mut tx = self.everybodys().read().await?;
        let row: Option<Row> = tx
            .query(
                "select id, tenant_id, recipient, segments, state, reason, provider, provider_id, created_at, finished_at
                 from sms_messages where id = $1",
            )
            .bind(id)
            .fetch_optional()
            .await?;
        tx.commit().await?;
        Ok(row.map(|row| SmsInfo {
            id: row.id,
            tenant: row.tenant_id,
            recipient: row.recipient,
            segments: row.segments,
            state: SmsState::of(&row.state),
            reason: row.reason,
            provider: row.provider,
            provider_id: row.provider_id,
            created_at: row.created_at,
            finished_at: row.finished_at,
        }))
    }

    /// Takes a message for one attempt. What is taken stays so until the attempt ends with a word.
    pub(super) async fn begin(&self, id: SmsId) -> Result<Begun, db::Error> {
        let mut tx = self.everybodys().begin().await?;
        let taken: Option<(String, Timestamp)> = tx
            .query(
                "update sms_messages set state = 'sending' where id = $1 and state = 'queued' and content is not null
                 returning content, created_at",
            )
            .bind(id)
            .fetch_optional()
            .await?;
        let begun = match taken {
            Some((content, created_at)) => Begun::Now { content, created_at },
            None => {
                let state: Option<(String,)> =
                    tx.query("select state from sms_messages where id = $1").bind(id).fetch_optional().await?;
                match state.as_ref().map(|(state,)| state.as_str()) {
                    Some("sending") => Begun::Before,
                    _ => Begun::Ended,
                }
            }
        };
        tx.commit().await?;
        Ok(begun)
    }

    /// It was certainly not taken, and is to be tried again.
    pub(super) async fn again(&self, id: SmsId) -> Result<(), db::Error> {
        let mut tx = self.everybodys().begin().await?;
        let sql = "update sms_messages set state = 'queued' where id = $1 and state = 'sending'";
        tx.query(sql).bind(id).execute().await?;
        tx.commit().await
    }

    /// It was taken. The webhook may have come before, and said more.
    pub(super) async fn sent(&self, id: SmsId, sent: &SmsSent) -> Result<(), db::Error> {
        let mut tx = self.everybodys().begin().await?;
        tx.query(
            "update sms_messages set state = case when state in ('sending', 'unknown') then 'sent' else state end,
             reason = case when state in ('sending', 'unknown') then null else reason end,
             content = null, provider = $2, provider_id = coalesce($3, provider_id),
             finished_at = coalesce(finished_at, $4) where id = $1",
        )
        .bind(id)
        .bind(sent.provider)
        .bind(sent.id.clone())
        .bind(self.clock.now())
        .execute()
        .await?;
        tx.commit().await
    }

    /// It ended without being taken, or nobody knows. What the webhook said meanwhile is not undone.
    pub(super) async fn finish(&self, id: SmsId, state: SmsState, reason: &str) -> Result<(), db::Error> {
        let reason: String = reason.replace('\0', "\u{fffd}").chars().take(500).collect();
        let mut tx = self.everybodys().begin().await?;
        tx.query(
            "update sms_messages set state = $2, content = null, reason = $3, finished_at = $4
             where id = $1 and state in ('queued', 'sending')",
        )
        .bind(id)
        .bind(state.as_str())
        .bind(reason)
        .bind(self.clock.now())
        .execute()
        .await?;
        tx.commit().await
    }

    /// Notes what a provider tells; says whether that is news. What has arrived stays so, whatever comes later.
    pub(in crate::sms) async fn tell_in(&self, tx: &mut Tx, told: &Told) -> Result<bool, db::Error> {
        let id = match told.message {
            Some(id) => id,
            None => {
                let found: Option<(SmsId,)> = tx
                    .query("select id from sms_messages where provider = $1 and provider_id = $2")
                    .bind(told.provider)
                    .bind(told.provider_id.as_str())
                    .fetch_optional()
                    .await?;
                let Some((id,)) = found else { return Ok(false) };
                id
            }
        };
        let final_state = told.state != SmsState::Sent;
        let changed = tx
            .query(
                "update sms_messages set state = $4, reason = $5, content = null, provider = $2, provider_id = $3,
                 finished_at = coalesce(finished_at, $6)
                 where id = $1 and (provider_id is null or provider_id = $3)
                 and (state in ('sending', 'unknown') or (state = 'sent' and $7))",
            )
            .bind(id)
            .bind(told.provider)
            .bind(told.provider_id.as_str())
            .bind(told.state.as_str())
            .bind(told.reason.clone())
            .bind(self.clock.now())
            .bind(final_state)
            .execute()
            .await?;
        Ok(changed > 0)
    }

    /// Whom a message was to.
    pub(in crate::sms) async fn recipient_in(&self, tx: &mut Tx, id: SmsId) -> Result<Option<PhoneNumber>, db::Error> {
        let found: Option<(String,)> =
            tx.query("select recipient from sms_messages where id = $1").bind(id).fetch_optional().await?;
        Ok(found.and_then(|(number,)| number.parse().ok()))
    }

    /// Forgets messages that were finished so long ago.
    pub(super) async fn forget(&self, keep: Duration) -> Result<u64, db::Error> {
        let before = self.clock.now() - keep;
        let mut tx = self.everybodys().begin().await?;
        let forgotten = tx.query("delete from sms_messages where finished_at < $1").bind(before).execute().await?;
        tx.commit().await?;
        Ok(forgotten)
    }

    /// The messages of every tenant and of the app: the worker sends them all, and knows each by its id.
    pub(in crate::sms) fn everybodys(&self) -> TenantDb<'_> {
        self.db.all_tenants()
    }
}
