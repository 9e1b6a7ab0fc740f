//! The contract of SMS providers.

use std::{fmt, sync::Arc};

use async_trait::async_trait;

use super::{SmsError, SmsMessage};

/// A provider that delivers text messages. Implementations must fulfil this contract:
///
/// - The message is [validated](SmsMessage::check) before anything is sent.
/// - Every call ends: an implementation has a timeout of its own.
/// - The error kind says what is certain: [`SmsErrorKind::Unavailable`](super::SmsErrorKind::Unavailable) only if
///   the message was certainly not accepted, [`SmsErrorKind::Unknown`](super::SmsErrorKind::Unknown) whenever it
///   may have been.
/// - An implementation does not retry.
///
/// The macro `sms_conformance!` of `omnistack-testkit` tests these laws:
///
/// - `sends_messages`: a message in any script, of up to `MAX_SEGMENTS` segments, is sent, and the receipt has the name
///   of the provider
/// - `rejects_invalid_message`: an invalid message fails with `Invalid`, which names what is wrong, before the server
///   is contacted
/// - `temporary_error_is_retryable`: a temporary refusal fails with `Unavailable` or `RateLimited`, is retryable, and
///   is a known failure
/// - `permanent_error_is_not_retryable`: a permanent refusal fails with `Refused`, is not retryable, and is a known
///   failure
/// - `opt_out_is_reported`: the refusal for a recipient who has opted out fails with `OptedOut`, is not retryable, and
///   is a known failure
/// - `missing_response_is_unknown`: a missing or broken response ends with `Unknown`, which is not retryable and whose
///   outcome is unknown, after a single request
/// - `connection_failure_is_retryable`: a failed connection fails with `Unavailable`, is retryable, and is a known
///   failure
#[async_trait]
pub trait SmsProvider: fmt::Debug + Send + Sync + 'static {
    /// Returns the provider's name for logs and metrics, such as `twilio`. It is short and never changes.
    fn name(&self) -> &'static str;

    /// Sends a message.
    ///
    /// # Errors
    /// Returns an [`SmsError`] with the [`SmsErrorKind`](super::SmsErrorKind) that says what is certain.
    async fn send(&self, message: &SmsMessage) -> Result<SentSms, SmsError>;

    /// Checks that the provider is available and accepts the app's credentials, without sending a message. The default
    /// checks nothing and returns `Ok`.
    ///
    /// # Errors
    /// Returns an [`SmsError`] if the provider is not available or does not accept the credentials.
    async fn check_connection(&self) -> Result<(), SmsError> {
        Ok(())
    }
}

#[async_trait]
impl<P: SmsProvider + ?Sized> SmsProvider for Arc<P> {
    fn name(&self) -> &'static str {
        (**self).name()
    }

    async fn send(&self, message: &SmsMessage) -> Result<SentSms, SmsError> {
        (**self).send(message).await
    }

    async fn check_connection(&self) -> Result<(), SmsError> {
        (**self).check_connection().await
    }
}

/// The receipt for a text message that a provider accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SentSms {
    /// The [name](SmsProvider::name) of the provider.
    pub provider: &'static str,
    /// The provider's id of the message, as its webhooks use it.
    pub id: Option<String>,
}

impl SentSms {
    /// Creates a receipt of this provider, without an id.
    pub fn new(provider: &'static str) -> Self {
        Self { provider, id: None }
    }

    /// Sets the provider's id of the message.
    #[must_use]
    pub fn with_provider_id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }
}
