//! SQL of TOTP secrets and recovery codes.

#[cfg(feature = "sms")]
pub(crate) mod sms_codes;

use omnistack_core::{
    clock::Timestamp,
    crypto::Sha256,
    db::{Db, Error, Tx},
    identity::UserId,
};
use serde::Serialize;
use utoipa::ToSchema;

/// A user's TOTP secret.
#[derive(omnistack_core::db::FromRow)]
pub(crate) struct TotpRow {
    /// The secret, sealed.
    pub(crate) secret: String,
    pub(crate) confirmed_at: Option<Timestamp>,
    pub(crate) created_at: Timestamp,
}

/// The second factors of a user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, omnistack_core::db::FromRow)]
pub(crate) struct SecondFactorState {
    /// The time at which the app for codes became a second factor. Absent if the user has none.
    #[schema(required)]
    pub(crate) totp_since: Option<Timestamp>,
    /// The number of unused recovery codes.
    pub(crate) recovery_codes: i64,
    /// The phone number for codes, if there is one.
    #[cfg(feature = "sms")]
    #[sqlx(skip)]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) sms: Option<crate::mfa::sms_codes::PhoneState>,
}

const STATE: &str = "select t.confirmed_at as totp_since, \
                     (select count(*) from omni_recovery_codes r where r.user_id = u.id) as recovery_codes \
                     from omni_users u left join omni_totp_secrets t on t.user_id = u.id where u.id = $1";
const NONE: SecondFactorState = SecondFactorState {
    totp_since: None,
    recovery_codes: 0,
    #[cfg(feature = "sms")]
    sms: None,
};

pub(crate) async fn state(db: &Db, user: UserId) -> Result<SecondFactorState, Error> {
    Ok(db.query(STATE).bind(user).fetch_optional().await?.unwrap_or(NONE))
}

/// Returns the state like [`state`], within a transaction. It stays valid as long as the user's row is locked.
pub(crate) async fn state_in(tx: &mut Tx, user: UserId) -> Result<SecondFactorState, Error> {
    Ok(tx.query(STATE).bind(user).fetch_optional().await?.unwrap_or(NONE))
}

/// Stores an unconfirmed secret in place of an earlier unconfirmed one. Returns `false` if the user has a confirmed
/// secret.
pub(crate) async fn insert_unconfirmed(
    tx: &mut Tx,
    user: UserId,
    secret: String,
    now: Timestamp,
) -> Result<bool, Error> {
    let sql = "insert into omni_totp_secrets as t (user_id, secret, created_at) values ($1, $2, $3) \
               on conflict (user_id) do update set secret = $2, created_at = $3 where t.confirmed_at is null";
    Ok(tx.query(sql).bind(user).bind(secret).bind(now).execute().await? > 0)
}

pub(crate) async fn totp(tx: &mut Tx, user: UserId) -> Result<Option<TotpRow>, Error> {
    let sql = "select secret, confirmed_at, created_at from omni_totp_secrets where user_id = $1";
    tx.query(sql).bind(user).fetch_optional().await
}

/// Confirms a secret, if it is still the stored one and unconfirmed. Returns whether it was.
pub(crate) async fn confirm(tx: &mut Tx, user: UserId, secret: &str, step: i64, now: Timestamp) -> Result<bool, Error> {
    let sql = "update omni_totp_secrets set confirmed_at = $4, last_step = $3 \
               where user_id = $1 and secret = $2 and confirmed_at is null";
    Ok(tx.query(sql).bind(user).bind(secret.to_owned()).bind(step).bind(now).execute().await? == 1)
}

/// Uses up a time step and all earlier ones. Returns `true` to only one of several concurrent requests with the same
/// code.
pub(crate) async fn consume_step(tx: &mut Tx, user: UserId, secret: &str, step: i64) -> Result<bool, Error> {
    let sql = "update omni_totp_secrets set last_step = $3 \
               where user_id = $1 and secret = $2 and confirmed_at is not null and last_step < $3";
    Ok(tx.query(sql).bind(user).bind(secret.to_owned()).bind(step).execute().await? == 1)
}

/// Uses up a recovery code. Returns the number of codes left, or `None` if the user has no such code.
pub(crate) async fn consume_recovery_code(tx: &mut Tx, user: UserId, hash: Sha256) -> Result<Option<i64>, Error> {
    let used = tx.query("delete from omni_recovery_codes where hash = $1 and user_id = $2");
    if used.bind(hash.as_bytes().to_vec()).bind(user).execute().await? != 1 {
        return Ok(None);
    }
    let left = tx.query("select count(*) from omni_recovery_codes where user_id = $1");
    let (left,): (i64,) = left.bind(user).fetch_one().await?;
    Ok(Some(left))
}

/// Replaces all recovery codes of a user.
pub(crate) async fn replace_recovery_codes(
    tx: &mut Tx,
    user: UserId,
    hashes: Vec<Sha256>,
    now: Timestamp,
) -> Result<(), Error> {
    tx.query("delete from omni_recovery_codes where user_id = $1").bind(user).execute().await?;
    for hash in hashes {
        let insert = tx.query("insert into omni_recovery_codes (hash, user_id, created_at) values ($1, $2, $3)");
        insert.bind(hash.as_bytes().to_vec()).bind(user).bind(now).execute().await?;
    }
    Ok(())
}

/// Deletes the secret and the recovery codes. Returns whether there was a secret.
pub(crate) async fn remove(tx: &mut Tx, user: UserId) -> Result<bool, Error> {
    tx.query("delete from omni_recovery_codes where user_id = $1").bind(user).execute().await?;
    Ok(tx.query("delete from omni_totp_secrets where user_id = $1").bind(user).execute().await? > 0)
}
