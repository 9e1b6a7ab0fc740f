//! The handle that sends text messages through the provider.

use std::{fmt, sync::Arc};

use super::{MAX_SEGMENTS, SentSms, SmsError, SmsMessage, SmsProvider};

/// The handle by which the app sends text messages. It is cheap to clone.
///
/// [`send`](Self::send) calls the provider directly, and so takes as long as the provider does. Call it in jobs; in
/// requests, use the [`SmsOutbox`](super::SmsOutbox).
#[derive(Clone)]
pub struct SmsSender {
    provider: Arc<dyn SmsProvider>,
    limit: usize,
}

impl SmsSender {
    /// Creates a sender that sends through this provider, with a limit of [`MAX_SEGMENTS`] segments.
    pub fn new(provider: impl SmsProvider) -> Self {
        Self { provider: Arc::new(provider), limit: MAX_SEGMENTS }
    }

    /// Sets the largest number of segments of a message, at most [`MAX_SEGMENTS`].
    #[must_use]
    pub fn max_segments(mut self, segments: usize) -> Self {
        self.limit = segments.min(MAX_SEGMENTS);
        self
    }

    /// Returns the provider.
    pub fn provider(&self) -> &Arc<dyn SmsProvider> {
        &self.provider
    }

    /// Sends a message.
    ///
    /// # Errors
    /// Returns an [`SmsError`] if the message is not valid, was not accepted, or if it is unknown whether it was:
    /// see [`SmsErrorKind`](super::SmsErrorKind).
    pub async fn send(&self, message: &SmsMessage) -> Result<SentSms, SmsError> {
        message.check(self.limit)?;
        self.provider.send(message).await
    }

    /// Checks that the provider is available and accepts the app's credentials, without sending a message. Returns
    /// `Ok` for a provider that has no such check.
    ///
    /// # Errors
    /// Returns an [`SmsError`] if the provider is not available or does not accept the credentials.
    pub async fn check_connection(&self) -> Result<(), SmsError> {
        self.provider.check_connection().await
    }
}

impl fmt::Debug for SmsSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SmsSender").field(&self.provider).finish()
    }
}
