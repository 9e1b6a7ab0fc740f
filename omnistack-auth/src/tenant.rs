//! Tenants: who may do what in which, asked of the database in one place.
//!
//! A team in a path is not the tenant of the session. So whoever works on one comes in through [`Tenants::rights`], which
//! looks at the caller's membership of exactly that tenant: a stranger learns nothing, not even that it is there.

use std::{fmt, time::Duration};

use omnistack_core::{
    audit::{AuditEntry, AuditLog},
    clock::Clock,
    db::{Db, Tx},
    events::Events,
    http::{self, FieldProblem, StatusCode},
    identity::{Identity, Permissions, Require, TenantId},
};

pub use crate::own_role::{Matrix, RoleRow};
use crate::{
    Error,
    model::Tenant,
    role,
    session::{RECENT, Sessions},
    store::tenant::{self as store, Place},
};

/// The tenants of the app, their members and their roles.
///
/// ```no_run
/// # use omnistack_auth::tenant::Tenants;
/// # use omnistack_core::{app::Ctx, identity::{Identity, TenantId}};
/// # async fn run(ctx: &Ctx, caller: &Identity, team: TenantId) -> Result<(), Box<dyn std::error::Error>> {
/// let tenants: Tenants = ctx.get()?;
/// let rights = tenants.rights(caller, team).await?;
/// rights.require("projects:write")?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Tenants {
    pub(crate) db: Db,
    pub(crate) clock: Clock,
    pub(crate) audit: AuditLog,
    pub(crate) events: Events,
    pub(crate) sessions: Sessions,
    /// How long a deleted one can be restored.
    pub(crate) grace: Duration,
}

/// What a caller may do in a tenant.
///
/// ```
/// # use omnistack_auth::{Auth, tenant::Tenants, users::{NewUser, Users}};
/// # use omnistack_core::{app::App, config::Config, identity::Identity};
/// use omnistack_auth::tenant::Rights;
/// use omnistack_core::http::{self, StatusCode};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// # let app = App::builder(Config::from_pairs([("DATABASE_URL", "sqlite::memory:")])).with(Auth::accounts()).build()?;
/// # app.migrate().await?;
/// # let (users, tenants): (Users, Tenants) = (app.ctx().get()?, app.ctx().get()?);
/// # let ada = Identity::user(users.create(NewUser::of_email("ada@example.com")).await?.user);
/// # let team = tenants.create(&ada, "Acme", None).await?.tenant.id;
/// let rights: Rights = tenants.rights(&ada, team).await?;
/// assert_eq!((rights.tenant.name.as_str(), rights.role.as_str()), ("Acme", "owner"));
/// rights.require("projects:write")?;
/// let shows_billing = rights.permissions.allows("billing:manage");
/// # assert!(shows_billing);
///
/// # let stranger = Identity::user(users.create(NewUser::of_email("eve@example.com")).await?.user);
/// let refused = http::Error::from(tenants.rights(&stranger, team).await.unwrap_err());
/// assert_eq!(refused.status(), StatusCode::NOT_FOUND);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Rights {
    /// The tenant.
    pub tenant: Tenant,
    /// The caller's role there.
    pub role: String,
    /// What the caller may do there. Of a program: what its key and its maker both may.
    pub permissions: Permissions,
}

impl Rights {
    pub(crate) fn of(place: Place, caller: &Identity) -> Self {
        let Place { tenant, role, permissions } = place;
        let own = role::permissions(&role, permissions.as_deref());
        let permissions = if caller.machine { own.and(&caller.permissions) } else { own };
        Self { tenant, role, permissions }
    }

    /// Goes on only if the caller may do this there.
    ///
    /// # Errors
    /// 403 `PERMISSION_DENIED`, with the permission in its details.
    pub fn require(&self, permission: &str) -> Result<(), http::Error> {
        if self.permissions.allows(permission) {
            return Ok(());
        }
        let message = format!("this needs the permission `{permission}`");
        Err(http::Error::new(StatusCode::FORBIDDEN, "PERMISSION_DENIED", message).detail("permission", permission))
    }

