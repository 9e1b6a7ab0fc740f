//! Claims of deliveries by dispatchers.

use std::{collections::HashSet, time::Duration};

use serde::Serialize;

use super::{EventStore, publish::lock_number};
use crate::{
    db::{Dialect, Error, Sql, Tx},
    events::EventId,
    identity::TenantId,
    jobs::json,
    trace::TraceContext,
};

/// Delay before a lane without a due delivery is checked again, while another transaction is publishing to it or
/// finishing its delivery.
const RECHECK_DELAY: Duration = Duration::from_millis(50);

/// A claimed delivery with its event.
#[derive(Clone, Debug, crate::db::FromRow)]
pub(in crate::events) struct ClaimedDelivery {
    pub(in crate::events) seq: i64,
    pub(in crate::events) id: EventId,
    pub(in crate::events) subscriber: String,
    pub(in crate::events) key: String,
    pub(in crate::events) payload: String,
    pub(in crate::events) attempt: i32,
    pub(in crate::events) lease: i32,
    pub(in crate::events) tenant: Option<TenantId>,
    pub(in crate::events) trace: Option<String>,
    pub(in crate::events) trace_state: Option<String>,
    pub(in crate::events) published_at: i64,
}

impl ClaimedDelivery {
    /// Returns the trace the event was published in.
    pub(in crate::events) fn trace(&self) -> Option<TraceContext> {
        TraceContext::from_stored(self.trace.as_deref()?, self.trace_state.as_deref())
    }
}

/// Returns when the first lane of each subscriber is due, and when the first one that is not due yet will be.
const NEXT: Sql = Sql {
    postgres: "select name as subscriber, (select min(run_at) from omni_event_lanes where subscriber = name) as first,
    (select min(run_at) from omni_event_lanes where subscriber = name and run_at > $2) as later
from json_array_elements_text($1::json) as name",
    sqlite: "select value as subscriber, (select min(run_at) from omni_event_lanes where subscriber = value) as first,
    (select min(run_at) from omni_event_lanes where subscriber = value and run_at > $2) as later
from json_each($1)",
};

const LEASE_LANES: Sql = Sql {
    postgres: "with due as (
    select key from omni_event_lanes where subscriber = $1 and run_at <= $2 order by run_at limit $3 for no key update skip locked)
update omni_event_lanes as lanes set run_at = $4 from due where lanes.subscriber = $1 and lanes.key = due.key returning lanes.key",
    sqlite: "update omni_event_lanes set run_at = $4 where subscriber = $1 and key in (
    select key from omni_event_lanes where subscriber = $1 and run_at <= $2 order by run_at limit $3) returning key",
};

/// Claims the first unfinished delivery of each lane. A locked delivery is skipped: a dispatcher whose lease has
/// expired is finishing it.
const HEADS: Sql = Sql {
    postgres: "with heads as materialized (
    select (select min(seq) from omni_event_deliveries
        where subscriber = $1 and omni_event_deliveries.key = lane and state in ('waiting', 'dead')) as seq
    from json_array_elements_text($2::json) as lane),
free as materialized (
    select seq from omni_event_deliveries where subscriber = $1 and seq in (select seq from heads) and state = 'waiting'
    for update skip locked)
update omni_event_deliveries as the set attempt = the.attempt + 1, lease = the.lease + 1
from free, omni_events where the.subscriber = $1 and the.seq = free.seq and omni_events.seq = free.seq
returning the.seq, id, the.subscriber, the.key, payload, the.attempt, the.lease, tenant, trace, trace_state, published_at",
    sqlite: "update omni_event_deliveries set attempt = attempt + 1, lease = lease + 1
where subscriber = $1 and state = 'waiting' and seq in (
    select (select min(seq) from omni_event_deliveries as the
        where the.subscriber = $1 and the.key = lanes.value and the.state in ('waiting', 'dead'))
    from json_each($2) as lanes)
returning seq, (select id from omni_events where omni_events.seq = omni_event_deliveries.seq) as id, subscriber, key,
    (select payload from omni_events where omni_events.seq = omni_event_deliveries.seq) as payload, attempt, lease,
    (select tenant from omni_events where omni_events.seq = omni_event_deliveries.seq) as tenant,
    (select trace from omni_events where omni_events.seq = omni_event_deliveries.seq) as trace,
    (select trace_state from omni_events where omni_events.seq = omni_event_deliveries.seq) as trace_state,
    (select published_at from omni_events where omni_events.seq = omni_event_deliveries.seq) as published_at",
};

/// Returns the keys that no other transaction is publishing with, and locks them.
const QUIET: &str = "select key from (
    select value ->> 'key' as key, pg_try_advisory_xact_lock((value ->> 'lock')::bigint) as mine
    from json_array_elements($1::json) as value offset 0) as keys where mine";

