//! The dev mailbox, which shows outgoing mail in development.

mod page;
mod routes;

pub(crate) use routes::{DevMailboxState, routes};

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;

use super::{Email, EmailError, EmailProvider, SentMail};
use omnistack_core::clock::{Clock, Timestamp};

/// Number of mails kept; older ones are dropped.
const MAX_MAILS: usize = 200;

/// The dev mailbox: keeps the last 200 mails in memory, and passes each to another provider. With the module
/// [`Mail`](super::Mail) and outside production, it is shown at `/dev/mailbox`. Clones share the kept mails.
///
/// ```
/// use omnistack_core::{app::App, config::Config, email::{Email, Mailer}};
/// use omnistack_messaging::email::{Mail, DevMailbox};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// let config = Config::from_pairs([("DATABASE_URL", "sqlite::memory:"), ("EMAIL_PROVIDER", "console")]);
/// let app = App::builder(config).with(Mail::default()).build()?;
/// let (mailer, mailbox): (Mailer, DevMailbox) = (app.context().get()?, app.context().get()?);
///
/// mailer.send(&Email::to("ada@example.com").subject("Welcome").text("Hello, Ada.")).await?;
/// assert_eq!(mailbox.mails().len(), 1);
/// mailbox.clear();
/// assert!(mailbox.get(1).is_none());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct DevMailbox {
    inner: Arc<dyn EmailProvider>,
    clock: Clock,
    kept: Arc<Mutex<KeptMails>>,
}

#[derive(Debug, Default)]
struct KeptMails {
    mails: VecDeque<ReceivedMail>,
    last: u64,
}

/// A mail in the dev mailbox ([`DevMailbox`]).
///
/// ```
/// use omnistack_core::{clock::MockClock, email::{ConsoleProvider, Email, Mailer}};
/// use omnistack_messaging::email::DevMailbox;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// let clock = MockClock::at("2030-01-01T12:00:00Z".parse()?).clock();
/// let mailbox = DevMailbox::new(ConsoleProvider::default(), clock);
/// # let mailer = Mailer::new(mailbox.clone()).default_sender("shop@example.com".parse()?);
/// # mailer.send(&Email::to("ada@example.com").subject("Welcome").text("Hello, Ada.")).await?;
///
/// let list = mailbox.mails().into_iter().map(|received| format!("{} {}", received.at, received.email.subject));
/// assert_eq!(list.collect::<Vec<_>>(), ["2030-01-01T12:00:00Z Welcome"]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReceivedMail {
    /// The mail's number, counted from 1.
    pub id: u64,
    /// The time at which the mail was sent.
    pub at: Timestamp,
    /// The mail.
    pub email: Email,
}

impl DevMailbox {
    /// Creates a dev mailbox that passes mails to `inner`. A mail that `inner` does not accept is not kept.
    pub fn new(inner: impl EmailProvider, clock: Clock) -> Self {
        Self { inner: Arc::new(inner), clock, kept: Arc::default() }
    }

    /// Returns the kept mails, the oldest first.
    pub fn mails(&self) -> Vec<ReceivedMail> {
        self.kept().mails.iter().cloned().collect()
    }

    /// Returns the mail with this number. Returns `None` if there is none, or if it was dropped.
    pub fn get(&self, id: u64) -> Option<ReceivedMail> {
        self.kept().mails.iter().find(|received| received.id == id).cloned()
    }

    /// Deletes all mails.
    pub fn clear(&self) {
        self.kept().mails.clear();
    }

    fn kept(&self) -> MutexGuard<'_, KeptMails> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl EmailProvider for DevMailbox {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn supports_idempotency_keys(&self) -> bool {
        self.inner.supports_idempotency_keys()
    }

    async fn send(&self, email: &Email) -> Result<SentMail, EmailError> {
        let sent = self.inner.send(email).await?;
        let at = self.clock.now();
        let mut kept = self.kept();
        kept.last += 1;
        let id = kept.last;
        if kept.mails.len() >= MAX_MAILS {
            kept.mails.pop_front();
        }
        kept.mails.push_back(ReceivedMail { id, at, email: email.clone() });
        Ok(sent)
    }

    async fn check_connection(&self) -> Result<(), EmailError> {
        self.inner.check_connection().await
    }
}
