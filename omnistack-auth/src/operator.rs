//! The administration of the app by its operators: users, tenants and impersonation.
//!
//! During impersonation, an operator has exactly the permissions of the impersonated user, for an hour at most, and
//! no operator rights. Audit entries name both: the operator as the actor, and the user as the person on whose behalf
//! the operator acts.

#[expect(clippy::trivially_copy_pass_by_ref, reason = "`garde` passes its context to rules by reference")]
#[expect(unused_qualifications, reason = "`utoipa::path` writes the types of parameters in full")]
pub(crate) mod routes;
pub(crate) mod store;

use std::{fmt, time::Duration};

use omnistack_core::{
    audit::AuditEntry,
    http::{self, NumberedPage, StatusCode},
    identity::{Identity, SessionId, TenantId, UserId},
};
use serde_json::{Value, json};

use crate::{
    Error,
    api_key::{
        API_KEY_REVOKED,
        remaining::{RemainingKeys, remaining_keys},
    },
    model::{Device, Membership, SessionInfo, Tenant, User},
    operator::store::{TenantQuery, UserQuery},
    session::{NewSession, TokenPair},
    tenant::{Tenants, check_slug, store as tenant},
    users::{
        self,
        store::{accounts, tenants},
    },
};

/// The maximum duration of an impersonation.
pub const MAX_IMPERSONATION: Duration = Duration::from_secs(60 * 60);

/// The service for operators.
#[derive(Clone)]
pub(crate) struct Operators {
    tenants: Tenants,
}

/// The requested changes to a user.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct UserChange {
    pub(crate) operator: Option<bool>,
    pub(crate) active: Option<bool>,
}

/// A request to impersonate a user.
#[derive(Clone, Debug)]
pub(crate) struct Impersonation {
    pub(crate) user: UserId,
    pub(crate) tenant: Option<TenantId>,
    pub(crate) reason: String,
    pub(crate) lifetime: Duration,
    pub(crate) device: Device,
}

impl Operators {
    pub(crate) fn new(tenants: Tenants) -> Self {
        Self { tenants }
    }

    /// Returns a page of the users that match a filter.
    pub(crate) async fn users(&self, wanted: &UserQuery) -> Result<NumberedPage<User>, Error> {
        Ok(store::users(&self.tenants.db, wanted).await?)
    }

    /// Returns a page of the tenants that match a filter.
    pub(crate) async fn tenants(&self, wanted: &TenantQuery) -> Result<NumberedPage<Tenant>, Error> {
        Ok(store::tenants(&self.tenants.db, wanted).await?)
    }

    /// Returns a user and the user's memberships. Fails with 404 for an unknown user.
    pub(crate) async fn user(&self, id: UserId) -> Result<(User, Vec<Membership>), Error> {
        // Operators see the memberships of all tenants.
        let mut tx = self.tenants.db.all_tenants().begin_read().await?;
        let user = store::user(&mut tx, id).await?.ok_or_else(no_user)?;
        let memberships = store::memberships(&mut tx, id).await?;
        tx.commit().await?;
        Ok((user, memberships))
    }

    /// Grants or revokes a user's operator rights, and enables or disables the account. Disabling an account revokes
    /// all of its sessions.
    ///
    /// # Errors
    /// 403 if the caller is not an operator any more; 404 for an unknown user; 409 `OWN_ACCOUNT` for the caller's own
    /// account, so that the app always keeps an operator; 409 `EMAIL_NOT_VERIFIED` for a new operator with an
    /// unverified address.
    pub(crate) async fn update_user(&self, caller: &Identity, id: UserId, change: UserChange) -> Result<User, Error> {
        let now = self.tenants.clock.now();
        // The user's memberships are in many tenants.
        let mut tx = self.tenants.db.all_tenants().begin().await?;
        // If two operators revoke each other's rights at the same time, the later one is not an operator any more
        // here.
        if !accounts::lock_operators(&mut tx).await?.contains(&caller.user) {
            return Err(http::Error::forbidden("this is for operators of the app").into());
        }
        let before = store::user(&mut tx, id).await?.ok_or_else(no_user)?;
        if id == caller.user {
            let message = "this is your own account; ask another operator";
            return Err(http::Error::conflict("OWN_ACCOUNT", message).into());
        }
        let operator = change.operator.unwrap_or(before.operator);
        if operator && !before.operator && before.email.is_some() && before.email_verified_at.is_none() {
            // The registration may have been made by another person than the owner of the address.
            let message = "the email address of the user is not verified; the user must verify it first";
            return Err(http::Error::conflict("EMAIL_NOT_VERIFIED", message).into());
        }
        let disabled_at = match change.active {
            None => before.disabled_at,
            Some(true) => None,
            Some(false) => before.disabled_at.or(Some(now)),
        };
        accounts::set_user(&mut tx, id, operator, disabled_at, now).await?;
        if disabled_at.is_some() {
            self.tenants.sessions.revoke_all_in(&mut tx, id, None).await?;
        } else if !operator {
            store::end_impersonations(&mut tx, id, now).await?;
        }
        let after = store::user(&mut tx, id).await?.ok_or_else(no_user)?;
        let shown = |user: &User| json!({ "operator": user.operator, "active": user.disabled_at.is_none() });
        let entry = AuditEntry::new("user.changed").actor(caller).for_app().resource("user", id);
        self.tenants
            .commit_with_audit(tx, entry.details(json!({ "before": shown(&before), "after": shown(&after) })))
            .await?;
        self.tenants.sessions.invalidate_user(id).await;
        Ok(after)
    }

