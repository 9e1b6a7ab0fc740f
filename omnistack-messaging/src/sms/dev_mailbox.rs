//! The dev mailbox for text messages.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use axum::{extract::State, routing::get};
use serde::Serialize;

use super::{PhoneNumber, SentSms, SmsError, SmsMessage, SmsProvider};
use omnistack_core::{
    clock::{Clock, Timestamp},
    http::Json,
    module::Api,
};

/// Number of messages kept; older ones are dropped.
const MAX_MESSAGES: usize = 200;

/// The dev mailbox for text messages: keeps the last 200 messages in memory, and passes each to another provider.
/// With the module [`Sms`](super::Sms) and outside production, they are shown at `/dev/sms.json`, and with the
/// mails at `/dev/mailbox`. Clones share the kept messages.
#[derive(Clone, Debug)]
pub struct DevSmsMailbox {
    inner: Arc<dyn SmsProvider>,
    clock: Clock,
    kept: Arc<Mutex<VecDeque<ReceivedSms>>>,
}

/// A text message in the dev mailbox ([`DevSmsMailbox`]).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ReceivedSms {
    /// The time at which the message was sent.
    pub at: Timestamp,
    /// The recipient's number.
    pub to: PhoneNumber,
    /// The text.
    pub text: String,
}

impl DevSmsMailbox {
    /// Creates a dev mailbox that passes messages to `inner`. A message that `inner` does not accept is not kept.
    pub fn new(inner: impl SmsProvider, clock: Clock) -> Self {
        Self { inner: Arc::new(inner), clock, kept: Arc::default() }
    }

    /// Returns the kept messages, the oldest first.
    pub fn messages(&self) -> Vec<ReceivedSms> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

#[async_trait]
impl SmsProvider for DevSmsMailbox {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    async fn send(&self, message: &SmsMessage) -> Result<SentSms, SmsError> {
        let sent = self.inner.send(message).await?;
        let received = ReceivedSms { at: self.clock.now(), to: message.to.clone(), text: message.text.clone() };
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MAX_MESSAGES {
            kept.pop_front();
        }
        kept.push_back(received);
        Ok(sent)
    }

    async fn check_connection(&self) -> Result<(), SmsError> {
        self.inner.check_connection().await
    }
}

/// Returns the route `/dev/sms.json`, for developers and their tests. It does not exist in production.
pub(crate) fn routes() -> Api<DevSmsMailbox> {
    Api::new().hidden("/dev/sms.json", get(list))
}

async fn list(State(mailbox): State<DevSmsMailbox>) -> Json<Vec<ReceivedSms>> {
    Json(mailbox.messages().into_iter().rev().collect())
}
