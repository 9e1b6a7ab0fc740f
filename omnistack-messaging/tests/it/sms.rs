//! Tests of text messages: sending at most once, delivery reports and suppression.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by a panic")]

mod laws;
mod numbers;
mod operators;
mod peer;
mod sending;
mod settings;
mod tenants;
mod twilio;
mod webhook;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use omnistack_core::{
    app::AppBuilder,
    clock::{Clock, MockClock},
    http::client::{Client, ClientSettings},
};
use omnistack_messaging::sms::{SentSms, Sms, SmsError, SmsErrorKind, SmsMessage, SmsOutbox, SmsProvider, SmsSender};
use omnistack_testkit::{TestApp, TestDatabase};

pub(crate) const TO: &str = "+15005550006";

pub(crate) fn message(text: &str) -> SmsMessage {
    SmsMessage::new(TO.parse().unwrap(), text)
}

pub(crate) fn client(timeout: Duration) -> Client {
    ClientSettings { timeout, ..ClientSettings::default() }.client().unwrap()
}

pub(crate) fn clock() -> Clock {
    MockClock::at("2030-01-01T12:00:00Z".parse().unwrap()).clock()
}

/// An SMS provider that returns scripted results and records the offered messages.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scripted {
    next: Arc<Mutex<VecDeque<SmsSendResult>>>,
    offered: Arc<Mutex<Vec<SmsMessage>>>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum SmsSendResult {
    Fail(SmsErrorKind),
    RateLimited(u64),
    /// Never returns, as if the process died during the call.
    Hang,
}

impl Scripted {
    pub(crate) fn then(&self, answers: impl IntoIterator<Item = SmsSendResult>) {
        self.next.lock().unwrap().extend(answers);
    }

    pub(crate) fn offered(&self) -> Vec<SmsMessage> {
        self.offered.lock().unwrap().clone()
    }
}

#[async_trait]
impl SmsProvider for Scripted {
    fn name(&self) -> &'static str {
        "scripted"
    }

    async fn send(&self, message: &SmsMessage) -> Result<SentSms, SmsError> {
        let count = {
            let mut offered = self.offered.lock().unwrap();
            offered.push(message.clone());
            offered.len()
        };
        let answer = self.next.lock().unwrap().pop_front();
        match answer {
            None => Ok(SentSms::new("scripted").with_provider_id(count.to_string())),
            Some(SmsSendResult::Fail(kind)) => Err(SmsError::new(kind, "as told")),
            Some(SmsSendResult::RateLimited(seconds)) => {
                Err(SmsError::new(SmsErrorKind::RateLimited, "slow down")
                    .with_retry_after(Duration::from_secs(seconds)))
            }
            Some(SmsSendResult::Hang) => std::future::pending().await,
        }
    }
}

/// Starts an app that sends through a scripted provider.
pub(crate) async fn scripted(
    database: TestDatabase,
    more: impl FnOnce(AppBuilder) -> AppBuilder,
) -> (TestApp, SmsOutbox, Scripted) {
    let provider = Scripted::default();
    let texter = SmsSender::new(provider.clone());
    let app = TestApp::start(database, |app| more(app.with(Sms::default()).replace(texter))).await;
    let outbox = app.app().context().get().unwrap();
    (app, outbox, provider)
}
