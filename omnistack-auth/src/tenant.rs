//! Tenants, and the one place that checks a caller's permissions in them.
//!
//! The tenant in a request's path is not necessarily the tenant selected in the session. Every operation on a tenant
//! therefore starts with [`Tenants::access`], which reads the caller's membership of exactly that tenant. A caller
//! without a membership gets 404, so a stranger does not learn that the tenant exists.

pub(crate) mod custom_roles;
pub(crate) mod export;
pub mod invitation;
pub(crate) mod members;
#[expect(clippy::trivially_copy_pass_by_ref, reason = "`garde` passes its context to rules by reference")]
#[expect(unused_qualifications, reason = "`utoipa::path` writes the types of parameters in full")]
pub(crate) mod routes;
pub(crate) mod store;
pub(crate) mod teams;

use std::{fmt, time::Duration};

use omnistack_core::{
    audit::{AuditEntry, AuditLog},
    clock::Clock,
    db::{Db, Tx},
    events::Events,
    http::{self, FieldError, StatusCode},
    identity::{Identity, Permissions, Require, TenantId},
};

pub use crate::tenant::custom_roles::{PermissionMatrix, RolePermissions};
use crate::{
    Error,
    model::Tenant,
    role,
    session::{MAX_FRESH_SIGN_IN_AGE, Sessions},
    tenant::store::MembershipRow,
};

/// The service for the app's tenants, their members and their roles.
///
/// ```no_run
/// # use omnistack_auth::tenant::Tenants;
/// # use omnistack_core::{module::Context, identity::{Identity, TenantId}};
/// # async fn run(ctx: &Context, caller: &Identity, team: TenantId) -> Result<(), Box<dyn std::error::Error>> {
/// let tenants: Tenants = ctx.get()?;
/// let access = tenants.access(caller, team).await?;
/// access.require("projects:write")?;
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
    /// The time for which a deleted team can be restored.
    pub(crate) grace: Duration,
}

/// A caller's role and permissions in a tenant.
///
/// ```
/// # use omnistack_auth::{Auth, tenant::Tenants, users::{NewUser, Users}};
/// # use omnistack_core::{app::App, config::Config, identity::Identity};
/// use omnistack_auth::tenant::TenantAccess;
/// use omnistack_core::http::{self, StatusCode};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// # let app = App::builder(Config::from_pairs([("DATABASE_URL", "sqlite::memory:")])).with(Auth::built_in()).build()?;
/// # app.migrate().await?;
/// # let (users, tenants): (Users, Tenants) = (app.context().get()?, app.context().get()?);
/// # let ada = Identity::user(users.create(NewUser::with_email("ada@example.com")).await?.user);
/// # let team = tenants.create(&ada, "Acme", None).await?.tenant.id;
/// let access: TenantAccess = tenants.access(&ada, team).await?;
/// assert_eq!((access.tenant.name.as_str(), access.role.as_str()), ("Acme", "owner"));
/// access.require("projects:write")?;
/// let shows_billing = access.permissions.allows("billing:manage");
/// # assert!(shows_billing);
///
/// # let stranger = Identity::user(users.create(NewUser::with_email("eve@example.com")).await?.user);
/// let refused = http::Error::from(tenants.access(&stranger, team).await.unwrap_err());
/// assert_eq!(refused.status(), StatusCode::NOT_FOUND);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TenantAccess {
    /// The tenant.
    pub tenant: Tenant,
    /// The caller's role in the tenant.
    pub role: String,
    /// The caller's permissions in the tenant. For an API key: those that both its scopes and the role of the user
    /// who created it allow.
    pub permissions: Permissions,
}

impl TenantAccess {
    pub(crate) fn new(place: MembershipRow, caller: &Identity) -> Self {
        let MembershipRow { tenant, role, permissions } = place;
        let own = role::permissions(&role, permissions.as_deref());
        let permissions = if caller.service_account { own.intersection(&caller.permissions) } else { own };
        Self { tenant, role, permissions }
    }

    /// Checks that the caller has a permission in the tenant.
    ///
    /// # Errors
    /// 403 `PERMISSION_DENIED`, with the permission in its details.
    pub fn require(&self, permission: &str) -> Result<(), http::Error> {
        if self.permissions.allows(permission) {
            return Ok(());
        }
        let message = format!("this needs the permission `{permission}`");
        Err(http::Error::new(StatusCode::FORBIDDEN, "PERMISSION_DENIED", message).with_detail("permission", permission))
    }

    /// Checks that the caller has all of these permissions, because a caller can take from other members only what
    /// the caller has. Fails with 403 `PERMISSION_DENIED`.
    pub(crate) fn require_all(&self, permissions: &Permissions) -> Result<(), http::Error> {
        if self.permissions.is_superset(permissions) {
            return Ok(());
        }
        let message = "this needs permissions that you do not have; ask an owner of the team";
        Err(http::Error::new(StatusCode::FORBIDDEN, "PERMISSION_DENIED", message))
    }

