//! The SQL of the outbox for text messages.

use std::{fmt, time::Duration};

use serde::Serialize;
use utoipa::ToSchema;

use super::{SmsId, SmsOutboxError};
use crate::sms::{InvalidSms, PhoneNumber, SentSms, SmsMessage};
use omnistack_core::{
    clock::{Clock, Timestamp},
    db::{self, Db, TenantScope, Tx},
    id::Id,
    identity::TenantId,
};

/// The state of a text message in the outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum SmsState {
    /// The message waits for its first or its next attempt.
    Queued,
    /// The message is being sent to the provider.
    Sending,
    /// The provider accepted the message.
    Sent,
    /// The message was delivered, as the provider reported.
    Delivered,
    /// The message was not delivered, as the provider reported.
    Undelivered,
    /// The message was not sent, because its number is suppressed or its owner has opted out.
    Skipped,
    /// The message was refused or given up. It was certainly not sent.
    Failed,
    /// The message may have been sent; its outcome is unknown. It is not sent again.
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

    /// Returns the state as it is stored, such as `undelivered`.
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

    fn from_stored(text: &str) -> Self {
        Self::ALL.into_iter().find(|state| state.as_str() == text).unwrap_or(Self::Unknown)
    }
}

impl fmt::Display for SmsState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text message in the outbox, without its text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[non_exhaustive]
pub struct SmsInfo {
    /// The id of the message.
    #[schema(value_type = String, format = Uuid)]
    pub id: SmsId,
    /// The tenant that the message is sent for.
    #[schema(required, value_type = Option<String>, format = Uuid)]
    pub tenant: Option<TenantId>,
    /// The recipient's number.
    pub recipient: String,
    /// The number of segments in which the message is sent.
    pub segments: i64,
    /// The state of the message.
    pub state: SmsState,
    /// The reason why the message was not sent or not delivered.
    #[schema(required)]
    pub reason: Option<String>,
    /// The name of the provider that accepted the message.
    #[schema(required)]
    pub provider: Option<String>,
    /// The provider's id of the message.
    #[schema(required)]
    pub provider_id: Option<String>,
    /// The time at which the message was put into the outbox.
    pub created_at: Timestamp,
    /// The time at which the message was sent, skipped or given up.
    #[schema(required)]
    pub finished_at: Option<Timestamp>,
}

#[derive(omnistack_core::db::FromRow)]
struct SmsRow {
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

/// The result of claiming a message for an attempt.
pub(super) enum SmsClaim {
    /// The message was claimed: no other worker can send it.
    Claimed {
        /// The message, as JSON.
        content: String,
        /// The time at which the message was put into the outbox.
        created_at: Timestamp,
    },
    /// An earlier attempt claimed the message and did not record an outcome.
    OutcomeUnknown,
    /// There is nothing left to send.
    Finished,
}

/// A delivery report: a provider's notice about a message that it accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::sms) struct DeliveryReport {
    /// The outbox's id of the message, if the provider's callback URL contained it.
    pub(in crate::sms) message: Option<SmsId>,
    /// The name of the provider.
    pub(in crate::sms) provider: &'static str,
    /// The provider's id of the message.
    pub(in crate::sms) provider_id: String,
    /// The new state: `Sent`, `DeliveredMail` or `Undelivered`.
    pub(in crate::sms) state: SmsState,
    /// The reason why the message was not delivered.
    pub(in crate::sms) reason: Option<String>,
}

/// The database access of the outbox for text messages.
#[derive(Clone, Debug)]
pub(in crate::sms) struct SmsStore {
    pub(in crate::sms) db: Db,
    pub(in crate::sms) clock: Clock,
}

