//! The message and its rules.

use serde::{Deserialize, Serialize};

use super::{PhoneNumber, SmsInvalid, SmsSegments};
use crate::identity::TenantId;

/// Parts a message may have at most, whatever is set: providers take no more than 1,600 characters.
pub const MAX_SEGMENTS: usize = 10;

/// A text message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SmsMessage {
    /// Whom to.
    pub to: PhoneNumber,
    /// What it says.
    pub text: String,
    /// The tenant it is sent for.
    pub tenant: Option<TenantId>,
    /// Where the provider is to tell what becomes of it. The outbox sets it.
    pub status_url: Option<String>,
}

impl SmsMessage {
    /// To a number, with a text.
    pub fn new(to: PhoneNumber, text: impl Into<String>) -> Self {
        Self { to, text: text.into(), tenant: None, status_url: None }
    }

    /// Sent for a tenant.
    #[must_use]
    pub fn for_tenant(mut self, tenant: TenantId) -> Self {
        self.tenant = Some(tenant);
        self
    }

    /// The parts it is sent in.
    pub fn segments(&self) -> SmsSegments {
        SmsSegments::of(&self.text)
    }

    /// Whether anybody could send it, in so many parts at most.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self, most: usize) -> Result<(), SmsInvalid> {
        if self.text.trim().is_empty() {
            return Err(SmsInvalid::NoText);
        }
        if self.text.chars().any(|character| character.is_control() && !matches!(character, '\n' | '\r' | '\u{c}')) {
            return Err(SmsInvalid::ControlCharacter);
        }
        let (count, limit) = (self.segments().count, most.min(MAX_SEGMENTS));
        if count > limit {
            return Err(SmsInvalid::TooLong { count, limit });
        }
        Ok(())
    }
}
