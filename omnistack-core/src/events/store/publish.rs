//! Inserts of events.

use serde::{Deserialize, Serialize};

use crate::{
    crypto::Sha256,
    db::{Dialect, Error, Tx},
    identity::TenantId,
    jobs::json,
};

/// The row of an event, in the JSON that both databases insert from.
#[derive(Serialize, Deserialize)]
pub(in crate::events) struct EventRow {
    pub(in crate::events) id: String,
    pub(in crate::events) key: String,
    pub(in crate::events) payload: String,
    /// The trace that the event was published in, as a W3C `traceparent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::events) trace: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::events) trace_state: Option<String>,
    /// Number of the key's lock, on PostgreSQL.
    #[serde(skip)]
    pub(in crate::events) lock: i64,
}

/// Events of one type, with the subscribers that receive them.
#[derive(Serialize, Deserialize)]
pub(in crate::events) struct PublishBatch {
    pub(in crate::events) name: String,
    pub(in crate::events) rows: Vec<EventRow>,
    /// JSON array of the subscribers' names.
    pub(in crate::events) subscribers: String,
    /// Tenant of the transaction that published the events.
    pub(in crate::events) tenant: Option<TenantId>,
    /// When the events were published, in microseconds.
    pub(in crate::events) now: i64,
}

/// Returns the number of a key's lock. Two keys rarely have the same number; they then only wait for each other.
pub(in crate::events) fn lock_number(name: &str, key: &str) -> i64 {
    let digest = Sha256::digest_list([b"omnistack events".as_slice(), name.as_bytes(), key.as_bytes()]);
    digest.as_bytes().iter().take(8).fold(0, |number, byte| number << 8 | i64::from(*byte))
}

/// Takes the locks one after another, in a fixed order.
const LOCK: &str = "select pg_advisory_xact_lock(lock)::text
from (select value::bigint as lock from json_array_elements_text($1::json) as value order by 1 offset 0) as locks";

/// Sequence numbers are assigned under the locks, in the order of the list. The channel is notified at the
/// commit. Each event is parsed once, and not for each of its columns.
const INSERT: &str = "with stored as (
    insert into omni_events (id, name, key, payload, tenant, trace, trace_state, published_at)
    select id, $2, key, payload, $4, trace, trace_state, $5
    from rows from (json_to_recordset($1::json) as (id uuid, key text, payload text, trace text, trace_state text))
        with ordinality as published(id, key, payload, trace, trace_state, place) order by place
    on conflict (id) do nothing
    returning seq, key),
due as (
    insert into omni_event_deliveries (seq, subscriber, key)
    select seq, subscriber, key from stored, json_array_elements_text($3::json) as subscriber returning 1),
lanes as (
    insert into omni_event_lanes (subscriber, key, run_at)
    select distinct subscriber, key, $5::bigint from stored, json_array_elements_text($3::json) as subscriber
    on conflict (subscriber, key) do nothing returning 1)
select pg_notify('omnistack_events', '')::text";

/// The insertion of events on SQLite, where the transaction is the only one that writes.
const INSERT_EVENTS: &str = "insert into omni_events (id, name, key, payload, tenant, trace, trace_state, published_at)
select unhex(value ->> 'id'), $2, value ->> 'key', value ->> 'payload', $3, value ->> 'trace', value ->> 'trace_state', $4 from json_each($1) where true order by json_each.key
on conflict (id) do nothing returning seq";
const INSERT_DELIVERIES: &str = "insert into omni_event_deliveries (seq, subscriber, key)
select seq, subscribers.value, omni_events.key from json_each($1) as stored, json_each($2) as subscribers, omni_events where seq = stored.value";
const INSERT_LANES: &str = "insert into omni_event_lanes (subscriber, key, run_at)
select distinct subscribers.value, omni_events.key, $3 from json_each($1) as stored, json_each($2) as subscribers, omni_events where seq = stored.value
on conflict (subscriber, key) do nothing";

/// Locks the keys until the transaction ends, so that no other transaction publishes with them. Not needed on
/// SQLite, where it is the only one that writes.
pub(in crate::events) async fn lock_keys(tx: &mut Tx, rows: &[EventRow]) -> Result<(), Error> {
    if tx.dialect() == Dialect::Postgres {
        let mut locks: Vec<i64> = rows.iter().map(|row| row.lock).collect();
        locks.sort_unstable();
        locks.dedup();
        tx.query(LOCK).bind(json(&locks)).execute().await?;
    }
    Ok(())
}

/// Stores events, unless they exist already.
pub(in crate::events) async fn publish(tx: &mut Tx, publish: &PublishBatch) -> Result<(), Error> {
    let PublishBatch { name, rows, subscribers, tenant, now } = publish;
    let (list, subscribers, tenant, now) = (json(rows), subscribers.clone(), *tenant, *now);
    lock_keys(tx, rows).await?;
    match tx.dialect() {
        Dialect::Postgres => {
            let insert = tx.query(INSERT).bind(list).bind(name.clone()).bind(subscribers);
            insert.bind(tenant).bind(now).execute().await?;
        }
        Dialect::Sqlite => {
            let insert = tx.query(INSERT_EVENTS).bind(list).bind(name.clone());
            let stored: Vec<(i64,)> = insert.bind(tenant).bind(now).fetch_all().await?;
            let stored = json(&stored.into_iter().map(|(seq,)| seq).collect::<Vec<_>>());
            tx.query(INSERT_DELIVERIES).bind(stored.clone()).bind(subscribers.clone()).execute().await?;
            tx.query(INSERT_LANES).bind(stored).bind(subscribers).bind(now).execute().await?;
        }
    }
    Ok(())
}
