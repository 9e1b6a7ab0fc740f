//! Mails kept, for tests to read.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use super::{Email, EmailError, EmailProvider, Sent};

/// Keeps every mail, and delivers none. Clones share what they keep.
///
/// See [`email`](super) for an example.
#[derive(Clone, Debug, Default)]
pub struct Memory(Arc<Mutex<Vec<Email>>>);

impl Memory {
    /// What was sent so far, oldest first.
    pub fn sent(&self) -> Vec<Email> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What was sent since the last call.
    pub fn take(&self) -> Vec<Email> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl EmailProvider for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    async fn send(&self, email: &Email) -> Result<Sent, EmailError> {
        email.check()?;
        let mut sent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sent.push(email.clone());
        Ok(Sent::by(self.name()).with_id(sent.len().to_string()))
    }
}
