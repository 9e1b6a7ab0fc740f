//! Mail as a channel of the outbox.

use std::time::Duration;

use async_trait::async_trait;

use super::{
    Address, AddressError, Email, EmailError, EmailErrorKind, InvalidEmail, Mailer, RecipientLimit, bounces,
    template::{RenderedTemplate, Template, TemplateError, TemplateOverrideError, TemplateOverrides, Templates},
};
use crate::{
    outbox::{
        Channel, Envelope, MessageError, MessageId, MessageOutbox, PurgeMessages, SendFailure, SendMessage, SendReceipt,
    },
    suppression::{Recipient, Suppression, SuppressionList},
};
use omnistack_core::{
    clock::Clock,
    db::{self, Tx},
    email::EnqueueMail,
    identity::TenantId,
    metrics::{self, Metric},
};

/// The channel of mail.
#[derive(Clone, Copy, Debug, Default)]
pub struct EmailChannel;

/// The mail outbox, by which requests send mail: a mail is a row and a job in the caller's transaction, so it is
/// sent if and only if that transaction commits. The module [`Mail`](super::Mail) provides it. It is cheap to
/// clone.
///
/// ```
/// use omnistack_core::{app::App, config::Config};
/// use omnistack_messaging::email::{template::VerifyEmail, Mail, MessageState, Outbox};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let config = Config::from_pairs([("DATABASE_URL", "sqlite::memory:"), ("EMAIL_FROM", "shop@example.com")]);
/// let app = App::builder(config).with(Mail::default()).build()?;
/// # app.migrate().await?;
/// let outbox: Outbox = app.context().get()?;
///
/// let verify = VerifyEmail {
///     name: Some("Ada".into()),
///     link: "https://shop.example.com/verify?token=…".into(),
///     expires: std::time::Duration::from_secs(24 * 3600),
/// };
/// let mail = outbox.compose("ada@example.com", &verify, "de-AT")?;
///
/// let mut tx = app.db().begin().await?;
/// // … insert the user …
/// let id = outbox.send_in(&mut tx, &mail).await?;
/// tx.commit().await?;
/// # assert_eq!(app.runner().run_until_idle().await?, 1);
///
/// // After the job has run:
/// if let Some(info) = outbox.get(id).await? {
///     assert_eq!((info.recipients.as_str(), info.state), ("ada@example.com", MessageState::Sent));
///     assert_eq!(info.provider.as_deref(), Some("console"));
/// }
/// # assert!(outbox.get(id).await?.is_some());
/// # Ok(())
/// # }
/// ```
///
/// Without an [`App`](omnistack_core::app::App), in an axum app that was there before:
///
/// ```
/// use axum::{Router, extract::State, http::StatusCode, routing::post};
/// use omnistack_core::{clock::Clock, db::{CORE_MIGRATIONS, Db}, http::Error, jobs::{Jobs, Runner}};
/// use omnistack_messaging::{
///     email::{self, Email, Mailer, MemoryProvider, Outbox, PurgeMail, SendMail},
///     email::template::{Brand, TemplateOverrides, Templates},
///     outbox,
/// };
/// use std::time::Duration;
/// # use axum::{body::Body, http::Request};
/// # use tower::ServiceExt as _;
///
/// async fn order(State((db, outbox)): State<(Db, Outbox)>, to: String) -> Result<StatusCode, Error> {
///     let mut tx = db.begin().await?;
///     // … insert the order …
///     outbox.send_in(&mut tx, &Email::to(to).subject("Your order").text("It is on its way.")).await?;
///     tx.commit().await?;
///     Ok(StatusCode::ACCEPTED)
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// let (db, clock) = (Db::memory()?, Clock::system());
/// for (history, tables) in
///     [("core", CORE_MIGRATIONS), ("messaging", outbox::MIGRATIONS), ("email", email::MIGRATIONS)]
/// {
///     db.migrate(history, tables).await?;
/// }
/// let jobs = Jobs::new(db.clone(), clock.clone());
/// let templates = TemplateOverrides::new(db.clone(), clock.clone(), Templates::new(Brand::new("Shop")));
/// let outbox = Outbox::new(db.clone(), clock, jobs.clone(), templates);
///
/// // Another provider in production.
/// let provider = MemoryProvider::default();
/// let mailer = Mailer::new(provider.clone()).default_sender("shop@example.com".parse()?);
/// let worker = outbox.worker(mailer, Duration::from_hours(72), Duration::from_hours(720));
/// let runner = Runner::builder(jobs).job::<SendMail>(worker.clone()).job::<PurgeMail>(worker).build()?;
/// let app = Router::new().route("/orders", post(order)).with_state((db, outbox));
///
/// # let request = Request::post("/orders").body(Body::from("ada@example.com"))?;
/// # assert_eq!(app.oneshot(request).await?.status(), StatusCode::ACCEPTED);
/// runner.run_until_idle().await?;
/// assert_eq!(provider.sent().len(), 1);
/// # Ok(())
/// # }
/// ```
///
/// # Guarantees
///
/// - **No committed mail is lost.** Sending is retried until a provider accepts the mail, a provider refuses it
///   permanently, or `EMAIL_GIVE_UP_AFTER` has passed. The outbox shows the result.
/// - **Duplicates are rare.** A mail that was certainly not accepted is sent again. If the outcome is unknown,
///   because no response arrived or the process ended before it stored the result, the mail is sent again too: a
///   duplicate is better than a missing password reset link. Every attempt has the same idempotency key and
///   therefore the same `Message-ID`: providers that support idempotency keys deliver the mail once, and most
///   mailboxes show mails with the same `Message-ID` once.
pub type Outbox = MessageOutbox<EmailChannel>;

