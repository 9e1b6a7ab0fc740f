//! Why a mail was not handed over.

use std::{error::Error as StdError, fmt, time::Duration};

use super::AddressError;
use crate::resilience::{Class, Classify, Outcome};

/// A mail that was not handed over, or may not have been.
///
/// ```
/// use omnistack_core::email::{EmailError, ErrorKind};
/// use std::time::Duration;
///
/// let error = EmailError::new(ErrorKind::RateLimited, "429 from the provider").after(Duration::from_secs(30));
/// assert!(error.is_retryable());
/// assert_eq!(error.retry_after(), Some(Duration::from_secs(30)));
/// assert_eq!(error.to_string(), "too many mails were sent: 429 from the provider");
///
/// // It may have arrived: not to be sent again without a thought.
/// assert!(!EmailError::new(ErrorKind::Unknown, "no answer").is_retryable());
/// ```
pub struct EmailError(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    retry_after: Option<Duration>,
    source: Box<dyn StdError + Send + Sync>,
}

/// What an error of a provider means.
///
/// ```
/// use omnistack_core::{email::{Email, ErrorKind, Mailer, Memory}, http::{Error, StatusCode}};
///
/// async fn send(mailer: &Mailer, email: &Email) -> Result<(), Error> {
///     let Err(error) = mailer.send(email).await else { return Ok(()) };
///     Err(match error.kind() {
///         ErrorKind::Invalid | ErrorKind::Refused => Error::bad_request("MAIL_REFUSED", "nobody takes this mail"),
///         ErrorKind::RateLimited | ErrorKind::Unavailable => Error::unavailable("MAIL_AWAY", "try again later"),
///         _ => Error::internal(error),
///     })
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// let refused = send(&Mailer::new(Memory::default()), &Email::to("ada@example.com")).await.unwrap_err();
/// assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The mail can't be sent by anybody: see [`Invalid`]. Nothing was sent.
    Invalid,
    /// The provider will not take this mail, today or tomorrow: an unknown recipient, a sender it does not know, too large.
    Refused,
    /// Too many mails. Nothing was sent, and it may be tried again, after [`retry_after`](EmailError::retry_after).
    RateLimited,
    /// The provider is away, or says "later". Certainly not taken, and it may be tried again.
    Unavailable,
    /// No answer came, so it may have been taken. Trying again may deliver it twice.
    Unknown,
    /// The settings are wrong: a key or password is not accepted, encryption is required and not offered. Nothing was sent,
    /// and nothing will be until somebody changes them.
    Configuration,
}

impl ErrorKind {
    /// `invalid`, `refused`, `rate_limited`, `unavailable`, `unknown` or `configuration`: for logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Refused => "refused",
            Self::RateLimited => "rate_limited",
            Self::Unavailable => "unavailable",
            Self::Unknown => "unknown",
            Self::Configuration => "configuration",
        }
    }
}

impl EmailError {
    /// Of a kind, with what caused it: for implementors of [`EmailProvider`](super::EmailProvider).
    pub fn new(kind: ErrorKind, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self(Box::new(Inner { kind, retry_after: None, source: source.into() }))
    }

    /// Not before this much time has passed, as the provider asks.
    #[must_use]
    pub fn after(mut self, wait: Duration) -> Self {
        self.0.retry_after = Some(wait);
        self
    }

    /// The same, meaning something else.
    #[cfg(feature = "email")]
    pub(super) fn of_kind(mut self, kind: ErrorKind) -> Self {
        self.0.kind = kind;
        self
    }

    /// What it means.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether the same mail may be sent again, without arriving twice. An [unknown](ErrorKind::Unknown) outcome may only be
    /// repeated by who bears that, or with an [idempotency key](super::Email::idempotency_key) the provider knows.
    pub fn is_retryable(&self) -> bool {
        matches!(self.kind(), ErrorKind::RateLimited | ErrorKind::Unavailable)
    }

    /// How long the provider asks to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Whether the mail was taken: never [`Success`](Outcome::Success).
    pub fn outcome(&self) -> Outcome {
        self.class().outcome()
    }

    /// What is wrong with the mail, of kind [`Invalid`](ErrorKind::Invalid).
    pub fn invalid(&self) -> Option<&Invalid> {
        self.0.source.downcast_ref()
    }
}

