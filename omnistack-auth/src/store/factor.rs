//! Second factors.

use omnistack_core::{
    clock::Timestamp,
    crypto::Sha256,
    db::{Db, Error, Tx},
    identity::UserId,
};
use serde::Serialize;
use utoipa::ToSchema;

/// What codes are made of.
#[derive(sqlx::FromRow)]
pub(crate) struct Totp {
    /// Sealed.
    pub(crate) secret: String,
    pub(crate) confirmed_at: Option<Timestamp>,
    pub(crate) created_at: Timestamp,
}

/// Which second factors a user has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, sqlx::FromRow)]
pub(crate) struct SecondFactorState {
    /// Since when they show codes of an app; none while they don't.
    #[schema(required)]
    pub(crate) totp_since: Option<Timestamp>,
    /// How many recovery codes are left.
    pub(crate) recovery_codes: i64,
    /// The number they have codes sent to.
    #[cfg(feature = "sms")]
    #[sqlx(skip)]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) sms: Option<crate::sms_code::PhoneState>,
}

const STATE: &str = "select t.confirmed_at as totp_since, \
                     (select count(*) from recovery_codes r where r.user_id = u.id) as recovery_codes \
                     from users u left join totp_secrets t on t.user_id = u.id where u.id = $1";
const NONE: SecondFactorState = SecondFactorState {
    totp_since: None,
    recovery_codes: 0,
    #[cfg(feature = "sms")]
    sms: None,
};

pub(crate) async fn state(db: &Db, user: UserId) -> Result<SecondFactorState, Error> {
    Ok(db.query(STATE).bind(user).fetch_optional().await?.unwrap_or(NONE))
}

/// As [`state`]; with the user's row held, it stays so.
pub(crate) async fn state_in(tx: &mut Tx, user: UserId) -> Result<SecondFactorState, Error> {
    Ok(tx.query(STATE).bind(user).fetch_optional().await?.unwrap_or(NONE))
}

/// Keeps a secret that is no factor yet, in place of one that was none; whether there was no other.
pub(crate) async fn begin(tx: &mut Tx, user: UserId, secret: String, now: Timestamp) -> Result<bool, Error> {
    let sql = "insert into totp_secrets as t (user_id, secret, created_at) values ($1, $2, $3) \
               on conflict (user_id) do update set secret = $2, created_at = $3 where t.confirmed_at is null";
    Ok(tx.query(sql).bind(user).bind(secret).bind(now).execute().await? > 0)
}

pub(crate) async fn totp(tx: &mut Tx, user: UserId) -> Result<Option<Totp>, Error> {
    let sql = "select secret, confirmed_at, created_at from totp_secrets where user_id = $1";
    tx.query(sql).bind(user).fetch_optional().await
}

/// Makes a secret a factor, if it is still the one and none; whether it was.
pub(crate) async fn confirm(tx: &mut Tx, user: UserId, secret: &str, step: i64, now: Timestamp) -> Result<bool, Error> {
    let sql = "update totp_secrets set confirmed_at = $4, last_step = $3 \
               where user_id = $1 and secret = $2 and confirmed_at is null";
    Ok(tx.query(sql).bind(user).bind(secret.to_owned()).bind(step).bind(now).execute().await? == 1)
}

/// Uses up a step and all before it. Of two who come with one code at once, one gets it.
pub(crate) async fn use_step(tx: &mut Tx, user: UserId, secret: &str, step: i64) -> Result<bool, Error> {
    let sql = "update totp_secrets set last_step = $3 \
               where user_id = $1 and secret = $2 and confirmed_at is not null and last_step < $3";
    Ok(tx.query(sql).bind(user).bind(secret.to_owned()).bind(step).execute().await? == 1)
}

/// Uses up a recovery code; how many are left, or nothing for one that is none of the user's.
pub(crate) async fn use_recovery_code(tx: &mut Tx, user: UserId, hash: Sha256) -> Result<Option<i64>, Error> {
    let used = tx.query("delete from recovery_codes where hash = $1 and user_id = $2");
    if used.bind(hash.as_bytes().to_vec()).bind(user).execute().await? != 1 {
        return Ok(None);
    }
    let left = tx.query("select count(*) from recovery_codes where user_id = $1");
    let (left,): (i64,) = left.bind(user).fetch_one().await?;
    Ok(Some(left))
}

/// Keeps these recovery codes in place of all others.
pub(crate) async fn replace_recovery_codes(
    tx: &mut Tx,
    user: UserId,
    hashes: Vec<Sha256>,
    now: Timestamp,
) -> Result<(), Error> {
    tx.query("delete from recovery_codes where user_id = $1").bind(user).execute().await?;
    for hash in hashes {
        let insert = tx.query("insert into recovery_codes (hash, user_id, created_at) values ($1, $2, $3)");
        insert.bind(hash.as_bytes().to_vec()).bind(user).bind(now).execute().await?;
    }
    Ok(())
}

/// Removes the secret, and the recovery codes that stood in for its codes; whether there was one.
pub(crate) async fn remove(tx: &mut Tx, user: UserId) -> Result<bool, Error> {
    tx.query("delete from recovery_codes where user_id = $1").bind(user).execute().await?;
    Ok(tx.query("delete from totp_secrets where user_id = $1").bind(user).execute().await? > 0)
}
