//! Users, and the tenant each has of their own.

use std::fmt;

use omnistack_core::{
    clock::Clock,
    db::{Db, Tx},
    identity::{TenantId, UserId},
    name::defused,
};

use crate::{
    Error,
    model::User,
    store::{tenant, user},
};

/// A user to be.
///
/// ```
/// use omnistack_auth::users::NewUser;
/// # use omnistack_auth::{Auth, users::Users};
/// # use omnistack_core::{app::App, config::Config};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// # let app = App::builder(Config::from_pairs([("DATABASE_URL", "sqlite::memory:")])).with(Auth::accounts()).build()?;
/// # app.migrate().await?;
/// # let users: Users = app.ctx().get()?;
/// // From the directory of a company, which knows its people.
/// let mut new = NewUser::of_email("Ada@example.com");
/// new.email_verified = true;
/// new.name = "Ada Lovelace".into();
/// new.locale = Some("en-GB".into());
/// let made = users.create(new).await?;
/// assert_eq!(users.find(made.user).await?.and_then(|ada| ada.email).as_deref(), Some("ada@example.com"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct NewUser {
    /// Their address; kept in lower case.
    pub email: Option<String>,
    /// Whether it is known to be theirs.
    pub email_verified: bool,
    /// What they are called; the part of the address before the `@` when empty. What can't be a name by
    /// [`is_name`](omnistack_core::name::is_name) is kept [`defused`].
    pub name: String,
    /// Where their picture is.
    pub picture: Option<String>,
    /// The language they read.
    pub locale: Option<String>,
    /// Whether they operate the whole app.
    pub operator: bool,
    pub(crate) password_hash: Option<String>,
}

impl NewUser {
    /// Of an address.
    pub fn of_email(email: impl Into<String>) -> Self {
        Self { email: Some(email.into()), ..Self::default() }
    }
}

/// Makes and finds users.
///
/// ```
/// use omnistack_auth::{ErrorKind, users::{NewUser, Users}};
/// # use omnistack_auth::Auth;
/// # use omnistack_core::{app::App, config::Config};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// # let app = App::builder(Config::from_pairs([("DATABASE_URL", "sqlite::memory:")])).with(Auth::accounts()).build()?;
/// # app.migrate().await?;
/// let users: Users = app.ctx().get()?;
/// let made = users.create(NewUser::of_email("ada@example.com")).await?;
/// let found = users.find_by_email(" ADA@example.com").await?;
/// assert_eq!(found.map(|ada| ada.id), Some(made.user));
///
/// // An address is one user's.
/// let twice = users.create(NewUser::of_email("ada@example.com")).await.unwrap_err();
/// assert_eq!(twice.kind(), ErrorKind::Database);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Users {
    db: Db,
    clock: Clock,
}

/// Somebody who was just made.
///
/// ```
/// use omnistack_auth::users::{Made, NewUser};
/// # use omnistack_auth::{Auth, tenant::Tenants, users::Users};
/// # use omnistack_core::{app::App, config::Config, identity::Identity};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// # let app = App::builder(Config::from_pairs([("DATABASE_URL", "sqlite::memory:")])).with(Auth::accounts()).build()?;
/// # app.migrate().await?;
/// # let users: Users = app.ctx().get()?;
/// let mut tx = app.db().all_tenants().begin().await?;
/// let Made { user, tenant } = users.create_in(&mut tx, NewUser::of_email("ada@example.com")).await?;
/// // … a first project in `tenant`, in the same transaction …
/// tx.commit().await?;
/// # let rights = app.ctx().get::<Tenants>()?.rights(&Identity::user(user), tenant).await?;
/// assert_eq!(rights.role, "owner");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Made {
    /// The user.
    pub user: UserId,
    /// The tenant that is theirs.
    pub tenant: TenantId,
}

impl Users {
    pub(crate) fn new(db: Db, clock: Clock) -> Self {
        Self { db, clock }
    }

    /// Makes a user, and a tenant of their own with them as its owner.
    ///
    /// # Errors
    /// The database's: a unique violation when the address is taken.
    pub async fn create(&self, new: NewUser) -> Result<Made, Error> {
        // The tenant is made here, so there is none to be scoped to.
        let mut tx = self.db.all_tenants().begin().await?;
        let made = self.create_in(&mut tx, new).await?;
        tx.commit().await?;
        Ok(made)
    }

    /// As [`create`](Self::create), within a transaction of all tenants.
    ///
    /// # Errors
    /// As of [`create`](Self::create).
    pub async fn create_in(&self, tx: &mut Tx, new: NewUser) -> Result<Made, Error> {
        let now = self.clock.now();
        let (id, own) = (UserId::new(now), TenantId::new(now));
        let email = new.email.as_deref().map(normal_email);
        let before_at = email.as_deref().and_then(|email| email.split('@').next()).unwrap_or("user");
        // Of `ada.lovelace@…` as well no name is made that could be a host.
        let name = match new.name.trim() {
            "" => before_at.replace('.', " "),
            given => defused(given),
        };
        let name = name.trim();
        let row = user::NewUser {
            id,
            email: email.as_deref(),
            email_verified_at: new.email_verified.then_some(now),
            password_hash: new.password_hash.as_deref(),
            name,
            picture: new.picture.as_deref(),
            locale: new.locale.as_deref(),
            operator: new.operator,
        };
        user::insert(tx, row, now).await?;
        let slug = slug(name, own);
        tenant::insert(tx, tenant::NewTenant { id: own, name, slug: &slug, owner: id, personal: true }, now).await?;
        Ok(Made { user: id, tenant: own })
    }

    /// A user.
    ///
    /// # Errors
    /// The database's.
    pub async fn find(&self, id: UserId) -> Result<Option<User>, Error> {
        Ok(user::find(&self.db, id).await?)
    }

    /// The user with an address.
    ///
    /// # Errors
    /// The database's.
    pub async fn find_by_email(&self, email: &str) -> Result<Option<User>, Error> {
        Ok(user::find_by_email(&self.db, &normal_email(email)).await?)
    }
}

/// As addresses are compared: in lower case, without space around.
pub(crate) fn normal_email(email: &str) -> String {
    email.trim().to_lowercase()
}

/// A name for addresses: up to 40 letters and digits of this one, and the end of the id, which makes it unique.
pub(crate) fn slug(name: &str, id: TenantId) -> String {
    let mut slug = String::new();
    for letter in name.to_lowercase().chars() {
        match letter {
            'a'..='z' | '0'..='9' if slug.len() < 40 => slug.push(letter),
            _ if !slug.is_empty() && !slug.ends_with('-') && slug.len() < 40 => slug.push('-'),
            _ => {}
        }
    }
    let id = id.uuid().simple().to_string();
    let end = &id[id.len() - 8..];
    match slug.trim_end_matches('-') {
        "" => format!("t-{end}"),
        slug => format!("{slug}-{end}"),
    }
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Users")
    }
}
