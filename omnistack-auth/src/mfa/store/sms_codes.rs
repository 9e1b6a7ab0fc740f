//! SQL of phone numbers for SMS codes, and of the limits on sending.

use omnistack_core::{
    clock::Timestamp,
    crypto::Sha256,
    db::{Db, Error, Tx},
    identity::UserId,
};

/// A user's phone number, and the code that was sent to it. It has no `Debug`.
#[derive(omnistack_core::db::FromRow)]
pub(crate) struct Phone {
    pub(crate) number: String,
    pub(crate) confirmed_at: Option<Timestamp>,
    /// The key of the code's hash, sealed.
    code_key: Option<String>,
    code_hash: Option<Vec<u8>>,
    code_until: Option<Timestamp>,
}

impl Phone {
    /// Returns the key and the hash of the code, unless it has expired.
    pub(crate) fn code(&self, now: Timestamp) -> Option<(&str, &[u8])> {
        self.code_until.filter(|until| now < *until)?;
        Some((self.code_key.as_deref()?, self.code_hash.as_deref()?))
    }
}

const PHONE: &str =
    "select number, confirmed_at, code_key, code_hash, code_until from omni_sms_code_phones where user_id = $1";

pub(crate) async fn phone(tx: &mut Tx, user: UserId) -> Result<Option<Phone>, Error> {
    tx.query(PHONE).bind(user).fetch_optional().await
}

/// Returns the phone number like [`phone`], outside of a transaction.
pub(crate) async fn find(db: &Db, user: UserId) -> Result<Option<Phone>, Error> {
    db.query(PHONE).bind(user).fetch_optional().await
}

/// Stores an unconfirmed number without a code, in place of an earlier unconfirmed one. Returns `false` if the user has
/// a confirmed number.
pub(crate) async fn insert_unconfirmed(tx: &mut Tx, user: UserId, number: &str, now: Timestamp) -> Result<bool, Error> {
    let sql = "insert into omni_sms_code_phones as p (user_id, number, created_at) values ($1, $2, $3) \
               on conflict (user_id) do update set number = $2, created_at = $3, \
               code_key = null, code_hash = null, code_until = null, code_tries = 0 where p.confirmed_at is null";
    Ok(tx.query(sql).bind(user).bind(number.to_owned()).bind(now).execute().await? > 0)
}

/// Replaces the code.
pub(crate) async fn set_code(
    tx: &mut Tx,
    user: UserId,
    (key, hash): (String, Vec<u8>),
    until: Timestamp,
) -> Result<(), Error> {
    let sql = "update omni_sms_code_phones set code_key = $2, code_hash = $3, code_until = $4, code_tries = 0 \
               where user_id = $1";
    tx.query(sql).bind(user).bind(key).bind(hash).bind(until).execute().await?;
    Ok(())
}

/// Uses up a code, if it is still the stored one. Returns `true` to only one of several concurrent requests.
pub(crate) async fn consume_code(tx: &mut Tx, user: UserId, hash: &[u8]) -> Result<bool, Error> {
    let sql = "update omni_sms_code_phones set code_key = null, code_hash = null, code_until = null \
               where user_id = $1 and code_hash = $2";
    Ok(tx.query(sql).bind(user).bind(hash.to_vec()).execute().await? == 1)
}

/// Counts a wrong guess. After `most` wrong guesses the code is invalid.
pub(crate) async fn count_wrong_guess(tx: &mut Tx, user: UserId, most: i64) -> Result<(), Error> {
    let sql = "update omni_sms_code_phones set code_tries = code_tries + 1, \
               code_until = case when code_tries + 1 >= $2 then null else code_until end where user_id = $1";
    tx.query(sql).bind(user).bind(most).execute().await?;
    Ok(())
}

/// Confirms a number.
pub(crate) async fn confirm(tx: &mut Tx, user: UserId, now: Timestamp) -> Result<(), Error> {
    let sql = "update omni_sms_code_phones set confirmed_at = $2 where user_id = $1 and confirmed_at is null";
    tx.query(sql).bind(user).bind(now).execute().await?;
    Ok(())
}

/// Deletes a number, confirmed or not. Returns whether it was confirmed.
pub(crate) async fn remove(tx: &mut Tx, user: UserId) -> Result<bool, Error> {
    let sql = "delete from omni_sms_code_phones where user_id = $1 returning confirmed_at";
    let removed: Option<(Option<Timestamp>,)> = tx.query(sql).bind(user).fetch_optional().await?;
    Ok(removed.is_some_and(|(confirmed_at,)| confirmed_at.is_some()))
}

/// Counts a message, unless `most` were counted since `began`. A count that began earlier starts again. It is a single
/// statement, so that concurrent requests can't exceed the limit. Returns whether the message may be sent.
pub(crate) async fn count_send(
    tx: &mut Tx,
    key: Sha256,
    now: Timestamp,
    (began, most): (Timestamp, i64),
) -> Result<bool, Error> {
    let sql = "insert into omni_sms_code_sends as s (key, since, sent) values ($1, $2, 1) \
               on conflict (key) do update set sent = case when s.since <= $3 then 1 else s.sent + 1 end, \
               since = case when s.since <= $3 then $2 else s.since end where s.since <= $3 or s.sent < $4";
    Ok(tx.query(sql).bind(key.as_bytes().to_vec()).bind(now).bind(began).bind(most).execute().await? > 0)
}

/// Returns the time at which a count began.
pub(crate) async fn count_started_at(tx: &mut Tx, key: Sha256) -> Result<Option<Timestamp>, Error> {
    let sql = "select since from omni_sms_code_sends where key = $1";
    let since: Option<(Timestamp,)> = tx.query(sql).bind(key.as_bytes().to_vec()).fetch_optional().await?;
    Ok(since.map(|(since,)| since))
}

/// Deletes counts and unconfirmed numbers that are older than `before`, at most `limit` of each. Returns their number.
pub(crate) async fn delete_old(db: &Db, before: Timestamp, limit: i64) -> Result<u64, Error> {
    let sends = "delete from omni_sms_code_sends where key in \
                 (select key from omni_sms_code_sends where since < $1 order by since limit $2)";
    let phones = "delete from omni_sms_code_phones where confirmed_at is null and user_id in \
                  (select user_id from omni_sms_code_phones where confirmed_at is null and created_at < $1 limit $2)";
    let sends = db.query(sends).bind(before).bind(limit).execute().await?;
    Ok(sends + db.query(phones).bind(before).bind(limit).execute().await?)
}
