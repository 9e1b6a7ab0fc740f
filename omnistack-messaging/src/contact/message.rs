//! The stored message and its status.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use omnistack_core::{clock::Timestamp, id::Id};

/// The id of a message of the contact form.
pub type ContactMessageId = Id<ContactMessage>;

/// The status of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ContactStatus {
    /// The message was not read yet.
    New,
    /// An operator is working on the message.
    Open,
    /// An operator has replied.
    Answered,
    /// The message is done.
    Closed,
    /// The message is spam.
    Spam,
}

impl ContactStatus {
    const ALL: [Self; 5] = [Self::New, Self::Open, Self::Answered, Self::Closed, Self::Spam];

    /// Returns the status as text: `new`, `open`, `answered`, `closed` or `spam`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Open => "open",
            Self::Answered => "answered",
            Self::Closed => "closed",
            Self::Spam => "spam",
        }
    }

    pub(super) fn from_stored(text: &str) -> Self {
        Self::ALL.into_iter().find(|status| status.as_str() == text).unwrap_or(Self::New)
    }
}

impl fmt::Display for ContactStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A message of the contact form, as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[non_exhaustive]
pub struct ContactMessage {
    /// The id of the message.
    #[schema(value_type = String, format = Uuid)]
    pub id: ContactMessageId,
    /// The reference number that the sender was given, such as `7K3F9-QXM2D`.
    pub reference: String,
    /// The sender's name.
    pub name: String,
    /// The sender's email address, to which replies go. It was not verified.
    pub email: String,
    /// The subject.
    #[schema(required)]
    pub subject: Option<String>,
    /// The sender's phone number, as it was entered.
    #[schema(required)]
    pub phone: Option<String>,
    /// The sender's company.
    #[schema(required)]
    pub company: Option<String>,
    /// The text of the message.
    pub message: String,
    /// The values of the form's extra fields: texts, numbers and booleans.
    #[schema(value_type = Object)]
    pub extra_fields: BTreeMap<String, Value>,
    /// The page or place of the form.
    #[schema(required)]
    pub source: Option<String>,
    /// The sender's language.
    pub locale: String,
    /// The IP address of the client that sent the message.
    #[schema(required)]
    pub address: Option<String>,
    /// The status of the message.
    pub status: ContactStatus,
    /// The time at which the message was sent.
    pub created_at: Timestamp,
    /// The time of the last change of the status.
    pub updated_at: Timestamp,
}
