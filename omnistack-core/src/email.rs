//! Mail, as modules ask for it.

use std::{fmt, sync::Arc};

use async_trait::async_trait;

/// A mail.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Email {
    /// To whom.
    pub to: String,
    /// What about.
    pub subject: String,
    /// The text.
    pub text: String,
}

impl Email {
    /// A mail of plain text.
    pub fn new(to: impl Into<String>, subject: impl Into<String>, text: impl Into<String>) -> Self {
        Self { to: to.into(), subject: subject.into(), text: text.into() }
    }
}

/// Why a mail was not handed over.
#[derive(Debug, thiserror::Error)]
#[error("the mail was not handed over: {source}")]
pub struct EmailError {
    /// Whether it may work later.
    pub retryable: bool,
    /// What the provider said.
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// Hands mails over to somebody who delivers them.
#[async_trait]
pub trait EmailProvider: Send + Sync + 'static {
    /// Hands one over.
    async fn send(&self, email: &Email) -> Result<(), EmailError>;
}

/// The app's way to send mail. Without a provider, mails are written to the log: for development.
#[derive(Clone)]
pub struct Mailer(Arc<dyn EmailProvider>);

impl Mailer {
    /// Through this provider.
    pub fn new(provider: impl EmailProvider) -> Self {
        Self(Arc::new(provider))
    }

    /// Sends a mail.
    pub async fn send(&self, email: &Email) -> Result<(), EmailError> {
        self.0.send(email).await
    }
}

impl Default for Mailer {
    fn default() -> Self {
        Self::new(Logged)
    }
}

impl fmt::Debug for Mailer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mailer")
    }
}

struct Logged;

#[async_trait]
impl EmailProvider for Logged {
    async fn send(&self, email: &Email) -> Result<(), EmailError> {
        let Email { to, subject, text } = email;
        tracing::info!(target: "omnistack::email", to, subject, text, "no email provider: the mail is shown here");
        Ok(())
    }
}
