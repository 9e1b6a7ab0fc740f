//! API keys: credentials of programs, which act on behalf of the user who created the key, in one tenant, with
//! limited permissions.
//!
//! The permissions of a key are those that both its scopes and its creator's current role allow: after its creator
//! becomes a viewer, a key cannot write any more, and after its creator leaves the team, the key does not work at
//! all. A key's text is shown once; its SHA-256 hash is stored, which is safe for 256 random bits.

pub(crate) mod authenticate;
pub(crate) mod remaining;
pub(crate) mod routes;
pub(crate) mod secret;
pub(crate) mod store;

use std::{fmt, time::Duration};

use omnistack_core::{
    audit::AuditEntry,
    clock::Timestamp,
    db::Tx,
    http::{self, CursorPage, FieldError},
    identity::{ApiKeyId, Identity, PermissionCatalog, Permissions, TenantId},
    jobs::Jobs,
};
use secrecy::SecretString;
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use crate::{
    Error,
    mail::AccountMail,
    tenant::{TenantAccess, Tenants},
};
use secret::ApiKeySecret;

/// The maximum number of API keys of a tenant.
const MAX_KEYS_PER_TENANT: i64 = 200;
/// The audit action of a revoked key.
pub(crate) const API_KEY_REVOKED: &str = "api_key.revoked";
/// The maximum time for which a replaced secret stays valid.
pub(crate) const MAX_ROTATION_GRACE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// An API key, without its secret.
///
/// ```
/// use omnistack_auth::api_key::ApiKey;
/// # use omnistack_auth::{Auth, api_key::{ApiKeys, NewApiKey}, users::{NewUser, Users}};
/// # use omnistack_core::{app::App, clock::MockClock, config::Config, identity::{Identity, PermissionCatalog}};
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// # let mock = MockClock::at("2030-01-01T00:00:00Z".parse()?);
/// # let app = App::builder(Config::from_pairs([("DATABASE_URL", "sqlite::memory:")])).clock(mock.clock());
/// # let app = app.with(Auth::built_in()).build()?;
/// # app.migrate().await?;
/// # let (users, keys): (Users, ApiKeys) = (app.context().get()?, app.context().get()?);
/// # let known: PermissionCatalog = app.context().get()?;
/// # let made = users.create(NewUser::with_email("ada@example.com")).await?;
/// # let ada = Identity::user(made.user).for_tenant(made.tenant);
/// # keys.create(&ada, NewApiKey::new("an experiment", "members:read".parse()?), &known).await?;
/// # mock.advance(Duration::from_secs(100 * 24 * 60 * 60));
/// # let now = mock.clock().now();
/// // Revoke the keys that have not been used for 90 days.
/// let used = |key: &ApiKey| key.last_used_at.unwrap_or(key.created_at);
/// for key in keys.list(&ada, None, 100).await?.items {
///     if now.duration_since(used(&key)) > Duration::from_secs(90 * 24 * 60 * 60) {
///         keys.revoke(&ada, key.id).await?;
///     }
/// }
/// assert!(keys.list(&ada, None, 100).await?.items.is_empty());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(description = "An API key, without its secret.")]
#[non_exhaustive]
pub struct ApiKey {
    /// The id of the key.
    #[schema(value_type = String, format = Uuid)]
    pub id: ApiKeyId,
    /// The tenant that the key is valid in.
    #[schema(value_type = String, format = Uuid)]
    pub tenant_id: TenantId,
    /// The user who created the key, on whose behalf it acts.
    #[schema(value_type = String, format = Uuid)]
    pub user_id: omnistack_core::identity::UserId,
    /// The name of the key, such as its purpose.
    pub name: String,
    /// The first characters of the secret.
    pub hint: String,
    /// The permissions that the key is limited to; it never has more than the user who created it.
    #[schema(value_type = Vec<String>)]
    pub scopes: Permissions,
    /// The time of the last use, to the minute; `null` if the key was never used.
    #[schema(required)]
    pub last_used_at: Option<Timestamp>,
    /// The time of creation.
    pub created_at: Timestamp,
    /// The time at which the secret was last replaced.
    pub rotated_at: Timestamp,
    /// The time until which the previous secret is also valid; `null` if it is not.
    #[schema(required)]
    pub previous_until: Option<Timestamp>,
    /// The time at which the key expires; `null` if it does not.
    #[schema(required)]
    pub expires_at: Option<Timestamp>,
}

