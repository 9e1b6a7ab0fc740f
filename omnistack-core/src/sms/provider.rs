//! What a provider does.

use std::{fmt, sync::Arc};

use async_trait::async_trait;

use super::{SmsError, SmsMessage};

/// Hands messages over to somebody who delivers them: the implementor's contract.
///
/// - The message is [checked](SmsMessage::check) before anything is sent.
/// - Every call ends: an implementation has a deadline of its own.
/// - The error says what is certain. [`SmsErrorKind::Unavailable`](super::SmsErrorKind::Unavailable) only where the message was
///   certainly not taken, [`SmsErrorKind::Unknown`](super::SmsErrorKind::Unknown) whenever it may have been.
/// - It does not try again by itself.
#[async_trait]
pub trait SmsProvider: fmt::Debug + Send + Sync + 'static {
    /// Short and stable, for logs and metrics: `twilio`.
    fn name(&self) -> &'static str;

    /// Hands one over.
    ///
    /// # Errors
    /// See [`SmsErrorKind`](super::SmsErrorKind).
    async fn send(&self, message: &SmsMessage) -> Result<SmsSent, SmsError>;
}

#[async_trait]
impl<P: SmsProvider + ?Sized> SmsProvider for Arc<P> {
    fn name(&self) -> &'static str {
        (**self).name()
    }

    async fn send(&self, message: &SmsMessage) -> Result<SmsSent, SmsError> {
        (**self).send(message).await
    }
}

/// A message a provider took over.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SmsSent {
    /// Who took it: the [name](SmsProvider::name) of the provider.
    pub provider: &'static str,
    /// The provider's name for the message, as its webhooks know it.
    pub id: Option<String>,
}

impl SmsSent {
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
