//! Errors of sending mail.

use std::{error::Error as StdError, fmt, time::Duration};

use super::AddressError;
use crate::resilience::{Classification, Classify, Outcome};

/// An error of sending a mail: the mail was not accepted by the provider, or it is unknown whether it was.
///
/// ```
/// use omnistack_core::email::{EmailError, EmailErrorKind};
/// use std::time::Duration;
///
/// let error = EmailError::new(EmailErrorKind::RateLimited, "429 from the provider").with_retry_after(Duration::from_secs(30));
/// assert!(error.is_retryable());
/// assert_eq!(error.retry_after(), Some(Duration::from_secs(30)));
/// assert_eq!(error.to_string(), "too many mails were sent: 429 from the provider");
///
/// // The mail may have arrived: sending it again may deliver it twice.
/// assert!(!EmailError::new(EmailErrorKind::Unknown, "no response").is_retryable());
/// ```
pub struct EmailError(Box<EmailErrorInner>);

struct EmailErrorInner {
    kind: EmailErrorKind,
    retry_after: Option<Duration>,
    source: Box<dyn StdError + Send + Sync>,
}

/// The kind of an [`EmailError`].
///
/// ```
/// use omnistack_core::{email::{Email, EmailErrorKind, Mailer, MemoryProvider}, http::{Error, StatusCode}};
///
/// async fn send(mailer: &Mailer, email: &Email) -> Result<(), Error> {
///     let Err(error) = mailer.send(email).await else { return Ok(()) };
///     Err(match error.kind() {
///         EmailErrorKind::Invalid | EmailErrorKind::Refused => Error::bad_request("MAIL_REFUSED", "the mail was refused"),
///         EmailErrorKind::RateLimited | EmailErrorKind::Unavailable => Error::unavailable("MAIL_UNAVAILABLE", "try again later"),
///         _ => Error::internal(error),
///     })
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// let refused = send(&Mailer::new(MemoryProvider::default()), &Email::to("ada@example.com")).await.unwrap_err();
/// assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EmailErrorKind {
    /// The mail is not valid: see [`InvalidEmail`]. Nothing was sent.
    Invalid,
    /// The provider refuses this mail permanently: the recipient is unknown, the sender is not allowed, or the mail
    /// is too large.
    Refused,
    /// Too many mails were sent. This mail was not accepted; the caller may try again after
    /// [`retry_after`](EmailError::retry_after).
    RateLimited,
    /// The provider is unavailable or asks to try again later. The mail was not accepted; the caller may try again.
    Unavailable,
    /// No response arrived, so the provider may have accepted the mail. Sending it again may deliver it twice.
    Unknown,
    /// The configuration is wrong: the provider does not accept the key or password, or the server does not offer
    /// the required encryption. Nothing was sent, and nothing will be until an operator corrects the settings.
    Configuration,
}

impl EmailErrorKind {
    /// Returns the name for logs and metrics: `invalid`, `refused`, `rate_limited`, `unavailable`, `unknown` or
    /// `configuration`.
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
    /// Creates an error of a kind, with its cause. It is for implementors of
    /// [`EmailProvider`](super::EmailProvider).
    pub fn new(kind: EmailErrorKind, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self(Box::new(EmailErrorInner { kind, retry_after: None, source: source.into() }))
    }

    /// Sets how long the provider asks to wait before the next attempt.
    #[must_use]
    pub fn with_retry_after(mut self, wait: Duration) -> Self {
        self.0.retry_after = Some(wait);
        self
    }

    /// Changes the kind.
    #[must_use]
    pub fn with_kind(mut self, kind: EmailErrorKind) -> Self {
        self.0.kind = kind;
        self
    }

    /// Returns the kind.
    pub fn kind(&self) -> EmailErrorKind {
        self.0.kind
    }

    /// Returns whether the same mail may be sent again without arriving twice. After an
    /// [unknown](EmailErrorKind::Unknown) outcome, send it again only if a duplicate is acceptable, or if it has an
    /// [idempotency key](super::Email::idempotency_key) and the provider supports them.
    pub fn is_retryable(&self) -> bool {
        matches!(self.kind(), EmailErrorKind::RateLimited | EmailErrorKind::Unavailable)
    }

    /// Returns how long the provider asks to wait, if it does.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Returns [`Failed`](Outcome::Failed) if the mail was certainly not accepted and [`Unknown`](Outcome::Unknown)
    /// if it may have been; never [`Success`](Outcome::Success).
    pub fn outcome(&self) -> Outcome {
        self.class().outcome()
    }

    /// Returns what is wrong with the mail, if the kind is [`InvalidEmail`](EmailErrorKind::Invalid).
    pub fn invalid(&self) -> Option<&InvalidEmail> {
        self.0.source.downcast_ref()
    }
}

