//! Why a message was not handed over.

use std::{error::Error as StdError, fmt, time::Duration};

use super::PhoneNumberError;
use crate::resilience::{Class, Classify, Outcome};

/// A message that was not handed over, or may not have been.
pub struct SmsError(Box<Inner>);

struct Inner {
    kind: SmsErrorKind,
    retry_after: Option<Duration>,
    source: Box<dyn StdError + Send + Sync>,
}

/// What an error of a provider means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SmsErrorKind {
    /// The message can't be sent by anybody: see [`SmsInvalid`]. Nothing was sent.
    Invalid,
    /// The provider will not take this message, today or tomorrow: a number that is none, a country it does not serve.
    Refused,
    /// The number's owner wants no messages. Nothing was sent, and nothing is to be.
    OptedOut,
    /// Too many messages. Nothing was sent, and it may be tried again, after [`retry_after`](SmsError::retry_after).
    RateLimited,
    /// The provider is away. Certainly not taken, and it may be tried again.
    Unavailable,
    /// No answer came that says, so it may have been taken. It is not sent again.
    Unknown,
    /// The settings are wrong: a key is not accepted, a sender is not the app's. Nothing was sent, and nothing will be until
    /// somebody changes them.
    Configuration,
}

impl SmsErrorKind {
    /// `invalid`, `refused`, `opted_out`, `rate_limited`, `unavailable`, `unknown` or `configuration`: for logs and metrics.
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
    /// Of a kind, with what caused it: for implementors of [`SmsProvider`](super::SmsProvider).
    pub fn new(kind: SmsErrorKind, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self(Box::new(Inner { kind, retry_after: None, source: source.into() }))
    }

    /// Not before this much time has passed, as the provider asks.
    #[must_use]
    pub fn after(mut self, wait: Duration) -> Self {
        self.0.retry_after = Some(wait);
        self
    }

    /// What it means.
    pub fn kind(&self) -> SmsErrorKind {
        self.0.kind
    }

    /// Whether the same message may be sent again, without arriving twice.
    pub fn is_retryable(&self) -> bool {
        matches!(self.kind(), SmsErrorKind::RateLimited | SmsErrorKind::Unavailable)
    }

    /// How long the provider asks to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Whether the message was taken: never [`Success`](Outcome::Success).
    pub fn outcome(&self) -> Outcome {
        self.class().outcome()
    }

    /// What is wrong with the message, of kind [`Invalid`](SmsErrorKind::Invalid).
    pub fn invalid(&self) -> Option<&SmsInvalid> {
        self.0.source.downcast_ref()
    }
}

impl Classify for SmsError {
    fn class(&self) -> Class {
        let class = match self.kind() {
            SmsErrorKind::Unknown => Class::unknown(),
            SmsErrorKind::RateLimited | SmsErrorKind::Unavailable => Class::failed().retryable(),
            _ => Class::failed(),
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
            SmsErrorKind::OptedOut => "the number's owner wants no messages",
            SmsErrorKind::RateLimited => "too many messages were sent",
            SmsErrorKind::Unavailable => "the SMS provider is not available",
            SmsErrorKind::Unknown => "the SMS provider did not say, so the message may have been sent",
            SmsErrorKind::Configuration => "the SMS provider is not set up",
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

impl From<SmsInvalid> for SmsError {
    fn from(invalid: SmsInvalid) -> Self {
        Self::new(SmsErrorKind::Invalid, invalid)
    }
}

impl From<PhoneNumberError> for SmsError {
    fn from(error: PhoneNumberError) -> Self {
        SmsInvalid::Number(error).into()
    }
}

/// What is wrong with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SmsInvalid {
    /// The number is none.
    #[error("the number is not valid: {0}")]
    Number(#[from] PhoneNumberError),
    /// It says nothing.
    #[error("it has no text")]
    NoText,
    /// NUL or another control character than a line break.
    #[error("it has a control character")]
    ControlCharacter,
    /// It is sent in more parts than allowed.
    #[error("it is sent in {count} parts, more than {limit}")]
    TooLong {
        /// In how many.
        count: usize,
        /// How many there may be.
        limit: usize,
    },
}
