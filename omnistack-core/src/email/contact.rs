//! The port that finds the email addresses of users.

use std::{fmt, sync::Arc};

use async_trait::async_trait;

use super::Address;
use crate::{
    db,
    identity::{TenantId, UserId},
};

/// The email address of a user, and the language in which the user reads mails.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UserContact {
    /// The verified email address.
    pub address: Address,
    /// The language tag, such as `de-AT`, if it is known.
    pub locale: Option<String>,
}

impl UserContact {
    /// Creates a contact.
    pub fn new(address: Address, locale: Option<String>) -> Self {
        Self { address, locale }
    }
}

/// A directory of users, as implemented by the module that has the accounts.
#[async_trait]
pub trait FindUserContact: Send + Sync + 'static {
    /// Returns the contact of a user. Returns `None` if the account is deleted, disabled or about to be deleted, if its
    /// email address is missing or not verified, and if a tenant is given in which the user is no member.
    ///
    /// # Errors
    /// The errors of the database.
    async fn find(&self, user: UserId, tenant: Option<TenantId>) -> Result<Option<UserContact>, db::Error>;
}

/// The handle that finds the email addresses of users, for mails to them. It is in the
/// [`Context`](crate::module::Context) of every app; without a module that has accounts it finds none. Cheap to clone.
///
/// ```
/// use omnistack_core::{async_trait, db, email::{FindUserContact, UserContact, UserContacts}};
/// use omnistack_core::identity::{TenantId, UserId};
///
/// /// Addresses are `ID@example.com`.
/// struct Directory;
///
/// #[async_trait]
/// impl FindUserContact for Directory {
///     async fn find(&self, user: UserId, _: Option<TenantId>) -> Result<Option<UserContact>, db::Error> {
///         Ok(format!("{user}@example.com").parse().ok().map(|address| UserContact::new(address, None)))
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), db::Error> {
/// # let user: UserId = omnistack_core::id::Id::new(omnistack_core::clock::Clock::system().now());
/// assert!(UserContacts::new(Directory).find(user, None).await?.is_some());
/// assert!(UserContacts::default().find(user, None).await?.is_none());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct UserContacts(Option<Arc<dyn FindUserContact>>);

impl UserContacts {
    /// Creates a handle.
    pub fn new(directory: impl FindUserContact) -> Self {
        Self(Some(Arc::new(directory)))
    }

    /// Returns the contact of a user, if the user can get mails: see [`FindUserContact::find`]. Mails about a tenant
    /// name the tenant, so that a former member gets none.
    ///
    /// # Errors
    /// The errors of the database.
    pub async fn find(&self, user: UserId, tenant: Option<TenantId>) -> Result<Option<UserContact>, db::Error> {
        match &self.0 {
            Some(directory) => directory.find(user, tenant).await,
            None => Ok(None),
        }
    }
}

impl fmt::Debug for UserContacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("UserContacts").field(&self.0.is_some()).finish()
    }
}