    /// Checks that the tenant is a team, which can have several members. Fails with 409 `PERSONAL_TENANT`.
    pub(crate) fn require_team(&self) -> Result<(), http::Error> {
        match self.tenant.personal_of {
            None => Ok(()),
            Some(_) => {
                Err(http::Error::conflict("PERSONAL_TENANT", "this is a user's own tenant; create a team first"))
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

    /// Returns a caller's role and permissions in a tenant, whichever tenant the session selects.
    ///
    /// # Errors
    /// 404 if the caller is not a member, 403 `TENANT_SUSPENDED`, and database errors.
    pub async fn access(&self, caller: &Identity, tenant: TenantId) -> Result<TenantAccess, Error> {
        let mut tx = self.db.tenant(tenant).begin_read().await?;
        let rights = access_in(&mut tx, caller, tenant).await?;
        tx.commit().await?;
        Ok(rights)
    }

    /// Begins a read-only transaction on a tenant, for a caller with a permission. Fails like
    /// [`rights`](Self::rights), and with 403 without the permission.
    pub(crate) async fn begin_read(
        &self,
        caller: &Identity,
        tenant: TenantId,
        permission: &str,
    ) -> Result<(Tx, TenantAccess), Error> {
        let mut tx = self.db.tenant(tenant).begin_read().await?;
        let rights = access_in(&mut tx, caller, tenant).await?;
        rights.require(permission)?;
        Ok((tx, rights))
    }

    /// Begins a transaction that changes a tenant, for a caller with a permission. The tenant's row is locked, so
    /// changes run one after another and no member's permissions change between the check and the change.
    pub(crate) async fn begin_change(
        &self,
        caller: &Identity,
        tenant: TenantId,
        permission: &str,
    ) -> Result<(Tx, TenantAccess), Error> {
        let (tx, rights) = self.begin_locked(caller, tenant).await?;
        rights.require(permission)?;
        Ok((tx, rights))
    }

    /// Begins a transaction like [`change`](Self::change), without a check of a permission.
    pub(crate) async fn begin_locked(&self, caller: &Identity, tenant: TenantId) -> Result<(Tx, TenantAccess), Error> {
        let mut tx = self.db.tenant(tenant).begin().await?;
        store::lock(&mut tx, tenant).await?;
        let rights = access_in(&mut tx, caller, tenant).await?;
        Ok((tx, rights))
    }

    /// Checks that the caller may grant permissions, by a role, an invitation or an API key. Callers grant only
    /// permissions that they have. During impersonation nothing can be granted, because it would outlive the
    /// impersonation (403). To grant ownership, the caller needs a fresh sign-in (401 `REAUTHENTICATION_REQUIRED`).
    pub(crate) fn check_grant(
        &self,
        caller: &Identity,
        rights: &TenantAccess,
        permissions: &Permissions,
    ) -> Result<(), http::Error> {
        caller.deny_impersonation()?;
        rights.require_all(permissions)?;
        if role::OWNER_PERMISSIONS.iter().any(|owners| permissions.allows(owners)) {
            Require::fresh_sign_in(MAX_FRESH_SIGN_IN_AGE).check(caller, &self.clock)?;
        }
        Ok(())
    }

    /// Records an audit entry and commits.
    pub(crate) async fn commit_with_audit(&self, mut tx: Tx, entry: AuditEntry) -> Result<(), Error> {
        self.audit.record_in(&mut tx, entry).await?;
        Ok(tx.commit().await?)
    }
}

/// Returns a caller's permissions in a tenant: the only place that derives them from membership and role.
pub(crate) async fn access_in(tx: &mut Tx, caller: &Identity, tenant: TenantId) -> Result<TenantAccess, Error> {
    // An API key is valid only in its own tenant.
    let elsewhere = caller.service_account && caller.tenant != Some(tenant);
    let place = if elsewhere { None } else { store::find_membership(tx, tenant, caller.user).await? };
    let rights = TenantAccess::new(place.ok_or_else(|| http::Error::not_found("the team"))?, caller);
    match rights.tenant.suspended_at {
        None => Ok(rights),
        Some(_) => Err(suspended().into()),
    }
}

pub(crate) fn suspended() -> http::Error {
    let message = "this tenant is suspended; ask the operators of the app";
    http::Error::new(StatusCode::FORBIDDEN, "TENANT_SUSPENDED", message)
}

/// Subdomains that cannot be a tenant's slug: pages of the app and its operator, and hosts that mail and discovery
/// protocols look up (RFC 2142, RFC 8461, WPAD, Autodiscover, ISATAP).
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

/// Returns whether a subdomain is reserved for the app: a reserved name, also followed by one or two digits, as in
/// `www2` and `login-1`.
pub(crate) fn is_reserved(slug: &str) -> bool {
    let digits = slug.bytes().rev().take_while(u8::is_ascii_digit).count();
    let name = if digits > 2 { slug } else { slug[..slug.len() - digits].trim_end_matches('-') };
    RESERVED.binary_search(&name).is_ok()
}

/// Checks a slug: 3 to 63 characters of `a-z 0-9 -`, as in a DNS label (RFC 1123, section 2.1), and not reserved.
/// Fails with 422.
pub(crate) fn check_slug(slug: &str) -> Result<(), http::Error> {
    let wrong = |problem: &str| Err(http::Error::invalid([FieldError::new("slug", problem)]));
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !(3..=63).contains(&slug.len()) || !slug.bytes().all(allowed) || slug.starts_with('-') || slug.ends_with('-') {
        return wrong("must be 3 to 63 of a-z, 0-9 and -, with a letter or digit at both ends");
    }
    if is_reserved(slug) || slug.starts_with("xn--") {
        return wrong("is reserved; choose another one");
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
        assert!(RESERVED.is_sorted(), "the binary search needs them sorted");
        assert!(RESERVED.iter().all(|name| is_reserved(name)));
    }
}
