//! Mail that is sent by a job: written with the caller's rows, handed over until it is taken.

mod job;
mod store;

pub(super) use job::ForgetTenantMail;
pub(super) use job::Sender;
pub use job::{ForgetMail, SendMail};
pub use store::{MessageInfo, MessageState};

pub(super) use store::Store;
pub(crate) use store::carry_in;

use super::{
    Address, AddressError, Email, Invalid,
    template::{OverrideError, Overrides, Rendered, Template, TemplateError, Templates},
};
use crate::{
    clock::Clock,
    db::{self, Db, Tx},
    id::Id,
    identity::TenantId,
    jobs::{Draft, EnqueueError, Jobs},
};

/// A mail in the outbox.
///
/// ```
/// use omnistack_core::{email::Message, id::Id};
///
/// fn page_of(mail: Id<Message>) -> String {
///     format!("/support/mails/{mail}")
/// }
///
/// let mail: Id<Message> = "01941f29-7c00-7000-8000-000000000001".parse()?;
/// assert_eq!(page_of(mail), "/support/mails/01941f29-7c00-7000-8000-000000000001");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub enum Message {}

/// The id of a mail in the outbox.
///
/// ```
/// use axum::extract::State;
/// use omnistack_core::{email::{MessageId, MessageInfo, Outbox}, http::{Error, Json, Path}};
/// # use omnistack_core::{app::App, clock::Clock, config::Config, email::{Email, Mail}, http::StatusCode};
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
/// # let outbox: Outbox = app.ctx().get()?;
/// # let id = outbox.send(&Email::to("ada@example.com").subject("Welcome").text("Hello, Ada.")).await?;
/// # assert_eq!(show(State(outbox.clone()), Path(id)).await?.0.subject, "Welcome");
/// # let other = MessageId::new(Clock::system().now());
/// # assert_eq!(show(State(outbox), Path(other)).await.unwrap_err().status(), StatusCode::NOT_FOUND);
/// # Ok(())
/// # }
/// ```
pub type MessageId = Id<Message>;

/// Why a mail is not in the outbox.
///
/// ```
/// use omnistack_core::{email::{Invalid, MessageId, Outbox, OutboxError}, http::{Error, FieldProblem}};
/// use omnistack_core::email::template::Welcome;
/// # use omnistack_core::{app::App, config::Config, email::Mail, http::StatusCode};
///
/// async fn welcome(outbox: &Outbox, to: &str) -> Result<MessageId, Error> {
///     let welcome = Welcome { name: None, link: "https://app.example.com/start".into() };
///     let mail = outbox.compose(to, &welcome, "en")?;
///     outbox.send(&mail).await.map_err(|error| match error {
///         OutboxError::Invalid(Invalid::Address(what)) => Error::invalid([FieldProblem::new("to", what.to_string())]),
///         other => other.into(),
///     })
/// }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// # let config = Config::from_pairs([("DATABASE_URL", "sqlite::memory:"), ("EMAIL_FROM", "shop@example.com")]);
/// # let app = App::builder(config).with(Mail::default()).build()?;
/// # app.migrate().await?;
/// # let outbox: Outbox = app.ctx().get()?;
/// # assert!(welcome(&outbox, "ada@example.com").await.is_ok());
/// # assert_eq!(welcome(&outbox, "ada").await.unwrap_err().status(), StatusCode::UNPROCESSABLE_ENTITY);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutboxError {
    /// It can't be sent by anybody.
    #[error("the mail can't be sent: {0}")]
    Invalid(#[from] Invalid),
    /// Its template can't be rendered with these values.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The job could not be enqueued.
    #[error(transparent)]
    Enqueue(#[from] EnqueueError),
    /// The database refused it.
    #[error(transparent)]
    Database(#[from] db::Error),
}

impl OutboxError {
    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Invalid(_) | Self::Template(_) => false,
            Self::Enqueue(error) => error.is_retryable(),
            Self::Database(error) => error.is_retryable(),
        }
    }
}

impl From<OverrideError> for OutboxError {
    fn from(error: OverrideError) -> Self {
        match error {
            OverrideError::Template(error) => Self::Template(error),
            OverrideError::Database(error) => Self::Database(error),
        }
    }
}

impl From<OutboxError> for crate::http::Error {
    fn from(error: OutboxError) -> Self {
        match error {
            OutboxError::Database(error) => error.into(),
            OutboxError::Enqueue(error) => error.into(),
            error => Self::internal(error),
        }
    }
}

