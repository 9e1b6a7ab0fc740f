//! Results of deliveries.

use std::time::Duration;

use super::{ClaimedDelivery, EventStore};
use crate::{
    db::{Error, Sql, Tx},
    jobs::json,
};

/// Most rows that one statement changes, so that no other transaction waits long for it.
const MAX_ROWS_PER_STATEMENT: i64 = 1000;

/// The result of an attempt that did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::events) enum FailedDelivery {
    Retry {
        at: i64,
        error: String,
    },
    /// Not a failure of the subscriber: the attempt is not counted.
    Postpone {
        at: i64,
    },
    Dead {
        error: String,
    },
}

/// Only if the lease is the newest. Locks the delivery until the transaction ends.
const DONE: &str = "update omni_event_deliveries set state = 'done', error = null, ended_at = $4
where seq = $1 and subscriber = $2 and lease = $3 and state = 'waiting'";

const NOT_DONE: &str =
    "update omni_event_deliveries set state = $4, error = coalesce($5, error), attempt = attempt - $6
where seq = $1 and subscriber = $2 and lease = $3 and state = 'waiting'";

const LANE: &str = "update omni_event_lanes set run_at = $3 where subscriber = $1 and key = $2";

const FORGET: Sql = Sql {
    postgres: "with old as (
    select seq, subscriber from omni_event_deliveries where ended_at < $1 order by ended_at limit $2 for update skip locked)
delete from omni_event_deliveries as the using old where the.seq = old.seq and the.subscriber = old.subscriber returning the.seq",
    sqlite: "delete from omni_event_deliveries where rowid in (
    select rowid from omni_event_deliveries where ended_at < $1 order by ended_at limit $2) returning seq",
};

/// Makes concurrent deletions of an event's last deliveries wait for each other, so that the later one also
/// deletes the event.
const LOCK_EVENTS: &str = "select seq from omni_events where seq in (select json_array_elements_text($1::json)::bigint) order by seq for update";

const FORGET_EVENTS: Sql = Sql {
    postgres: "delete from omni_events where seq in (select json_array_elements_text($1::json)::bigint)
and not exists (select 1 from omni_event_deliveries where omni_event_deliveries.seq = omni_events.seq)",
    sqlite: "delete from omni_events where seq in (select value from json_each($1))
and not exists (select 1 from omni_event_deliveries where omni_event_deliveries.seq = omni_events.seq)",
};

impl EventStore {
    /// Acknowledges a delivery within a transaction. Returns `false` if another process has taken it over or it
    /// was skipped.
    pub(in crate::events) async fn acknowledge_in(
        &self,
        tx: &mut Tx,
        delivery: &ClaimedDelivery,
    ) -> Result<bool, Error> {
        let now = self.clock.now().as_micros();
        let done = tx.query(DONE).bind(delivery.seq).bind(delivery.subscriber.clone()).bind(delivery.lease).bind(now);
        Ok(done.execute().await? == 1)
    }

    /// Returns whether the delivery is still leased by this attempt and was not skipped.
    pub(in crate::events) async fn is_leased(&self, delivery: &ClaimedDelivery) -> Result<bool, Error> {
        let sql = "select seq from omni_event_deliveries
            where seq = $1 and subscriber = $2 and lease = $3 and state = 'waiting'";
        let held = self.db.query(sql).bind(delivery.seq).bind(delivery.subscriber.clone()).bind(delivery.lease);
        Ok(held.fetch_optional::<(i64,)>().await?.is_some())
    }

    /// Makes the next delivery of the key due when this transaction commits.
    pub(in crate::events) async fn release_lane(&self, tx: &mut Tx, delivery: &ClaimedDelivery) -> Result<(), Error> {
        self.schedule_lane(tx, delivery, Some(self.clock.now().as_micros())).await
    }

    async fn schedule_lane(&self, tx: &mut Tx, delivery: &ClaimedDelivery, at: Option<i64>) -> Result<(), Error> {
        let lane = tx.query(LANE).bind(delivery.subscriber.clone()).bind(delivery.key.clone()).bind(at);
        lane.execute().await.map(drop)
    }

    /// Stores the result of an attempt, unless another process has taken over the delivery.
    pub(in crate::events) async fn store_failure(
        &self,
        delivery: &ClaimedDelivery,
        outcome: &FailedDelivery,
    ) -> Result<(), Error> {
        let (state, error, back, at) = match outcome {
            FailedDelivery::Retry { at, error } => ("waiting", Some(error.clone()), 0, Some(*at)),
            FailedDelivery::Postpone { at } => ("waiting", None, 1, Some(*at)),
            FailedDelivery::Dead { error } => ("dead", Some(error.clone()), 0, None),
        };
        let mut tx = self.db.begin().await?;
        let update = tx.query(NOT_DONE).bind(delivery.seq).bind(delivery.subscriber.clone()).bind(delivery.lease);
        if update.bind(state.to_owned()).bind(error).bind(back).execute().await? == 1 {
            self.schedule_lane(&mut tx, delivery, at).await?;
        }
        tx.commit().await
    }

    /// Deletes deliveries that ended longer ago than `keep`, and events without other deliveries. Returns the
    /// number of deliveries.
    pub(in crate::events) async fn purge(&self, keep: Duration) -> Result<u64, Error> {
        let before = self.clock.now().as_micros().saturating_sub(i64::try_from(keep.as_micros()).unwrap_or(i64::MAX));
        let mut all = 0;
        loop {
            let mut tx = self.db.begin().await?;
            let old: Vec<(i64,)> = tx.query(FORGET).bind(before).bind(MAX_ROWS_PER_STATEMENT).fetch_all().await?;
            let forgotten = i64::try_from(old.len()).unwrap_or(i64::MAX);
            if forgotten > 0 {
                let events = json(&old.into_iter().map(|(seq,)| seq).collect::<Vec<_>>());
                if tx.dialect() == crate::db::Dialect::Postgres {
                    tx.query(LOCK_EVENTS).bind(events.clone()).execute().await?;
                }
                tx.query(FORGET_EVENTS).bind(events).execute().await?;
            }
            tx.commit().await?;
            all += forgotten.unsigned_abs();
            if forgotten < MAX_ROWS_PER_STATEMENT {
                return Ok(all);
            }
        }
    }
}