impl Classify for EmailError {
    fn class(&self) -> Class {
        let class = match self.kind() {
            ErrorKind::Unknown => Class::unknown().retryable(),
            ErrorKind::RateLimited | ErrorKind::Unavailable => Class::failed().retryable(),
            ErrorKind::Invalid | ErrorKind::Refused | ErrorKind::Configuration => Class::failed(),
        };
        match self.retry_after() {
            Some(wait) => class.retry_after(wait),
            None => class,
        }
    }
}

impl fmt::Display for EmailError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let means = match self.kind() {
            ErrorKind::Invalid => "the mail can't be sent",
            ErrorKind::Refused => "the mail was refused",
            ErrorKind::RateLimited => "too many mails were sent",
            ErrorKind::Unavailable => "the mail provider is not available",
            ErrorKind::Unknown => "the mail provider did not answer, so the mail may have been sent",
            ErrorKind::Configuration => "the mail provider is not set up",
        };
        write!(f, "{means}: {}", self.0.source)
    }
}

impl fmt::Debug for EmailError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmailError").field("kind", &self.0.kind).field("source", &self.0.source).finish()
    }
}

impl StdError for EmailError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(self.0.source.as_ref())
    }
}

impl From<Invalid> for EmailError {
    fn from(invalid: Invalid) -> Self {
        Self::new(ErrorKind::Invalid, invalid)
    }
}

impl From<AddressError> for EmailError {
    fn from(error: AddressError) -> Self {
        Invalid::Address(error).into()
    }
}

/// What is wrong with a mail.
///
/// ```
/// use omnistack_core::email::{Email, Invalid};
///
/// fn advice(invalid: &Invalid) -> String {
///     match invalid {
///         Invalid::NoSubject => "Say what it is about.".into(),
///         Invalid::TooLarge { limit, .. } => format!("Leave out some files: {limit} bytes is the most."),
///         other => other.to_string(),
///     }
/// }
///
/// let letter = Email::to("ada@example.com").from("shop@example.com").text("Hello.");
/// assert_eq!(letter.check().map_err(|invalid| advice(&invalid)), Err("Say what it is about.".into()));
/// let hostile = letter.subject("Hello\r\nBcc: eve@example.com");
/// assert_eq!(hostile.check(), Err(Invalid::ControlCharacter("the subject")));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Invalid {
    /// An address is none.
    #[error("an address is not valid: {0}")]
    Address(#[from] AddressError),
    /// Nobody in `to`. Providers ask for one, even where there are copies.
    #[error("it is to nobody")]
    NoRecipients,
    /// More recipients than [`MAX_RECIPIENTS`](super::Email::MAX_RECIPIENTS).
    #[error("it has {0} recipients, more than {max}", max = super::Email::MAX_RECIPIENTS)]
    TooManyRecipients(usize),
    /// Neither the mail nor the app says whom it is from.
    #[error("it has no sender: set EMAIL_FROM, or `from` of the mail")]
    NoSender,
    /// No subject.
    #[error("it has no subject")]
    NoSubject,
    /// Neither text nor HTML.
    #[error("it has neither text nor HTML")]
    NoBody,
    /// A line break, NUL or other control character where one could begin a header of its own.
    #[error("{0} has a line break or another control character")]
    ControlCharacter(&'static str),
    /// Longer than allowed, in bytes.
    #[error("{field} is longer than {limit} bytes")]
    TooLong {
        /// What.
        field: &'static str,
        /// How long it may be.
        limit: usize,
    },
    /// A header's name is no name, or one that the message sets itself.
    #[error("`{0}` can't be set as an extra header")]
    Header(String),
    /// A tag's name or value has other characters than ASCII letters, digits, `_` and `-`, or is there twice.
    #[error("tag `{0}` is not valid: ASCII letters, digits, `_` and `-`, each name once")]
    Tag(String),
    /// An attachment's media type or content id can't stand in a header.
    #[error("attachment `{0}` has no usable media type or content id")]
    Attachment(String),
    /// The address to unsubscribe at is no `https` URL, which one click needs, or has characters a URL can't have.
    #[error("the address to unsubscribe at is not a usable URL; one click needs https")]
    Unsubscribe,
    /// An idempotency key that is empty, longer than 256 bytes or not visible ASCII.
    #[error("the idempotency key is not 1 to 256 visible ASCII characters")]
    IdempotencyKey,
    /// Text, HTML and attachments, as base64, are larger than allowed.
    #[error("it is {size} bytes large as it is sent, more than {limit}")]
    TooLarge {
        /// How large it is.
        size: u64,
        /// How large it may be.
        limit: u64,
    },
}
