//! Reservations whose holders have not ended them: those of processes that have crashed.

use std::collections::BTreeMap;

use omnistack_core::{
    clock::Timestamp,
    db::{Dialect, Error, Tx},
};

use super::{ReservationRow, WindowColumns, bind_key, change_reserved, sql};
use crate::window::WindowKey;

/// Deletes the reservations of a window that have expired. Returns the number of their units. The transaction has
/// locked the window.
pub(super) async fn delete_of_window(tx: &mut Tx, key: &WindowKey, now: Timestamp) -> Result<i64, Error> {
    let delete = bind_key(tx.query(sql::DELETE_EXPIRED_OF_WINDOW), key).bind(now);
    let units: i64 = delete.fetch_all::<(i64,)>().await?.into_iter().map(|(units,)| units).sum();
    if units > 0 {
        change_reserved(tx, key, -units).await?;
    }
    Ok(units)
}

/// Deletes at most `limit` reservations that have expired, in a transaction that sees all tenants. Returns their
/// number. Reservations of windows that other transactions have locked are left for the next call.
pub(crate) async fn delete_expired(tx: &mut Tx, now: Timestamp, limit: i64) -> Result<u64, Error> {
    if tx.dialect() == Dialect::Postgres {
        let (deleted,): (i64,) = tx.query(sql::DELETE_EXPIRED).bind(now).bind(limit).fetch_one().await?;
        return Ok(deleted.unsigned_abs());
    }
    let deleted: Vec<ReservationRow> = tx.query(sql::DELETE_OLDEST).bind(now).bind(limit).fetch_all().await?;
    let count = u64::try_from(deleted.len()).unwrap_or(u64::MAX);
    let mut windows: BTreeMap<WindowColumns, i64> = BTreeMap::new();
    for reservation in deleted {
        let units = reservation.units;
        *windows.entry(reservation.window()).or_default() += units;
    }
    for (window, units) in windows {
        window.change_reserved(tx, -units).await?;
    }
    Ok(count)
}
