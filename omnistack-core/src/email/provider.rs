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
