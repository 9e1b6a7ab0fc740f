//! The mail outbox: mails are stored in the caller's transaction and sent by a job.

mod job;
mod store;

pub(super) use job::PurgeTenantMail;
pub(super) use job::SendMailState;
pub use job::{PurgeMail, SendMail};
pub use store::{MessageInfo, MessageState};

pub(super) use store::{MailReceiver, MailStore};

use super::{
    Address, AddressError, Email, InvalidEmail,
    template::{RenderedTemplate, Template, TemplateError, TemplateOverrideError, TemplateOverrides, Templates},
};
use omnistack_core::{
    clock::Clock,
    db::{self, Db, Tx},
    id::Id,
    identity::TenantId,
    jobs::{EnqueueError, Jobs, NewJob},
};

/// Marker type of mail ids ([`MessageId`]).
///
/// ```
/// use omnistack_messaging::email::MessageMarker;
/// use omnistack_core::id::Id;
///
/// fn page_of(mail: Id<MessageMarker>) -> String {
///     format!("/support/mails/{mail}")
/// }
///
/// let mail: Id<MessageMarker> = "01941f29-7c00-7000-8000-000000000001".parse()?;
/// assert_eq!(page_of(mail), "/support/mails/01941f29-7c00-7000-8000-000000000001");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub enum MessageMarker {}

/// The id of a mail in the outbox.
///
/// ```
/// use axum::extract::State;
/// use omnistack_messaging::email::{MessageId, MessageInfo, Outbox};
/// use omnistack_core::http::{Error, Json, Path};
/// # use omnistack_core::{app::App, clock::Clock, config::Config, email::Email, http::StatusCode};
/// # use omnistack_messaging::email::Mail;
///
/// async fn show(State(outbox): State<Outbox>, Path(id): Path<MessageId>) -> Result<Json<MessageInfo>, Error> {
///     let info = outbox.get(id).await?;
///     info.map(Json).ok_or_else(|| Error::not_found(format!("mail `{id}`")))
/// }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// # let config = Config::from_pairs([("DATABASE_URL", "sqlite::memory:"), ("EMAIL_FROM", "shop@example.com")]);
/// # let app = App::builder(config).with(Mail::default()).build()?;
/// # app.migrate().await?;
/// # let outbox: Outbox = app.context().get()?;
/// # let id = outbox.send(&Email::to("ada@example.com").subject("Welcome").text("Hello, Ada.")).await?;
/// # assert_eq!(show(State(outbox.clone()), Path(id)).await?.0.subject, "Welcome");
/// # let other = MessageId::new(Clock::system().now());
/// # assert_eq!(show(State(outbox), Path(other)).await.unwrap_err().status(), StatusCode::NOT_FOUND);
/// # Ok(())
/// # }
/// ```
pub type MessageId = Id<MessageMarker>;

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
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutboxError {
    /// The mail is not valid.
    #[error("the mail can't be sent: {0}")]
    Invalid(#[from] InvalidEmail),
    /// The template can't be rendered with these values.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The job could not be enqueued.
    #[error(transparent)]
    Enqueue(#[from] EnqueueError),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] db::Error),
}

impl OutboxError {
    /// Returns whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Invalid(_) | Self::Template(_) => false,
            Self::Enqueue(error) => error.is_retryable(),
            Self::Database(error) => error.is_retryable(),
        }
    }
}

impl From<TemplateOverrideError> for OutboxError {
    fn from(error: TemplateOverrideError) -> Self {
        match error {
            TemplateOverrideError::Template(error) => Self::Template(error),
            TemplateOverrideError::Database(error) => Self::Database(error),
        }
    }
}

impl From<OutboxError> for omnistack_core::http::Error {
    fn from(error: OutboxError) -> Self {
        match error {
            OutboxError::Database(error) => error.into(),
            OutboxError::Enqueue(error) => error.into(),
            error => Self::internal(error),
        }
    }
}

/// The mail outbox, by which requests send mail: a mail is a row and a job in the caller's transaction, so it is
/// sent if and only if that transaction commits. The module [`Mail`](super::Mail) provides it. It is cheap to
/// clone.
///
/// ```
/// use omnistack_core::{app::App, config::Config};
/// use omnistack_messaging::email::{template::VerifyEmail, Mail, Outbox};
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
/// outbox.send_in(&mut tx, &mail).await?;
/// tx.commit().await?;
/// # assert_eq!(app.runner().run_until_idle().await?, 1);
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
#[derive(Clone, Debug)]
pub struct Outbox {
    jobs: Jobs,
    store: MailStore,
    overrides: TemplateOverrides,
}

impl Outbox {
    /// Creates an outbox in this database, with these templates.
    pub fn new(db: Db, clock: Clock, jobs: Jobs, templates: Templates) -> Self {
        let overrides = TemplateOverrides::new(db.clone(), clock.clone(), templates);
        Self { jobs, store: MailStore { db, clock }, overrides }
    }

    /// Returns the app's templates.
    pub fn templates(&self) -> &Templates {
        self.overrides.templates()
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
        Ok(with_rendered::<T>(email, self.overrides.render(tenant, template, locale).await?))
    }

    /// Stores a mail in the caller's transaction. It is sent if that transaction commits.
    ///
    /// # Errors
    /// Returns an [`OutboxError`]. After a database error, roll the transaction back.
    pub async fn send_in(&self, tx: &mut Tx, email: &Email) -> Result<MessageId, OutboxError> {
        check(email)?;
        let id = self.store.add(tx, email).await?;
        let mut job = NewJob::new(SendMail { message: id });
        if let Some(tenant) = email.tenant {
            job = job.tenant(tenant);
        }
        self.jobs.enqueue_in(tx, job).await?;
        Ok(id)
    }

    /// Stores a mail in a transaction of its own, to be sent.
    ///
    /// # Errors
    /// Returns an [`OutboxError`]; the mail is not sent then.
    pub async fn send(&self, email: &Email) -> Result<MessageId, OutboxError> {
        check(email)?;
        let mut tx = self.store.db.begin().await?;
        let id = self.send_in(&mut tx, email).await?;
        tx.commit().await?;
        Ok(id)
    }

    /// Returns the state of a mail. Returns `None` if there is no mail with this id, or if it was deleted after
    /// `EMAIL_KEEP`.
    ///
    /// # Errors
    /// Fails if the database fails.
    pub async fn get(&self, id: MessageId) -> Result<Option<MessageInfo>, db::Error> {
        self.store.get(id).await
    }
}

fn with_rendered<T: Template>(email: Email, rendered: RenderedTemplate) -> Email {
    email.subject(rendered.subject).html(rendered.html).text(rendered.text).tag("template", T::NAME)
}

/// Validates a mail. A missing sender is no error, because the mailer adds the default sender later.
fn check(email: &Email) -> Result<(), InvalidEmail> {
    match email.check() {
        Err(InvalidEmail::NoSender) => email.clone().from("somebody@example.com").check(),
        checked => checked,
    }
}