/// The reason why a mail was not put into the outbox.
///
/// ```
/// use omnistack_core::{email::InvalidEmail, http::{Error, FieldError}};
/// use omnistack_messaging::email::{MessageId, Outbox, OutboxError};
/// use omnistack_messaging::email::template::Welcome;
/// # use omnistack_core::{app::App, config::Config, http::StatusCode};
/// # use omnistack_messaging::email::Mail;
///
/// async fn welcome(outbox: &Outbox, to: &str) -> Result<MessageId, Error> {
///     let welcome = Welcome { name: None, link: "https://app.example.com/start".into() };
///     let mail = outbox.compose(to, &welcome, "en")?;
///     outbox.send(&mail).await.map_err(|error| match error {
///         OutboxError::Invalid(InvalidEmail::Address(what)) => Error::invalid([FieldError::new("to", what.to_string())]),
///         other => other.into(),
///     })
/// }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// # let config = Config::from_pairs([("DATABASE_URL", "sqlite::memory:"), ("EMAIL_FROM", "shop@example.com")]);
/// # let app = App::builder(config).with(Mail::default()).build()?;
/// # app.migrate().await?;
/// # let outbox: Outbox = app.context().get()?;
/// # assert!(welcome(&outbox, "ada@example.com").await.is_ok());
/// # assert_eq!(welcome(&outbox, "ada").await.unwrap_err().status(), StatusCode::UNPROCESSABLE_ENTITY);
/// # Ok(())
/// # }
/// ```
pub type OutboxError = MessageError<InvalidEmail>;

/// The job that sends one mail of the outbox.
///
/// ```
/// use omnistack_messaging::email::SendMail;
/// use omnistack_core::jobs::{Job, JobFilter, JobState, Jobs};
/// # use omnistack_core::{app::App, config::Config, email::{Email, Mailer, MemoryProvider}};
/// # use omnistack_messaging::email::{Mail, MessageState, Outbox};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// # let config = Config::from_pairs([("DATABASE_URL", "sqlite::memory:")]);
/// # let mailer = Mailer::new(MemoryProvider::default());
/// # let app = App::builder(config.clone()).with(Mail::default()).replace(mailer).build()?;
/// # app.migrate().await?;
/// # let outbox: Outbox = app.context().get()?;
/// # let id = outbox.send(&Email::to("ada@example.com").subject("Welcome").text("Hello, Ada.")).await?;
/// # app.runner().run_until_idle().await?;
/// # assert_eq!(outbox.get(id).await?.map(|info| info.state), Some(MessageState::Failed));
/// # let config = config.with("EMAIL_FROM", "shop@example.com");
/// # let app = App::builder(config).db(app.db().clone()).with(Mail::default()).build()?;
/// // `EMAIL_FROM` was missing and is set now: the mails that failed without it are sent.
/// let jobs: Jobs = app.context().get()?;
/// let failed = JobFilter { name: Some(SendMail::NAME.into()), ..JobFilter::default() }.state(JobState::Dead);
/// assert_eq!(jobs.retry(&failed).await?, 1);
/// # app.runner().run_until_idle().await?;
/// # assert_eq!(outbox.get(id).await?.map(|info| info.state), Some(MessageState::Sent));
/// # Ok(())
/// # }
/// ```
pub type SendMail = SendMessage<EmailChannel>;

