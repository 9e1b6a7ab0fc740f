//! The error type of the crate.

use omnistack_core::{crypto, db, http};

/// An error of accounts, sessions, tenants or API keys.
///
/// ```
/// use omnistack_auth::{Error, ErrorKind};
/// use omnistack_core::http::{self, StatusCode};
///
/// let error = Error::from(http::Error::conflict("SLUG_TAKEN", "another team has this slug"));
/// assert_eq!(error.kind(), ErrorKind::Refused);
/// assert!(!error.is_retryable());
///
/// // `?` does this conversion in a handler: a refusal becomes its response; an internal failure is logged and its
/// // cause is not sent.
/// let answer = http::Error::from(error);
/// assert_eq!((answer.status(), answer.code()), (StatusCode::CONFLICT, "SLUG_TAKEN"));
/// ```
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Error(Box<Cause>);

#[derive(Debug, thiserror::Error)]
enum Cause {
    #[error("a database operation failed: {0}")]
    Database(#[from] db::Error),
    #[error("a sealed secret could not be opened: {0}")]
    Secret(#[from] crypto::Error),
    #[error("a token could not be signed: {0}")]
    Signing(#[from] jsonwebtoken::errors::Error),
    #[error("a signing key could not be created or read")]
    Key,
    #[error("concurrent changes prevented the operation repeatedly; try again")]
    Conflict,
    #[error("the request was refused: {0:?}")]
    Refused(http::Error),
}

/// The kinds of [`Error`].
///
/// ```
/// use omnistack_auth::{Error, ErrorKind, invitation::Invitations};
/// # use omnistack_auth::{Auth, tenant::Tenants, users::{NewUser, Users}};
/// # use omnistack_core::{app::App, config::Config};
/// use omnistack_core::identity::{Identity, TenantId};
///
/// /// Invites a list of people and skips those who can't be invited, for example because they are members already.
/// async fn invite(all: &Invitations, caller: &Identity, team: TenantId, list: &[&str]) -> Result<usize, Error> {
///     let mut invited = 0;
///     for email in list {
///         match all.create(caller, team, email, "viewer").await {
///             Ok(_) => invited += 1,
///             Err(error) if error.kind() == ErrorKind::Refused => {}
///             Err(error) => return Err(error),
///         }
///     }
///     Ok(invited)
/// }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// # let app = App::builder(Config::from_pairs([("DATABASE_URL", "sqlite::memory:")])).with(Auth::built_in()).build()?;
/// # app.migrate().await?;
/// # let (users, tenants): (Users, Tenants) = (app.context().get()?, app.context().get()?);
/// # let ada = Identity::user(users.create(NewUser::with_email("ada@example.com")).await?.user);
/// # let team = tenants.create(&ada, "Acme", None).await?.tenant.id;
/// # let invitations = app.context().get()?;
/// let list = ["grace@example.com", "Grace@example.com", "alan@example.com"];
/// assert_eq!(invite(&invitations, &ada, team, &list).await?, 2);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A database operation failed.
    Database,
    /// A key or a secret can't be used, because `SECRET_KEYS` or the stored row has changed.
    Secret,
    /// The request was refused: the caller lacks a right, or a rule forbids it.
    Refused,
}

impl Error {
    /// Returns the kind of the error.
    pub fn kind(&self) -> ErrorKind {
        match &*self.0 {
            Cause::Database(_) | Cause::Conflict => ErrorKind::Database,
            Cause::Secret(_) | Cause::Signing(_) | Cause::Key => ErrorKind::Secret,
            Cause::Refused(_) => ErrorKind::Refused,
        }
    }

    /// Returns whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(&*self.0, Cause::Conflict) || self.database().is_some_and(db::Error::is_retryable)
    }

    /// Returns the database error, if that is the cause.
    fn database(&self) -> Option<&db::Error> {
        match &*self.0 {
            Cause::Database(error) => Some(error),
            _ => None,
        }
    }

    /// Creates the error for concurrent changes that prevented an operation repeatedly.
    pub(crate) fn conflict() -> Self {
        Self(Box::new(Cause::Conflict))
    }

    /// Returns the kind of the database error, if that is the cause.
    pub(crate) fn database_kind(&self) -> Option<db::ErrorKind> {
        self.database().map(db::Error::kind)
    }

    /// Returns whether the error is a write conflict, so that an immediate retry may succeed.
    pub(crate) fn is_write_conflict(&self) -> bool {
        matches!(self.database_kind(), Some(db::ErrorKind::Unique | db::ErrorKind::Conflict))
    }

    /// Returns whether the error is a response with this status.
    pub(crate) fn is_response_with_status(&self, status: http::StatusCode) -> bool {
        matches!(&*self.0, Cause::Refused(error) if error.status() == status)
    }

    pub(crate) fn invalid_key() -> Self {
        Self(Box::new(Cause::Key))
    }
}

impl From<db::Error> for Error {
    fn from(error: db::Error) -> Self {
        Self(Box::new(error.into()))
    }
}

impl From<crypto::Error> for Error {
    fn from(error: crypto::Error) -> Self {
        Self(Box::new(error.into()))
    }
}

impl From<jsonwebtoken::errors::Error> for Error {
    fn from(error: jsonwebtoken::errors::Error) -> Self {
        Self(Box::new(error.into()))
    }
}

/// Wraps the response that the caller gets.
impl From<http::Error> for Error {
    fn from(error: http::Error) -> Self {
        Self(Box::new(Cause::Refused(error)))
    }
}

impl From<Error> for http::Error {
    fn from(error: Error) -> Self {
        match *error.0 {
            Cause::Database(error) => error.into(),
            Cause::Refused(error) => error,
            Cause::Conflict => Self::unavailable("TRY_AGAIN", "the same data was changed at the same time; try again"),
            cause => Self::internal(cause),
        }
    }
}
