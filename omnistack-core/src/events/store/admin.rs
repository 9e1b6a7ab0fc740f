//! Changes of deliveries by operators: retry and skip.

use super::{DeliveryFilter, DeliveryState, EventStore};
use crate::db::{Arguments, Dialect, Error};

/// Most deliveries changed in one transaction.
const MAX_DELIVERIES_PER_TRANSACTION: i64 = 500;

/// Makes a lane due if the changed delivery was its first. Otherwise another delivery may be running.
const OPEN: &str = "update omni_event_lanes set run_at = $4 where subscriber = $1 and key = $2 and not exists (
    select 1 from omni_event_deliveries as other where other.subscriber = $1 and other.key = $2
    and other.state in ('waiting', 'dead') and other.seq < $3)";

impl EventStore {
    /// Makes dead letters wait again, with all their attempts.
    pub(crate) async fn retry(&self, filter: &DeliveryFilter) -> Result<u64, Error> {
        if filter.state.is_some_and(|state| state != DeliveryState::Dead) {
            return Ok(0);
        }
        // Uses the time only because `each` binds it for every change.
        self.each(filter, "dead", "state = 'waiting', attempt = 0, ended_at = case when $1 < 0 then $1 end").await
    }

    /// Skips dead letters and waiting deliveries.
    pub(crate) async fn skip(&self, filter: &DeliveryFilter) -> Result<u64, Error> {
        let mut all = 0;
        for state in [DeliveryState::Dead, DeliveryState::Waiting] {
            if filter.state.is_none_or(|wanted| wanted == state) {
                all += self.each(filter, state.as_str(), "state = 'skipped', ended_at = $1").await?;
            }
        }
        Ok(all)
    }

    /// Changes deliveries in a state that match, oldest first, in several transactions.
    async fn each(&self, filter: &DeliveryFilter, state: &str, set: &str) -> Result<u64, Error> {
        let now = self.clock.now().as_micros();
        let mut all = 0;
        loop {
            let mut tx = self.db.begin().await?;
            let mut args = Arguments::new(self.db.dialect());
            args.push(now);
            let condition = filter.sql(&mut args);
            let limit = args.push(MAX_DELIVERIES_PER_TRANSACTION);
            // Waits for a delivery that is being acknowledged. It is then finished and not changed.
            let lock = if self.db.dialect() == Dialect::Postgres { " for update" } else { "" };
            let sql = format!(
                "update omni_event_deliveries set {set} where (seq, subscriber) in (select seq, subscriber
                from omni_event_deliveries as the where state = '{state}' and state in ('waiting', 'dead'){condition}
                order by the.seq limit ${limit}{lock}) and state = '{state}'
                returning seq, subscriber, key"
            );
            let mut changed: Vec<(i64, String, String)> =
                tx.query(sqlx::AssertSqlSafe(sql)).args(args).fetch_all().await?;
            changed.sort_unstable();
            for (seq, subscriber, key) in &changed {
                let open = tx.query(OPEN).bind(subscriber.clone()).bind(key.clone());
                open.bind(*seq).bind(now).execute().await?;
            }
            tx.commit().await?;
            all += u64::try_from(changed.len()).unwrap_or(0);
            if i64::try_from(changed.len()).unwrap_or(i64::MAX) < MAX_DELIVERIES_PER_TRANSACTION {
                return Ok(all);
            }
        }
    }
}