/// The job that deletes mails that were sent, skipped or given up longer ago than `EMAIL_KEEP`. It runs every
/// night.
pub type PurgeMail = PurgeMessages<EmailChannel>;

/// The mail suppressions. The handle is cheap to clone.
///
/// ```
/// use omnistack_core::{app::App, config::Config, email::Address};
/// use omnistack_messaging::email::{Mail, SuppressionReason, Suppressions};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// # let config = Config::from_pairs([("DATABASE_URL", "sqlite::memory:"), ("EMAIL_FROM", "shop@example.com")]);
/// # let app = App::builder(config).with(Mail::default()).build()?;
/// # app.migrate().await?;
/// let suppressions: Suppressions = app.context().get()?;
/// let (ada, eve): (Address, Address) = ("ada@example.com".parse()?, "Eve@example.com".parse()?);
/// assert!(suppressions.add(&eve, SuppressionReason::Bounce, Some("550 no such user")).await?);
///
/// let left_out = suppressions.suppressed_among([&ada, &eve]).await?;
/// assert_eq!((left_out.len(), left_out[0].recipient.as_str()), (1, "eve@example.com"));
/// assert_eq!(left_out[0].detail.as_deref(), Some("550 no such user"));
/// assert!(suppressions.remove(&eve).await?);
/// # Ok(())
/// # }
/// ```
pub type Suppressions = SuppressionList<Address>;

impl Recipient for Address {
    const CHANNEL: &'static str = "email";
    const KIND: &'static str = "address";
    const SUPPRESSED: &'static str = "email.address_suppressed";
    const RELEASED: &'static str = "email.address_released";

    fn parse_recipient(text: &str) -> Result<Self, String> {
        Self::new(text).map_err(|error| error.to_string())
    }

    fn key(&self) -> String {
        self.normalized()
    }
}

#[async_trait]
impl Channel for EmailChannel {
    type Recipient = Address;
    type Message = Email;
    type Invalid = InvalidEmail;
    type Options = TemplateOverrides;
    type Sender = Mailer;
    type Error = EmailError;

    const ATTEMPTS: &'static Metric = &metrics::EMAILS;
    const SEND_JOB: &'static str = "email.send_message";
    const PURGE_JOB: &'static str = "email.purge_messages";
    const PURGE_SCHEDULE: &'static str = "17 4 * * *";
    const QUEUE: &'static str = "mail";
    const FIRST_RETRY_PAUSE: Duration = Duration::from_secs(15);
    const AT_MOST_ONCE: bool = false;

    /// Validates a mail. A missing sender is no error, because the mailer adds the default sender later.
    fn check(email: &Email, _: &TemplateOverrides) -> Result<(), InvalidEmail> {
        match email.check() {
            Err(InvalidEmail::NoSender) => email.clone().from("sender@example.com").check(),
            checked => checked,
        }
    }

    fn envelope(email: &Email) -> Envelope {
        let recipients: Vec<_> = email.recipients().map(Address::mailbox).collect();
        Envelope {
            tenant: email.tenant,
            recipients: recipients.join(", "),
            subject: Some(email.subject.clone()),
            segments: None,
        }
    }

    fn recipients(email: &Email) -> Vec<&Address> {
        email.recipients().collect()
    }

