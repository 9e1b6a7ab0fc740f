//! Members: their roles, their removal, and leaving. A team always keeps an owner.

use omnistack_core::{
    audit::AuditEntry,
    db::Tx,
    http::{self, Page},
    identity::{Identity, Permissions, TenantId, UserId},
};
use serde_json::json;

use crate::{
    Error,
    model::Member,
    role::{self, OWNER},
    store::member as store,
    tenant::{Rights, Tenants},
};

impl Tenants {
    /// Returns a page of a tenant's members, ordered by user id, starting after the user `after`.
    ///
    /// # Errors
    /// Those of [`rights`](Self::rights); 403 without `members:read`.
    pub async fn members(
        &self,
        caller: &Identity,
        id: TenantId,
        after: Option<UserId>,
        limit: u32,
    ) -> Result<Page<Member>, Error> {
        let (mut tx, _) = self.read(caller, id, "members:read").await?;
        let mut items = store::list(&mut tx, id, after, i64::from(limit) + 1).await?;
        tx.commit().await?;
        let more = items.len() > limit as usize;
        items.truncate(limit as usize);
        let next_cursor = items.last().filter(|_| more).map(|last| last.user_id.to_string());
        Ok(Page { items, next_cursor })
    }

    /// Changes the role of a member.
    ///
    /// # Errors
    /// Those of [`rights`](Self::rights); 403 without `members:manage`, for a role, new or old, with permissions that
    /// the caller lacks, and during impersonation; 401 `REAUTHENTICATION_REQUIRED` without a fresh sign-in to make a
    /// member an owner; 404 if the user is not a member; 409 `LAST_OWNER`; 422 for a role that the team does not
    /// have.
    pub async fn set_role(&self, caller: &Identity, id: TenantId, user: UserId, to: &str) -> Result<Member, Error> {
        let (mut tx, rights) = self.change(caller, id, "members:manage").await?;
        let member = of_lower_rank(&mut tx, &rights, user).await?;
        let permissions = role_of(&mut tx, id, to).await?.ok_or_else(|| no_role("role"))?;
        self.may_grant(caller, &rights, &permissions)?;
        if member.role == OWNER && to != OWNER {
            keeps_an_owner(&mut tx, id).await?;
        }
        if member.role == to {
            return Ok(member);
        }
        store::set_role(&mut tx, id, user, to).await?;
        let details = json!({ "before": member.role, "after": to });
        let entry = AuditEntry::new("member.role_changed").by(caller).for_tenant(id).on("user", user);
        self.done(tx, entry.with(details)).await?;
        self.sessions.forget(user).await;
        Ok(Member { role: to.to_owned(), ..member })
    }

    /// Removes a member from a team.
    ///
    /// # Errors
    /// Those of [`rights`](Self::rights); 403 without `members:manage`, and for a member with permissions that the
    /// caller lacks; 404 if the user is not a member; 409 `LAST_OWNER` and `PERSONAL_TENANT`.
    pub async fn remove(&self, caller: &Identity, id: TenantId, user: UserId) -> Result<(), Error> {
        let (mut tx, rights) = self.change(caller, id, "members:manage").await?;
        rights.team()?;
        let member = of_lower_rank(&mut tx, &rights, user).await?;
        self.part(tx, caller, id, &member, "member.removed").await
    }

    /// Removes the caller from a team.
    ///
    /// # Errors
    /// Those of [`rights`](Self::rights); 403 for API keys and during impersonation; 409 `LAST_OWNER` and
    /// `PERSONAL_TENANT`.
    pub async fn leave(&self, caller: &Identity, id: TenantId) -> Result<(), Error> {
        caller.require_in_person()?;
        let (mut tx, rights) = self.enter(caller, id).await?;
        rights.team()?;
        let member = store::find(&mut tx, id, caller.user).await?.ok_or_else(|| http::Error::not_found("member"))?;
        self.part(tx, caller, id, &member, "member.left").await
    }

    /// Removes a member, records `action` and invalidates the member's cached sessions. Fails with 409 `LAST_OWNER`.
    async fn part(
        &self,
        mut tx: Tx,
        caller: &Identity,
        id: TenantId,
        member: &Member,
        action: &'static str,
    ) -> Result<(), Error> {
        if member.role == OWNER {
            keeps_an_owner(&mut tx, id).await?;
        }
        store::remove(&mut tx, id, member.user_id).await?;
        let entry = AuditEntry::new(action).by(caller).for_tenant(id).on("user", member.user_id);
        self.done(tx, entry.with(json!({ "before": member.role }))).await?;
        self.sessions.forget(member.user_id).await;
        Ok(())
    }
}

/// Returns a member. Fails with 404 if the user is not a member, and with 403 if the member has a permission that the
/// caller lacks.
async fn of_lower_rank(tx: &mut Tx, rights: &Rights, user: UserId) -> Result<Member, Error> {
    let id = rights.tenant.id;
    let member = store::find(tx, id, user).await?.ok_or_else(|| http::Error::not_found("member"))?;
    rights.may_take(&role_of(tx, id, &member.role).await?.unwrap_or_default())?;
    Ok(member)
}

/// Checks that a team keeps an owner if one of its owners leaves. The tenant is locked, so no other owner leaves at
/// the same time. Fails with 409 `LAST_OWNER`.
async fn keeps_an_owner(tx: &mut Tx, id: TenantId) -> Result<(), Error> {
    if store::holders(tx, id, OWNER).await? > 1 {
        return Ok(());
    }
    let message = "a team needs an owner; make another member an owner first";
    Err(http::Error::conflict("LAST_OWNER", message).into())
}

/// Returns the permissions of a role of a tenant, or `None` if the tenant has no such role.
pub(crate) async fn role_of(tx: &mut Tx, id: TenantId, name: &str) -> Result<Option<Permissions>, Error> {
    if let Some(permissions) = role::built_in(name) {
        return Ok(Some(permissions));
    }
    let own = store::role(tx, id, name).await?;
    Ok(own.map(|own| role::permissions(name, Some(&own.permissions))))
}

/// Returns the error for a role that the team does not have; `field` is its name in the request.
pub(crate) fn no_role(field: &str) -> http::Error {
    http::Error::invalid([http::FieldProblem::new(field, "is not a role of this team")])
}