    /// Returns the sessions of a user. Fails with 404 for an unknown user.
    pub(crate) async fn sessions(&self, id: UserId) -> Result<Vec<SessionInfo>, Error> {
        self.user(id).await?;
        self.tenants.sessions.list(id).await
    }

    /// Revokes all sessions of a user. Returns their number, and the API keys that remain. Fails with 404 for an
    /// unknown user.
    pub(crate) async fn sign_out(
        &self,
        caller: &Identity,
        id: UserId,
        revoke_keys: bool,
    ) -> Result<(u64, RemainingKeys), Error> {
        // The user's API keys are in many tenants.
        let mut tx = self.tenants.db.all_tenants().begin().await?;
        store::user(&mut tx, id).await?.ok_or_else(no_user)?;
        let ended = self.tenants.sessions.revoke_all_in(&mut tx, id, None).await?;
        let revoke = revoke_keys.then(|| AuditEntry::new(API_KEY_REVOKED).actor(caller));
        let left = remaining_keys(&mut tx, &self.tenants.audit, id, revoke, self.tenants.clock.now()).await?;
        let entry = AuditEntry::new("user.signed_out").actor(caller).for_app().resource("user", id);
        let details = json!({ "sessions": ended, "api_keys": left.api_keys_revoked });
        self.tenants.commit_with_audit(tx, entry.details(details)).await?;
        self.tenants.sessions.invalidate_user(id).await;
        Ok((ended, left))
    }

    /// Creates a team with one owner. Fails with 404 for an unknown owner, 409 `SLUG_TAKEN` and 422 for an invalid
    /// slug.
    pub(crate) async fn create_tenant(
        &self,
        caller: &Identity,
        name: &str,
        slug: Option<&str>,
        owner: UserId,
    ) -> Result<Tenant, Error> {
        slug.map(check_slug).transpose()?;
        let now = self.tenants.clock.now();
        let (id, name) = (TenantId::new(now), name.trim());
        let slug = slug.map_or_else(|| users::slug(name, id), str::to_owned);
        // This creates the tenant, so the transaction spans all tenants.
        let mut tx = self.tenants.db.all_tenants().begin().await?;
        store::user(&mut tx, owner).await?.ok_or_else(no_user)?;
        let new = tenants::NewTenantRow { id, name, slug: &slug, owner, personal: false };
        tenants::insert(&mut tx, new, now).await.map_err(crate::tenant::teams::slug_taken)?;
        let made = tenant::find(&mut tx, id).await?.ok_or_else(no_tenant)?;
        let details = json!({ "name": name, "slug": slug, "owner": owner });
        let entry = AuditEntry::new("team.created").actor(caller).for_tenant(id).resource("tenant", id);
        self.tenants.commit_with_audit(tx, entry.details(details)).await?;
        self.tenants.sessions.invalidate_user(owner).await;
        Ok(made)
    }

    /// Returns a tenant. Fails with 404 for an unknown tenant.
    pub(crate) async fn tenant(&self, id: TenantId) -> Result<Tenant, Error> {
        let mut tx = self.tenants.db.tenant(id).begin_read().await?;
        let found = tenant::find(&mut tx, id).await?.ok_or_else(no_tenant)?;
        tx.commit().await?;
        Ok(found)
    }

    /// Suspends a tenant for a reason, or reactivates it if there is none. Fails with 404 for an unknown tenant.
    pub(crate) async fn set_suspension(
        &self,
        caller: &Identity,
        id: TenantId,
        reason: Option<&str>,
    ) -> Result<Tenant, Error> {
        let now = self.tenants.clock.now();
        let at = reason.map(|_| now);
        let action = if reason.is_some() { "team.suspended" } else { "team.reactivated" };
        self.change_tenant(caller, id, action, json!({ "reason": reason }), async |tx, before| {
            if before.suspended_at.is_some() == at.is_some() {
                return Ok(());
            }
            store::suspend(tx, id, at, now).await
        })
        .await
    }

    /// Schedules the deletion of a tenant after its grace period, or cancels it. Fails with 404 for an unknown
    /// tenant, and with 409 `PERSONAL_TENANT` for a deletion of a user's own tenant.
    pub(crate) async fn set_deletion(&self, caller: &Identity, id: TenantId, delete: bool) -> Result<Tenant, Error> {
        let now = self.tenants.clock.now();
        let at = delete.then_some(now + self.tenants.grace);
        let action = if delete { "team.deletion_requested" } else { "team.restored" };
        self.change_tenant(caller, id, action, json!({ "delete_at": at }), async |tx, before| {
            if before.delete_at.is_some() == delete {
                return Ok(());
            }
            tenant::set_deletion(tx, id, at, now).await
        })
        .await
    }

