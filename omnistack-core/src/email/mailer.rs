//! The handle by which modules send mail.

use std::{borrow::Cow, fmt, sync::Arc};

use async_trait::async_trait;

use super::{
    Address, ConsoleProvider, Email, EmailError, EmailErrorKind, EmailProvider, InvalidEmail, MAX_EMAIL_BYTES, SentMail,
};

/// The handle by which the app sends mail. It is cheap to clone.
///
/// [`send`](Self::send) calls the provider directly, and so takes as long as the provider does. Call it in jobs; in
/// requests, use the `Outbox` of the module `Mail`.
///
/// ```
/// use omnistack_core::{async_trait, email::{Address, Email, Mailer}, jobs::{Job, JobContext, JobError}};
/// # use omnistack_core::{app::App, module::{Module, Registry}, config::Config, email::MemoryProvider, jobs::Jobs};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct SendReport { to: Address }
///
/// #[async_trait]
/// impl Job for SendReport {
///     const NAME: &'static str = "send_report";
///     type State = Mailer;
///
///     async fn run(self, mailer: &Mailer, ctx: &JobContext) -> Result<(), JobError> {
///         let report = Email::to(&self.to).subject("Your report").text("We sold twelve.");
///         mailer.send(&report.idempotency_key(format!("report-{}", ctx.id()))).await?;
///         Ok(())
///     }
/// }
/// # struct Reports;
/// # impl Module for Reports {
/// #     fn name(&self) -> &'static str {
/// #         "reports"
/// #     }
/// #     fn register(&self, registry: &mut Registry) {
///
/// // In the module's `register`:
/// registry.require::<Mailer>().job::<SendReport>(|ctx| ctx.get());
/// #     }
/// # }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// # let memory = MemoryProvider::default();
/// # let mailer = Mailer::new(memory.clone()).default_sender("shop@example.com".parse()?);
/// # let config = Config::from_pairs([("DATABASE_URL", "sqlite::memory:")]);
/// # let app = App::builder(config).with(Reports).replace(mailer).build()?;
/// # app.migrate().await?;
/// # app.context().get::<Jobs>()?.enqueue(SendReport { to: "ada@example.com".parse()? }).await?;
/// # app.runner().run_until_idle().await?;
/// # assert_eq!(memory.sent().len(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Mailer(Arc<MailerInner>);

#[derive(Clone)]
struct MailerInner {
    provider: Arc<dyn EmailProvider>,
    from: Option<Address>,
    limit: u64,
}

impl Mailer {
    /// Creates a mailer that sends through this provider, with no default sender and a size limit of 40 MiB.
    pub fn new(provider: impl EmailProvider) -> Self {
        Self(Arc::new(MailerInner { provider: Arc::new(provider), from: None, limit: MAX_EMAIL_BYTES }))
    }

    /// Sets the sender of mails that have none of their own.
    #[must_use]
    pub fn default_sender(mut self, from: Address) -> Self {
        Arc::make_mut(&mut self.0).from = Some(from);
        self
    }

    /// Sets the largest size of a mail, in bytes, at most 40 MiB: text, HTML, and attachments as base64.
    #[must_use]
    pub fn max_size(mut self, bytes: u64) -> Self {
        Arc::make_mut(&mut self.0).limit = bytes.min(MAX_EMAIL_BYTES);
        self
    }

    /// Replaces the provider.
    #[must_use]
    pub fn with_provider(mut self, provider: impl EmailProvider) -> Self {
        Arc::make_mut(&mut self.0).provider = Arc::new(provider);
        self
    }

    /// Returns the provider.
    pub fn provider(&self) -> &Arc<dyn EmailProvider> {
        &self.0.provider
    }

    /// Returns the mail as it would be sent: with a sender, and validated.
    ///
    /// # Errors
    /// Returns [`InvalidEmail`] if the mail is not valid or is larger than the limit.
    pub fn prepare<'a>(&self, email: &'a Email) -> Result<Cow<'a, Email>, InvalidEmail> {
        let email = match (&email.from, &self.0.from) {
            (None, Some(from)) => Cow::Owned(email.clone().from(from)),
            _ => Cow::Borrowed(email),
        };
        email.check()?;
        let size = email.size();
        if size > self.0.limit {
            return Err(InvalidEmail::TooLarge { size, limit: self.0.limit });
        }
        Ok(email)
    }

    /// Sends a mail.
    ///
    /// # Errors
    /// Returns an [`EmailError`] if the mail is not valid, was not accepted, or if it is unknown whether it was:
    /// see [`EmailErrorKind`](super::EmailErrorKind).
    pub async fn send(&self, email: &Email) -> Result<SentMail, EmailError> {
        self.0.provider.send(&*self.prepare(email)?).await
    }

    /// Checks that the provider is available and accepts the app's credentials, without sending a mail. Returns `Ok`
    /// for a provider that has no such check.
    ///
    /// # Errors
    /// Returns an [`EmailError`] if the provider is not available or does not accept the credentials.
    pub async fn check_connection(&self) -> Result<(), EmailError> {
        self.0.provider.check_connection().await
    }
}

impl Mailer {
    /// Creates the mailer of an app in production without a module that delivers mail: every mail fails, so that none
    /// is lost silently.
    pub(crate) fn unconfigured() -> Self {
        Self::new(UnconfiguredProvider)
    }
}

#[derive(Debug)]
struct UnconfiguredProvider;

#[async_trait]
impl EmailProvider for UnconfiguredProvider {
    fn name(&self) -> &'static str {
        "unconfigured"
    }

    async fn send(&self, _: &Email) -> Result<SentMail, EmailError> {
        let what =
            "no module delivers mail; add `.with(Mail::default())` of the feature `email`, and set EMAIL_PROVIDER";
        Err(EmailError::new(EmailErrorKind::Configuration, what))
    }

    async fn check_connection(&self) -> Result<(), EmailError> {
        Err(EmailError::new(EmailErrorKind::Configuration, "no module delivers mail"))
    }
}

impl Default for Mailer {
    /// Creates a mailer for development: it writes mails to the log, from `app@localhost` unless the mail has a
    /// sender.
    fn default() -> Self {
        let mailer = Self::new(ConsoleProvider::default());
        match Address::new("app@localhost") {
            Ok(from) => mailer.default_sender(from),
            Err(_) => mailer,
        }
    }
}

impl fmt::Debug for Mailer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Mailer").field(&self.0.provider).finish()
    }
}