    /// Goes on only if the caller has all of these: a caller takes from others only what they have themselves.
    pub(crate) fn may_take(&self, permissions: &Permissions) -> Result<(), http::Error> {
        if self.permissions.covers(permissions) {
            return Ok(());
        }
        let message = "this concerns permissions that you don't have yourself";
        Err(http::Error::new(StatusCode::FORBIDDEN, "PERMISSION_DENIED", message))
    }

    /// Goes on only if others can be in it.
    pub(crate) fn team(&self) -> Result<(), http::Error> {
        match self.tenant.personal_of {
            None => Ok(()),
            Some(_) => {
                Err(http::Error::conflict("PERSONAL_TENANT", "this is somebody's own tenant: make a team first"))
            }
        }
    }
}

impl Tenants {
    pub(crate) fn new(
        db: Db,
        clock: Clock,
        (audit, events): (AuditLog, Events),
        sessions: Sessions,
        grace: Duration,
    ) -> Self {
        Self { db, clock, audit, events, sessions, grace }
    }

    /// What a caller may do in a tenant, whichever is chosen now.
    ///
    /// # Errors
    /// 404 for who is no member, 403 `TENANT_SUSPENDED`, and the database's.
    pub async fn rights(&self, caller: &Identity, tenant: TenantId) -> Result<Rights, Error> {
        let mut tx = self.db.tenant(tenant).read().await?;
        let rights = rights_in(&mut tx, caller, tenant).await?;
        tx.commit().await?;
        Ok(rights)
    }

    /// To look at something of a tenant.
    pub(crate) async fn read(
        &self,
        caller: &Identity,
        tenant: TenantId,
        permission: &str,
    ) -> Result<(Tx, Rights), Error> {
        let mut tx = self.db.tenant(tenant).read().await?;
        let rights = rights_in(&mut tx, caller, tenant).await?;
        rights.require(permission)?;
        Ok((tx, rights))
    }

    /// To change something of a tenant, one after the other: nobody's rights change between the check and the change.
    pub(crate) async fn change(
        &self,
        caller: &Identity,
        tenant: TenantId,
        permission: &str,
    ) -> Result<(Tx, Rights), Error> {
        let (tx, rights) = self.enter(caller, tenant).await?;
        rights.require(permission)?;
        Ok((tx, rights))
    }

    /// As [`change`](Self::change), whatever the caller may do there.
    pub(crate) async fn enter(&self, caller: &Identity, tenant: TenantId) -> Result<(Tx, Rights), Error> {
        let mut tx = self.db.tenant(tenant).begin().await?;
        store::lock(&mut tx, tenant).await?;
        let rights = rights_in(&mut tx, caller, tenant).await?;
        Ok((tx, rights))
    }

    /// The one rule for whatever gives rights: a role, an invitation, an API key. The caller gives what they have themselves;
    /// an operator who acts as a user gives nothing, since it would outlive the impersonation; and who gives a share in the
    /// ownership has signed in a short while ago.
    pub(crate) fn may_grant(
        &self,
        caller: &Identity,
        rights: &Rights,
        permissions: &Permissions,
    ) -> Result<(), http::Error> {
        caller.refuse_impersonation()?;
        rights.may_take(permissions)?;
        if role::OWNERSHIP.iter().any(|owners| permissions.allows(owners)) {
            Require::recent(RECENT).check(caller, &self.clock)?;
        }
        Ok(())
    }

    /// Records what was done and makes it durable.
    pub(crate) async fn done(&self, mut tx: Tx, entry: AuditEntry) -> Result<(), Error> {
        self.audit.record_in(&mut tx, entry).await?;
        Ok(tx.commit().await?)
    }
}

