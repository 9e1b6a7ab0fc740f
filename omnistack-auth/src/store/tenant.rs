//! Tenants and members.

use omnistack_core::{
    clock::Timestamp,
    db::{Db, Error, Tx},
    identity::{SessionId, TenantId, UserId},
};

/// Makes a tenant of one owner. The transaction is one of all tenants.
pub(crate) async fn insert(tx: &mut Tx, tenant: NewTenant<'_>, now: Timestamp) -> Result<(), Error> {
    let sql =
        "insert into tenants (id, name, slug, personal_of, created_at, updated_at) values ($1, $2, $3, $4, $5, $5)";
    let insert = tx.query(sql).bind(tenant.id).bind(tenant.name.to_owned()).bind(tenant.slug.to_owned());
    insert.bind(tenant.personal.then_some(tenant.owner)).bind(now).execute().await?;
    add_member(tx, tenant.id, tenant.owner, crate::role::OWNER, now).await
}

/// A tenant to be.
pub(crate) struct NewTenant<'a> {
    pub(crate) id: TenantId,
    pub(crate) name: &'a str,
    pub(crate) slug: &'a str,
    pub(crate) owner: UserId,
    pub(crate) personal: bool,
}

pub(crate) async fn add_member(
    tx: &mut Tx,
    tenant: TenantId,
    user: UserId,
    role: &str,
    now: Timestamp,
) -> Result<(), Error> {
    let sql = "insert into members (tenant_id, user_id, role, created_at) values ($1, $2, $3, $4)";
    tx.query(sql).bind(tenant).bind(user).bind(role.to_owned()).bind(now).execute().await?;
    Ok(())
}

/// Where somebody stands: what decides about each of their requests.
#[derive(sqlx::FromRow)]
pub(crate) struct Standing {
    pub(crate) operator: bool,
    pub(crate) actor_id: Option<UserId>,
    pub(crate) proof_at: Timestamp,
    pub(crate) second_factor: bool,
    pub(crate) expires_at: Timestamp,
    pub(crate) role: Option<String>,
    /// Of a role of the tenant's own.
    pub(crate) permissions: Option<String>,
    pub(crate) suspended_at: Option<Timestamp>,
}

/// Of the user of a session, in a tenant; nothing when the session has ended or the user is locked out.
pub(crate) async fn standing(
    db: &Db,
    session: SessionId,
    tenant: Option<TenantId>,
    now: Timestamp,
) -> Result<Option<Standing>, Error> {
    let sql = "select u.operator, s.actor_id, s.proof_at, s.second_factor, s.expires_at, m.role, r.permissions, \
               t.suspended_at \
               from sessions s join users u on u.id = s.user_id \
               left join members m on m.user_id = u.id and m.tenant_id = $2 \
               left join tenants t on t.id = m.tenant_id \
               left join roles r on r.tenant_id = m.tenant_id and r.name = m.role \
               where s.id = $1 and s.ended_at is null and s.expires_at > $3 and u.disabled_at is null";
    // Nobody is known yet, so there is no tenant to be scoped to: the query names the one it asks about.
    let mut tx = db.all_tenants().read().await?;
    let standing = tx.query(sql).bind(session).bind(tenant).bind(now).fetch_optional().await?;
    tx.commit().await?;
    Ok(standing)
}