    /// Removes suppressed recipients. A mail needs a recipient in `to`. Recipients in `cc` may take that place, because
    /// they are visible already; recipients in `bcc` must stay hidden.
    fn remove_suppressed(email: &mut Email, suppressed: &[Suppression]) -> bool {
        let is_free = |address: &Address| !suppressed.iter().any(|one| one.recipient == address.normalized());
        email.to.retain(is_free);
        email.cc.retain(is_free);
        email.bcc.retain(is_free);
        if email.to.is_empty() {
            email.to = std::mem::take(&mut email.cc);
        }
        !email.to.is_empty()
    }

    async fn send(mailer: &Mailer, id: MessageId, email: &mut Email) -> Result<SendReceipt, EmailError> {
        // The same key at every attempt, and so the same `Message-ID`, which is derived from it.
        email.idempotency_key.get_or_insert_with(|| format!("mail-{id}"));
        mailer.send(email).await.map(|sent| SendReceipt { provider: sent.provider, id: sent.id })
    }

    fn failure(error: &EmailError) -> SendFailure {
        match (error.kind(), error.retry_after()) {
            (EmailErrorKind::Invalid | EmailErrorKind::Refused, _) => SendFailure::Refused,
            (EmailErrorKind::RateLimited, Some(wait)) => SendFailure::RateLimited(wait),
            (EmailErrorKind::Unknown, _) => SendFailure::Unknown,
            _ => SendFailure::Unavailable,
        }
    }

    /// Deletes the ids of old webhook events, and expired counters of recipients.
    async fn purge_in(tx: &mut Tx, clock: &Clock) -> Result<(), db::Error> {
        bounces::purge_events_in(tx, clock).await?;
        RecipientLimit::new(clock.clone()).purge_in(tx).await
    }
}

#[async_trait]
impl EnqueueMail for Outbox {
    async fn enqueue_in(&self, tx: &mut Tx, mail: &Email) -> Result<(), db::Error> {
        self.send_in(tx, mail).await.map(drop).map_err(|error| match error {
            OutboxError::Database(error) => error,
            OutboxError::Enqueue(error) => error.into(),
            error => db::Error::new(db::ErrorKind::InvalidValue, error.into()),
        })
    }
}

impl From<TemplateError> for OutboxError {
    fn from(error: TemplateError) -> Self {
        Self::Template(error.into())
    }
}

impl From<TemplateOverrideError> for OutboxError {
    fn from(error: TemplateOverrideError) -> Self {
        match error {
            TemplateOverrideError::Template(error) => error.into(),
            TemplateOverrideError::Database(error) => Self::Database(error),
        }
    }
}

impl Outbox {
    /// Returns the app's templates.
    pub fn templates(&self) -> &Templates {
        self.options().templates()
    }

    /// Creates a mail from a template. For the locale `de-AT`, it uses the first source that exists for `de-AT`,
    /// `de` or `en`.
    ///
    /// # Errors
    /// Returns [`OutboxError::Template`] if the template can't be rendered with these values.
    pub fn compose<T: Template>(
        &self,
        to: impl TryInto<Address, Error: Into<AddressError>>,
        template: &T,
        locale: &str,
    ) -> Result<Email, OutboxError> {
        Ok(with_rendered::<T>(Email::to(to), self.templates().render(template, locale)?))
    }

    /// Like [`compose`](Self::compose), but uses the tenant's override of the template, if there is one.
    ///
    /// # Errors
    /// Returns [`OutboxError::Template`] if the app's own template can't be rendered with these values, and
    /// [`OutboxError::Database`] if the database fails.
    pub async fn compose_for<T: Template>(
        &self,
        tenant: TenantId,
        to: impl TryInto<Address, Error: Into<AddressError>>,
        template: &T,
        locale: &str,
    ) -> Result<Email, OutboxError> {
        let email = Email::to(to).for_tenant(tenant);
        Ok(with_rendered::<T>(email, self.options().render(tenant, template, locale).await?))
    }
}

fn with_rendered<T: Template>(email: Email, rendered: RenderedTemplate) -> Email {
    email.subject(rendered.subject).html(rendered.html).text(rendered.text).tag("template", T::NAME)
}
