//! SQL of passkeys.

use omnistack_core::{
    clock::Timestamp,
    db::{Db, Error, Tx},
    identity::UserId,
};

use crate::passkey::{Passkey, PasskeyId};

/// A passkey as it is stored.
#[derive(omnistack_core::db::FromRow)]
pub(crate) struct PasskeyRow {
    pub(crate) id: PasskeyId,
    /// The credential, as the WebAuthn library serialises it.
    pub(crate) credential: String,
}

/// Returns the user's passkeys, oldest first.
pub(crate) async fn list_for_user(db: &Db, user: UserId) -> Result<Vec<Passkey>, Error> {
    let sql = "select id, name, created_at, last_used_at from omni_passkeys where user_id = $1 order by id";
    db.query(sql).bind(user).fetch_all().await
}

/// Returns the credentials of the user's passkeys, oldest first.
pub(crate) async fn credentials(db: &Db, user: UserId) -> Result<Vec<PasskeyRow>, Error> {
    let sql = "select id, credential from omni_passkeys where user_id = $1 order by id";
    db.query(sql).bind(user).fetch_all().await
}

pub(crate) async fn count(tx: &mut Tx, user: UserId) -> Result<i64, Error> {
    let (count,) = tx.query("select count(*) from omni_passkeys where user_id = $1").bind(user).fetch_one().await?;
    Ok(count)
}

/// Stores a passkey. Returns `false` if the credential id is registered already.
pub(crate) async fn insert(
    tx: &mut Tx,
    user: UserId,
    passkey: &Passkey,
    (credential_id, credential): (Vec<u8>, String),
) -> Result<bool, Error> {
    let sql = "insert into omni_passkeys (id, user_id, credential_id, credential, name, created_at) \
               values ($1, $2, $3, $4, $5, $6) on conflict (credential_id) do nothing";
    let insert = tx.query(sql).bind(passkey.id).bind(user).bind(credential_id).bind(credential);
    Ok(insert.bind(passkey.name.clone()).bind(passkey.created_at).execute().await? == 1)
}

/// Returns the user's passkey with this credential id.
pub(crate) async fn find(tx: &mut Tx, user: UserId, credential_id: &[u8]) -> Result<Option<PasskeyRow>, Error> {
    let sql = "select id, credential from omni_passkeys where credential_id = $1 and user_id = $2";
    tx.query(sql).bind(credential_id.to_vec()).bind(user).fetch_optional().await
}

/// Stores the time of use and the credential with its new signature counter. The caller must have locked the user's
/// row.
pub(crate) async fn record_use(tx: &mut Tx, id: PasskeyId, credential: String, now: Timestamp) -> Result<(), Error> {
    let sql = "update omni_passkeys set credential = $2, last_used_at = $3 where id = $1";
    tx.query(sql).bind(id).bind(credential).bind(now).execute().await?;
    Ok(())
}

/// Renames a user's passkey. Returns `None` if the user has no passkey with this id.
pub(crate) async fn rename(tx: &mut Tx, user: UserId, id: PasskeyId, name: &str) -> Result<Option<Passkey>, Error> {
    let sql = "update omni_passkeys set name = $3 where id = $1 and user_id = $2 \
               returning id, name, created_at, last_used_at";
    tx.query(sql).bind(id).bind(user).bind(name.to_owned()).fetch_optional().await
}

/// Deletes a user's passkey. Returns its name, or `None` if the user has no passkey with this id.
pub(crate) async fn remove(tx: &mut Tx, user: UserId, id: PasskeyId) -> Result<Option<String>, Error> {
    let sql = "delete from omni_passkeys where id = $1 and user_id = $2 returning name";
    let removed: Option<(String,)> = tx.query(sql).bind(id).bind(user).fetch_optional().await?;
    Ok(removed.map(|(name,)| name))
}

/// Deletes all passkeys of a user. Returns their number.
pub(crate) async fn remove_all(tx: &mut Tx, user: UserId) -> Result<u64, Error> {
    tx.query("delete from omni_passkeys where user_id = $1").bind(user).execute().await
}
