//! Users, and each user's own tenant.

pub(crate) mod contacts;
pub(crate) mod routes;
pub(crate) mod store;

use std::fmt;

use omnistack_core::{
    audit::{AuditEntry, AuditLog},
    clock::Clock,
    db::{Db, Tx},
    email::Address,
    http::{self, FieldError},
    identity::{Identity, TenantId, UserId},
    name::without_links,
};
use serde_json::json;

use crate::{
    Error,
    model::User,
    users::store::{ProfileUpdate, accounts, tenants},
};

/// The data of a user to be created.
///
/// ```
/// use omnistack_auth::users::NewUser;
/// # use omnistack_auth::{Auth, users::Users};
/// # use omnistack_core::{app::App, config::Config};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// # let app = App::builder(Config::from_pairs([("DATABASE_URL", "sqlite::memory:")])).with(Auth::built_in()).build()?;
/// # app.migrate().await?;
/// # let users: Users = app.context().get()?;
/// // From a company's directory, which has verified the address.
/// let mut new = NewUser::with_email("Ada@example.com");
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
    /// The id, for a user who has one already; if `None`, a new one. See
    /// [`from_number`](omnistack_core::id::Id::from_number) for users whose ids are numbers.
    pub id: Option<UserId>,
    /// The email address; stored in its [normal form](Address::normalized).
    pub email: Option<String>,
    /// Whether the address is verified.
    pub email_verified: bool,
    /// The display name; if empty, the part of the address before the `@`. A text that is not a valid name according
    /// to [`is_name`](omnistack_core::name::is_name) is stored [`without_links`].
    pub name: String,
    /// The URL of the user's picture.
    pub picture: Option<String>,
    /// The user's language tag, such as `en-GB`.
    pub locale: Option<String>,
    /// Whether the user is an operator of the whole app.
    pub operator: bool,
    pub(crate) password_hash: Option<String>,
}

impl NewUser {
    /// Creates the data of a user with an email address, which is not verified.
    pub fn with_email(email: impl Into<String>) -> Self {
        Self { email: Some(email.into()), ..Self::default() }
    }

    /// Sets the stored password hash, for a user who comes from another system: a PHC string of Argon2, or a hash that
    /// an importer of the app verifies.
    ///
    /// ```
    /// use omnistack_auth::users::NewUser;
    /// use omnistack_core::identity::UserId;
    ///
    /// let mut ada = NewUser::with_email("ada@example.com").with_password_hash("$2y$12$…");
    /// ada.id = Some(UserId::from_number(7));
    /// ada.email_verified = true;
    /// ```
    #[must_use]
    pub fn with_password_hash(mut self, hash: impl Into<String>) -> Self {
        self.password_hash = Some(hash.into());
        self
    }
}

/// The users of the app: creates and finds them.
///
/// ```
/// use omnistack_auth::{ErrorKind, users::{NewUser, Users}};
/// # use omnistack_auth::Auth;
/// # use omnistack_core::{app::App, config::Config};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// # let app = App::builder(Config::from_pairs([("DATABASE_URL", "sqlite::memory:")])).with(Auth::built_in()).build()?;
/// # app.migrate().await?;
/// let users: Users = app.context().get()?;
/// let made = users.create(NewUser::with_email("ada@example.com")).await?;
/// let found = users.find_by_email(" ADA@example.com").await?;
/// assert_eq!(found.map(|ada| ada.id), Some(made.user));
///
/// // An address belongs to one user at most.
/// let twice = users.create(NewUser::with_email("ada@example.com")).await.unwrap_err();
/// assert_eq!(twice.kind(), ErrorKind::Database);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Users {
    db: Db,
    clock: Clock,
    audit: AuditLog,
}

/// A user who was just created, and the user's own tenant.
///
/// ```
/// use omnistack_auth::users::{CreatedUser, NewUser};
/// # use omnistack_auth::{Auth, tenant::Tenants, users::Users};
/// # use omnistack_core::{app::App, config::Config, identity::Identity};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// # let app = App::builder(Config::from_pairs([("DATABASE_URL", "sqlite::memory:")])).with(Auth::built_in()).build()?;
/// # app.migrate().await?;
/// # let users: Users = app.context().get()?;
/// let mut tx = app.db().all_tenants().begin().await?;
/// let CreatedUser { user, tenant } = users.create_in(&mut tx, NewUser::with_email("ada@example.com")).await?;
/// // … a first project in `tenant`, in the same transaction …
/// tx.commit().await?;
/// # let access = app.context().get::<Tenants>()?.access(&Identity::user(user), tenant).await?;
/// assert_eq!(access.role, "owner");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreatedUser {
    /// The user.
    pub user: UserId,
    /// The user's own tenant.
    pub tenant: TenantId,
}

impl Users {
    pub(crate) fn new(db: Db, clock: Clock, audit: AuditLog) -> Self {
        Self { db, clock, audit }
    }

    /// Creates a user, and the user's own tenant with the user as its owner.
    ///
    /// # Errors
    /// 422 for an invalid address; a unique violation of the database if the address belongs to another user; other
    /// database errors.
    pub async fn create(&self, new: NewUser) -> Result<CreatedUser, Error> {
        // This creates the tenant, so the transaction spans all tenants.
        let mut tx = self.db.all_tenants().begin().await?;
        let made = self.create_in(&mut tx, new).await?;
        tx.commit().await?;
        Ok(made)
    }

