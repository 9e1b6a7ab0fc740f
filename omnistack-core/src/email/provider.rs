//! What a provider does.

use std::{fmt, sync::Arc};

use async_trait::async_trait;

use super::{Email, EmailError};

/// Hands mails over to somebody who delivers them: the implementor's contract.
///
/// - The mail is [checked](Email::check), and has a sender, before anything is sent.
/// - All recipients or none: a mail whose second recipient is refused is not sent to the first.
/// - Recipients in `bcc` are told to nobody.
/// - Every call ends: an implementation has a deadline of its own.
/// - The error says what is certain. [`ErrorKind::Unavailable`](super::ErrorKind::Unavailable) only where the mail was certainly
///   not taken, [`ErrorKind::Unknown`](super::ErrorKind::Unknown) whenever it may have been.
///
/// ```
/// use omnistack_core::{async_trait, email::{Email, EmailError, EmailProvider, ErrorKind, Mailer, Memory, Sent}};
///
/// /// Delivers to the team and to nobody else: for a system that holds a copy of what customers have.
/// #[derive(Debug)]
/// struct Team<P>(P);
///
/// #[async_trait]
/// impl<P: EmailProvider> EmailProvider for Team<P> {
///     fn name(&self) -> &'static str {
///         self.0.name()
///     }
///
///     async fn send(&self, email: &Email) -> Result<Sent, EmailError> {
///         email.check()?;
///         if email.recipients().any(|to| to.domain() != "example.com") {
///             return Err(EmailError::new(ErrorKind::Refused, "it is not to the team"));
///         }
///         self.0.send(email).await
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// let mailer = Mailer::new(Team(Memory::default())).from("shop@example.com".parse()?);
/// let letter = Email::to("ada@example.com").subject("Welcome").text("Hello.");
/// assert!(mailer.send(&letter).await.is_ok());
/// assert_eq!(mailer.send(&letter.cc("eve@example.net")).await.unwrap_err().kind(), ErrorKind::Refused);
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait EmailProvider: fmt::Debug + Send + Sync + 'static {
    /// Short and stable, for logs and metrics: `smtp`.
    fn name(&self) -> &'static str;

    /// Whether it delivers once what is sent twice with the same [idempotency key](Email::idempotency_key), so that a mail with
    /// one may be sent again whatever became of it. Unless said, not.
    fn knows_keys(&self) -> bool {
        false
    }

    /// Hands one over.
    ///
    /// # Errors
    /// See [`ErrorKind`](super::ErrorKind).
    async fn send(&self, email: &Email) -> Result<Sent, EmailError>;
}

#[async_trait]
impl<P: EmailProvider + ?Sized> EmailProvider for Arc<P> {
    fn name(&self) -> &'static str {
        (**self).name()
    }

    fn knows_keys(&self) -> bool {
        (**self).knows_keys()
    }

    async fn send(&self, email: &Email) -> Result<Sent, EmailError> {
        (**self).send(email).await
    }
}

/// A mail a provider took over.
///
/// ```
/// use omnistack_core::email::{Email, Mailer, Memory, Sent};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// # let mailer = Mailer::new(Memory::default()).from("shop@example.com".parse()?);
/// let sent = mailer.send(&Email::to("ada@example.com").subject("Welcome").text("Hello, Ada.")).await?;
/// let kept = format!("{} has it as {}", sent.provider, sent.id.as_deref().unwrap_or("no number"));
/// assert_eq!(kept, "memory has it as 1");
///
/// // As a provider of your own says it.
/// assert_eq!(Sent::by("memory").with_id("1"), sent);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sent {
    /// Who took it: the [name](EmailProvider::name) of the provider.
    pub provider: &'static str,
    /// The provider's name for the mail, as its events and its support know it. For SMTP, the `Message-ID`.
    pub id: Option<String>,
}

impl Sent {
    /// Taken by this provider.
    pub fn by(provider: &'static str) -> Self {
        Self { provider, id: None }
    }

    /// Under this name.
    #[must_use]
    pub fn with_id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }
}
