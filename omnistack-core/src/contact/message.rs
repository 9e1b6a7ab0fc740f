//! What was written.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::{clock::Timestamp, id::Id};

/// The id of a message.
pub type ContactMessageId = Id<ContactMessage>;

/// How far a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ContactStatus {
    /// Nobody has looked at it.
    New,
    /// Somebody is on it.
    Open,
    /// Somebody has written back.
    Answered,
    /// Done.
    Closed,
    /// Not meant for anybody here.
    Spam,
}

impl ContactStatus {
    const ALL: [Self; 5] = [Self::New, Self::Open, Self::Answered, Self::Closed, Self::Spam];

    /// `new`, `open`, `answered`, `closed` or `spam`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Open => "open",
            Self::Answered => "answered",
            Self::Closed => "closed",
            Self::Spam => "spam",
        }
    }

    pub(super) fn of(text: &str) -> Self {
        Self::ALL.into_iter().find(|status| status.as_str() == text).unwrap_or(Self::New)
    }
}

impl fmt::Display for ContactStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A message, as it is kept.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[non_exhaustive]
pub struct ContactMessage {
    /// Its id.
    #[schema(value_type = String, format = Uuid)]
    pub id: ContactMessageId,
    /// What the sender was told: `7K3F-9QXM-2D`.
    pub reference: String,
    /// What the sender is called.
    pub name: String,
    /// Where to write back. Nobody has checked that it is the sender's.
    pub email: String,
    /// What about.
    #[schema(required)]
    pub subject: Option<String>,
    /// The sender's phone number, as it was written.
    #[schema(required)]
    pub phone: Option<String>,
    /// Where the sender works.
    #[schema(required)]
    pub company: Option<String>,
    /// The message.
    pub message: String,
    /// What else the form asked: texts, numbers and booleans.
    #[schema(value_type = Object)]
    pub extra_fields: BTreeMap<String, Value>,
    /// Where the form stood.
    #[schema(required)]
    pub source: Option<String>,
    /// The sender's language.
    pub locale: String,
    /// The address the message came from.
    #[schema(required)]
    pub address: Option<String>,
    /// How far it is.
    pub status: ContactStatus,
    /// When it came.
    pub created_at: Timestamp,
    /// When its status last changed.
    pub updated_at: Timestamp,
}
