//! The text message type and its validation.

use serde::{Deserialize, Serialize};

use super::{InvalidSms, PhoneNumber, SmsSegments};
use omnistack_core::identity::TenantId;

/// Largest number of segments of a message, whatever the settings say: providers accept at most 1,600 characters.
pub const MAX_SEGMENTS: usize = 10;

/// A text message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SmsMessage {
    /// The recipient's number.
    pub to: PhoneNumber,
    /// The text.
    pub text: String,
    /// The tenant that the message is sent for.
    pub tenant: Option<TenantId>,
    /// The URL to which the provider sends delivery reports. The outbox sets it.
    pub status_url: Option<String>,
}

impl SmsMessage {
    /// Creates a message with this text to a number.
    pub fn new(to: PhoneNumber, text: impl Into<String>) -> Self {
        Self { to, text: text.into(), tenant: None, status_url: None }
    }

    /// Sets the tenant that the message is sent for.
    #[must_use]
    pub fn for_tenant(mut self, tenant: TenantId) -> Self {
        self.tenant = Some(tenant);
        self
    }

    /// Returns the segments in which the message is sent.
    pub fn segments(&self) -> SmsSegments {
        SmsSegments::of(&self.text)
    }

    /// Validates the message, which may have at most `most` segments, and never more than [`MAX_SEGMENTS`].
    ///
    /// # Errors
    /// Returns the first reason why the message is not valid.
    pub fn check(&self, max_segments: usize) -> Result<(), InvalidSms> {
        if self.text.trim().is_empty() {
            return Err(InvalidSms::NoText);
        }
        if self.text.chars().any(|character| character.is_control() && !matches!(character, '\n' | '\r' | '\u{c}')) {
            return Err(InvalidSms::ControlCharacter);
        }
        let (count, limit) = (self.segments().count, max_segments.min(MAX_SEGMENTS));
        if count > limit {
            return Err(InvalidSms::TooLong { count, limit });
        }
        Ok(())
    }
}
