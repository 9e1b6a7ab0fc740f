//! Messages in the outbox, as apps see them.

use std::fmt;

use serde::Serialize;
use utoipa::ToSchema;

use omnistack_core::{clock::Timestamp, id::Id, identity::TenantId};

/// Marker type of message ids ([`MessageId`]).
#[derive(Clone, Copy, Debug)]
pub enum MessageMarker {}

/// The id of a message in the outbox.
pub type MessageId = Id<MessageMarker>;

/// The state of a message in the outbox.
///
/// ```
/// # #[cfg(feature = "email")] {
/// use omnistack_messaging::email::{MessageInfo, MessageState};
///
/// fn describe(info: &MessageInfo) -> String {
///     match info.state {
///         MessageState::Queued | MessageState::Sending => "It is waiting to be sent.".into(),
///         MessageState::Sent | MessageState::Delivered => "It was sent.".into(),
///         _ => format!("It was not sent: {}", info.reason.as_deref().unwrap_or("the reason is unknown")),
///     }
/// }
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum MessageState {
    /// The message waits for its first or its next attempt.
    Queued,
    /// The message is being sent to the provider. Text messages only.
    Sending,
    /// The provider accepted the message.
    Sent,
    /// The message was delivered, as the provider reported. Text messages only.
    Delivered,
    /// The message was not delivered, as the provider reported. Text messages only.
    Undelivered,
    /// The message was not sent, because its number, or all recipients of the mail in `to` and `cc`, are suppressed.
    Skipped,
    /// The message was refused or given up. The content of a mail is kept, so that its job can be retried; a text
    /// message was certainly not sent.
    Failed,
    /// The message may have been sent; its outcome is unknown. It is not sent again. Text messages only.
    Unknown,
}

impl MessageState {
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

    pub(super) fn from_stored(text: &str) -> Self {
        Self::ALL.into_iter().find(|state| state.as_str() == text).unwrap_or(Self::Unknown)
    }
}

impl fmt::Display for MessageState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A message in the outbox, without its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[non_exhaustive]
pub struct MessageInfo {
    /// The id of the message.
    #[schema(value_type = String, format = "uuid")]
    pub id: MessageId,
    /// The tenant that the message is sent for.
    #[schema(required, value_type = Option<String>, format = "uuid")]
    pub tenant: Option<TenantId>,
    /// The recipients: mailboxes, separated by commas, or a telephone number.
    pub recipients: String,
    /// The subject of a mail.
    #[schema(required)]
    pub subject: Option<String>,
    /// The number of segments in which a text message is sent.
    #[schema(required)]
    pub segments: Option<i64>,
    /// The state of the message.
    pub state: MessageState,
    /// The recipients that were left out and the reason, or the reason why the message was not sent or not delivered.
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
