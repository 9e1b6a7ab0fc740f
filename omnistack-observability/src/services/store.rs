//! Storage of service health: all SQL of this room.

use std::{collections::BTreeMap, time::Duration};

use omnistack_core::{
    clock::Timestamp,
    db::{self, Db},
    events::Events,
    http::Error,
};
use serde::{Deserialize, Serialize};

use super::{
    ServiceState, ServiceStateChanged,
    model::{ServiceCheckResult, ServiceUptime},
    state::{CheckOutcome, StateCounters},
};

/// Largest number of rows that one statement deletes, so that its locks are short.
const MAX_DELETIONS_PER_STATEMENT: u64 = 1_000;
/// A day.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// State and last result of a service, as they are stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct StoredService {
    pub(crate) state: ServiceState,
    /// Time at which the service came into this state.
    pub(crate) since: Timestamp,
    pub(crate) checked_at: Timestamp,
    pub(crate) response_ms: f64,
    /// Error of the last check, if it failed.
    pub(crate) error: Option<String>,
}

/// Result of a check to record.
#[derive(Debug)]
pub(crate) struct MeasuredCheck {
    pub(crate) outcome: CheckOutcome,
    pub(crate) at: Timestamp,
    pub(crate) response_ms: f64,
    pub(crate) error: Option<String>,
}

/// The columns of `omni_services`: name, state, since, checked_at, response_ms, error.
type ServiceRow = (String, String, Timestamp, Timestamp, f64, Option<String>);

#[derive(Clone)]
pub(crate) struct ServiceStore {
    pub(crate) db: Db,
    pub(crate) events: Events,
}

impl ServiceStore {
    /// Records the result of a check, and publishes [`ServiceStateChanged`] if the state changes, in one transaction.
    /// Returns the service after the check and the state before it.
    pub(crate) async fn record(
        &self,
        service: &str,
        check: MeasuredCheck,
    ) -> Result<(StoredService, ServiceState), Error> {
        let MeasuredCheck { outcome, at, response_ms, error } = check;
        let mut tx = self.db.begin().await?;
        // Locks the row until the commit, so that the checks of a service are recorded one after the other.
        let (number, state, failures, successes, since): (i64, String, i64, i64, Timestamp) = tx
            .query(
                "insert into omni_services (name, checks, state, failures, successes, since, checked_at, response_ms)
                 values ($1, 1, $2, 0, 0, $3, $3, $4)
                 on conflict (name) do update set checks = omni_services.checks + 1
                 returning checks, state, failures, successes, since",
            )
            .bind(service)
            .bind(ServiceState::default().as_str())
            .bind(at)
            .bind(response_ms)
            .fetch_one()
            .await?;
        let before = StateCounters { state: read_state(&state), failures, successes };
        let after = before.after(outcome);
        let since = if after.state == before.state { since } else { at };
        tx.query(
            "update omni_services set state = $2, failures = $3, successes = $4, since = $5, checked_at = $6,
             response_ms = $7, error = $8 where name = $1",
        )
        .bind(service)
        .bind(after.state.as_str())
        .bind(after.failures)
        .bind(after.successes)
        .bind(since)
        .bind(at)
        .bind(response_ms)
        .bind(error.clone())
        .execute()
        .await?;
        tx.query(
            "insert into omni_service_checks (service, number, at, state, response_ms, error)
             values ($1, $2, $3, $4, $5, $6)",
        )
        .bind(service)
        .bind(number)
        .bind(at)
        .bind(after.state.as_str())
        .bind(response_ms)
        .bind(error.clone())
        .execute()
        .await?;
        if after.state != before.state {
            let (from, to, service) = (before.state, after.state, service.to_owned());
            let event = ServiceStateChanged { service, from, to, at, error: error.clone() };
            self.events.publish_in(&mut tx, &event).await?;
        }
        tx.commit().await?;
        Ok((StoredService { state: after.state, since, checked_at: at, response_ms, error }, before.state))
    }