impl Classify for EmailError {
    fn class(&self) -> Classification {
        let class = match self.kind() {
            EmailErrorKind::Unknown => Classification::unknown().retryable(),
            EmailErrorKind::RateLimited | EmailErrorKind::Unavailable => Classification::failed().retryable(),
            EmailErrorKind::Invalid | EmailErrorKind::Refused | EmailErrorKind::Configuration => {
                Classification::failed()
            }
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
            EmailErrorKind::Invalid => "the mail can't be sent",
            EmailErrorKind::Refused => "the mail was refused",
            EmailErrorKind::RateLimited => "too many mails were sent",
            EmailErrorKind::Unavailable => "the mail provider is not available",
            EmailErrorKind::Unknown => "the mail provider did not respond, so the mail may have been sent",
            EmailErrorKind::Configuration => "the mail provider is not configured correctly",
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

impl From<InvalidEmail> for EmailError {
    fn from(invalid: InvalidEmail) -> Self {
        Self::new(EmailErrorKind::Invalid, invalid)
    }
}

impl From<AddressError> for EmailError {
    fn from(error: AddressError) -> Self {
        InvalidEmail::Address(error).into()
    }
}

/// The reason why a mail is not valid.
///
/// ```
/// use omnistack_core::email::{Email, InvalidEmail};
///
/// fn advice(invalid: &InvalidEmail) -> String {
///     match invalid {
///         InvalidEmail::NoSubject => "Add a subject.".into(),
///         InvalidEmail::TooLarge { limit, .. } => format!("Remove some attachments: the limit is {limit} bytes."),
///         other => other.to_string(),
///     }
/// }
///
/// let letter = Email::to("ada@example.com").from("shop@example.com").text("Hello.");
/// assert_eq!(letter.check().map_err(|invalid| advice(&invalid)), Err("Add a subject.".into()));
/// let hostile = letter.subject("Hello\r\nBcc: eve@example.com");
/// assert_eq!(hostile.check(), Err(InvalidEmail::ControlCharacter("the subject")));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidEmail {
    /// An address is not valid.
    #[error("an address is not valid: {0}")]
    Address(#[from] AddressError),
    /// `to` is empty. Providers need a recipient in `to`, even if there are copies.
    #[error("it has no recipient in `to`")]
    NoRecipients,
    /// There are more recipients than [`MAX_RECIPIENTS`](super::Email::MAX_RECIPIENTS).
    #[error("it has {0} recipients, more than {max}", max = super::Email::MAX_RECIPIENTS)]
    TooManyRecipients(usize),
    /// Neither the mail nor the app's settings name a sender.
    #[error("it has no sender: set EMAIL_FROM, or the mail's `from`")]
    NoSender,
    /// The subject is empty.
    #[error("it has no subject")]
    NoSubject,
    /// The mail has neither text nor HTML.
    #[error("it has neither text nor HTML")]
    NoBody,
    /// A field that goes into a header has a line break, NUL or another control character, which could begin
    /// another header.
    #[error("{0} has a line break or another control character")]
    ControlCharacter(&'static str),
    /// A field is longer than allowed.
    #[error("{field} is longer than {limit} bytes")]
    TooLong {
        /// Name of the field.
        field: &'static str,
        /// Largest length, in bytes.
        limit: usize,
    },
    /// The name of an extra header is not a valid header name, or is the name of a header that the message sets
    /// itself.
    #[error("`{0}` can't be set as an extra header")]
    Header(String),
    /// A tag's name or value has other characters than ASCII letters, digits, `_` and `-`, or the name occurs
    /// twice.
    #[error("tag `{0}` is not valid: use ASCII letters, digits, `_` and `-`, and each name once")]
    Tag(String),
    /// An attachment has no name, or its media type or content id is not valid in a header.
    #[error("attachment `{0}` has no name, or its media type or content id is not valid")]
    Attachment(String),
    /// The unsubscribe URL is not `https`, which one-click unsubscription needs, or has characters that are not
    /// allowed.
    #[error("the unsubscribe URL is not valid; one-click unsubscription needs https")]
    Unsubscribe,
    /// The idempotency key is empty, longer than 256 bytes or not visible ASCII.
    #[error("the idempotency key must have 1 to 256 visible ASCII characters")]
    IdempotencyKey,
    /// Text, HTML and attachments (as base64) are larger than allowed.
    #[error("its size is {size} bytes, more than the limit of {limit}")]
    TooLarge {
        /// Size of the mail, in bytes.
        size: u64,
        /// Largest size, in bytes.
        limit: u64,
    },
}