impl SmsStore {
    pub(super) async fn add(&self, tx: &mut Tx, message: &SmsMessage) -> Result<SmsId, SmsOutboxError> {
        let now = self.clock.now();
        let id: SmsId = Id::new(now);
        // A number and a text always serialize.
        let content = serde_json::to_string(message).map_err(|_| InvalidSms::NoText)?;
        tx.query(
            "insert into omni_sms_messages (id, tenant_id, recipient, content, segments, state, created_at)
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
        let mut tx = self.all_tenants().begin_read().await?;
        let row: Option<SmsRow> = tx
            .query(
                "select id, tenant_id, recipient, segments, state, reason, provider, provider_id, created_at, finished_at
                 from omni_sms_messages where id = $1",
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
            state: SmsState::from_stored(&row.state),
            reason: row.reason,
            provider: row.provider,
            provider_id: row.provider_id,
            created_at: row.created_at,
            finished_at: row.finished_at,
        }))
    }

    /// Claims a message for one attempt. It stays claimed until the outcome of the attempt is recorded.
    pub(super) async fn claim(&self, id: SmsId) -> Result<SmsClaim, db::Error> {
        let mut tx = self.all_tenants().begin().await?;
        let taken: Option<(String, Timestamp)> = tx
            .query(
                "update omni_sms_messages set state = 'sending' where id = $1 and state = 'queued' and content is not null
                 returning content, created_at",
            )
            .bind(id)
            .fetch_optional()
            .await?;
        let begun = match taken {
            Some((content, created_at)) => SmsClaim::Claimed { content, created_at },
            None => {
                let state: Option<(String,)> =
                    tx.query("select state from omni_sms_messages where id = $1").bind(id).fetch_optional().await?;
                match state.as_ref().map(|(state,)| state.as_str()) {
                    Some("sending") => SmsClaim::OutcomeUnknown,
                    _ => SmsClaim::Finished,
                }
            }
        };
        tx.commit().await?;
        Ok(begun)
    }

    /// Puts a message back into the queue that was certainly not accepted.
    pub(super) async fn requeue(&self, id: SmsId) -> Result<(), db::Error> {
        let mut tx = self.all_tenants().begin().await?;
        let sql = "update omni_sms_messages set state = 'queued' where id = $1 and state = 'sending'";
        tx.query(sql).bind(id).execute().await?;
        tx.commit().await
    }

    /// Marks a message as sent and deletes its content. A later state that the webhook has set already is kept.
    pub(super) async fn mark_sent(&self, id: SmsId, sent: &SentSms) -> Result<(), db::Error> {
        let mut tx = self.all_tenants().begin().await?;
        tx.query(
            "update omni_sms_messages set state = case when state in ('sending', 'unknown') then 'sent' else state end,
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

    /// Sets a final state of a message that was not accepted or whose outcome is unknown, and deletes its content.
    /// A state that the webhook has set in the meantime is kept.
    pub(super) async fn finish(&self, id: SmsId, state: SmsState, reason: &str) -> Result<(), db::Error> {
        let reason: String = reason.replace('\0', "\u{fffd}").chars().take(500).collect();
        let mut tx = self.all_tenants().begin().await?;
        tx.query(
            "update omni_sms_messages set state = $2, content = null, reason = $3, finished_at = $4
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

    /// Applies a delivery report. Returns whether it changed the message. A final state is not changed by a later
    /// report.
    pub(in crate::sms) async fn apply_report_in(&self, tx: &mut Tx, told: &DeliveryReport) -> Result<bool, db::Error> {
        let id = match told.message {
            Some(id) => id,
            None => {
                let found: Option<(SmsId,)> = tx
                    .query("select id from omni_sms_messages where provider = $1 and provider_id = $2")
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
                "update omni_sms_messages set state = $4, reason = $5, content = null, provider = $2, provider_id = $3,
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

    /// Returns the recipient's number. Returns `None` if there is no such message.
    pub(in crate::sms) async fn recipient_in(&self, tx: &mut Tx, id: SmsId) -> Result<Option<PhoneNumber>, db::Error> {
        let found: Option<(String,)> =
            tx.query("select recipient from omni_sms_messages where id = $1").bind(id).fetch_optional().await?;
        Ok(found.and_then(|(number,)| number.parse().ok()))
    }

    /// Deletes messages that were finished longer ago than `keep`. Returns how many.
    pub(super) async fn purge(&self, keep: Duration) -> Result<u64, db::Error> {
        let before = self.clock.now() - keep;
        let mut tx = self.all_tenants().begin().await?;
        let forgotten = tx.query("delete from omni_sms_messages where finished_at < $1").bind(before).execute().await?;
        tx.commit().await?;
        Ok(forgotten)
    }

    /// Returns access to the messages of every tenant and of the app: the worker sends all of them, and finds each
    /// by its id.
    pub(in crate::sms) fn all_tenants(&self) -> TenantScope<'_> {
        self.db.all_tenants()
    }
}
