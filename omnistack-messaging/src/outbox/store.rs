//! The SQL of the outbox.

use std::{marker::PhantomData, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{Channel, Envelope, MessageId, MessageInfo, MessageState, SendReceipt};
use crate::suppression::Recipient;
use omnistack_core::{
    clock::{Clock, Timestamp},
    db::{self, Db, OutboxReceiver, TenantScope, Tx},
    id::Id,
    identity::TenantId,
};

#[derive(omnistack_core::db::FromRow)]
struct MessageRow {
    id: MessageId,
    tenant_id: Option<TenantId>,
    recipients: String,
    subject: Option<String>,
    segments: Option<i64>,
    state: String,
    reason: Option<String>,
    provider: Option<String>,
    provider_id: Option<String>,
    created_at: Timestamp,
    finished_at: Option<Timestamp>,
}

/// A message to be inserted.
#[derive(Serialize, Deserialize)]
struct NewMessage {
    id: MessageId,
    tenant: Option<TenantId>,
    recipients: String,
    subject: Option<String>,
    segments: Option<i64>,
    content: String,
    created_at: Timestamp,
}

const INSERT: &str =
    "insert into omni_messages (id, channel, tenant_id, recipients, subject, segments, content, state, created_at)
    values ($1, $2, $3, $4, $5, $6, $7, 'queued', $8)";

/// Does nothing if the message exists already. In PostgreSQL, row-level security must then make the row visible.
const INSERT_ONCE: &str =
    "insert into omni_messages (id, channel, tenant_id, recipients, subject, segments, content, state, created_at)
    values ($1, $2, $3, $4, $5, $6, $7, 'queued', $8) on conflict (id) do nothing";

impl NewMessage {
    async fn insert(self, tx: &mut Tx, sql: &'static str, channel: &'static str) -> Result<(), db::Error> {
        tx.query(sql)
            .bind(self.id)
            .bind(channel)
            .bind(self.tenant)
            .bind(self.recipients)
            .bind(self.subject)
            .bind(self.segments)
            .bind(self.content)
            .bind(self.created_at)
            .execute()
            .await
            .map(drop)
    }
}

/// The receiver of the messages that transactions in tenant databases leave in their outbox.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct MessageReceiver<C>(PhantomData<C>);

#[async_trait]
impl<C: Channel> OutboxReceiver for MessageReceiver<C> {
    fn kind(&self) -> &'static str {
        C::Recipient::CHANNEL
    }

    /// Inserts the message, unless it was inserted before.
    async fn receive_in(&self, tx: &mut Tx, content: &str) -> Result<(), db::Error> {
        let new: NewMessage = serde_json::from_str(content).map_err(|error| db::unreadable_row(&error.to_string()))?;
        new.insert(tx, INSERT_ONCE, C::Recipient::CHANNEL).await
    }
}

/// The result of claiming a message for an attempt.
pub(super) enum MessageClaim {
    /// The message has to be sent. If the channel sends at most once, no other worker can send it.
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

/// The database access of the outbox of one channel.
#[derive(Clone, Debug)]
pub(crate) struct MessageStore<C> {
    pub(crate) db: Db,
    pub(crate) clock: Clock,
    channel: PhantomData<fn() -> C>,
}

impl<C: Channel> MessageStore<C> {
    pub(crate) fn new(db: Db, clock: Clock) -> Self {
        Self { db, clock, channel: PhantomData }
    }

    pub(super) async fn add(
        &self,
        tx: &mut Tx,
        envelope: Envelope,
        message: &C::Message,
    ) -> Result<MessageId, db::Error> {
        let invalid = |what: String| db::Error::new(db::ErrorKind::InvalidValue, what.into());
        let now = self.clock.now();
        let id: MessageId = Id::new(now);
        // Only a mail with an invalid address fails to serialize, and the check has excluded that.
        let content = serde_json::to_string(message).map_err(|error| invalid(error.to_string()))?;
        let Envelope { tenant, recipients, subject, segments } = envelope;
        let new = NewMessage { id, tenant, recipients, subject, segments, content, created_at: now };
        match tx.tenant().filter(|_| tx.in_tenant_database()) {
            Some(owner) if tenant.is_some_and(|tenant| tenant != owner) => {
                let refused = "a transaction of a tenant database can send only messages of that tenant or of the app";
                return Err(invalid(refused.into()));
            }
            Some(owner) => db::add_to_outbox(tx, owner, C::Recipient::CHANNEL, &new, now).await?,
            None => new.insert(tx, INSERT, C::Recipient::CHANNEL).await?,
        }
        Ok(id)
    }

