//! Delivery reports: the providers' notices of what became of messages.

use super::{Channel, MessageId, MessageState, MessageStore};
use crate::suppression::Recipient;
use omnistack_core::db::{self, Tx};

/// A delivery report: a provider's notice about a message that it accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeliveryReport {
    /// The outbox's id of the message, if the provider's callback URL contained it.
    pub(crate) message: Option<MessageId>,
    /// The name of the provider.
    pub(crate) provider: &'static str,
    /// The provider's id of the message.
    pub(crate) provider_id: String,
    /// The new state: `Sent`, `Delivered` or `Undelivered`.
    pub(crate) state: MessageState,
    /// The reason why the message was not delivered.
    pub(crate) reason: Option<String>,
}

impl<C: Channel> MessageStore<C> {
    /// Applies a delivery report. Returns whether it changed the message. A final state is not changed by a later
    /// report.
    pub(crate) async fn apply_report_in(&self, tx: &mut Tx, report: &DeliveryReport) -> Result<bool, db::Error> {
        let id = match report.message {
            Some(id) => id,
            None => {
                let sql = "select id from omni_messages where channel = $1 and provider = $2 and provider_id = $3";
                let query = tx.query(sql).bind(C::Recipient::CHANNEL).bind(report.provider);
                let found: Option<(MessageId,)> = query.bind(report.provider_id.as_str()).fetch_optional().await?;
                let Some((id,)) = found else { return Ok(false) };
                id
            }
        };
        let final_state = report.state != MessageState::Sent;
        let changed = tx
            .query(
                "update omni_messages set state = $4, reason = $5, content = null, provider = $2, provider_id = $3,
                 finished_at = coalesce(finished_at, $6)
                 where id = $1 and channel = $8 and (provider_id is null or provider_id = $3)
                 and (state in ('sending', 'unknown') or (state = 'sent' and $7))",
            )
            .bind(id)
            .bind(report.provider)
            .bind(report.provider_id.as_str())
            .bind(report.state.as_str())
            .bind(report.reason.clone())
            .bind(self.clock.now())
            .bind(final_state)
            .bind(C::Recipient::CHANNEL)
            .execute()
            .await?;
        Ok(changed > 0)
    }

    /// Returns the recipient of a message with one recipient. Returns `None` if there is no such message.
    pub(crate) async fn recipient_in(&self, tx: &mut Tx, id: MessageId) -> Result<Option<C::Recipient>, db::Error> {
        let sql = "select recipients from omni_messages where id = $1 and channel = $2";
        let found: Option<(String,)> = tx.query(sql).bind(id).bind(C::Recipient::CHANNEL).fetch_optional().await?;
        Ok(found.and_then(|(recipient,)| C::Recipient::parse_recipient(&recipient).ok()))
    }
}
