//! Results of attempts, and endpoints that are disabled by them.

use std::time::Duration;

use omnistack_core::{
    audit::AuditEntry,
    clock::Timestamp,
    db::{self, Sql, Tx},
    events::PublishError,
    metrics::WEBHOOK_EVENTS,
    webhook::{EndpointDisabledReason, WebhookEndpointDisabled},
};
use reqwest::Url;
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use super::{DeliveryQueue, EndpointLease, LeasedEndpointRow, hex, json as to_json};
use crate::outbound::{
    retry::{self, MAX_ATTEMPTS, Verdict},
    send::AttemptResult,
};

/// Most deliveries of a disabled endpoint that are skipped in one transaction, so that its locks are short.
const MAX_SKIPPED_PER_TRANSACTION: i64 = 1_000;

/// The value of the label `provider` in the metrics of outbound webhooks.
pub(crate) const METRICS_PROVIDER: &str = "outbound";

/// Stores results of the attempts that no other process has repeated meanwhile.
const STORE_RESULTS: Sql = Sql {
    postgres: "with results as (
    select (value ->> 'id')::uuid as id, (value ->> 'number')::bigint as number, value ->> 'state' as state,
        (value ->> 'attempts')::bigint as attempts, (value ->> 'next_at')::timestamptz as next_at,
        (value ->> 'status_code')::bigint as status_code, value ->> 'error' as error,
        (value ->> 'finished_at')::timestamptz as finished_at
    from json_array_elements($1::json) as value)
update omni_webhook_deliveries as deliveries set state = results.state, attempts = results.attempts,
    next_at = results.next_at, lease_until = null, status_code = coalesce(results.status_code, deliveries.status_code),
    error = results.error, finished_at = results.finished_at
from results where deliveries.id = results.id and deliveries.state = 'sending' and deliveries.attempts = results.number
returning deliveries.id",
    sqlite: "with results as (
    select unhex(value ->> 'id') as id, value ->> 'number' as number, value ->> 'state' as state,
        value ->> 'attempts' as attempts, value ->> 'next_at' as next_at, value ->> 'status_code' as status_code,
        value ->> 'error' as error, value ->> 'finished_at' as finished_at
    from json_each($1))
update omni_webhook_deliveries set state = results.state, attempts = results.attempts,
    next_at = results.next_at, lease_until = null,
    status_code = coalesce(results.status_code, omni_webhook_deliveries.status_code),
    error = results.error, finished_at = results.finished_at
from results where omni_webhook_deliveries.id = results.id and omni_webhook_deliveries.state = 'sending'
    and omni_webhook_deliveries.attempts = results.number
returning id",
};

/// Adds attempts to the log, with numbers that follow those of the delivery's earlier attempts.
const LOG_ATTEMPTS: Sql = Sql {
    postgres: "insert into omni_webhook_attempts
    (delivery_id, tenant_id, number, at, duration_ms, status_code, error, response)
select (value ->> 'id')::uuid, $2, 1 + coalesce((select max(earlier.number) from omni_webhook_attempts as earlier
        where earlier.delivery_id = (value ->> 'id')::uuid), 0),
    (value ->> 'at')::timestamptz, (value ->> 'duration_ms')::double precision, (value ->> 'status_code')::bigint,
    value ->> 'error', value ->> 'response'
from json_array_elements($1::json) as value",
    sqlite: "insert into omni_webhook_attempts
    (delivery_id, tenant_id, number, at, duration_ms, status_code, error, response)
select unhex(value ->> 'id'), $2, 1 + coalesce((select max(earlier.number) from omni_webhook_attempts as earlier
        where earlier.delivery_id = unhex(value ->> 'id')), 0),
    value ->> 'at', value ->> 'duration_ms', value ->> 'status_code', value ->> 'error', value ->> 'response'
from json_each($1)",
};

const DISABLE: &str = "update omni_webhook_endpoints
set status = 'disabled', disabled_reason = $2, disabled_at = $3, updated_at = $3, lease_until = null where id = $1";

/// Skips deliveries, except those that another process is sending.
const SKIP: &str = "update omni_webhook_deliveries
set state = 'skipped', finished_at = $2, next_at = null, lease_until = null
where id in (select id from omni_webhook_deliveries where endpoint_id = $1 and state in ('pending', 'sending')
    and (state = 'pending' or next_at <= $2) limit $3) and state in ('pending', 'sending')";