    /// Returns a service, or `None` if it was never checked.
    pub(crate) async fn get(&self, service: &str) -> Result<Option<StoredService>, db::Error> {
        let row: Option<ServiceRow> = self
            .db
            .query("select name, state, since, checked_at, response_ms, error from omni_services where name = $1")
            .bind(service)
            .fetch_optional()
            .await?;
        Ok(row.map(|row| read_service(row).1))
    }

    /// Returns all services that were ever checked, by name.
    pub(crate) async fn all(&self) -> Result<BTreeMap<String, StoredService>, db::Error> {
        let rows: Vec<ServiceRow> = self
            .db
            .query("select name, state, since, checked_at, response_ms, error from omni_services")
            .fetch_all()
            .await?;
        Ok(rows.into_iter().map(read_service).collect())
    }

    /// Returns the results of a service with numbers below `before`, newest first.
    pub(crate) async fn history(
        &self,
        service: &str,
        before: i64,
        limit: u32,
    ) -> Result<Vec<ServiceCheckResult>, db::Error> {
        let rows: Vec<(i64, Timestamp, String, f64, Option<String>)> = self
            .db
            .query(
                "select number, at, state, response_ms, error from omni_service_checks
                 where service = $1 and number < $2 order by number desc limit $3",
            )
            .bind(service)
            .bind(before)
            .bind(i64::from(limit))
            .fetch_all()
            .await?;
        let result = |(number, at, state, response_ms, error): (_, _, String, _, _)| ServiceCheckResult {
            number,
            at,
            state: read_state(&state),
            response_ms,
            error,
        };
        Ok(rows.into_iter().map(result).collect())
    }

    /// Returns the uptime of all services, by name. Reads the results of the last 30 days.
    pub(crate) async fn uptimes(&self, now: Timestamp) -> Result<BTreeMap<String, ServiceUptime>, db::Error> {
        let rows: Vec<(String, i64, i64, i64, i64, i64, i64)> = self
            .db
            .query(
                "select s.name,
                   count(case when c.at >= $1 then 1 end), count(case when c.at >= $1 and c.error is null then 1 end),
                   count(case when c.at >= $2 then 1 end), count(case when c.at >= $2 and c.error is null then 1 end),
                   count(*), count(case when c.error is null then 1 end)
                 from omni_services s join omni_service_checks c on c.service = s.name
                 where c.at >= $3 group by s.name",
            )
            .bind(now - DAY)
            .bind(now - 7 * DAY)
            .bind(now - 30 * DAY)
            .fetch_all()
            .await?;
        let uptime = |(name, day, day_up, week, week_up, month, month_up)| {
            let uptime = ServiceUptime {
                last_24h: share(day_up, day),
                last_7d: share(week_up, week),
                last_30d: share(month_up, month),
            };
            (name, uptime)
        };
        Ok(rows.into_iter().map(uptime).collect())
    }

    /// Deletes results from before `time`, and services that were last checked before it.
    pub(crate) async fn purge(&self, time: Timestamp) -> Result<(), db::Error> {
        loop {
            let deleted = self
                .db
                .query(
                    "delete from omni_service_checks where (service, number) in (
                       select c.service, c.number from omni_services s
                       join omni_service_checks c on c.service = s.name where c.at < $1 limit 1000)",
                )
                .bind(time)
                .execute()
                .await?;
            if deleted < MAX_DELETIONS_PER_STATEMENT {
                break;
            }
        }
        self.db.query("delete from omni_services where checked_at < $1").bind(time).execute().await?;
        Ok(())
    }
}

fn read_service((name, state, since, checked_at, response_ms, error): ServiceRow) -> (String, StoredService) {
    (name, StoredService { state: read_state(&state), since, checked_at, response_ms, error })
}

/// Parses a stored state. A state that a later release has written counts as degraded.
fn read_state(text: &str) -> ServiceState {
    ServiceState::parse(text).unwrap_or(ServiceState::Degraded)
}

/// Returns the share of `part` in `all`, rounded to four decimals, or `None` if `all` is zero.
fn share(part: i64, all: i64) -> Option<f64> {
    (all > 0).then(|| (part as f64 / all as f64 * 1e4).round() / 1e4)
}
