//! Teams: creating, renaming, transferring, deleting and restoring them.

use omnistack_core::{
    audit::AuditEntry,
    clock::Timestamp,
    db::ErrorKind,
    events::TenantDeleted,
    http,
    identity::{Identity, Permissions, TenantId, UserId},
};
use serde_json::json;

use crate::{
    Error, role,
    tenant::{
        TenantAccess, Tenants, check_slug,
        store::{self, members},
    },
    users::{self, store::tenants},
};

/// The maximum number of tenants that a user is a member of.
pub(crate) const MAX_TEAMS_PER_USER: i64 = 200;

impl Tenants {
    /// Returns the tenants that a caller is a member of, with the caller's permissions there, by the time of joining;
    /// at most 200. For an API key, returns only the key's own tenant.
    ///
    /// # Errors
    /// Returns an error if the database fails.
    pub async fn list_for(&self, caller: &Identity) -> Result<Vec<TenantAccess>, Error> {
        // The user's memberships are in many tenants.
        let mut tx = self.db.all_tenants().begin_read().await?;
        let places = store::list_memberships(&mut tx, caller.user, MAX_TEAMS_PER_USER).await?;
        tx.commit().await?;
        let all = places.into_iter().map(|place| TenantAccess::new(place, caller));
        Ok(all.filter(|rights| !caller.service_account || caller.tenant == Some(rights.tenant.id)).collect())
    }

    /// Creates a team with the caller as its owner.
    ///
    /// # Errors
    /// 403 for API keys and during impersonation; 409 `SLUG_TAKEN` and `TOO_MANY_TEAMS`; 422 for an invalid slug;
    /// database errors.
    pub async fn create(&self, caller: &Identity, name: &str, slug: Option<&str>) -> Result<TenantAccess, Error> {
        caller.require_in_person()?;
        slug.map(check_slug).transpose()?;
        let now = self.clock.now();
        let (id, name) = (TenantId::new(now), name.trim());
        let slug = slug.map_or_else(|| users::slug(name, id), str::to_owned);
        // This creates the tenant, so the transaction spans all tenants.
        let mut tx = self.db.all_tenants().begin().await?;
        if store::count_memberships(&mut tx, caller.user).await? >= MAX_TEAMS_PER_USER {
            let message = format!("a user is in at most {MAX_TEAMS_PER_USER} teams; leave one first");
            return Err(http::Error::conflict("TOO_MANY_TEAMS", message).into());
        }
        let new = tenants::NewTenantRow { id, name, slug: &slug, owner: caller.user, personal: false };
        tenants::insert(&mut tx, new, now).await.map_err(slug_taken)?;
        let place = store::find_membership(&mut tx, id, caller.user).await?.ok_or_else(team_not_found)?;
        let entry = AuditEntry::new("team.created").actor(caller).for_tenant(id).resource("tenant", id);
        self.commit_with_audit(tx, entry.details(json!({ "name": name, "slug": slug }))).await?;
        Ok(TenantAccess::new(place, caller))
    }

    /// Changes the name and the slug of a team; `None` keeps the current value.
    ///
    /// # Errors
    /// Those of [`access`](Self::access); 403 without `tenant:manage`, 409 `SLUG_TAKEN`, 422 for an invalid slug.
    pub async fn rename(
        &self,
        caller: &Identity,
        id: TenantId,
        name: Option<String>,
        slug: Option<String>,
    ) -> Result<TenantAccess, Error> {
        slug.as_deref().map(check_slug).transpose()?;
        let (mut tx, before) = self.begin_change(caller, id, "tenant:manage").await?;
        let name = name.map(|name| name.trim().to_owned());
        store::rename(&mut tx, id, name, slug, self.clock.now()).await.map_err(slug_taken)?;
        let place = store::find_membership(&mut tx, id, caller.user).await?.ok_or_else(team_not_found)?;
        let shown = |name: &str, slug: &str| json!({ "name": name, "slug": slug });
        let details = json!({
            "before": shown(&before.tenant.name, &before.tenant.slug),
            "after": shown(&place.tenant.name, &place.tenant.slug),
        });
        self.commit_with_audit(tx, entry("team.changed", caller, id).details(details)).await?;
        if before.tenant.slug != place.tenant.slug {
            // Another tenant may take the old slug, so cached identities must not use it.
            self.sessions.invalidate_tenant(id).await;
        }
        Ok(TenantAccess::new(place, caller))
    }

    /// Schedules the deletion of a team, after the time set by `TENANT_DELETE_GRACE`. Until then the team works as
    /// before, but no user can join it.
    ///
    /// # Errors
    /// Those of [`access`](Self::access); 403 without `tenant:delete`, for API keys and during impersonation; 409
    /// `PERSONAL_TENANT`.
    pub async fn delete(&self, caller: &Identity, id: TenantId) -> Result<TenantAccess, Error> {
        let at = self.clock.now() + self.grace;
        self.set_deletion(caller, id, Some(at), "team.deletion_requested").await
    }

