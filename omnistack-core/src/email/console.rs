//! The `console` provider, which writes mails to the log.

use async_trait::async_trait;

use super::{Email, EmailError, EmailProvider, SentMail};

/// A provider for development that writes mails to the log, with the target `omnistack::email`, and delivers none.
/// Attachments are listed by name only.
///
/// ```
/// use omnistack_core::email::{ConsoleProvider, Email, Mailer};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// let mailer = Mailer::new(ConsoleProvider::default()).default_sender("shop@example.com".parse()?);
/// let sent = mailer.send(&Email::to("ada@example.com").subject("Welcome").text("Hello, Ada.")).await?;
/// assert_eq!((sent.provider, sent.id), ("console", None));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct ConsoleProvider(());

#[async_trait]
impl EmailProvider for ConsoleProvider {
    fn name(&self) -> &'static str {
        "console"
    }

    async fn send(&self, email: &Email) -> Result<SentMail, EmailError> {
        email.check()?;
        let Email { subject, .. } = email;
        let list =
            |addresses: &[super::Address]| addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let (to, cc, bcc) = (list(&email.to), list(&email.cc), list(&email.bcc));
        let text = email.text.as_deref().or(email.html.as_deref()).unwrap_or_default();
        let attachments = email.attachments.iter().map(|file| file.name.as_str()).collect::<Vec<_>>().join(", ");
        tracing::info!(
            target: "omnistack::email",
            to, cc, bcc, subject, text, attachments,
            "no mail provider is configured: the mail is only written to the log"
        );
        Ok(SentMail::new(self.name()))
    }
}