/// The way to send mail from a request: it is a row and a job, in the caller's transaction, and so is sent exactly when what it
/// is about has happened. The module [`Mail`](super::Mail) provides it. Cheap to clone.
///
/// ```
/// use omnistack_core::{app::App, config::Config, email::{Mail, Outbox, template::VerifyEmail}};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let config = Config::from_pairs([("DATABASE_URL", "sqlite::memory:"), ("EMAIL_FROM", "shop@example.com")]);
/// let app = App::builder(config).with(Mail::default()).build()?;
/// # app.migrate().await?;
/// let outbox: Outbox = app.ctx().get()?;
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
/// # What is promised
///
/// - **Nothing lost.** A mail that was committed is tried again until a provider takes it, refuses it for good, or
///   `EMAIL_GIVE_UP_AFTER` has passed; what became of it is in the outbox.
/// - **Nothing sent twice, as far as anybody can promise.** What was certainly not taken is sent again freely. When nobody can
///   say, because the answer did not come or the process died before it was written down, the mail is sent again too: a mail
///   too many is better than a reset link that never came. It is the same mail, with the same idempotency key and so the same
///   `Message-ID`: providers that know keys deliver it once, and mailboxes show what has one `Message-ID` once, most of them.
#[derive(Clone, Debug)]
pub struct Outbox {
    jobs: Jobs,
    store: Store,
    overrides: Overrides,
}

impl Outbox {
    /// In this database, with these templates.
    pub fn new(db: Db, clock: Clock, jobs: Jobs, templates: Templates) -> Self {
        let overrides = Overrides::new(db.clone(), clock.clone(), templates);
        Self { jobs, store: Store { db, clock }, overrides }
    }

    /// The app's templates.
    pub fn templates(&self) -> &Templates {
        self.overrides.templates()
    }

    /// A mail from a template, in the first of the locales `de-AT`, `de` and `en` there is for `de-AT`.
    ///
    /// # Errors
    /// The template can't be rendered with these values.
    pub fn compose<T: Template>(
        &self,
        to: impl TryInto<Address, Error: Into<AddressError>>,
        template: &T,
        locale: &str,
    ) -> Result<Email, OutboxError> {
        Ok(fill::<T>(Email::to(to), self.templates().render(template, locale)?))
    }

    /// As [`compose`](Self::compose), with the tenant's own version of the template, if it has one.
    ///
    /// # Errors
    /// The app's own template can't be rendered with these values, and the database's.
    pub async fn compose_for<T: Template>(
        &self,
        tenant: TenantId,
        to: impl TryInto<Address, Error: Into<AddressError>>,
        template: &T,
        locale: &str,
    ) -> Result<Email, OutboxError> {
        let email = Email::to(to).for_tenant(tenant);
        Ok(fill::<T>(email, self.overrides.render(tenant, template, locale).await?))
    }

    /// Sends a mail when the caller's transaction commits, and not otherwise.
    ///
    /// # Errors
    /// See [`OutboxError`]. After a database error the transaction is best rolled back.
    pub async fn send_in(&self, tx: &mut Tx, email: &Email) -> Result<MessageId, OutboxError> {
        check(email)?;
        let id = self.store.add(tx, email).await?;
        let mut job = Draft::new(SendMail { message: id });
        if let Some(tenant) = email.tenant {
            job = job.tenant(tenant);
        }
        self.jobs.enqueue_in(tx, job).await?;
        Ok(id)
    }

    /// Sends a mail, in a transaction of its own.
    ///
    /// # Errors
    /// See [`OutboxError`]; nothing is sent then.
    pub async fn send(&self, email: &Email) -> Result<MessageId, OutboxError> {
        check(email)?;
        let mut tx = self.store.db.begin().await?;
        let id = self.send_in(&mut tx, email).await?;
        tx.commit().await?;
        Ok(id)
    }

    /// What became of a mail; nothing when there is none of this id, or no more.
    ///
    /// # Errors
    /// The database's.
    pub async fn get(&self, id: MessageId) -> Result<Option<MessageInfo>, db::Error> {
        self.store.get(id).await
    }
}

fn fill<T: Template>(email: Email, rendered: Rendered) -> Email {
    email.subject(rendered.subject).html(rendered.html).text(rendered.text).tag("template", T::NAME)
}

/// Whether it can be sent, by whomever: the sender may come later.
fn check(email: &Email) -> Result<(), Invalid> {
    match email.check() {
        Err(Invalid::NoSender) => email.clone().from("somebody@example.com").check(),
        checked => checked,
    }
}