    /// Changes a tenant whose row is locked, records the change and invalidates what is cached about the tenant's
    /// members.
    async fn change_tenant(
        &self,
        caller: &Identity,
        id: TenantId,
        action: &'static str,
        details: Value,
        change: impl AsyncFnOnce(&mut omnistack_core::db::Tx, &Tenant) -> Result<(), omnistack_core::db::Error>,
    ) -> Result<Tenant, Error> {
        let mut tx = self.tenants.db.tenant(id).begin().await?;
        tenant::lock(&mut tx, id).await?;
        let before = tenant::find(&mut tx, id).await?.ok_or_else(no_tenant)?;
        if before.personal_of.is_some() && action == "team.deletion_requested" {
            let message = "a user's own tenant is deleted with the account; delete the account instead";
            return Err(http::Error::conflict("PERSONAL_TENANT", message).into());
        }
        change(&mut tx, &before).await?;
        let after = tenant::find(&mut tx, id).await?.ok_or_else(no_tenant)?;
        let entry = AuditEntry::new(action).actor(caller).for_tenant(id).resource("tenant", id);
        self.tenants.commit_with_audit(tx, entry.details(details)).await?;
        self.tenants.sessions.invalidate_tenant(id).await;
        Ok(after)
    }

    /// Starts an impersonation: creates a session of a user for an operator.
    ///
    /// # Errors
    /// 404 for an unknown user, and for a tenant that the user is not a member of; 403 `IMPERSONATION_REFUSED` if the
    /// user is the caller, another operator or disabled; 403 for API keys and during impersonation.
    pub(crate) async fn impersonate(&self, caller: &Identity, wanted: Impersonation) -> Result<TokenPair, Error> {
        caller.require_in_person()?;
        let Impersonation { user: id, tenant: chosen, reason, lifetime, device } = wanted;
        // The user's memberships are in many tenants.
        let mut tx = self.tenants.db.all_tenants().begin().await?;
        let user = store::user(&mut tx, id).await?.ok_or_else(no_user)?;
        if user.operator || user.disabled_at.is_some() || id == caller.user {
            let message = "operators and disabled users cannot be impersonated; choose another user";
            return Err(http::Error::new(StatusCode::FORBIDDEN, "IMPERSONATION_REFUSED", message).into());
        }
        let tenant = match chosen {
            Some(chosen) => Some(tenant::find_membership(&mut tx, chosen, id).await?.ok_or_else(no_tenant)?.tenant.id),
            None => tenant::list_memberships(&mut tx, id, 1).await?.first().map(|place| place.tenant.id),
        };
        let mut sign_in = NewSession::new(id, device);
        sign_in.tenant = tenant;
        sign_in.actor = Some((caller.user, reason.clone()));
        sign_in.lifetime = Some(lifetime.min(MAX_IMPERSONATION));
        let tokens = self.tenants.sessions.create_in(&mut tx, sign_in).await?;
        let details =
            json!({ "reason": reason, "tenant": tenant, "seconds": lifetime.min(MAX_IMPERSONATION).as_secs() });
        let mut entry =
            AuditEntry::new("impersonation.started").actor(caller).for_app().resource("user", id).details(details);
        entry.on_behalf_of = Some(id);
        if let Some(tenant) = tenant {
            // The entry is also in the audit log that the team can read.
            self.tenants.audit.record_in(&mut tx, entry.clone().for_tenant(tenant)).await?;
        }
        self.tenants.commit_with_audit(tx, entry).await?;
        Ok(tokens)
    }

    /// Ends an impersonation and revokes its session.
    ///
    /// # Errors
    /// 409 `NOT_IMPERSONATING` if the caller does not impersonate a user.
    pub(crate) async fn stop_impersonation(&self, caller: &Identity) -> Result<(), Error> {
        let (Some(_), Some(session)) = (caller.impersonator, caller.session) else {
            return Err(http::Error::conflict("NOT_IMPERSONATING", "you do not impersonate a user").into());
        };
        self.end_acting(caller, session).await
    }

    async fn end_acting(&self, caller: &Identity, session: SessionId) -> Result<(), Error> {
        self.tenants.sessions.revoke(caller.user, session).await?;
        // The entry belongs to the app and, if a tenant was selected, also to that tenant.
        let mut tx = self.tenants.db.all_tenants().begin().await?;
        let entry = AuditEntry::new("impersonation.ended").actor(caller).resource("user", caller.user);
        if caller.tenant.is_some() {
            self.tenants.audit.record_in(&mut tx, entry.clone()).await?;
        }
        self.tenants.commit_with_audit(tx, entry.for_app()).await
    }
}

fn no_user() -> http::Error {
    http::Error::not_found("the user")
}

fn no_tenant() -> http::Error {
    http::Error::not_found("the tenant")
}

impl fmt::Debug for Operators {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Operators")
    }
}
