//! Tests of the mail outbox: sending by jobs, templates and suppression, on both databases.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by a panic")]

mod exports;
mod pages;
mod sending;
mod suppression;
mod templates;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use omnistack_core::{
    app::AppBuilder,
    email::{Email, EmailError, EmailErrorKind, EmailProvider, Mailer, SentMail},
};
use omnistack_messaging::email::{Mail, Outbox};
use omnistack_testkit::{TestApp, TestDatabase};

/// A mail provider that returns scripted results and records accepted and offered mails.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scripted(Arc<Mutex<Script>>);

#[derive(Debug, Default)]
struct Script {
    /// The next results. If there is none, the mail is accepted.
    next: VecDeque<SendResult>,
    /// Whether every mail is rejected.
    down: bool,
    offered: Vec<Email>,
    taken: Vec<Email>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum SendResult {
    Fail(EmailErrorKind),
    RateLimited(u64),
    /// The provider accepts the mail, but its response is lost.
    AcceptedWithoutResponse,
}

impl Scripted {
    pub(crate) fn then(&self, answers: impl IntoIterator<Item = SendResult>) {
        self.0.lock().unwrap().next.extend(answers);
    }

    pub(crate) fn down(&self, down: bool) {
        self.0.lock().unwrap().down = down;
    }

    pub(crate) fn taken(&self) -> Vec<Email> {
        self.0.lock().unwrap().taken.clone()
    }

    pub(crate) fn offered(&self) -> Vec<Email> {
        self.0.lock().unwrap().offered.clone()
    }
}

#[async_trait]
impl EmailProvider for Scripted {
    fn name(&self) -> &'static str {
        "scripted"
    }

    async fn send(&self, email: &Email) -> Result<SentMail, EmailError> {
        let mut script = self.0.lock().unwrap();
        script.offered.push(email.clone());
        if script.down {
            return Err(EmailError::new(EmailErrorKind::Unavailable, "connection refused"));
        }
        match script.next.pop_front() {
            None => script.taken.push(email.clone()),
            Some(SendResult::Fail(kind)) => return Err(EmailError::new(kind, "as told")),
            Some(SendResult::RateLimited(seconds)) => {
                let error = EmailError::new(EmailErrorKind::RateLimited, "slow down");
                return Err(error.with_retry_after(std::time::Duration::from_secs(seconds)));
            }
            Some(SendResult::AcceptedWithoutResponse) => {
                script.taken.push(email.clone());
                return Err(EmailError::new(EmailErrorKind::Unknown, "the answer did not come"));
            }
        }
        Ok(SentMail::new("scripted").with_provider_id(script.taken.len().to_string()))
    }
}

/// Starts an app that sends through a scripted provider.
pub(crate) async fn scripted(
    database: TestDatabase,
    more: impl FnOnce(AppBuilder) -> AppBuilder,
) -> (TestApp, Outbox, Scripted) {
    let provider = Scripted::default();
    let mailer = Mailer::new(provider.clone()).default_sender("shop@example.com".parse().unwrap());
    let app = TestApp::start(database, |app| more(app.with(Mail::default()).replace(mailer))).await;
    let outbox = app.app().context().get().unwrap();
    (app, outbox, provider)
}

pub(crate) fn mail(to: &str) -> Email {
    Email::to(to).subject("Hello").text("Hello.")
}
