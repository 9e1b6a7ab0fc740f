//! Users, and the tenant each has of their own.

use std::fmt;

use omnistack_core::{
    audit::{AuditEntry, AuditLog},
    clock::Clock,
    db::{Db, Tx},
    email::Address,
    http::{self, FieldProblem},
    identity::{Identity, TenantId, UserId},
    name::defused,
};
use serde_json::json;

use crate::{
    Error,
    model::User,
    store::{
        account, tenant,
        user::{self, Profile},
    },
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
    /// Their address; kept in its [normal form](Address::normal).
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
    audit: AuditLog,
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
    pub(crate) fn new(db: Db, clock: Clock, audit: AuditLog) -> Self {
        Self { db, clock, audit }
    }

    /// Makes a user, and a tenant of their own with them as its owner.
    ///
    /// # Errors
    /// 422 for an address that is none; the database's: a unique violation when the address is taken.
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
        let email = new.email.as_deref().map(checked_email).transpose()?;
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

    /// Changes the caller's profile.
    ///
    /// # Errors
    /// 403 to API keys and to operators who act as the user; 404 for a user who is gone; the database's.
    pub(crate) async fn change(&self, caller: &Identity, profile: Profile) -> Result<User, Error> {
        caller.require_in_person()?;
        let fields = [
            ("name", profile.name.is_some()),
            ("picture", profile.picture.is_some()),
            ("locale", profile.locale.is_some()),
        ];
        let changed: Vec<_> = fields.iter().filter(|(_, changed)| *changed).map(|(field, _)| *field).collect();
        // The entry is of the user's own tenant, whichever is chosen.
        let mut tx = self.db.all_tenants().begin().await?;
        let user = user::change(&mut tx, caller.user, profile, self.clock.now()).await?;
        let user = user.ok_or_else(|| http::Error::not_found("user"))?;
        let mut entry = AuditEntry::new("account.profile_changed").by(caller).on("user", user.id);
        entry.tenant = account::personal(&mut tx, user.id).await?.first().map(|(tenant,)| *tenant);
        self.audit.record_in(&mut tx, entry.with(json!({ "fields": changed }))).await?;
        tx.commit().await?;
        Ok(user)
    }

    /// A user.
    ///
    /// # Errors
    /// The database's.
    pub async fn find(&self, id: UserId) -> Result<Option<User>, Error> {
        Ok(user::find(&self.db, id).await?)
    }

    /// The user with an address, in whichever spelling.
    ///
    /// # Errors
    /// The database's.
    pub async fn find_by_email(&self, email: &str) -> Result<Option<User>, Error> {
        let Some(email) = normal_email(email) else { return Ok(None) };
        Ok(user::find_by_email(&self.db, &email).await?)
    }
}

/// Returns the address of a mailbox at a domain in its normal form, by which accounts, invitations and identity providers
/// are compared; `None` for a text that is no such address. What is kept is in this form.
pub(crate) fn normal_email(text: &str) -> Option<String> {
    let address = Address::new(text.trim()).ok()?;
    // `localhost` and names of the network inside reach no mailbox of a user.
    address.domain().contains('.').then(|| address.normal())
}

/// As [`normal_email`].
///
/// # Errors
/// 422 that names the field `email`.
pub(crate) fn checked_email(text: &str) -> Result<String, Error> {
    let problem = || FieldProblem::new("email", "is not an address such as `ada@example.com`");
    Ok(normal_email(text).ok_or_else(|| http::Error::invalid([problem()]))?)
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

#[cfg(test)]
mod tests {
    use super::normal_email;

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
            // Letters before the `@` that look like others, or become others in lower case.
            ("\u{212a}elvin@example.com", None),
            ("\u{430}da@example.com", None),
        ] {
            assert_eq!(normal_email(text).as_deref(), expected, "{text:?}");
        }
        assert_eq!(normal_email(&format!("{}@example.com", "a".repeat(65))), None);
    }
}