/// The one place where membership and role become rights.
pub(crate) async fn rights_in(tx: &mut Tx, caller: &Identity, tenant: TenantId) -> Result<Rights, Error> {
    // A key is good in its own tenant only.
    let elsewhere = caller.machine && caller.tenant != Some(tenant);
    let place = if elsewhere { None } else { store::place(tx, tenant, caller.user).await? };
    let rights = Rights::of(place.ok_or_else(|| http::Error::not_found("team"))?, caller);
    match rights.tenant.suspended_at {
        None => Ok(rights),
        Some(_) => Err(suspended().into()),
    }
}

pub(crate) fn suspended() -> http::Error {
    let message = "this tenant is suspended; ask the operators of the app";
    http::Error::new(StatusCode::FORBIDDEN, "TENANT_SUSPENDED", message)
}

/// Names that mean something else in front of a domain: pages of the app and of whoever runs it, hosts that mail and
/// discovery protocols look for (RFC 2142, RFC 8461, WPAD, Autodiscover, ISATAP).
#[rustfmt::skip]
const RESERVED: [&str; 104] = [
    "abuse", "access", "account", "accounts", "admin", "administrator", "api", "app", "apps", "assets", "auth", "autoconfig",
    "autodiscover", "backup", "beta", "billing", "blog", "broadcasthost", "careers", "cdn", "checkout", "community",
    "console", "contact", "dashboard", "demo", "dev", "developer", "developers", "dns", "docs", "download", "downloads",
    "email", "files", "forum", "ftp", "git", "help", "helpdesk", "host", "hostmaster", "id", "identity", "images", "imap",
    "info", "internal", "invoice", "invoices", "isatap", "legal", "localhost", "login", "logout", "mail", "mailer", "media",
    "mta-sts", "mx", "my", "news", "no-reply", "noreply", "ns", "oauth", "official", "password", "pay", "payment",
    "payments", "pop", "portal", "postmaster", "privacy", "public", "register", "root", "secure", "security", "shop",
    "sign-in", "sign-up", "signin", "signup", "smtp", "sso", "staging", "static", "status", "store", "subscribe", "support",
    "system", "team", "test", "trust", "verify", "vpn", "webmail", "webmaster", "wiki", "wpad", "www",
];

/// Whether a subdomain is of the app itself: a reserved name, also with one or two digits behind it, as in `www2` and
/// `login-1`.
pub(crate) fn is_reserved(slug: &str) -> bool {
    let digits = slug.bytes().rev().take_while(u8::is_ascii_digit).count();
    let name = if digits > 2 { slug } else { slug[..slug.len() - digits].trim_end_matches('-') };
    RESERVED.binary_search(&name).is_ok()
}

/// A name for addresses: 3 to 63 of `a-z 0-9 -`, as a label of DNS (RFC 1123, section 2.1), and none the app needs.
pub(crate) fn check_slug(slug: &str) -> Result<(), http::Error> {
    let wrong = |problem: &str| Err(http::Error::invalid([FieldProblem::new("slug", problem)]));
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !(3..=63).contains(&slug.len()) || !slug.bytes().all(allowed) || slug.starts_with('-') || slug.ends_with('-') {
        return wrong("must be 3 to 63 of a-z, 0-9 and -, with a letter or digit at both ends");
    }
    if is_reserved(slug) || slug.starts_with("xn--") {
        return wrong("is a name the app keeps for itself");
    }
    Ok(())
}

impl fmt::Debug for Tenants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tenants")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_slug() {
        for (slug, good) in [
            ("acme", true),
            ("a-1", true),
            ("ac", false),
            ("Acme", false),
            ("-acme", false),
            ("acme-", false),
            ("ac.me", false),
            ("www", false),
            ("login", false),
            ("support", false),
            ("autodiscover", false),
            ("wpad", false),
            ("login-2", false),
            ("ns1", false),
            ("logins", true),
            ("login-12345678", true),
            ("acme-login", true),
            ("xn--acme", false),
            ("", false),
        ] {
            assert_eq!(check_slug(slug).is_ok(), good, "{slug}");
        }
    }

    #[test]
    fn every_reserved_name_is_found() {
        assert!(RESERVED.is_sorted(), "they are searched by halves");
        assert!(RESERVED.iter().all(|name| is_reserved(name)));
    }
}
