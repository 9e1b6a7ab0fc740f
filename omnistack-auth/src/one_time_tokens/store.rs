//! SQL of one-time tokens.

use omnistack_core::{
    clock::Timestamp,
    crypto::Sha256,
    db::{Db, Error, Tx},
    identity::UserId,
};

/// The user and the data of a token.
#[derive(omnistack_core::db::FromRow)]
pub(crate) struct OneTimeTokenRow {
    pub(crate) user_id: UserId,
    pub(crate) data: Option<String>,
}

/// Stores a token and deletes those of the same user and purpose.
pub(crate) async fn replace(
    tx: &mut Tx,
    hash: Sha256,
    purpose: &'static str,
    row: OneTimeTokenRow,
    now: Timestamp,
    expires: Timestamp,
) -> Result<(), Error> {
    let others = tx.query("delete from omni_one_time_tokens where user_id = $1 and purpose = $2");
    others.bind(row.user_id).bind(purpose).execute().await?;
    let sql = "insert into omni_one_time_tokens (hash, purpose, user_id, data, created_at, expires_at) \
               values ($1, $2, $3, $4, $5, $6)";
    let insert = tx.query(sql).bind(hash.as_bytes().to_vec()).bind(purpose).bind(row.user_id).bind(row.data);
    insert.bind(now).bind(expires).execute().await?;
    Ok(())
}

/// Stores a token that belongs to no user.
#[cfg(feature = "passkeys")]
pub(crate) async fn insert_anonymous(
    tx: &mut Tx,
    hash: Sha256,
    purpose: &'static str,
    data: String,
    (now, expires): (Timestamp, Timestamp),
) -> Result<(), Error> {
    let sql =
        "insert into omni_one_time_tokens (hash, purpose, data, created_at, expires_at) values ($1, $2, $3, $4, $5)";
    let insert = tx.query(sql).bind(hash.as_bytes().to_vec()).bind(purpose).bind(data).bind(now).bind(expires);
    insert.execute().await?;
    Ok(())
}

/// Uses up a token that belongs to no user, and returns its data. Returns `None` if it is unknown or expired.
#[cfg(feature = "passkeys")]
pub(crate) async fn consume_anonymous(
    tx: &mut Tx,
    hash: Sha256,
    purpose: &'static str,
    now: Timestamp,
) -> Result<Option<String>, Error> {
    let sql = "delete from omni_one_time_tokens where hash = $1 and purpose = $2 and expires_at > $3 \
               and user_id is null and data is not null returning data";
    let taken: Option<(String,)> =
        tx.query(sql).bind(hash.as_bytes().to_vec()).bind(purpose).bind(now).fetch_optional().await?;
    Ok(taken.map(|(data,)| data))
}

/// Returns a valid token without using it up.
pub(crate) async fn peek(
    db: &Db,
    hash: Sha256,
    purpose: &'static str,
    now: Timestamp,
) -> Result<Option<OneTimeTokenRow>, Error> {
    let sql = "select user_id, data from omni_one_time_tokens where hash = $1 and purpose = $2 and expires_at > $3 \
               and user_id is not null";
    db.query(sql).bind(hash.as_bytes().to_vec()).bind(purpose).bind(now).fetch_optional().await
}

/// Uses up a token and returns it. Only one of several concurrent requests gets it.
pub(crate) async fn consume(
    tx: &mut Tx,
    hash: Sha256,
    purpose: &'static str,
    now: Timestamp,
) -> Result<Option<OneTimeTokenRow>, Error> {
    let sql = "delete from omni_one_time_tokens where hash = $1 and purpose = $2 and expires_at > $3 \
               and user_id is not null returning user_id, data";
    tx.query(sql).bind(hash.as_bytes().to_vec()).bind(purpose).bind(now).fetch_optional().await
}

/// Marks a value as used that was not stored before. Returns whether it is the first use.
pub(crate) async fn mark_used(
    db: &Db,
    hash: Sha256,
    purpose: &'static str,
    now: Timestamp,
    expires: Timestamp,
) -> Result<bool, Error> {
    let sql = "insert into omni_one_time_tokens (hash, purpose, created_at, expires_at) values ($1, $2, $3, $4) \
               on conflict do nothing";
    Ok(db.query(sql).bind(hash.as_bytes().to_vec()).bind(purpose).bind(now).bind(expires).execute().await? > 0)
}

/// Deletes all tokens with which a user can sign in or change the account.
pub(crate) async fn revoke_all(tx: &mut Tx, user: UserId) -> Result<(), Error> {
    let sql = "delete from omni_one_time_tokens where user_id = $1 and purpose in \
               ('verify_email', 'change_email', 'reset_password', 'magic_link', 'second_factor', \
               'add_passkey', 'show_passkey')";
    tx.query(sql).bind(user).execute().await?;
    Ok(())
}

pub(crate) async fn delete_expired(db: &Db, now: Timestamp, limit: i64) -> Result<u64, Error> {
    let sql = "delete from omni_one_time_tokens where hash in (select hash from omni_one_time_tokens where expires_at < $1 \
               order by expires_at limit $2)";
    db.query(sql).bind(now).bind(limit).execute().await
}
