//! SQL that creates tenants and adds their members.

use omnistack_core::{
    clock::Timestamp,
    db::{Error, Tx},
    identity::{TenantId, UserId},
};

use crate::role;

/// Creates a tenant with one owner. The transaction must be one of all tenants.
pub(crate) async fn insert(tx: &mut Tx, tenant: NewTenantRow<'_>, now: Timestamp) -> Result<(), Error> {
    let sql = "insert into omni_tenants (id, name, slug, personal_of, created_at, updated_at) values ($1, $2, $3, $4, $5, $5)";
    let insert = tx.query(sql).bind(tenant.id).bind(tenant.name.to_owned()).bind(tenant.slug.to_owned());
    insert.bind(tenant.personal.then_some(tenant.owner)).bind(now).execute().await?;
    add_member(tx, tenant.id, tenant.owner, role::OWNER, now).await
}

/// A tenant to insert.
pub(crate) struct NewTenantRow<'a> {
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
    let sql = "insert into omni_members (tenant_id, user_id, role, created_at) values ($1, $2, $3, $4)";
    tx.query(sql).bind(tenant).bind(user).bind(role.to_owned()).bind(now).execute().await?;
    Ok(())
}
