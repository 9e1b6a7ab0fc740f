//! The mailbox of a test app.

use omnistack_core::{
    app::AppBuilder,
    clock::Clock,
    email::{Email, Mailer, MemoryProvider},
};
#[cfg(feature = "email")]
use omnistack_messaging::email::DevMailbox;

#[cfg(feature = "email")]
type MailStore = DevMailbox;
#[cfg(not(feature = "email"))]
type MailStore = MemoryProvider;

/// The mails that an app sends. With the feature `email`, the app shows them at `/dev/mailbox`.
#[derive(Debug)]
pub(crate) struct Mailbox(MailStore);

impl Mailbox {
    pub(crate) fn new(clock: Clock) -> Self {
        Self(new_store(clock))
    }

    /// Makes an app send its mails to this mailbox.
    pub(crate) fn receive_from(&self, builder: AppBuilder) -> AppBuilder {
        let mailer = match "Test App <app@test.example>".parse() {
            Ok(from) => Mailer::new(self.0.clone()).default_sender(from),
            Err(error) => panic!("{error}"),
        };
        shown(builder.replace(mailer), &self.0)
    }

    /// Returns the mails, the oldest first.
    pub(crate) fn mails(&self) -> Vec<Email> {
        mails_of(&self.0)
    }
}

#[cfg(feature = "email")]
fn new_store(clock: Clock) -> MailStore {
    DevMailbox::new(MemoryProvider::default(), clock)
}

#[cfg(not(feature = "email"))]
fn new_store(_: Clock) -> MailStore {
    MemoryProvider::default()
}

#[cfg(feature = "email")]
fn shown(builder: AppBuilder, store: &MailStore) -> AppBuilder {
    builder.replace(store.clone())
}

#[cfg(not(feature = "email"))]
fn shown(builder: AppBuilder, _: &MailStore) -> AppBuilder {
    builder
}

#[cfg(feature = "email")]
fn mails_of(store: &MailStore) -> Vec<Email> {
    store.mails().into_iter().map(|received| received.email).collect()
}

#[cfg(not(feature = "email"))]
fn mails_of(store: &MailStore) -> Vec<Email> {
    store.sent()
}
