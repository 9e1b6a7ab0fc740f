//! What goes wrong.

use omnistack_core::{crypto, db, http};

/// What goes wrong with accounts.
///
/// ```
/// use omnistack_auth::{Error, ErrorKind};
/// use omnistack_core::http::{self, StatusCode};
///
/// let error = Error::from(http::Error::conflict("SLUG_TAKEN", "another team has this name in addresses"));
/// assert_eq!(error.kind(), ErrorKind::Refused);
/// assert!(!error.is_retryable());
///
/// // In a handler `?` does this: a refusal is the answer it stands for, and what failed inside is logged and not told.
/// let answer = http::Error::from(error);
/// assert_eq!((answer.status(), answer.code()), (StatusCode::CONFLICT, "SLUG_TAKEN"));
/// ```
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Error(Box<Cause>);

#[derive(Debug, thiserror::Error)]
enum Cause {
    #[error("the database: {0}")]
    Database(#[from] db::Error),
    #[error("a sealed secret: {0}")]
    Secret(#[from] crypto::Error),
    #[error("a token could not be signed: {0}")]
    Signing(#[from] jsonwebtoken::errors::Error),
    #[error("a key could not be made or read")]
    Key,
    #[error("others were faster too often")]
    Outrun,
    #[error("refused: {0:?}")]
    Refused(http::Error),
}

/// Kinds of [`Error`].
///
/// ```
/// use omnistack_auth::{Error, ErrorKind, invitation::Invitations};
/// # use omnistack_auth::{Auth, tenant::Tenants, users::{NewUser, Users}};
/// # use omnistack_core::{app::App, config::Config};
/// use omnistack_core::identity::{Identity, TenantId};
///
/// /// Invites a list of people; who can't be invited, being a member already, say, is left out.
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
/// # let app = App::builder(Config::from_pairs([("DATABASE_URL", "sqlite::memory:")])).with(Auth::accounts()).build()?;
/// # app.migrate().await?;
/// # let (users, tenants): (Users, Tenants) = (app.ctx().get()?, app.ctx().get()?);
/// # let ada = Identity::user(users.create(NewUser::of_email("ada@example.com")).await?.user);
/// # let team = tenants.create(&ada, "Acme", None).await?.tenant.id;
/// # let invitations = app.ctx().get()?;
/// let list = ["grace@example.com", "Grace@example.com", "alan@example.com"];
/// assert_eq!(invite(&invitations, &ada, team, &list).await?, 2);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The database failed.
    Database,
    /// A key or a secret can't be used: `SECRET_KEYS` has changed, or a row has.
    Secret,
    /// The caller may not have what it asks for.
    Refused,
}

impl Error {
    /// What kind it is.
    pub fn kind(&self) -> ErrorKind {
        match &*self.0 {
            Cause::Database(_) | Cause::Outrun => ErrorKind::Database,
            Cause::Secret(_) | Cause::Signing(_) | Cause::Key => ErrorKind::Secret,
            Cause::Refused(_) => ErrorKind::Refused,
        }
    }

    /// Whether the same may work later.
    pub fn is_retryable(&self) -> bool {
        matches!(&*self.0, Cause::Outrun) || self.database().is_some_and(db::Error::is_retryable)
    }

    /// The database's error, if it is one.
    pub(crate) fn database(&self) -> Option<&db::Error> {
        match &*self.0 {
            Cause::Database(error) => Some(error),
            _ => None,
        }
    }

    /// Others did the same again and again.
    pub(crate) fn outrun() -> Self {
        Self(Box::new(Cause::Outrun))
    }

    /// What the database found wrong, if it was the database.
    pub(crate) fn database_kind(&self) -> Option<db::ErrorKind> {
        match &*self.0 {
            Cause::Database(error) => Some(error.kind()),
            _ => None,
        }
    }

    /// Whether a caller is answered with this status.
    pub(crate) fn is_refusal_of(&self, status: http::StatusCode) -> bool {
        matches!(&*self.0, Cause::Refused(error) if error.status() == status)
    }

    pub(crate) fn key() -> Self {
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

/// The answer a caller gets.
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
            Cause::Outrun => Self::unavailable("TRY_AGAIN", "others changed the same at the same time; try again"),
            cause => Self::internal(cause),
        }
    }
}