const REMOVE: Sql = Sql {
    postgres: "delete from omni_event_lanes as lanes
where subscriber = $1 and key in (select json_array_elements_text($2::json)) and not exists (
    select 1 from omni_event_deliveries as other
    where other.subscriber = $1 and other.key = lanes.key and other.state in ('waiting', 'dead'))
returning key",
    sqlite: "delete from omni_event_lanes
where subscriber = $1 and key in (select value from json_each($2)) and not exists (
    select 1 from omni_event_deliveries as other
    where other.subscriber = $1 and other.key = omni_event_lanes.key and other.state in ('waiting', 'dead'))
returning key",
};

const LOOK_AGAIN: Sql = Sql {
    postgres: "update omni_event_lanes set run_at = $3 where subscriber = $1 and key in (select json_array_elements_text($2::json))",
    sqlite: "update omni_event_lanes set run_at = $3 where subscriber = $1 and key in (select value from json_each($2))",
};

/// The lanes of a subscriber with the earliest due times.
#[derive(Debug, crate::db::FromRow)]
pub(in crate::events) struct NextLanes {
    pub(in crate::events) subscriber: String,
    /// When the first lane is due, in microseconds. `None` if there is no lane.
    pub(in crate::events) first: Option<i64>,
    /// When the first lane is due that is not due yet, in microseconds.
    pub(in crate::events) later: Option<i64>,
}

/// The result of a claim.
#[derive(Debug)]
pub(in crate::events) struct ClaimResult {
    pub(in crate::events) claimed: Vec<ClaimedDelivery>,
    /// Number of lanes that were due.
    pub(in crate::events) lanes: usize,
    /// Delay before one of the lanes must be checked again.
    pub(in crate::events) recheck_after: Option<Duration>,
}

/// The parameters of a claim.
#[derive(Clone, Copy, Debug)]
pub(in crate::events) struct DeliveryClaim<'a> {
    pub(in crate::events) subscriber: &'a str,
    pub(in crate::events) event: &'a str,
    pub(in crate::events) limit: usize,
    pub(in crate::events) lease: Duration,
}

impl EventStore {
    /// Returns the next lanes of each of these subscribers, given as a JSON array.
    pub(in crate::events) async fn next(&self, subscribers: &str) -> Result<Vec<NextLanes>, Error> {
        let now = self.clock.now().as_micros();
        self.db.query(NEXT).bind(subscribers.to_owned()).bind(now).fetch_all().await
    }

    /// Leases lanes that are due and returns the first delivery of each.
    pub(in crate::events) async fn claim(&self, claim: DeliveryClaim<'_>) -> Result<ClaimResult, Error> {
        let now = self.clock.now();
        let (until, again) = (now + claim.lease, now + RECHECK_DELAY);
        let mut tx = self.db.begin().await?;
        let lanes = tx.query(LEASE_LANES).bind(claim.subscriber.to_owned()).bind(now.as_micros());
        let lanes = lanes.bind(i64::try_from(claim.limit).unwrap_or(i64::MAX)).bind(until.as_micros());
        let lanes: Vec<(String,)> = lanes.fetch_all().await?;
        if lanes.is_empty() {
            tx.rollback().await?;
            return Ok(ClaimResult { claimed: Vec::new(), lanes: 0, recheck_after: None });
        }
        let keys: Vec<_> = lanes.into_iter().map(|(key,)| key).collect();
        let heads = tx.query(HEADS).bind(claim.subscriber.to_owned()).bind(json(&keys));
        let claimed: Vec<ClaimedDelivery> = heads.fetch_all().await?;
        let found: HashSet<_> = claimed.iter().map(|delivery| delivery.key.as_str()).collect();
        let empty: Vec<_> = keys.iter().map(String::as_str).filter(|key| !found.contains(key)).collect();
        let removed = empty.is_empty() || remove(&mut tx, claim, empty, again.as_micros()).await?;
        tx.commit().await?;
        Ok(ClaimResult { claimed, lanes: keys.len(), recheck_after: (!removed).then_some(RECHECK_DELAY) })
    }
}

/// Removes lanes without deliveries, unless another transaction is publishing to them. Returns whether all were
/// removed.
async fn remove(tx: &mut Tx, claim: DeliveryClaim<'_>, mut empty: Vec<&str>, again: i64) -> Result<bool, Error> {
    #[derive(Serialize)]
    struct Key<'a> {
        key: &'a str,
        lock: i64,
    }
    let quiet = if tx.dialect() == Dialect::Postgres {
        let keys: Vec<_> = empty.iter().map(|key| Key { key, lock: lock_number(claim.event, key) }).collect();
        let quiet: Vec<(String,)> = tx.query(QUIET).bind(json(&keys)).fetch_all().await?;
        json(&quiet.into_iter().map(|(key,)| key).collect::<Vec<_>>())
    } else {
        json(&empty)
    };
    // Runs with the locks held: deliveries committed before are visible.
    let removed: Vec<(String,)> = tx.query(REMOVE).bind(claim.subscriber.to_owned()).bind(quiet).fetch_all().await?;
    empty.retain(|key| !removed.iter().any(|(gone,)| gone == key));
    if !empty.is_empty() {
        tx.query(LOOK_AGAIN).bind(claim.subscriber.to_owned()).bind(json(&empty)).bind(again).execute().await?;
    }
    Ok(empty.is_empty())
}