    /// Cancels the scheduled deletion of a team.
    ///
    /// # Errors
    /// Those of [`delete`](Self::delete); 409 `NOT_DELETED` if no deletion is scheduled, and `NO_OWNER` if the last
    /// owner has left.
    pub async fn restore(&self, caller: &Identity, id: TenantId) -> Result<TenantAccess, Error> {
        self.set_deletion(caller, id, None, "team.restored").await
    }

    async fn set_deletion(
        &self,
        caller: &Identity,
        id: TenantId,
        at: Option<Timestamp>,
        action: &'static str,
    ) -> Result<TenantAccess, Error> {
        caller.require_in_person()?;
        let (mut tx, rights) = self.begin_change(caller, id, "tenant:delete").await?;
        rights.require_team()?;
        match (at, rights.tenant.delete_at) {
            (None, None) => {
                return Err(http::Error::conflict("NOT_DELETED", "no deletion of the team is scheduled").into());
            }
            // A repeated request does not postpone the deletion.
            (Some(_), Some(_)) => return Ok(rights),
            (None, Some(_)) if members::count_with_role(&mut tx, id, role::OWNER).await? == 0 => {
                let message = "the last owner has left the team, so it can't be restored";
                return Err(http::Error::conflict("NO_OWNER", message).into());
            }
            _ => {}
        }
        store::set_deletion(&mut tx, id, at, self.clock.now()).await?;
        let place = store::find_membership(&mut tx, id, caller.user).await?.ok_or_else(team_not_found)?;
        self.commit_with_audit(tx, entry(action, caller, id).details(json!({ "delete_at": at }))).await?;
        Ok(TenantAccess::new(place, caller))
    }

    /// Transfers the ownership of a team: makes another member its owner, and the caller an admin.
    ///
    /// # Errors
    /// Those of [`access`](Self::access); 403 without `tenant:transfer`, for API keys and during impersonation; 401
    /// `REAUTHENTICATION_REQUIRED` without a fresh sign-in; 404 if the other user is not a member; 409
    /// `ALREADY_OWNER` for the caller, `PERSONAL_TENANT`.
    pub async fn transfer(&self, caller: &Identity, id: TenantId, to: UserId) -> Result<(), Error> {
        caller.require_in_person()?;
        let (mut tx, rights) = self.begin_change(caller, id, "tenant:transfer").await?;
        rights.require_team()?;
        self.check_grant(caller, &rights, &Permissions::all())?;
        let other = members::find(&mut tx, id, to).await?.ok_or_else(|| http::Error::not_found("the member"))?;
        if other.user_id == caller.user {
            return Err(http::Error::conflict("ALREADY_OWNER", "you already own the team").into());
        }
        members::set_role(&mut tx, id, to, role::OWNER).await?;
        members::set_role(&mut tx, id, caller.user, "admin").await?;
        let details = json!({ "before": other.role, "after": role::OWNER, "from": caller.user });
        let entry = AuditEntry::new("team.transferred").actor(caller).for_tenant(id).resource("user", to);
        self.commit_with_audit(tx, entry.details(details)).await?;
        self.sessions.invalidate_user(to).await;
        self.sessions.invalidate_user(caller.user).await;
        Ok(())
    }

    /// Deletes the teams whose deletion is due, at most `limit`. Returns their number.
    pub(crate) async fn sweep(&self, limit: i64) -> Result<usize, Error> {
        // The due teams are those of all tenants.
        let mut tx = self.db.all_tenants().begin().await?;
        let gone = store::delete_due(&mut tx, self.clock.now(), limit).await?;
        for (id, name) in &gone {
            // Recorded in the app's chain, because the tenant's chain cannot be read any more.
            let entry = AuditEntry::new("team.deleted").resource("tenant", id).details(json!({ "name": name }));
            self.audit.record_in(&mut tx, entry).await?;
            self.db.drop_tenant_in(&mut tx, *id).await?;
        }
        let events: Vec<_> = gone.iter().map(|(id, _)| TenantDeleted::new(*id)).collect();
        self.events.publish_all_in(&mut tx, &events).await.map_err(http::Error::from)?;
        tx.commit().await?;
        for (id, _) in &gone {
            self.sessions.invalidate_tenant(*id).await;
        }
        Ok(gone.len())
    }
}

fn entry(action: &'static str, caller: &Identity, id: TenantId) -> AuditEntry {
    AuditEntry::new(action).actor(caller).for_tenant(id).resource("tenant", id)
}

pub(crate) fn slug_taken(error: omnistack_core::db::Error) -> Error {
    if error.kind() == ErrorKind::Unique {
        return http::Error::conflict("SLUG_TAKEN", "another team has this slug; choose another one").into();
    }
    error.into()
}

fn team_not_found() -> http::Error {
    http::Error::not_found("the team")
}
