//! The states of purchases that belong to no known tenant yet.
//!
//! Apple can notify of a refund before a device has sent the purchase. The transaction that the device has was signed
//! before the refund, so the newest state is kept until a tenant claims the purchase. Google needs none of this: it is
//! asked for the state when a purchase is claimed.

use omnistack_core::{
    clock::Timestamp,
    db::{Error, ErrorKind, Tx},
};

use super::model::{PurchaseKey, PurchaseState};

/// Returns the state that waits for a tenant, and keeps other transactions from storing one or claiming the purchase.
/// The transaction stores a state by [`keep`], or ends the wait by [`remove`].
pub(super) async fn lock(tx: &mut Tx, key: &PurchaseKey, now: Timestamp) -> Result<Option<PurchaseState>, Error> {
    let sql = "insert into omni_store_unclaimed (store, environment, purchase_id, version, received_at)
        values ($1, $2, $3, 0, $4) on conflict (store, environment, purchase_id)
        do update set received_at = excluded.received_at returning state";
    let insert = tx.query(sql).bind(key.store.as_str()).bind(key.environment.as_str()).bind(key.id.as_str()).bind(now);
    let (state,): (Option<String>,) = insert.fetch_one().await?;
    let unreadable = || {
        let id = format!("{} of {}", key.id, key.store.as_str());
        Error::unreadable("omni_store_unclaimed", id, "state")
    };
    state.map(|text| serde_json::from_str(&text).map_err(|_| unreadable())).transpose()
}

/// Stores a state of a purchase that belongs to no known tenant, unless a newer one is stored.
pub(super) async fn keep(tx: &mut Tx, state: &PurchaseState) -> Result<(), Error> {
    let text = serde_json::to_string(state).map_err(|error| Error::new(ErrorKind::Other, error.into()))?;
    let sql = "update omni_store_unclaimed set state = $4, version = $5
        where store = $1 and environment = $2 and purchase_id = $3 and version < $5";
    let PurchaseState { key, version, .. } = state;
    let update = tx.query(sql).bind(key.store.as_str()).bind(key.environment.as_str()).bind(key.id.as_str());
    update.bind(text).bind(*version).execute().await.map(drop)
}

/// Removes what waits for a tenant, because the purchase has one.
pub(super) async fn remove(tx: &mut Tx, key: &PurchaseKey) -> Result<(), Error> {
    let sql = "delete from omni_store_unclaimed where store = $1 and environment = $2 and purchase_id = $3";
    let delete = tx.query(sql).bind(key.store.as_str()).bind(key.environment.as_str()).bind(key.id.as_str());
    delete.execute().await.map(drop)
}

/// Deletes the states that were received before a time.
pub(super) async fn purge(tx: &mut Tx, before: Timestamp) -> Result<(), Error> {
    tx.query("delete from omni_store_unclaimed where received_at < $1").bind(before).execute().await.map(drop)
}
