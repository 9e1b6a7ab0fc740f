//! Errors of sending a text message.

use std::{error::Error as StdError, fmt, time::Duration};

use super::PhoneNumberError;
use omnistack_core::resilience::{Classification, Classify, Outcome};

/// An error of sending a text message: the message was not accepted by the provider, or it is unknown whether it
/// was.
pub struct SmsError(Box<SmsErrorInner>);

struct SmsErrorInner {
    kind: SmsErrorKind,
    retry_after: Option<Duration>,
    source: Box<dyn StdError + Send + Sync>,
}

/// The kind of an [`SmsError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SmsErrorKind {
    /// The message is not valid: see [`InvalidSms`]. Nothing was sent.
    Invalid,
    /// The provider refuses this message permanently: the number does not exist, or the provider does not serve its
    /// country.
    Refused,
    /// The owner of the number has opted out of messages. Nothing was sent, and nothing must be sent to the number.
    OptedOut,
    /// Too many messages were sent. This message was not accepted; the caller may try again after
    /// [`retry_after`](SmsError::retry_after).
    RateLimited,
    /// The provider is unavailable. The message was not accepted; the caller may try again.
    Unavailable,
    /// No conclusive response arrived, so the provider may have accepted the message. The outbox does not send it
    /// again.
    Unknown,
    /// The configuration is wrong: the provider does not accept the key, or the sender does not belong to the
    /// account. Nothing was sent, and nothing will be until an operator corrects the settings.
    Configuration,
}

impl SmsErrorKind {
    /// Returns the name for logs and metrics: `invalid`, `refused`, `opted_out`, `rate_limited`, `unavailable`,
    /// `unknown` or `configuration`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Refused => "refused",
            Self::OptedOut => "opted_out",
            Self::RateLimited => "rate_limited",
            Self::Unavailable => "unavailable",
            Self::Unknown => "unknown",
            Self::Configuration => "configuration",
        }
    }
}

impl SmsError {
    /// Creates an error of a kind, with its cause. It is for implementors of [`SmsProvider`](super::SmsProvider).
    pub fn new(kind: SmsErrorKind, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self(Box::new(SmsErrorInner { kind, retry_after: None, source: source.into() }))
    }

    /// Sets how long the provider asks to wait before the next attempt.
    #[must_use]
    pub fn with_retry_after(mut self, wait: Duration) -> Self {
        self.0.retry_after = Some(wait);
        self
    }

    /// Returns the kind.
    pub fn kind(&self) -> SmsErrorKind {
        self.0.kind
    }

    /// Returns whether the same message may be sent again without arriving twice.
    pub fn is_retryable(&self) -> bool {
        matches!(self.kind(), SmsErrorKind::RateLimited | SmsErrorKind::Unavailable)
    }

    /// Returns how long the provider asks to wait, if it does.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Returns [`Failed`](Outcome::Failed) if the message was certainly not accepted and
    /// [`Unknown`](Outcome::Unknown) if it may have been; never [`Success`](Outcome::Success).
    pub fn outcome(&self) -> Outcome {
        self.class().outcome()
    }

    /// Returns what is wrong with the message, if the kind is [`Invalid`](SmsErrorKind::Invalid).
    pub fn invalid(&self) -> Option<&InvalidSms> {
        self.0.source.downcast_ref()
    }
}

impl Classify for SmsError {
    fn class(&self) -> Classification {
        let class = match self.kind() {
            SmsErrorKind::Unknown => Classification::unknown(),
            SmsErrorKind::RateLimited | SmsErrorKind::Unavailable => Classification::failed().retryable(),
            _ => Classification::failed(),
        };
        match self.retry_after() {
            Some(wait) => class.retry_after(wait),
            None => class,
        }
    }
}

impl fmt::Display for SmsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let means = match self.kind() {
            SmsErrorKind::Invalid => "the message can't be sent",
            SmsErrorKind::Refused => "the message was refused",
            SmsErrorKind::OptedOut => "the number's owner has opted out of messages",
            SmsErrorKind::RateLimited => "too many messages were sent",
            SmsErrorKind::Unavailable => "the SMS provider is not available",
            SmsErrorKind::Unknown => "the SMS provider did not respond, so the message may have been sent",
            SmsErrorKind::Configuration => "the SMS provider is not configured correctly",
        };
        write!(f, "{means}: {}", self.0.source)
    }
}

impl fmt::Debug for SmsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SmsError").field("kind", &self.0.kind).field("source", &self.0.source).finish()
    }
}

impl StdError for SmsError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(self.0.source.as_ref())
    }
}

impl From<InvalidSms> for SmsError {
    fn from(invalid: InvalidSms) -> Self {
        Self::new(SmsErrorKind::Invalid, invalid)
    }
}

impl From<PhoneNumberError> for SmsError {
    fn from(error: PhoneNumberError) -> Self {
        InvalidSms::Number(error).into()
    }
}

/// The reason why a text message is not valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidSms {
    /// The number is not valid.
    #[error("the number is not valid: {0}")]
    Number(#[from] PhoneNumberError),
    /// The text is empty.
    #[error("the text is empty")]
    NoText,
    /// The text has NUL or another control character that is not a line break or a form feed.
    #[error("the text has a control character")]
    ControlCharacter,
    /// The message has more segments than allowed.
    #[error("the text needs {count} segments, more than the limit of {limit}")]
    TooLong {
        /// Number of segments of the message.
        count: usize,
        /// Largest number of segments.
        limit: usize,
    },
}
