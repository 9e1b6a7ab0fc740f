//! The provider for tests, which keeps mails in memory.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use super::{Email, EmailError, EmailProvider, SentMail};

/// A provider for tests that keeps every mail and delivers none. Clones share the kept mails.
///
/// ```
/// use omnistack_core::{app::App, config::Config, email::{Email, Mailer, MemoryProvider}};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// let memory = MemoryProvider::default();
/// let mailer = Mailer::new(memory.clone()).default_sender("shop@example.com".parse()?);
/// # let config = Config::from_pairs([("DATABASE_URL", "sqlite::memory:")]);
/// let app = App::builder(config).replace(mailer).build()?;
///
/// # let mailer: Mailer = app.context().get()?;
/// # mailer.send(&Email::to("ada@example.com").subject("Welcome").text("Hello, Ada.")).await?;
/// // … make the app do what it sends a mail for …
/// let sent = memory.take();
/// assert_eq!((sent.len(), sent[0].to[0].mailbox()), (1, "ada@example.com"));
/// assert!(memory.take().is_empty());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct MemoryProvider(Arc<Mutex<Vec<Email>>>);

impl MemoryProvider {
    /// Returns all mails sent so far, the oldest first.
    pub fn sent(&self) -> Vec<Email> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Removes and returns the mails sent since the last call, the oldest first.
    pub fn take(&self) -> Vec<Email> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl EmailProvider for MemoryProvider {
    fn name(&self) -> &'static str {
        "memory"
    }

    async fn send(&self, email: &Email) -> Result<SentMail, EmailError> {
        email.check()?;
        let mut sent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sent.push(email.clone());
        Ok(SentMail::new(self.name()).with_provider_id(sent.len().to_string()))
    }
}
