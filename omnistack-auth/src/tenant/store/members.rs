//! SQL of members and custom roles. Transactions are of one tenant.

use omnistack_core::{
    clock::Timestamp,
    db::{Error, Tx},
    identity::{TenantId, UserId},
};
use uuid::Uuid;

use crate::model::{CustomRole, Member};

/// Returns the members with a user id greater than `after`, in the order of user ids.
pub(crate) async fn list(
    tx: &mut Tx,
    tenant: TenantId,
    after: Option<UserId>,
    limit: i64,
) -> Result<Vec<Member>, Error> {
    let sql = "select m.user_id, m.role, m.created_at, u.name, u.email, u.picture \
               from omni_members m join omni_users u on u.id = m.user_id \
               where m.tenant_id = $1 and m.user_id > $2 order by m.user_id limit $3";
    let after = after.unwrap_or_else(|| UserId::from_uuid(Uuid::nil()));
    tx.query(sql).bind(tenant).bind(after).bind(limit).fetch_all().await
}

pub(crate) async fn find(tx: &mut Tx, tenant: TenantId, user: UserId) -> Result<Option<Member>, Error> {
    let sql = "select m.user_id, m.role, m.created_at, u.name, u.email, u.picture \
               from omni_members m join omni_users u on u.id = m.user_id where m.tenant_id = $1 and m.user_id = $2";
    tx.query(sql).bind(tenant).bind(user).fetch_optional().await
}

/// Returns whether a user with this email address is a member.
pub(crate) async fn has_email(tx: &mut Tx, tenant: TenantId, email: &str) -> Result<bool, Error> {
    let sql = "select count(*) from omni_members m join omni_users u on u.id = m.user_id where m.tenant_id = $1 and u.email = $2";
    let (count,): (i64,) = tx.query(sql).bind(tenant).bind(email.to_owned()).fetch_one().await?;
    Ok(count > 0)
}

pub(crate) async fn set_role(tx: &mut Tx, tenant: TenantId, user: UserId, role: &str) -> Result<(), Error> {
    let sql = "update omni_members set role = $3 where tenant_id = $1 and user_id = $2";
    tx.query(sql).bind(tenant).bind(user).bind(role.to_owned()).execute().await?;
    Ok(())
}

pub(crate) async fn delete(tx: &mut Tx, tenant: TenantId, user: UserId) -> Result<(), Error> {
    let sql = "delete from omni_members where tenant_id = $1 and user_id = $2";
    tx.query(sql).bind(tenant).bind(user).execute().await?;
    Ok(())
}

/// Returns the number of members with a role.
pub(crate) async fn count_with_role(tx: &mut Tx, tenant: TenantId, role: &str) -> Result<i64, Error> {
    let sql = "select count(*) from omni_members where tenant_id = $1 and role = $2";
    let (count,): (i64,) = tx.query(sql).bind(tenant).bind(role.to_owned()).fetch_one().await?;
    Ok(count)
}

/// Returns the number of members, and of invitations that are not accepted and have not expired.
pub(crate) async fn count_with_invited(tx: &mut Tx, tenant: TenantId, now: Timestamp) -> Result<u64, Error> {
    let sql = "select (select count(*) from omni_members where tenant_id = $1) \
               + (select count(*) from omni_invitations where tenant_id = $1 and expires_at > $2)";
    let (count,): (i64,) = tx.query(sql).bind(tenant).bind(now).fetch_one().await?;
    Ok(count.unsigned_abs())
}

/// Returns the number of invitations with a role.
pub(crate) async fn count_invited_with_role(tx: &mut Tx, tenant: TenantId, role: &str) -> Result<i64, Error> {
    let sql = "select count(*) from omni_invitations where tenant_id = $1 and role = $2";
    let (count,): (i64,) = tx.query(sql).bind(tenant).bind(role.to_owned()).fetch_one().await?;
    Ok(count)
}

/// Returns the custom roles of a tenant, by name.
pub(crate) async fn roles(tx: &mut Tx, tenant: TenantId) -> Result<Vec<CustomRole>, Error> {
    let sql = "select name, permissions, created_at, updated_at from omni_roles where tenant_id = $1 order by name";
    tx.query(sql).bind(tenant).fetch_all().await
}

pub(crate) async fn role(tx: &mut Tx, tenant: TenantId, name: &str) -> Result<Option<CustomRole>, Error> {
    let sql = "select name, permissions, created_at, updated_at from omni_roles where tenant_id = $1 and name = $2";
    tx.query(sql).bind(tenant).bind(name.to_owned()).fetch_optional().await
}

pub(crate) async fn insert_role(
    tx: &mut Tx,
    tenant: TenantId,
    name: &str,
    permissions: &str,
    now: Timestamp,
) -> Result<(), Error> {
    let sql =
        "insert into omni_roles (tenant_id, name, permissions, created_at, updated_at) values ($1, $2, $3, $4, $4)";
    let insert = tx.query(sql).bind(tenant).bind(name.to_owned()).bind(permissions.to_owned());
    insert.bind(now).execute().await?;
    Ok(())
}

pub(crate) async fn update_role(
    tx: &mut Tx,
    tenant: TenantId,
    name: &str,
    permissions: &str,
    now: Timestamp,
) -> Result<(), Error> {
    let sql = "update omni_roles set permissions = $3, updated_at = $4 where tenant_id = $1 and name = $2";
    let update = tx.query(sql).bind(tenant).bind(name.to_owned()).bind(permissions.to_owned());
    update.bind(now).execute().await?;
    Ok(())
}

pub(crate) async fn delete_role(tx: &mut Tx, tenant: TenantId, name: &str) -> Result<(), Error> {
    let sql = "delete from omni_roles where tenant_id = $1 and name = $2";
    tx.query(sql).bind(tenant).bind(name.to_owned()).execute().await?;
    Ok(())
}