/// The parameters of a new API key.
///
/// ```
/// use omnistack_auth::api_key::NewApiKey;
/// # use omnistack_core::{clock::Clock, identity::PermissionError};
/// use std::time::Duration;
///
/// # let clock = Clock::system();
/// let mut new = NewApiKey::new("continuous integration", "projects:read builds:write".parse()?);
/// new.expires_at = Some(clock.now() + Duration::from_secs(90 * 24 * 60 * 60));
/// new.test = true;
/// assert!(new.scopes.allows("builds:write") && !new.scopes.allows("projects:write"));
/// # Ok::<_, PermissionError>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NewApiKey {
    /// The name of the key, such as its purpose.
    pub name: String,
    /// The permissions that the key is limited to.
    pub scopes: Permissions,
    /// The time at which the key expires; `None` if it does not.
    pub expires_at: Option<Timestamp>,
    /// Whether the key's prefix marks it as a test key. The mark is for people: the key has the same permissions.
    pub test: bool,
}

impl NewApiKey {
    /// Creates the parameters of a key that does not expire.
    pub fn new(name: impl Into<String>, scopes: Permissions) -> Self {
        Self { name: name.into(), scopes, expires_at: None, test: false }
    }
}

/// The API keys of tenants: creates, lists, rotates and revokes them.
///
/// ```
/// use omnistack_auth::api_key::{ApiKeys, NewApiKey};
/// # use omnistack_auth::{Auth, users::{NewUser, Users}};
/// # use omnistack_core::{app::App, config::Config, identity::Identity};
/// use omnistack_core::{ExposeSecret as _, identity::PermissionCatalog};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// # let app = App::builder(Config::from_pairs([("DATABASE_URL", "sqlite::memory:")])).with(Auth::built_in()).build()?;
/// # app.migrate().await?;
/// # let made = app.context().get::<Users>()?.create(NewUser::with_email("ada@example.com")).await?;
/// # let ada = Identity::user(made.user).for_tenant(made.tenant);
/// let (keys, known): (ApiKeys, PermissionCatalog) = (app.context().get()?, app.context().get()?);
/// let new = NewApiKey::new("nightly export", "members:read".parse()?);
/// let (key, secret) = keys.create(&ada, new, &known).await?;
/// // The secret cannot be shown again later.
/// assert!(secret.expose_secret().starts_with("omni_live_"));
///
/// // A scope that no route requires is refused as a typing error.
/// let new = NewApiKey::new("nightly export", "membres:read".parse()?);
/// assert!(keys.create(&ada, new, &known).await.is_err());
/// keys.revoke(&ada, key.id).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ApiKeys {
    tenants: Tenants,
    jobs: Jobs,
}

impl ApiKeys {
    pub(crate) fn new(tenants: Tenants, jobs: Jobs) -> Self {
        Self { tenants, jobs }
    }

