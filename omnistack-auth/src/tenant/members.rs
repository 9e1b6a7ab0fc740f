//! Members: their roles, their removal, and leaving. A team always keeps an owner.

use omnistack_core::{
    audit::AuditEntry,
    db::Tx,
    http::{self, CursorPage},
    identity::{Identity, Permissions, TenantId, UserId},
};
use serde_json::json;

use crate::{
    Error,
    model::Member,
    role::{self, OWNER},
    tenant::{TenantAccess, Tenants, store::members as store},
};

/// The limited resource that [`Tenants::count_members_with_invited`] counts.
pub(crate) const TEAM_MEMBERS: &str = "team_members";

impl Tenants {
    /// Returns a page of a tenant's members, ordered by user id, starting after the user `after`.
    ///
    /// # Errors
    /// Those of [`access`](Self::access); 403 without `members:read`.
    pub async fn members(
        &self,
        caller: &Identity,
        id: TenantId,
        after: Option<UserId>,
        limit: u32,
    ) -> Result<CursorPage<Member>, Error> {
        let (mut tx, _) = self.begin_read(caller, id, "members:read").await?;
        let mut items = store::list(&mut tx, id, after, i64::from(limit) + 1).await?;
        tx.commit().await?;
        let more = items.len() > limit as usize;
        items.truncate(limit as usize);
        let next_cursor = items.last().filter(|_| more).map(|last| last.user_id.to_string());
        Ok(CursorPage { items, next_cursor })
    }

    /// Returns the number of a tenant's members and of its open invitations, which hold the places of their recipients
    /// until they expire.
    pub(crate) async fn count_members_with_invited(&self, id: TenantId) -> Result<u64, Error> {
        let mut tx = self.db.tenant(id).begin_read().await?;
        let count = store::count_with_invited(&mut tx, id, self.clock.now()).await?;
        tx.commit().await?;
        Ok(count)
    }

    /// Changes the role of a member.
    ///
    /// # Errors
    /// Those of [`access`](Self::access); 403 without `members:manage`, for a role, new or old, with permissions that
    /// the caller lacks, and during impersonation; 401 `REAUTHENTICATION_REQUIRED` without a fresh sign-in to make a
    /// member an owner; 404 if the user is not a member; 409 `LAST_OWNER`; 422 for a role that the team does not
    /// have.
    pub async fn set_role(&self, caller: &Identity, id: TenantId, user: UserId, to: &str) -> Result<Member, Error> {
        let (mut tx, rights) = self.begin_change(caller, id, "members:manage").await?;
        let member = manageable_member(&mut tx, &rights, user).await?;
        let permissions = role_permissions(&mut tx, id, to).await?.ok_or_else(|| unknown_role("role"))?;
        self.check_grant(caller, &rights, &permissions)?;
        if member.role == OWNER && to != OWNER {
            require_another_owner(&mut tx, id).await?;
        }
        if member.role == to {
            return Ok(member);
        }
        store::set_role(&mut tx, id, user, to).await?;
        let details = json!({ "before": member.role, "after": to });
        let entry = AuditEntry::new("member.role_changed").actor(caller).for_tenant(id).resource("user", user);
        self.commit_with_audit(tx, entry.details(details)).await?;
        self.sessions.invalidate_user(user).await;
        Ok(Member { role: to.to_owned(), ..member })
    }

    /// Removes a member from a team.
    ///
    /// # Errors
    /// Those of [`access`](Self::access); 403 without `members:manage`, and for a member with permissions that the
    /// caller lacks; 404 if the user is not a member; 409 `LAST_OWNER` and `PERSONAL_TENANT`.
    pub async fn remove_member(&self, caller: &Identity, id: TenantId, user: UserId) -> Result<(), Error> {
        let (mut tx, rights) = self.begin_change(caller, id, "members:manage").await?;
        rights.require_team()?;
        let member = manageable_member(&mut tx, &rights, user).await?;
        if member.role == OWNER {
            require_another_owner(&mut tx, id).await?;
        }
        self.remove_member_in(tx, caller, id, &member, "member.removed").await
    }

    /// Removes the caller from a team. The last owner can leave only a team whose deletion is scheduled.
    ///
    /// # Errors
    /// Those of [`access`](Self::access); 403 for API keys and during impersonation; 409 `LAST_OWNER` and
    /// `PERSONAL_TENANT`.
    pub async fn leave(&self, caller: &Identity, id: TenantId) -> Result<(), Error> {
        caller.require_in_person()?;
        let (mut tx, rights) = self.begin_locked(caller, id).await?;
        rights.require_team()?;
        let member =
            store::find(&mut tx, id, caller.user).await?.ok_or_else(|| http::Error::not_found("the member"))?;
        if member.role == OWNER && rights.tenant.delete_at.is_none() {
            require_another_owner(&mut tx, id).await?;
        }
        self.remove_member_in(tx, caller, id, &member, "member.left").await
    }

    /// Removes a member, records `action` and invalidates the member's cached sessions.
    async fn remove_member_in(
        &self,
        mut tx: Tx,
        caller: &Identity,
        id: TenantId,
        member: &Member,
        action: &'static str,
    ) -> Result<(), Error> {
        store::delete(&mut tx, id, member.user_id).await?;
        let entry = AuditEntry::new(action).actor(caller).for_tenant(id).resource("user", member.user_id);
        self.commit_with_audit(tx, entry.details(json!({ "before": member.role }))).await?;
        self.sessions.invalidate_user(member.user_id).await;
        Ok(())
    }
}

/// Returns a member. Fails with 404 if the user is not a member, and with 403 if the member has a permission that the
/// caller lacks.
async fn manageable_member(tx: &mut Tx, rights: &TenantAccess, user: UserId) -> Result<Member, Error> {
    let id = rights.tenant.id;
    let member = store::find(tx, id, user).await?.ok_or_else(|| http::Error::not_found("the member"))?;
    rights.require_all(&role_permissions(tx, id, &member.role).await?.unwrap_or_default())?;
    Ok(member)
}

/// Checks that a team keeps an owner if one of its owners leaves. The tenant is locked, so no other owner leaves at
/// the same time. Fails with 409 `LAST_OWNER`.
async fn require_another_owner(tx: &mut Tx, id: TenantId) -> Result<(), Error> {
    if store::count_with_role(tx, id, OWNER).await? > 1 {
        return Ok(());
    }
    let message = "a team needs an owner; make another member an owner first";
    Err(http::Error::conflict("LAST_OWNER", message).into())
}

/// Returns the permissions of a role of a tenant, or `None` if the tenant has no such role.
pub(crate) async fn role_permissions(tx: &mut Tx, id: TenantId, name: &str) -> Result<Option<Permissions>, Error> {
    if let Some(permissions) = role::built_in_permissions(name) {
        return Ok(Some(permissions));
    }
    let own = store::role(tx, id, name).await?;
    Ok(own.map(|own| role::permissions(name, Some(&own.permissions))))
}

/// Returns the error for a role that the team does not have; `field` is its name in the request.
pub(crate) fn unknown_role(field: &str) -> http::Error {
    http::Error::invalid([http::FieldError::new(field, "is not a role of this team")])
}