    pub(super) async fn get(&self, id: MessageId) -> Result<Option<MessageInfo>, db::Error> {
        let mut tx = self.all_tenants().begin_read().await?;
        let row: Option<MessageRow> = tx
            .query(
                "select id, tenant_id, recipients, subject, segments, state, reason, provider, provider_id, created_at,
                 finished_at from omni_messages where id = $1 and channel = $2",
            )
            .bind(id)
            .bind(C::Recipient::CHANNEL)
            .fetch_optional()
            .await?;
        tx.commit().await?;
        Ok(row.map(|row| MessageInfo {
            id: row.id,
            tenant: row.tenant_id,
            recipients: row.recipients,
            subject: row.subject,
            segments: row.segments,
            state: MessageState::from_stored(&row.state),
            reason: row.reason,
            provider: row.provider,
            provider_id: row.provider_id,
            created_at: row.created_at,
            finished_at: row.finished_at,
        }))
    }

    /// Claims a message for one attempt. A message that is sent at most once stays claimed until the outcome of the
    /// attempt is recorded.
    pub(super) async fn claim(&self, id: MessageId) -> Result<MessageClaim, db::Error> {
        let mut tx =
            if C::AT_MOST_ONCE { self.all_tenants().begin().await? } else { self.all_tenants().begin_read().await? };
        let sql = if C::AT_MOST_ONCE {
            "update omni_messages set state = 'sending'
             where id = $1 and channel = $2 and state = 'queued' and content is not null returning content, created_at"
        } else {
            "select content, created_at from omni_messages where id = $1 and channel = $2 and content is not null"
        };
        let waiting = tx.query(sql).bind(id).bind(C::Recipient::CHANNEL).fetch_optional().await?;
        let claim = match waiting {
            Some((content, created_at)) => MessageClaim::Claimed { content, created_at },
            None if C::AT_MOST_ONCE => {
                let sql = "select state from omni_messages where id = $1 and state = 'sending'";
                let sending: Option<(String,)> = tx.query(sql).bind(id).fetch_optional().await?;
                sending.map_or(MessageClaim::Finished, |_| MessageClaim::OutcomeUnknown)
            }
            None => MessageClaim::Finished,
        };
        tx.commit().await?;
        Ok(claim)
    }

    /// Puts a claimed message back into the queue that was certainly not accepted.
    pub(super) async fn release(&self, id: MessageId) -> Result<(), db::Error> {
        if !C::AT_MOST_ONCE {
            return Ok(());
        }
        let mut tx = self.all_tenants().begin().await?;
        let sql = "update omni_messages set state = 'queued' where id = $1 and state = 'sending'";
        tx.query(sql).bind(id).execute().await?;
        tx.commit().await
    }

    /// Marks a message as sent and deletes its content. A later state that a delivery report has set already is kept.
    pub(super) async fn mark_sent(
        &self,
        id: MessageId,
        receipt: SendReceipt,
        left_out: Option<String>,
    ) -> Result<(), db::Error> {
        let mut tx = self.all_tenants().begin().await?;
        tx.query(
            "update omni_messages set
             state = case when state in ('sent', 'delivered', 'undelivered') then state else 'sent' end,
             reason = case when state in ('sent', 'delivered', 'undelivered') then reason else $2 end,
             content = null, provider = $3, provider_id = coalesce($4, provider_id),
             finished_at = case when content is null then coalesce(finished_at, $5) else $5 end where id = $1",
        )
        .bind(id)
        .bind(left_out)
        .bind(receipt.provider)
        .bind(receipt.id)
        .bind(self.clock.now())
        .execute()
        .await?;
        tx.commit().await
    }

    /// Sets the state of a message that was not sent or whose outcome is unknown. Deletes the content, unless the job of
    /// the message can be retried. A state that a delivery report has set in the meantime is kept.
    pub(super) async fn finish(&self, id: MessageId, state: MessageState, reason: &str) -> Result<(), db::Error> {
        let keeps_content = state == MessageState::Failed && !C::AT_MOST_ONCE;
        let mut tx = self.all_tenants().begin().await?;
        tx.query(
            "update omni_messages set state = $2, content = case when $3 then content end, reason = $4,
             finished_at = $5 where id = $1 and content is not null",
        )
        .bind(id)
        .bind(state.as_str())
        .bind(keeps_content)
        .bind(reason.replace('\0', "\u{fffd}"))
        .bind(self.clock.now())
        .execute()
        .await?;
        tx.commit().await
    }

    /// Deletes messages that were finished longer ago than `keep`, and expired rows of the channel's own tables. Returns
    /// the number of deleted messages.
    pub(super) async fn purge(&self, keep: Duration) -> Result<u64, db::Error> {
        let mut tx = self.all_tenants().begin().await?;
        let sql = "delete from omni_messages where channel = $1 and finished_at < $2";
        let deleted = tx.query(sql).bind(C::Recipient::CHANNEL).bind(self.clock.now() - keep).execute().await?;
        C::purge_in(&mut tx, &self.clock).await?;
        tx.commit().await?;
        Ok(deleted)
    }

    /// Returns access to the messages of every tenant and of the app: the worker sends all of them, and finds each by
    /// its id.
    pub(crate) fn all_tenants(&self) -> TenantScope<'_> {
        self.db.all_tenants()
    }
}
