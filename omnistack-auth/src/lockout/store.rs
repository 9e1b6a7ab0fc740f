//! SQL of attempt counters, which limit guessing and mails.

use omnistack_core::{
    clock::Timestamp,
    db::{Db, Error, Tx},
};

/// Counts an attempt and returns the count, or `None` if the key is blocked. A count whose last attempt is older than
/// `forgotten` starts again at 1.
pub(crate) async fn count(tx: &mut Tx, key: &[u8], now: Timestamp, forgotten: Timestamp) -> Result<Option<i64>, Error> {
    let sql = "insert into omni_attempts as a (key, failures, last_at) values ($1, 1, $2) \
               on conflict (key) do update set failures = case when a.last_at < $3 then 1 else a.failures + 1 end, \
               last_at = $2, blocked_until = null where a.blocked_until is null or a.blocked_until <= $2 \
               returning failures";
    let counted: Option<(i64,)> = tx.query(sql).bind(key.to_vec()).bind(now).bind(forgotten).fetch_optional().await?;
    Ok(counted.map(|(counted,)| counted))
}

pub(crate) async fn block(tx: &mut Tx, key: &[u8], until: Timestamp) -> Result<(), Error> {
    tx.query("update omni_attempts set blocked_until = $2 where key = $1")
        .bind(key.to_vec())
        .bind(until)
        .execute()
        .await?;
    Ok(())
}

pub(crate) async fn blocked_until(tx: &mut Tx, key: &[u8]) -> Result<Option<Timestamp>, Error> {
    let sql = "select blocked_until from omni_attempts where key = $1";
    let row: Option<(Option<Timestamp>,)> = tx.query(sql).bind(key.to_vec()).fetch_optional().await?;
    Ok(row.and_then(|(until,)| until))
}

pub(crate) async fn undo(tx: &mut Tx, key: &[u8]) -> Result<(), Error> {
    let sql = "update omni_attempts set failures = failures - 1, blocked_until = null where key = $1 and failures > 0";
    tx.query(sql).bind(key.to_vec()).execute().await?;
    Ok(())
}

pub(crate) async fn clear(tx: &mut Tx, key: &[u8]) -> Result<(), Error> {
    tx.query("delete from omni_attempts where key = $1").bind(key.to_vec()).execute().await?;
    Ok(())
}

pub(crate) async fn delete_old(db: &Db, before: Timestamp, limit: i64) -> Result<u64, Error> {
    let sql = "delete from omni_attempts where key in (select key from omni_attempts where last_at < $1 order by last_at limit $2)";
    db.query(sql).bind(before).bind(limit).execute().await
}
