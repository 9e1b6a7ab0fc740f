//! Messages kept, for tests to read.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use super::{MAX_SEGMENTS, SmsError, SmsMessage, SmsProvider, SmsSent};

/// Keeps every message, and delivers none. Clones share what they keep.
///
/// See [`sms`](super) for an example.
#[derive(Clone, Debug, Default)]
pub struct SmsMemory(Arc<Mutex<Vec<SmsMessage>>>);

impl SmsMemory {
    /// What was sent so far, oldest first.
    pub fn sent(&self) -> Vec<SmsMessage> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What was sent since the last call.
    pub fn take(&self) -> Vec<SmsMessage> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl SmsProvider for SmsMemory {
    fn name(&self) -> &'static str {
        "memory"
    }

    async fn send(&self, message: &SmsMessage) -> Result<SmsSent, SmsError> {
        message.check(MAX_SEGMENTS)?;
        let mut sent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sent.push(message.clone());
        Ok(SmsSent::by(self.name()).with_id(sent.len().to_string()))
    }
}
