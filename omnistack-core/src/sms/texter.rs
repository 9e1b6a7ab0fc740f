//! The handle that speaks to the provider.

use std::{fmt, sync::Arc};

use super::{MAX_SEGMENTS, SmsError, SmsMessage, SmsProvider, SmsSent};

/// The app's way to send text messages. Cheap to clone.
///
/// [`send`](Self::send) speaks to the provider now, and so takes as long as the provider does; it is for jobs.
/// [`SmsOutbox`](super::SmsOutbox) is for requests.
#[derive(Clone)]
pub struct Texter {
    provider: Arc<dyn SmsProvider>,
    limit: usize,
}

impl Texter {
    /// Through this provider.
    pub fn new(provider: impl SmsProvider) -> Self {
        Self { provider: Arc::new(provider), limit: MAX_SEGMENTS }
    }

    /// In how many parts a message may be sent, [`MAX_SEGMENTS`] at most.
    #[must_use]
    pub fn limit(mut self, segments: usize) -> Self {
        self.limit = segments.min(MAX_SEGMENTS);
        self
    }

    /// Who delivers.
    pub fn provider(&self) -> &Arc<dyn SmsProvider> {
        &self.provider
    }

    /// Sends a message.
    ///
    /// # Errors
    /// It can't be sent, was not taken, or may not have been: see [`SmsErrorKind`](super::SmsErrorKind).
    pub async fn send(&self, message: &SmsMessage) -> Result<SmsSent, SmsError> {
        message.check(self.limit)?;
        self.provider.send(message).await
    }
}

impl fmt::Debug for Texter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Texter").field(&self.provider).finish()
    }
}
