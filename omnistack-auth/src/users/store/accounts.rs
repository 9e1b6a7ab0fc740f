//! SQL of accounts: credentials, email address, deletion, and the data export.

use omnistack_core::{
    clock::Timestamp,
    db::{Db, Error, Sql, Tx},
    identity::{TenantId, UserId},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{model::Device, role};

/// The columns of a user that sign-in needs. It has no `Debug`, since it contains the password hash.
#[derive(Clone, omnistack_core::db::FromRow)]
pub(crate) struct Account {
    pub(crate) id: UserId,
    pub(crate) email: Option<String>,
    pub(crate) email_verified_at: Option<Timestamp>,
    pub(crate) password_hash: Option<String>,
    pub(crate) name: String,
    pub(crate) locale: Option<String>,
    pub(crate) disabled_at: Option<Timestamp>,
    pub(crate) delete_at: Option<Timestamp>,
    /// The user's personal tenant.
    pub(crate) tenant_id: Option<TenantId>,
}

macro_rules! select {
    ($condition:literal) => {
        concat!(
            "select u.id, u.email, u.email_verified_at, u.password_hash, u.name, u.locale, u.disabled_at, u.delete_at, ",
            "t.id as tenant_id from omni_users u left join omni_tenants t on t.personal_of = u.id where ",
            $condition
        )
    };
}

pub(crate) async fn by_email(db: &Db, email: &str) -> Result<Option<Account>, Error> {
    db.query(select!("u.email = $1")).bind(email.to_owned()).fetch_optional().await
}

pub(crate) async fn by_id(db: &Db, id: UserId) -> Result<Option<Account>, Error> {
    db.query(select!("u.id = $1")).bind(id).fetch_optional().await
}

/// Returns the account like [`by_id`] and locks its row until the transaction ends.
pub(crate) async fn lock(tx: &mut Tx, id: UserId) -> Result<Option<Account>, Error> {
    let sql = Sql { postgres: concat!(select!("u.id = $1"), " for update of u"), sqlite: select!("u.id = $1") };
    tx.query(sql).bind(id).fetch_optional().await
}

/// Returns the account with this email address and locks its row until the transaction ends.
pub(crate) async fn lock_by_email(tx: &mut Tx, email: &str) -> Result<Option<Account>, Error> {
    let sql = Sql { postgres: concat!(select!("u.email = $1"), " for update of u"), sqlite: select!("u.email = $1") };
    tx.query(sql).bind(email.to_owned()).fetch_optional().await
}

/// Returns whether a user is a member of a tenant.
pub(crate) async fn is_member(db: &Db, tenant: TenantId, user: UserId) -> Result<bool, Error> {
    let mut tx = db.tenant(tenant).begin_read().await?;
    let sql = "select user_id from omni_members where tenant_id = $1 and user_id = $2";
    let member: Option<(UserId,)> = tx.query(sql).bind(tenant).bind(user).fetch_optional().await?;
    tx.commit().await?;
    Ok(member.is_some())
}

pub(crate) async fn set_password(tx: &mut Tx, id: UserId, hash: Option<&str>, now: Timestamp) -> Result<(), Error> {
    let sql = "update omni_users set password_hash = $2, updated_at = $3 where id = $1";
    tx.query(sql).bind(id).bind(hash.map(str::to_owned)).bind(now).execute().await?;
    Ok(())
}

/// Replaces a registration whose email address was never verified.
pub(crate) async fn replace_registration(
    tx: &mut Tx,
    id: UserId,
    name: &str,
    hash: &str,
    now: Timestamp,
) -> Result<(), Error> {
    let sql = "update omni_users set name = $2, password_hash = $3, updated_at = $4 where id = $1 \
               and email_verified_at is null";
    tx.query(sql).bind(id).bind(name.to_owned()).bind(hash.to_owned()).bind(now).execute().await?;
    Ok(())
}

/// Deletes every credential except the password: linked identities, passkeys, second factors and API keys. The
/// transaction must be one of all tenants.
pub(crate) async fn delete_credentials(tx: &mut Tx, id: UserId) -> Result<(), Error> {
    for sql in [
        "delete from omni_identities where user_id = $1",
        "delete from omni_passkeys where user_id = $1",
        "delete from omni_totp_secrets where user_id = $1",
        "delete from omni_recovery_codes where user_id = $1",
        "delete from omni_sms_code_phones where user_id = $1",
        "delete from omni_api_keys where user_id = $1",
    ] {
        tx.query(sql).bind(id).execute().await?;
    }
    Ok(())
}

pub(crate) async fn confirm_email(tx: &mut Tx, id: UserId, now: Timestamp) -> Result<(), Error> {
    let sql =
        "update omni_users set email_verified_at = coalesce(email_verified_at, $2), updated_at = $2 where id = $1";
    tx.query(sql).bind(id).bind(now).execute().await?;
    Ok(())
}

pub(crate) async fn set_email(tx: &mut Tx, id: UserId, email: &str, now: Timestamp) -> Result<(), Error> {
    let sql = "update omni_users set email = $2, email_verified_at = $3, updated_at = $3 where id = $1";
    tx.query(sql).bind(id).bind(email.to_owned()).bind(now).execute().await?;
    Ok(())
}

pub(crate) async fn set_deletion(tx: &mut Tx, id: UserId, at: Option<Timestamp>, now: Timestamp) -> Result<(), Error> {
    let sql = "update omni_users set delete_at = $2, updated_at = $3 where id = $1";
    tx.query(sql).bind(id).bind(at).bind(now).execute().await?;
    Ok(())
}

/// Returns the users whose deletion is due, except those who are the only owner of a team that is not due for deletion
/// itself.
pub(crate) async fn due_for_deletion(db: &Db, now: Timestamp, limit: i64) -> Result<Vec<(UserId,)>, Error> {
    let sql = "select u.id from omni_users u where u.delete_at <= $1 and not exists (select 1 from omni_members m \
               join omni_tenants t on t.id = m.tenant_id where m.user_id = u.id and m.role = $2 and t.personal_of is null \
               and (t.delete_at is null or t.delete_at > $1) and not exists (select 1 from omni_members o \
               where o.tenant_id = m.tenant_id and o.role = $2 and o.user_id <> m.user_id)) order by u.delete_at limit $3";
    // The query reads the members of every team.
    let mut tx = db.all_tenants().begin_read().await?;
    let due = tx.query(sql).bind(now).bind(role::OWNER).bind(limit).fetch_all().await?;
    tx.commit().await?;
    Ok(due)
}

/// Deletes a user with everything that belongs to the user alone, if the deletion is still due. Returns whether it was.
pub(crate) async fn delete(tx: &mut Tx, id: UserId, now: Timestamp) -> Result<bool, Error> {
    Ok(tx.query("delete from omni_users where id = $1 and delete_at <= $2").bind(id).bind(now).execute().await? == 1)
}

/// Returns the user's personal tenant, which is deleted with the user.
pub(crate) async fn personal_tenant(tx: &mut Tx, id: UserId) -> Result<Vec<(TenantId,)>, Error> {
    tx.query("select id from omni_tenants where personal_of = $1").bind(id).fetch_all().await
}

/// A team with a single owner.
#[derive(omnistack_core::db::FromRow)]
pub(crate) struct SoleOwnedTeam {
    pub(crate) id: TenantId,
    pub(crate) delete_at: Option<Timestamp>,
}

/// Returns the teams of which a user is the only owner, except those whose deletion is due; teams without a pending
/// deletion come first. The transaction must be one of all tenants.
pub(crate) async fn solely_owned_teams(tx: &mut Tx, id: UserId, now: Timestamp) -> Result<Vec<SoleOwnedTeam>, Error> {
    let sql = "select t.id, t.delete_at from omni_members m join omni_tenants t on t.id = m.tenant_id where m.user_id = $1 \
               and m.role = $2 and t.personal_of is null and (t.delete_at is null or t.delete_at > $3) \
               and not exists (select 1 from omni_members o where o.tenant_id = m.tenant_id and o.role = $2 \
               and o.user_id <> $1) order by t.delete_at desc nulls first, t.id limit 100";
    tx.query(sql).bind(id).bind(role::OWNER).bind(now).fetch_all().await
}

/// Returns whether the user has signed in before, and whether from this device.
pub(crate) async fn has_signed_in(tx: &mut Tx, id: UserId, device: &Device) -> Result<(bool, bool), Error> {
    let sql = "select exists (select 1 from omni_sessions where user_id = $1 and actor_id is null), \
               exists (select 1 from omni_sessions where user_id = $1 and actor_id is null \
               and user_agent is not distinct from $2 and address is not distinct from $3)";
    tx.query(sql).bind(id).bind(device.user_agent.clone()).bind(device.address.clone()).fetch_one().await
}

/// A membership in the data export.
#[derive(Clone, Debug, Serialize, ToSchema, omnistack_core::db::FromRow)]
pub(crate) struct ExportedMembership {
    /// The tenant.
    #[schema(value_type = String, format = Uuid)]
    tenant_id: TenantId,
    /// The tenant's display name.
    tenant_name: String,
    /// The user's role in the tenant.
    role: String,
    /// The time at which the user became a member.
    created_at: Timestamp,
}

/// A linked identity in the data export.
#[derive(Clone, Debug, Serialize, ToSchema, omnistack_core::db::FromRow)]
pub(crate) struct ExportedIdentity {
    /// The issuer.
    pub(crate) issuer: String,
    /// The subject: the user's identifier at the issuer.
    pub(crate) subject: String,
    /// The time at which it was linked.
    pub(crate) created_at: Timestamp,
}

/// Returns the user's memberships. The transaction must be one of all tenants.
pub(crate) async fn memberships(tx: &mut Tx, id: UserId) -> Result<Vec<ExportedMembership>, Error> {
    let sql = "select m.tenant_id, t.name as tenant_name, m.role, m.created_at from omni_members m \
               join omni_tenants t on t.id = m.tenant_id where m.user_id = $1 order by m.created_at, m.tenant_id";
    tx.query(sql).bind(id).fetch_all().await
}

pub(crate) async fn linked_identities(tx: &mut Tx, id: UserId) -> Result<Vec<ExportedIdentity>, Error> {
    let sql = "select issuer, subject, created_at from omni_identities where user_id = $1 order by created_at, issuer";
    tx.query(sql).bind(id).fetch_all().await
}

/// Returns the operators and locks their rows, so that transactions that change operators or delete an operator's
/// account run one after another. Operators who are disabled or about to be deleted are not included.
pub(crate) async fn lock_operators(tx: &mut Tx) -> Result<Vec<UserId>, Error> {
    let sql = Sql {
        postgres: "select id from omni_users where operator and disabled_at is null and delete_at is null \
                   order by id for no key update",
        sqlite: "select id from omni_users where operator and disabled_at is null and delete_at is null",
    };
    let all: Vec<(UserId,)> = tx.query(sql).fetch_all().await?;
    Ok(all.into_iter().map(|(id,)| id).collect())
}

/// Sets whether a user is an operator, and when the user was disabled.
pub(crate) async fn set_user(
    tx: &mut Tx,
    id: UserId,
    operator: bool,
    disabled_at: Option<Timestamp>,
    now: Timestamp,
) -> Result<(), Error> {
    let sql = "update omni_users set operator = $2, disabled_at = $3, updated_at = $4 where id = $1";
    tx.query(sql).bind(id).bind(operator).bind(disabled_at).bind(now).execute().await?;
    Ok(())
}
