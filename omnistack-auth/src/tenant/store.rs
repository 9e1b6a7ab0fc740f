//! SQL of tenants and of access to them.

pub(crate) mod invitations;
pub(crate) mod members;

use omnistack_core::{
    clock::Timestamp,
    db::{Db, Error, Sql, Tx},
    identity::{SessionId, TenantId, UserId},
};
use sqlx::AssertSqlSafe;

use crate::model::Tenant;

/// The data that authorises each request of a session.
#[derive(omnistack_core::db::FromRow)]
pub(crate) struct SessionAccessRow {
    pub(crate) operator: bool,
    pub(crate) actor_id: Option<UserId>,
    pub(crate) proof_at: Timestamp,
    pub(crate) second_factor: bool,
    pub(crate) expires_at: Timestamp,
    pub(crate) role: Option<String>,
    /// The permissions of the role, if it is a custom role.
    pub(crate) permissions: Option<String>,
    pub(crate) suspended_at: Option<Timestamp>,
}

/// Returns the access of a session's user in a tenant, or `None` if the session has ended or the user is disabled.
pub(crate) async fn session_access(
    db: &Db,
    session: SessionId,
    tenant: Option<TenantId>,
    now: Timestamp,
) -> Result<Option<SessionAccessRow>, Error> {
    let sql = "select u.operator, s.actor_id, s.proof_at, s.second_factor, s.expires_at, m.role, r.permissions, \
               t.suspended_at \
               from omni_sessions s join omni_users u on u.id = s.user_id \
               left join omni_members m on m.user_id = u.id and m.tenant_id = $2 \
               left join omni_tenants t on t.id = m.tenant_id \
               left join omni_roles r on r.tenant_id = m.tenant_id and r.name = m.role \
               where s.id = $1 and s.ended_at is null and s.expires_at > $3 and u.disabled_at is null \
               and (s.actor_id is null or (not u.operator and exists (select 1 from omni_users a \
               where a.id = s.actor_id and a.operator and a.disabled_at is null)))";
    // The tenant is not known yet, so the transaction is of all tenants; the query restricts itself to one.
    let mut tx = db.all_tenants().begin_read().await?;
    let standing = tx.query(sql).bind(session).bind(tenant).bind(now).fetch_optional().await?;
    tx.commit().await?;
    Ok(standing)
}

/// Expands to the columns of a [`Tenant`], separated by commas.
macro_rules! tenant_columns {
    () => {
        "t.id, t.name, t.slug, t.personal_of, t.suspended_at, t.delete_at, t.created_at, t.updated_at"
    };
}

/// A tenant with a user's role in it.
#[derive(omnistack_core::db::FromRow)]
pub(crate) struct MembershipRow {
    #[sqlx(flatten)]
    pub(crate) tenant: Tenant,
    pub(crate) role: String,
    /// The permissions of the role, if it is a custom role.
    pub(crate) permissions: Option<String>,
}

const MEMBERSHIPS: &str = concat!(
    "select ",
    tenant_columns!(),
    ", m.role, r.permissions from omni_tenants t join omni_members m on m.tenant_id = t.id \
     left join omni_roles r on r.tenant_id = m.tenant_id and r.name = m.role "
);

/// Returns a tenant with a user's role in it, or `None` if the user is not a member.
pub(crate) async fn find_membership(
    tx: &mut Tx,
    tenant: TenantId,
    user: UserId,
) -> Result<Option<MembershipRow>, Error> {
    let sql = AssertSqlSafe(format!("{MEMBERSHIPS} where t.id = $1 and m.user_id = $2"));
    tx.query(sql).bind(tenant).bind(user).fetch_optional().await
}

/// Returns all tenants of a user, in the order of joining. The transaction must be one of all tenants.
pub(crate) async fn list_memberships(tx: &mut Tx, user: UserId, limit: i64) -> Result<Vec<MembershipRow>, Error> {
    let sql = AssertSqlSafe(format!("{MEMBERSHIPS} where m.user_id = $1 order by m.created_at, t.id limit $2"));
    tx.query(sql).bind(user).bind(limit).fetch_all().await
}

/// Returns the number of tenants that a user is a member of.
pub(crate) async fn count_memberships(tx: &mut Tx, user: UserId) -> Result<i64, Error> {
    let sql = "select count(*) from omni_members where user_id = $1";
    let (count,): (i64,) = tx.query(sql).bind(user).fetch_one().await?;
    Ok(count)
}

/// Locks a tenant, so that changes of the same tenant run one after another. On SQLite, a transaction that writes has
/// the database to itself.
pub(crate) async fn lock(tx: &mut Tx, tenant: TenantId) -> Result<(), Error> {
    let sql = Sql {
        postgres: "select 1 from omni_tenants where id = $1 for no key update",
        sqlite: "select 1 from omni_tenants where id = $1",
    };
    tx.query(sql).bind(tenant).execute().await?;
    Ok(())
}

/// Returns the tenant with this slug. The caller checks the membership afterwards.
pub(crate) async fn find_by_slug(db: &Db, slug: &str) -> Result<Option<TenantId>, Error> {
    let found: Option<(TenantId,)> =
        db.query("select id from omni_tenants where slug = $1").bind(slug.to_owned()).fetch_optional().await?;
    Ok(found.map(|(id,)| id))
}

/// Changes the name and the slug if they are present.
pub(crate) async fn rename(
    tx: &mut Tx,
    id: TenantId,
    name: Option<String>,
    slug: Option<String>,
    now: Timestamp,
) -> Result<(), Error> {
    let sql =
        "update omni_tenants set name = coalesce($2, name), slug = coalesce($3, slug), updated_at = $4 where id = $1";
    tx.query(sql).bind(id).bind(name).bind(slug).bind(now).execute().await?;
    Ok(())
}

/// Sets or clears the time of permanent deletion.
pub(crate) async fn set_deletion(
    tx: &mut Tx,
    id: TenantId,
    at: Option<Timestamp>,
    now: Timestamp,
) -> Result<(), Error> {
    let sql = "update omni_tenants set delete_at = $2, updated_at = $3 where id = $1";
    tx.query(sql).bind(id).bind(at).bind(now).execute().await?;
    Ok(())
}

/// Deletes tenants whose deletion is due, with all rows that refer to them, and returns them. The transaction must be
/// one of all tenants.
pub(crate) async fn delete_due(tx: &mut Tx, now: Timestamp, limit: i64) -> Result<Vec<(TenantId, String)>, Error> {
    let sql = Sql {
        postgres: "delete from omni_tenants where id in (select id from omni_tenants where delete_at <= $1 order by delete_at \
                   limit $2 for update skip locked) returning id, name",
        sqlite: "delete from omni_tenants where id in (select id from omni_tenants where delete_at <= $1 order by delete_at \
                 limit $2) returning id, name",
    };
    tx.query(sql).bind(now).bind(limit).fetch_all().await
}

/// Returns a tenant.
pub(crate) async fn find(tx: &mut Tx, id: TenantId) -> Result<Option<Tenant>, Error> {
    let sql = concat!("select ", tenant_columns!(), " from omni_tenants t where t.id = $1");
    tx.query(sql).bind(id).fetch_optional().await
}
