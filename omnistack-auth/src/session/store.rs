//! SQL of sessions.

pub(crate) mod signing_keys;

use omnistack_core::{
    clock::Timestamp,
    crypto::Sha256,
    db::{Db, Error, Tx},
    identity::{AuthenticationContext, SessionId, TenantId, UserId},
};

use crate::model::{Device, SessionInfo};

/// A session as it is stored.
#[derive(omnistack_core::db::FromRow)]
pub(crate) struct SessionRow {
    pub(crate) id: SessionId,
    pub(crate) user_id: UserId,
    pub(crate) tenant_id: Option<TenantId>,
    pub(crate) actor_id: Option<UserId>,
    pub(crate) proof_at: Timestamp,
    pub(crate) second_factor: bool,
    pub(crate) refresh_key: String,
    pub(crate) refresh_hash: Vec<u8>,
    pub(crate) previous_hash: Option<Vec<u8>>,
    pub(crate) rotated_at: Timestamp,
    pub(crate) created_at: Timestamp,
    pub(crate) expires_at: Timestamp,
    pub(crate) ended_at: Option<Timestamp>,
}

pub(crate) async fn insert(tx: &mut Tx, row: &SessionRow, device: &Device, reason: Option<&str>) -> Result<(), Error> {
    let sql = "insert into omni_sessions (id, user_id, tenant_id, actor_id, reason, user_agent, address, proof_at, \
               second_factor, refresh_key, refresh_hash, rotated_at, created_at, expires_at) \
               values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)";
    tx.query(sql)
        .bind(row.id)
        .bind(row.user_id)
        .bind(row.tenant_id)
        .bind(row.actor_id)
        .bind(reason.map(str::to_owned))
        .bind(device.user_agent.clone())
        .bind(device.address.clone())
        .bind(row.proof_at)
        .bind(row.second_factor)
        .bind(row.refresh_key.clone())
        .bind(row.refresh_hash.clone())
        .bind(row.rotated_at)
        .bind(row.created_at)
        .bind(row.expires_at)
        .execute()
        .await?;
    Ok(())
}

pub(crate) async fn find(db: &Db, id: SessionId) -> Result<Option<SessionRow>, Error> {
    let sql = "select s.id, user_id, tenant_id, actor_id, proof_at, second_factor, refresh_key, refresh_hash, \
               previous_hash, rotated_at, s.created_at, expires_at, ended_at \
               from omni_sessions s join omni_users u on u.id = s.user_id \
               where s.id = $1 and u.disabled_at is null";
    db.query(sql).bind(id).fetch_optional().await
}

/// Replaces the refresh token, if it is still the current one. Returns whether it was.
pub(crate) async fn rotate(db: &Db, id: SessionId, from: Sha256, to: Sha256, now: Timestamp) -> Result<bool, Error> {
    let sql = "update omni_sessions set refresh_hash = $3, previous_hash = $2, rotated_at = $4 \
               where id = $1 and refresh_hash = $2 and ended_at is null";
    let query = db.query(sql).bind(id).bind(from.as_bytes().to_vec()).bind(to.as_bytes().to_vec());
    Ok(query.bind(now).execute().await? == 1)
}

pub(crate) async fn list_for_user(
    db: &Db,
    user: UserId,
    now: Timestamp,
    used_since: Timestamp,
) -> Result<Vec<SessionInfo>, Error> {
    let sql = "select id, user_agent, address, proof_at, second_factor, rotated_at, created_at, expires_at \
               from omni_sessions where user_id = $1 and ended_at is null and expires_at > $2 and rotated_at >= $3 \
               and actor_id is null order by created_at desc, id desc limit 200";
    db.query(sql).bind(user).bind(now).bind(used_since).fetch_all().await
}

const END: &str = "update omni_sessions set ended_at = $3 where id = $1 and user_id = $2 and ended_at is null";

pub(crate) async fn end(db: &Db, user: UserId, id: SessionId, now: Timestamp) -> Result<bool, Error> {
    Ok(db.query(END).bind(id).bind(user).bind(now).execute().await? == 1)
}

pub(crate) async fn end_in(tx: &mut Tx, user: UserId, id: SessionId, now: Timestamp) -> Result<bool, Error> {
    Ok(tx.query(END).bind(id).bind(user).bind(now).execute().await? == 1)
}

/// Ends the sessions of a user except `but`, and the user's impersonations. Returns their number.
pub(crate) async fn end_all(tx: &mut Tx, user: UserId, but: Option<SessionId>, now: Timestamp) -> Result<u64, Error> {
    let sql = "update omni_sessions set ended_at = $2 where (user_id = $1 or actor_id = $1) and ended_at is null \
               and ($3 is null or id <> $3)";
    tx.query(sql).bind(user).bind(now).bind(but).execute().await
}

pub(crate) async fn set_tenant(db: &Db, id: SessionId, tenant: TenantId) -> Result<(), Error> {
    db.query("update omni_sessions set tenant_id = $2 where id = $1").bind(id).bind(tenant).execute().await?;
    Ok(())
}

pub(crate) async fn record_proof(db: &Db, id: SessionId, proof: AuthenticationContext) -> Result<(), Error> {
    let sql = "update omni_sessions set proof_at = $2, second_factor = $3 where id = $1";
    db.query(sql).bind(id).bind(proof.authenticated_at).bind(proof.second_factor).execute().await?;
    Ok(())
}

pub(crate) async fn delete_expired(db: &Db, before: Timestamp, limit: i64) -> Result<u64, Error> {
    let sql = "delete from omni_sessions where id in (select id from omni_sessions where expires_at < $1 order by expires_at \
               limit $2)";
    db.query(sql).bind(before).bind(limit).execute().await
}