    /// Creates a user like [`create`](Self::create), within a transaction that spans all tenants.
    ///
    /// # Errors
    /// Those of [`create`](Self::create).
    pub async fn create_in(&self, tx: &mut Tx, new: NewUser) -> Result<CreatedUser, Error> {
        let now = self.clock.now();
        let (id, own) = (new.id.unwrap_or_else(|| UserId::new(now)), TenantId::new(now));
        let email = new.email.as_deref().map(parse_email).transpose()?;
        let before_at = email.as_deref().and_then(|email| email.split('@').next()).unwrap_or("user");
        // Dots are replaced, so that the name made from `ada.lovelace@…` cannot be read as a host.
        let name = match new.name.trim() {
            "" => before_at.replace('.', " "),
            given => without_links(given),
        };
        let name = name.trim();
        let row = store::NewUserRow {
            id,
            email: email.as_deref(),
            email_verified_at: new.email_verified.then_some(now),
            password_hash: new.password_hash.as_deref(),
            name,
            picture: new.picture.as_deref(),
            locale: new.locale.as_deref(),
            operator: new.operator,
        };
        store::insert(tx, row, now).await?;
        let slug = slug(name, own);
        tenants::insert(tx, tenants::NewTenantRow { id: own, name, slug: &slug, owner: id, personal: true }, now)
            .await?;
        Ok(CreatedUser { user: id, tenant: own })
    }

    /// Changes the caller's profile.
    ///
    /// # Errors
    /// 403 for API keys and during impersonation; 404 if the user does not exist any more; database errors.
    pub(crate) async fn update_profile(&self, caller: &Identity, profile: ProfileUpdate) -> Result<User, Error> {
        caller.require_in_person()?;
        let fields = [
            ("name", profile.name.is_some()),
            ("picture", profile.picture.is_some()),
            ("locale", profile.locale.is_some()),
        ];
        let changed: Vec<_> = fields.iter().filter(|(_, changed)| *changed).map(|(field, _)| *field).collect();
        // The entry belongs to the user's own tenant, whichever tenant is selected.
        let mut tx = self.db.all_tenants().begin().await?;
        let user = store::update(&mut tx, caller.user, profile, self.clock.now()).await?;
        let user = user.ok_or_else(|| http::Error::not_found("the user"))?;
        let mut entry = AuditEntry::new("account.profile_changed").actor(caller).resource("user", user.id);
        entry.tenant = accounts::personal_tenant(&mut tx, user.id).await?.first().map(|(tenant,)| *tenant);
        self.audit.record_in(&mut tx, entry.details(json!({ "fields": changed }))).await?;
        tx.commit().await?;
        Ok(user)
    }

    /// Returns a user, or `None` if there is no such user.
    ///
    /// # Errors
    /// Returns an error if the database fails.
    pub async fn find(&self, id: UserId) -> Result<Option<User>, Error> {
        Ok(store::find(&self.db, id).await?)
    }

    /// Returns the user with an email address, in any spelling, or `None` if there is no such user.
    ///
    /// # Errors
    /// Returns an error if the database fails.
    pub async fn find_by_email(&self, email: &str) -> Result<Option<User>, Error> {
        let Some(email) = normalize_email(email) else { return Ok(None) };
        Ok(store::find_by_email(&self.db, &email).await?)
    }
}

/// Returns an email address in its normal form, in which addresses of accounts, invitations and identity providers
/// are stored and compared. Returns `None` if the text is not the address of a mailbox at a domain.
pub(crate) fn normalize_email(text: &str) -> Option<String> {
    let address = Address::new(text.trim()).ok()?;
    // Mail to `localhost` and to names of an internal network reaches no user's mailbox.
    address.domain().contains('.').then(|| address.normalized())
}

/// Returns an email address in its normal form, like [`normalize_email`].
///
/// # Errors
/// 422 that names the field `email`.
pub(crate) fn parse_email(text: &str) -> Result<String, Error> {
    let problem = || FieldError::new("email", "is not an address such as `ada@example.com`");
    Ok(normalize_email(text).ok_or_else(|| http::Error::invalid([problem()]))?)
}

/// Returns a slug for a tenant: up to 40 letters and digits of the name, and the end of the id, which makes it
/// unique.
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

#[cfg(test)]
mod tests {
    use super::normalize_email;

    #[test]
    fn a_mailbox_has_one_spelling() {
        for (text, expected) in [
            (" Ada@Example.com ", Some("ada@example.com")),
            ("ada.b+tag@sub.example.co.uk", Some("ada.b+tag@sub.example.co.uk")),
            ("ida@exämple.com", Some("ida@xn--exmple-cua.com")),
            ("IDA@EXÄMPLE.COM", Some("ida@xn--exmple-cua.com")),
            ("ida@exa\u{308}mple.com", Some("ida@xn--exmple-cua.com")),
            ("ida@XN--Exmple-cua.com", Some("ida@xn--exmple-cua.com")),
            ("ida@ex\u{e4}mple\u{3002}com", Some("ida@xn--exmple-cua.com")),
            ("o'neil@xn--bcher-kva.example", Some("o'neil@xn--bcher-kva.example")),
            ("ada", None),
            ("@example.com", None),
            ("ada@", None),
            ("ada@localhost", None),
            ("ada@example..com", None),
            ("ada@-example.com", None),
            ("ada@xn--a.com", None),
            (".ada@example.com", None),
            ("a..b@example.com", None),
            ("ada@example.com\r\nbcc: eve@example.com", None),
            ("ada@example.com, eve@example.com", None),
            ("ada <ada@example.com>", None),
            ("ada@eve@example.com", None),
            // Letters before the `@` that look like other letters, or become them in lower case.
            ("\u{212a}elvin@example.com", None),
            ("\u{430}da@example.com", None),
        ] {
            assert_eq!(normalize_email(text).as_deref(), expected, "{text:?}");
        }
        assert_eq!(normalize_email(&format!("{}@example.com", "a".repeat(65))), None);
    }
}