/// The result of a claimed delivery.
#[derive(Clone, Debug)]
pub(crate) enum AttemptOutcome {
    /// It was sent. The number is random, from 0 to 1, for the jitter of the pause.
    Sent(AttemptResult, f64),
    /// It was not sent, because the app shuts down. The attempt is not counted.
    Unsent,
    /// It was not sent, because the process that made its last attempt ended before it stored the result.
    Exhausted,
}

/// A claimed delivery and what came of it.
#[derive(Clone, Debug)]
pub(crate) struct FinishedAttempt {
    pub(crate) delivery: Uuid,
    /// The number of the attempt.
    pub(crate) number: i64,
    pub(crate) outcome: AttemptOutcome,
}

/// A result as `STORE_RESULTS` and `LOG_ATTEMPTS` read it from JSON.
#[derive(Serialize)]
struct ResultRow {
    id: String,
    number: i64,
    state: &'static str,
    attempts: i64,
    next_at: Option<String>,
    status_code: Option<u16>,
    error: Option<String>,
    finished_at: Option<String>,
    at: Option<String>,
    duration_ms: f64,
    response: Option<String>,
}

impl ResultRow {
    /// Returns the value of the label `status` in metrics, or `None` if nothing came of the attempt.
    fn metrics_status(&self) -> Option<&'static str> {
        match (self.state, &self.at) {
            ("pending", None) => None,
            ("pending", Some(_)) => Some("retried"),
            (state, _) => Some(state),
        }
    }
}

impl DeliveryQueue {
    /// Stores results. Returns whether the endpoint is disabled then, and since when it fails.
    pub(super) async fn store_results(
        &self,
        tx: &mut Tx,
        lease: &EndpointLease,
        row: &LeasedEndpointRow,
        finished: &[FinishedAttempt],
        now: Timestamp,
    ) -> Result<(bool, Option<Timestamp>), db::Error> {
        let was_disabled = row.status == "disabled";
        if finished.is_empty() {
            return Ok((was_disabled, row.failing_since));
        }
        let verdicts: Vec<_> = finished.iter().filter_map(|attempt| attempt.outcome.verdict()).collect();
        let failed = verdicts.iter().any(|verdict| *verdict != Verdict::Delivered);
        let delivered = verdicts.contains(&Verdict::Delivered);
        let failing_since = retry::failing_since(row.failing_since, delivered, failed, now);
        let reason = if verdicts.contains(&Verdict::Gone) {
            Some(EndpointDisabledReason::Gone)
        } else if failed && failing_since.is_some_and(|since| retry::fails_too_long(since, now)) {
            Some(EndpointDisabledReason::Failing)
        } else {
            None
        };
        let is_disabled = was_disabled || reason.is_some();
        let mut rows: Vec<_> = finished.iter().map(|attempt| attempt.to_row(now, is_disabled)).collect();
        let stored = tx.query(STORE_RESULTS).bind(to_json(&rows));
        let stored: Vec<(Uuid,)> = stored.fetch_all().await?;
        let stored: Vec<_> = stored.into_iter().map(|(id,)| hex(id)).collect();
        rows.retain(|row| stored.contains(&row.id));
        let counted: Vec<_> = rows.iter().filter_map(ResultRow::metrics_status).collect();
        tx.on_commit(move || {
            for status in counted {
                WEBHOOK_EVENTS.counter([METRICS_PROVIDER, status]).increment(1);
            }
        });
        rows.retain(|row| row.at.is_some());
        if !rows.is_empty() {
            tx.query(LOG_ATTEMPTS).bind(to_json(&rows)).bind(lease.tenant_id).execute().await?;
        }
        if failing_since != row.failing_since {
            let sql = "update omni_webhook_endpoints set failing_since = $2 where id = $1";
            tx.query(sql).bind(lease.id).bind(failing_since).execute().await?;
        }
        if let (Some(reason), false) = (reason, was_disabled) {
            self.disable(tx, lease, &row.url, reason, now).await?;
        }
        Ok((is_disabled, failing_since))
    }

