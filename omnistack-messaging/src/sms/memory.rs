//! The provider for tests, which keeps messages in memory.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use super::{MAX_SEGMENTS, SentSms, SmsError, SmsMessage, SmsProvider};

/// A provider for tests that keeps every message and delivers none. Clones share the kept messages.
///
/// See [`sms`](super) for an example.
#[derive(Clone, Debug, Default)]
pub struct SmsMemory(Arc<Mutex<Vec<SmsMessage>>>);

impl SmsMemory {
    /// Returns all messages sent so far, the oldest first.
    pub fn sent(&self) -> Vec<SmsMessage> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Removes and returns the messages sent since the last call, the oldest first.
    pub fn take(&self) -> Vec<SmsMessage> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl SmsProvider for SmsMemory {
    fn name(&self) -> &'static str {
        "memory"
    }

    async fn send(&self, message: &SmsMessage) -> Result<SentSms, SmsError> {
        message.check(MAX_SEGMENTS)?;
        let mut sent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sent.push(message.clone());
        Ok(SentSms::new(self.name()).with_provider_id(sent.len().to_string()))
    }
}
