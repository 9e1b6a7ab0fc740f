//! SQL of invitations. Transactions are of one tenant, or of all tenants where only the token is known.

use omnistack_core::{
    clock::Timestamp,
    crypto::Sha256,
    db::{Error, Tx},
    id::Id,
    identity::{TenantId, UserId},
};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::model::{Invitation, InvitationMarker};

macro_rules! columns {
    () => {
        "id, tenant_id, email, role, invited_by, sent_at, created_at, expires_at"
    };
}

/// A token as it is stored.
pub(crate) struct StoredToken {
    pub(crate) hash: Sha256,
    pub(crate) sealed: String,
}

pub(crate) async fn insert(tx: &mut Tx, new: &Invitation, token: StoredToken) -> Result<(), Error> {
    let sql = "insert into omni_invitations (id, tenant_id, email, role, hash, secret, invited_by, sent_at, created_at, \
               expires_at) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
    let insert = tx.query(sql).bind(new.id).bind(new.tenant_id).bind(new.email.clone()).bind(new.role.clone());
    let insert = insert.bind(token.hash.as_bytes().to_vec()).bind(token.sealed).bind(new.invited_by);
    insert.bind(new.sent_at).bind(new.created_at).bind(new.expires_at).execute().await?;
    Ok(())
}

/// Returns the invitations with an id greater than `after`, in the order of ids.
pub(crate) async fn list(
    tx: &mut Tx,
    tenant: TenantId,
    after: Option<Id<InvitationMarker>>,
    limit: i64,
) -> Result<Vec<Invitation>, Error> {
    let sql =
        concat!("select ", columns!(), " from omni_invitations where tenant_id = $1 and id > $2 order by id limit $3");
    let after = after.unwrap_or_else(|| Id::from_uuid(Uuid::nil()));
    tx.query(sql).bind(tenant).bind(after).bind(limit).fetch_all().await
}

pub(crate) async fn count(tx: &mut Tx, tenant: TenantId) -> Result<i64, Error> {
    let sql = "select count(*) from omni_invitations where tenant_id = $1";
    let (count,): (i64,) = tx.query(sql).bind(tenant).fetch_one().await?;
    Ok(count)
}

pub(crate) async fn find(tx: &mut Tx, tenant: TenantId, id: Id<InvitationMarker>) -> Result<Option<Invitation>, Error> {
    let sql = concat!("select ", columns!(), " from omni_invitations where tenant_id = $1 and id = $2");
    tx.query(sql).bind(tenant).bind(id).fetch_optional().await
}

/// Returns the invitation with this token, unless it has expired.
pub(crate) async fn find_by_token(tx: &mut Tx, hash: Sha256, now: Timestamp) -> Result<Option<Invitation>, Error> {
    let sql = concat!("select ", columns!(), " from omni_invitations where hash = $1 and expires_at > $2");
    tx.query(sql).bind(hash.as_bytes().to_vec()).bind(now).fetch_optional().await
}

/// An invitation as it is shown to its recipient.
#[derive(Serialize, ToSchema, omnistack_core::db::FromRow)]
#[schema(as = InvitationDetails)]
pub(crate) struct InvitationDetails {
    /// The email address it was sent to.
    email: String,
    /// The team's display name.
    tenant: String,
    /// The role of the new member.
    role: String,
    /// The display name of the user who sent it. Absent if that account was deleted.
    #[schema(required)]
    inviter: Option<String>,
    /// The time at which the invitation expires.
    expires_at: Timestamp,
    /// Whether the email address has an account. If so, the user signs in to accept.
    registered: bool,
}

pub(crate) async fn details(tx: &mut Tx, hash: Sha256, now: Timestamp) -> Result<Option<InvitationDetails>, Error> {
    let sql = "select i.email, t.name as tenant, i.role, u.name as inviter, i.expires_at, \
               exists (select 1 from omni_users r where r.email = i.email and r.email_verified_at is not null) as registered \
               from omni_invitations i join omni_tenants t on t.id = i.tenant_id left join omni_users u on u.id = i.invited_by \
               where i.hash = $1 and i.expires_at > $2";
    tx.query(sql).bind(hash.as_bytes().to_vec()).bind(now).fetch_optional().await
}

/// Replaces the token and the expiry.
pub(crate) async fn renew(tx: &mut Tx, renewed: &Invitation, token: StoredToken) -> Result<(), Error> {
    let sql = "update omni_invitations set hash = $3, secret = $4, sent_at = $5, expires_at = $6 \
               where tenant_id = $1 and id = $2";
    let update = tx.query(sql).bind(renewed.tenant_id).bind(renewed.id).bind(token.hash.as_bytes().to_vec());
    update.bind(token.sealed).bind(renewed.sent_at).bind(renewed.expires_at).execute().await?;
    Ok(())
}

/// Deletes an invitation. Returns whether it existed.
pub(crate) async fn delete(tx: &mut Tx, tenant: TenantId, id: Id<InvitationMarker>) -> Result<bool, Error> {
    let sql = "delete from omni_invitations where tenant_id = $1 and id = $2";
    Ok(tx.query(sql).bind(tenant).bind(id).execute().await? == 1)
}

/// Deletes an expired invitation of an email address.
pub(crate) async fn delete_expired(tx: &mut Tx, tenant: TenantId, email: &str, now: Timestamp) -> Result<(), Error> {
    let sql = "delete from omni_invitations where tenant_id = $1 and email = $2 and expires_at <= $3";
    tx.query(sql).bind(tenant).bind(email.to_owned()).bind(now).execute().await?;
    Ok(())
}

/// Deletes invitations of all tenants that expired before `before`, at most `limit`. Returns their number.
pub(crate) async fn delete_expired_of_all(tx: &mut Tx, before: Timestamp, limit: i64) -> Result<u64, Error> {
    let sql = "delete from omni_invitations where id in (select id from omni_invitations where expires_at < $1 \
               order by expires_at limit $2)";
    tx.query(sql).bind(before).bind(limit).execute().await
}

/// Returns the verified email address of a user who is not disabled.
pub(crate) async fn verified_email(tx: &mut Tx, user: UserId) -> Result<Option<String>, Error> {
    let sql = "select email from omni_users where id = $1 and email_verified_at is not null and disabled_at is null";
    let found: Option<(Option<String>,)> = tx.query(sql).bind(user).fetch_optional().await?;
    Ok(found.and_then(|(email,)| email))
}