    /// Disables an endpoint, skips its deliveries, and records and publishes that.
    async fn disable(
        &self,
        tx: &mut Tx,
        lease: &EndpointLease,
        url: &str,
        reason: EndpointDisabledReason,
        now: Timestamp,
    ) -> Result<(), db::Error> {
        tx.query(DISABLE).bind(lease.id).bind(reason.as_str()).bind(now).execute().await?;
        skip(tx, lease.id, now).await?;
        let host = Url::parse(url).ok().and_then(|url| url.host_str().map(ToOwned::to_owned)).unwrap_or_default();
        tracing::warn!(target: "omnistack::webhooks", endpoint = %lease.id, tenant = %lease.tenant_id, host,
            reason = reason.as_str(), "a webhook endpoint was disabled");
        let event = WebhookEndpointDisabled::new(lease.tenant_id, lease.id, host, reason);
        self.events.publish_in(tx, &event).await.map_err(|error| match error {
            PublishError::Database(error) => error,
            other => db::Error::new(db::ErrorKind::Other, other.into()),
        })?;
        let entry = AuditEntry::new("webhook_endpoint.disabled").for_tenant(lease.tenant_id);
        let entry = entry.resource("webhook_endpoint", lease.id);
        self.audit.record_in(tx, entry.details(json!({ "reason": reason.as_str(), "host": event.host }))).await
    }
}

impl AttemptOutcome {
    /// Returns the meaning of the result, or `None` if nothing was sent.
    fn verdict(&self) -> Option<Verdict> {
        match self {
            Self::Sent(result, _) => Some(result.verdict()),
            Self::Unsent | Self::Exhausted => None,
        }
    }
}

impl FinishedAttempt {
    /// Returns the row to store. A delivery that is not delivered is skipped if its endpoint is disabled.
    fn to_row(&self, now: Timestamp, is_disabled: bool) -> ResultRow {
        let mut row = ResultRow {
            id: hex(self.delivery),
            number: self.number,
            state: "pending",
            attempts: self.number,
            next_at: Some(stored_time(now)),
            status_code: None,
            error: None,
            finished_at: None,
            at: None,
            duration_ms: 0.0,
            response: None,
        };
        match &self.outcome {
            AttemptOutcome::Unsent => row.attempts = self.number - 1,
            AttemptOutcome::Exhausted => {
                row.state = "failed";
                row.attempts = MAX_ATTEMPTS;
                row.error = Some("the last attempt ended without a result: its process stopped".to_owned());
            }
            AttemptOutcome::Sent(result, random) => {
                row.status_code = result.status;
                row.error.clone_from(&result.error);
                row.at = Some(stored_time(result.at));
                row.duration_ms = millis(result.duration);
                row.response.clone_from(&result.response);
                let pause = match result.verdict() {
                    Verdict::Failed { busy } => retry::pause(self.number, busy, result.retry_after, *random),
                    Verdict::Delivered | Verdict::Gone => None,
                };
                match (result.verdict(), pause) {
                    (Verdict::Delivered, _) => row.state = "delivered",
                    (_, Some(pause)) => row.next_at = Some(stored_time(now + pause)),
                    (_, None) => row.state = "failed",
                }
            }
        }
        if is_disabled && row.state == "pending" {
            row.state = "skipped";
        }
        if row.state != "pending" {
            row.next_at = None;
            row.finished_at = Some(stored_time(now));
        }
        row
    }
}

/// Skips at most 1,000 unfinished deliveries of a disabled endpoint, and returns their number. The dispatcher skips the
/// others once one of them is due.
pub(crate) async fn skip(tx: &mut Tx, endpoint: Uuid, now: Timestamp) -> Result<u64, db::Error> {
    tx.query(SKIP).bind(endpoint).bind(now).bind(MAX_SKIPPED_PER_TRANSACTION).execute().await
}

/// Returns how long nothing is sent to an endpoint after these results.
pub(super) fn rest(finished: &[FinishedAttempt], failing_since: Option<Timestamp>, now: Timestamp) -> Duration {
    let sent = finished.iter().filter_map(|attempt| match &attempt.outcome {
        AttemptOutcome::Sent(result, _) if result.verdict() != Verdict::Delivered => Some(result.retry_after),
        _ => None,
    });
    let retry_after = sent.reduce(Ord::max);
    retry_after.map_or(Duration::ZERO, |retry_after| {
        retry::rest(failing_since.map(|since| now.duration_since(since)), retry_after)
    })
}

/// Returns a time in the form in which SQLite stores it, which PostgreSQL reads as well.
fn stored_time(at: Timestamp) -> String {
    format!("{at:.6}")
}

fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}