    /// Creates a key in the caller's tenant and notifies the caller by email. Returns the key and its secret, which
    /// is not stored.
    ///
    /// # Errors
    /// 403 without `api-keys:write`, for scopes that the caller lacks, for API keys and during impersonation; 401
    /// `REAUTHENTICATION_REQUIRED` without a fresh sign-in for scopes of owners; 409 `TOO_MANY_KEYS`; 422 for a scope
    /// that grants nothing in this app, or an expiry in the past.
    pub async fn create(
        &self,
        caller: &Identity,
        new: NewApiKey,
        known: &PermissionCatalog,
    ) -> Result<(ApiKey, SecretString), Error> {
        caller.require_in_person()?;
        check_scopes(&new.scopes, known)?;
        let (tenant, now) = (caller.require_tenant()?, self.tenants.clock.now());
        if new.expires_at.is_some_and(|end| end <= now) {
            return Err(http::Error::invalid([FieldError::new("expires_at", "must be in the future")]).into());
        }
        let (mut tx, rights) = self.tenants.begin_change(caller, tenant, "api-keys:write").await?;
        self.tenants.check_grant(caller, &rights, &new.scopes)?;
        if store::count(&mut tx, tenant).await? >= MAX_KEYS_PER_TENANT {
            let message = format!("a tenant has at most {MAX_KEYS_PER_TENANT} API keys; revoke some first");
            return Err(http::Error::conflict("TOO_MANY_KEYS", message).into());
        }
        let secret = ApiKeySecret::random(new.test);
        let key = ApiKey {
            id: ApiKeyId::new(now),
            tenant_id: tenant,
            user_id: caller.user,
            name: new.name.trim().to_owned(),
            hint: secret.hint(),
            scopes: new.scopes,
            last_used_at: None,
            created_at: now,
            rotated_at: now,
            previous_until: None,
            expires_at: new.expires_at,
        };
        store::insert(&mut tx, &key, secret.hash()).await?;
        self.enqueue_mail_in(&mut tx, &key, &rights, false).await?;
        let details = json!({ "name": key.name, "scopes": key.scopes, "expires_at": key.expires_at });
        self.tenants.commit_with_audit(tx, entry("api_key.created", caller, &key).details(details)).await?;
        Ok((key, secret.into_text()))
    }

    /// Returns a page of the keys of the caller's tenant, ordered by id, starting after the key `after`.
    ///
    /// # Errors
    /// 403 without `api-keys:read`.
    pub async fn list(
        &self,
        caller: &Identity,
        after: Option<ApiKeyId>,
        limit: u32,
    ) -> Result<CursorPage<ApiKey>, Error> {
        let tenant = caller.require_tenant()?;
        let (mut tx, _) = self.tenants.begin_read(caller, tenant, "api-keys:read").await?;
        let mut items = store::list(&mut tx, tenant, after, i64::from(limit) + 1).await?;
        tx.commit().await?;
        let more = items.len() > limit as usize;
        items.truncate(limit as usize);
        let next_cursor = items.last().filter(|_| more).map(|last| last.id.to_string());
        Ok(CursorPage { items, next_cursor })
    }

    /// Returns a key of the caller's tenant.
    ///
    /// # Errors
    /// 403 without `api-keys:read`, 404 for an unknown key.
    pub async fn get(&self, caller: &Identity, id: ApiKeyId) -> Result<ApiKey, Error> {
        let tenant = caller.require_tenant()?;
        let (mut tx, _) = self.tenants.begin_read(caller, tenant, "api-keys:read").await?;
        let found = store::find(&mut tx, tenant, id).await?.ok_or_else(key_not_found)?;
        tx.commit().await?;
        Ok(found)
    }

    /// Replaces the secret of a key that the caller created. The previous secret stays valid for `grace`, at most
    /// seven days; the one before that becomes invalid.
    ///
    /// # Errors
    /// 403 without `api-keys:write`, for a key of another user, for scopes that the caller lacks, for API keys and
    /// during impersonation; 401 `REAUTHENTICATION_REQUIRED` without a fresh sign-in for scopes of owners; 404 for an
    /// unknown key.
    pub async fn rotate(
        &self,
        caller: &Identity,
        id: ApiKeyId,
        grace: Duration,
    ) -> Result<(ApiKey, SecretString), Error> {
        caller.require_in_person()?;
        let (tenant, now) = (caller.require_tenant()?, self.tenants.clock.now());
        let (mut tx, rights) = self.tenants.begin_change(caller, tenant, "api-keys:write").await?;
        let before = store::find(&mut tx, tenant, id).await?.ok_or_else(key_not_found)?;
        if before.user_id != caller.user {
            return Err(http::Error::forbidden("only the user who created a key can rotate it").into());
        }
        self.tenants.check_grant(caller, &rights, &before.scopes)?;
        let secret = ApiKeySecret::random(before.hint.starts_with("omni_test"));
        let until = Some(now + grace.min(MAX_ROTATION_GRACE)).filter(|until| *until > now);
        let key = ApiKey { hint: secret.hint(), rotated_at: now, previous_until: until, ..before };
        store::rotate(&mut tx, &key, secret.hash()).await?;
        self.enqueue_mail_in(&mut tx, &key, &rights, true).await?;
        self.tenants
            .commit_with_audit(tx, entry("api_key.rotated", caller, &key).details(json!({ "previous_until": until })))
            .await?;
        self.tenants.sessions.invalidate_user(key.user_id).await;
        Ok((key, secret.into_text()))
    }

