//! The contract of mail providers.

use std::{fmt, sync::Arc};

use async_trait::async_trait;

use super::{Email, EmailError};

/// A provider that delivers mails. Implementations must fulfil this contract:
///
/// - The mail is [validated](Email::check), which includes that it has a sender, before anything is sent.
/// - All recipients or none: if the second recipient is refused, the mail is not sent to the first.
/// - Recipients in `bcc` are not visible to other recipients.
/// - Every call ends: an implementation has a timeout of its own.
/// - The error kind says what is certain: [`EmailErrorKind::Unavailable`](super::EmailErrorKind::Unavailable) only if the
///   mail was certainly not accepted, [`EmailErrorKind::Unknown`](super::EmailErrorKind::Unknown) whenever it may have been.
///
/// The macro `email_conformance!` of `omnistack-testkit` tests these laws:
///
/// - `sends_full_mail`: a mail that uses every feature of `Email` is sent, and the receipt has the name of the provider
/// - `sends_minimal_mail`: a mail with only a recipient, a sender, a subject and a text or an HTML body is sent
/// - `rejects_invalid_mail`: a mail that is invalid or too large fails with `Invalid`, which names what is wrong,
///   before the server is contacted
/// - `temporary_error_is_retryable`: a temporary refusal fails with `Unavailable` or `RateLimited`, is retryable, and
///   is a known failure
/// - `permanent_error_is_not_retryable`: a permanent refusal fails with `Refused`, is not retryable, and is a known
///   failure
/// - `missing_response_is_unknown`: a missing response ends in a timeout with `Unknown`, which is not retryable and
///   whose outcome is unknown
/// - `connection_failure_is_retryable`: a failed connection fails with `Unavailable`, is retryable, and is a known
///   failure
///
/// ```
/// use omnistack_core::{async_trait, email::{Email, EmailError, EmailProvider, EmailErrorKind, Mailer, MemoryProvider, SentMail}};
///
/// /// Delivers only to the team's addresses: for a system that holds a copy of the customers' data.
/// #[derive(Debug)]
/// struct Team<P>(P);
///
/// #[async_trait]
/// impl<P: EmailProvider> EmailProvider for Team<P> {
///     fn name(&self) -> &'static str {
///         self.0.name()
///     }
///
///     async fn send(&self, email: &Email) -> Result<SentMail, EmailError> {
///         email.check()?;
///         if email.recipients().any(|to| to.domain() != "example.com") {
///             return Err(EmailError::new(EmailErrorKind::Refused, "a recipient is not in the team"));
///         }
///         self.0.send(email).await
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// let mailer = Mailer::new(Team(MemoryProvider::default())).default_sender("shop@example.com".parse()?);
/// let letter = Email::to("ada@example.com").subject("Welcome").text("Hello.");
/// assert!(mailer.send(&letter).await.is_ok());
/// assert_eq!(mailer.send(&letter.cc("eve@example.net")).await.unwrap_err().kind(), EmailErrorKind::Refused);
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait EmailProvider: fmt::Debug + Send + Sync + 'static {
    /// Returns the provider's name for logs and metrics, such as `smtp`. It is short and never changes.
    fn name(&self) -> &'static str;

    /// Returns whether the provider supports idempotency keys: it delivers once what is sent twice with the same
    /// [idempotency key](Email::idempotency_key), so that a mail with a key may be sent again after any outcome.
    /// The default is `false`.
    fn supports_idempotency_keys(&self) -> bool {
        false
    }

    /// Sends a mail.
    ///
    /// # Errors
    /// Returns an [`EmailError`] with the [`EmailErrorKind`](super::EmailErrorKind) that says what is certain.
    async fn send(&self, email: &Email) -> Result<SentMail, EmailError>;

    /// Checks that the provider is available and accepts the app's credentials, without sending a mail. The default
    /// checks nothing and returns `Ok`.
    ///
    /// # Errors
    /// Returns an [`EmailError`] if the provider is not available or does not accept the credentials.
    async fn check_connection(&self) -> Result<(), EmailError> {
        Ok(())
    }
}

#[async_trait]
impl<P: EmailProvider + ?Sized> EmailProvider for Arc<P> {
    fn name(&self) -> &'static str {
        (**self).name()
    }

    fn supports_idempotency_keys(&self) -> bool {
        (**self).supports_idempotency_keys()
    }

    async fn send(&self, email: &Email) -> Result<SentMail, EmailError> {
        (**self).send(email).await
    }

    async fn check_connection(&self) -> Result<(), EmailError> {
        (**self).check_connection().await
    }
}

/// The receipt for a mail that a provider accepted.
///
/// ```
/// use omnistack_core::email::{Email, Mailer, MemoryProvider, SentMail};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// # let mailer = Mailer::new(MemoryProvider::default()).default_sender("shop@example.com".parse()?);
/// let sent = mailer.send(&Email::to("ada@example.com").subject("Welcome").text("Hello, Ada.")).await?;
/// let receipt = format!("{} accepted it as {}", sent.provider, sent.id.as_deref().unwrap_or("unknown"));
/// assert_eq!(receipt, "memory accepted it as 1");
///
/// // A custom provider returns it like this:
/// assert_eq!(SentMail::new("memory").with_provider_id("1"), sent);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SentMail {
    /// The [name](EmailProvider::name) of the provider.
    pub provider: &'static str,
    /// The provider's id of the mail, as its events and its support use it. For SMTP, the `Message-ID`.
    pub id: Option<String>,
}

impl SentMail {
    /// Creates a receipt of this provider, without an id.
    pub fn new(provider: &'static str) -> Self {
        Self { provider, id: None }
    }

    /// Sets the provider's id of the mail.
    #[must_use]
    pub fn with_provider_id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }
}
