//! Messages shown instead of sent, while developing.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use axum::{extract::State, routing::get};
use serde::Serialize;

use super::{PhoneNumber, SmsError, SmsMessage, SmsProvider, SmsSent};
use crate::{
    app::Api,
    clock::{Clock, Timestamp},
    http::Json,
};

/// Messages kept at most.
const KEPT: usize = 200;

/// Keeps the last 200 messages, in memory, and hands each to another provider as well. With the module [`Sms`](super::Sms) and
/// outside production, what it has is at `/dev/sms.json`, and beside the mails of `/dev/mailbox`. Clones share what they keep.
#[derive(Clone, Debug)]
pub struct SmsMailbox {
    inner: Arc<dyn SmsProvider>,
    clock: Clock,
    kept: Arc<Mutex<VecDeque<SmsReceived>>>,
}

/// A message in an [`SmsMailbox`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SmsReceived {
    /// When it came.
    pub at: Timestamp,
    /// Whom to.
    pub to: PhoneNumber,
    /// What it says.
    pub text: String,
}

impl SmsMailbox {
    /// Around a provider: a message it does not take is not kept.
    pub fn new(inner: impl SmsProvider, clock: Clock) -> Self {
        Self { inner: Arc::new(inner), clock, kept: Arc::default() }
    }

    /// The messages, the oldest first.
    pub fn messages(&self) -> Vec<SmsReceived> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

#[async_trait]
impl SmsProvider for SmsMailbox {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    async fn send(&self, message: &SmsMessage) -> Result<SmsSent, SmsError> {
        let sent = self.inner.send(message).await?;
        let received = SmsReceived { at: self.clock.now(), to: message.to.clone(), text: message.text.clone() };
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT {
            kept.pop_front();
        }
        kept.push_back(received);
        Ok(sent)
    }
}

/// `/dev/sms.json`, for developers and their tests. Never in production.
pub(super) fn routes() -> Api<SmsMailbox> {
    Api::new().hidden("/dev/sms.json", get(list))
}

async fn list(State(mailbox): State<SmsMailbox>) -> Json<Vec<SmsReceived>> {
    Json(mailbox.messages().into_iter().rev().collect())
}