    /// Revokes a key, at once and on every replica.
    ///
    /// # Errors
    /// 403 without `api-keys:write`, for a key of another user with scopes that the caller lacks, for API keys and
    /// during impersonation; 404 for an unknown key.
    pub async fn revoke(&self, caller: &Identity, id: ApiKeyId) -> Result<(), Error> {
        caller.require_in_person()?;
        let tenant = caller.require_tenant()?;
        let (mut tx, rights) = self.tenants.begin_change(caller, tenant, "api-keys:write").await?;
        let key = store::find(&mut tx, tenant, id).await?.ok_or_else(key_not_found)?;
        if key.user_id != caller.user {
            rights.require_all(&key.scopes)?;
        }
        store::delete(&mut tx, tenant, id).await?;
        self.tenants
            .commit_with_audit(tx, entry(API_KEY_REVOKED, caller, &key).details(json!({ "name": key.name })))
            .await?;
        self.tenants.sessions.invalidate_user(key.user_id).await;
        Ok(())
    }

    /// Enqueues the email that notifies the key's creator of a new secret, sent when the transaction commits.
    async fn enqueue_mail_in(
        &self,
        tx: &mut Tx,
        key: &ApiKey,
        rights: &TenantAccess,
        rotated: bool,
    ) -> Result<(), Error> {
        let (user, at, name) = (key.user_id, key.rotated_at, key.name.clone());
        let mail = AccountMail::NewApiKey { user, name, tenant: rights.tenant.name.clone(), rotated, at };
        self.jobs.enqueue_in(tx, mail).await.map_err(http::Error::from)?;
        Ok(())
    }

    /// Deletes keys that expired more than 30 days ago, at most `limit`. Returns their number.
    pub(crate) async fn sweep(&self, limit: i64) -> Result<u64, Error> {
        // The keys are those of all tenants.
        let mut tx = self.tenants.db.all_tenants().begin().await?;
        let before = self.tenants.clock.now() - Duration::from_secs(30 * 24 * 60 * 60);
        let deleted = store::delete_expired(&mut tx, before, limit).await?;
        tx.commit().await?;
        Ok(deleted)
    }
}

/// Checks that each scope matches a permission of the app, because a scope that matches none is a mistake. Fails with
/// 422.
fn check_scopes(scopes: &Permissions, known: &PermissionCatalog) -> Result<(), http::Error> {
    let empty = |scope: &str| {
        let one: Permissions = scope.parse().unwrap_or_default();
        !known.0.iter().any(|known| one.allows(known))
    };
    let problems: Vec<_> = scopes
        .iter()
        .enumerate()
        .filter(|(_, scope)| empty(scope))
        .map(|(at, _)| FieldError::new(format!("scopes[{at}]"), "is not a permission of this app"))
        .collect();
    if problems.is_empty() { Ok(()) } else { Err(http::Error::invalid(problems)) }
}

fn key_not_found() -> http::Error {
    http::Error::not_found("the API key")
}

fn entry(action: &'static str, caller: &Identity, key: &ApiKey) -> AuditEntry {
    AuditEntry::new(action).actor(caller).for_tenant(key.tenant_id).resource("api_key", key.id)
}

impl fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKeys")
    }
}
