//! `/api/v1/admin/dashboard/webhooks`: the numbers of webhooks for operators.
//!
//! Each number is read from an index, and counted up to a limit, so that a request is short however many rows there
//! are. A response is kept for ten seconds.

use std::{sync::Arc, time::Duration};

use axum::extract::State;
use omnistack_core::{
    clock::{Clock, Timestamp},
    db::{self, Db, FromRow, Tx},
    http::{Error, Json},
    id::Id,
    identity::Authenticator,
    module::{Api, Mount, Registry},
};
use serde::Serialize;
use tokio::sync::Mutex;
use utoipa::ToSchema;
use utoipa_axum::routes;
use uuid::Uuid;

/// Time for which numbers are shown before they are counted again.
const CACHE_TTL: Duration = Duration::from_secs(10);
/// Most received webhooks that are counted, the newest first.
const MAX_RECEIVED: i64 = 100_000;
/// Largest value of any other number.
const MAX_COUNT: i64 = 10_000;

const DAY: Duration = Duration::from_hours(24);
const WEEK: Duration = Duration::from_hours(7 * 24);

/// Registers the route, if the app authenticates operators.
pub(crate) fn register(registry: &mut Registry) {
    registry.after_modules(|registry| {
        if !registry.provides::<Authenticator>() {
            return;
        }
        let api = Api::new().routes(routes!(read));
        registry.routes(Mount::admin("/dashboard/webhooks"), api, |ctx| {
            // Webhooks are the app's, also if each tenant has a database.
            Ok(WebhookNumbers::new(ctx.get::<Db>()?.app_database(), ctx.get()?))
        });
    });
}

/// The webhooks of an app.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct DashboardWebhooks {
    /// When the numbers were counted.
    counted_at: Timestamp,
    /// Received webhooks by source and status.
    received: Vec<DashboardReceivedWebhooks>,
    /// Whether there were more than 100,000 in the last week. Then only the newest of them are counted in `received`.
    received_is_estimate: bool,
    /// Number of received webhooks that wait to be processed for the first time, up to 10,000.
    waiting: i64,
    /// Number of received webhooks that could not be processed, up to 10,000. They wait for a retry or a replay.
    failed: i64,
    /// The endpoints of tenants.
    endpoints: DashboardWebhookEndpoints,
    /// The deliveries to these endpoints.
    deliveries: DashboardWebhookDeliveries,
}

/// Received webhooks of a source with the same status.
#[derive(Clone, Debug, Serialize, ToSchema, FromRow)]
struct DashboardReceivedWebhooks {
    /// The name of the source, such as `stripe`.
    source: String,
    /// The status: `received`, `processed`, `ignored` or `failed`.
    status: String,
    /// Number of webhooks that were received in the last 24 hours.
    last_day: i64,
    /// Number of webhooks that were received in the last seven days.
    last_week: i64,
}

/// The endpoints of tenants, each number up to 10,000.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct DashboardWebhookEndpoints {
    /// Number of endpoints that are enabled.
    enabled: i64,
    /// Number of endpoints that their tenants have paused.
    paused: i64,
    /// Number of endpoints that are disabled.
    disabled: i64,
}

/// The deliveries to the endpoints of tenants, each number up to 10,000.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct DashboardWebhookDeliveries {
    /// Number of deliveries that are not finished.
    pending: i64,
    /// Number of deliveries that were created in the last 24 hours and have failed.
    failed_last_day: i64,
    /// Number of deliveries that were created in the last seven days and have failed.
    failed_last_week: i64,
}

/// Read the numbers of webhooks
///
/// Webhooks of providers by source and status, and the endpoints of tenants with their deliveries. The numbers are at
/// most ten seconds old.
#[utoipa::path(get, path = "/", operation_id = "read_dashboard_webhooks", responses(
    (status = 200, body = DashboardWebhooks),
))]
async fn read(State(numbers): State<WebhookNumbers>) -> Result<Json<DashboardWebhooks>, Error> {
    Ok(Json(numbers.read().await?))
}

/// The counts of webhooks. Cheap to clone.
#[derive(Clone)]
struct WebhookNumbers(Arc<WebhookNumbersInner>);

struct WebhookNumbersInner {
    db: Db,
    clock: Clock,
    /// The last numbers, and when they were counted by the clock's elapsed time.
    counted: Mutex<Option<(Duration, DashboardWebhooks)>>,
}

impl WebhookNumbers {
    fn new(db: Db, clock: Clock) -> Self {
        Self(Arc::new(WebhookNumbersInner { db, clock, counted: Mutex::new(None) }))
    }

    /// Returns the numbers. Of several requests at once, one counts, and the others wait for it.
    async fn read(&self) -> Result<DashboardWebhooks, db::Error> {
        let mut counted = self.0.counted.lock().await;
        let elapsed = self.0.clock.elapsed();
        if let Some((at, numbers)) = &*counted
            && elapsed.saturating_sub(*at) < CACHE_TTL
        {
            return Ok(numbers.clone());
        }
        let numbers = self.count().await?;
        *counted = Some((elapsed, numbers.clone()));
        Ok(numbers)
    }

    async fn count(&self) -> Result<DashboardWebhooks, db::Error> {
        let now = self.0.clock.now();
        // Operators see the numbers of all tenants.
        let mut tx = self.0.db.all_tenants().begin_read().await?;
        let (day, week) = (id_at(now - DAY), id_at(now - WEEK));
        let received: Vec<DashboardReceivedWebhooks> =
            tx.query(RECEIVED).bind(week).bind(day).bind(MAX_RECEIVED).fetch_all().await?;
        let endpoints = DashboardWebhookEndpoints {
            enabled: count(&mut tx, ENABLED, None).await?,
            paused: count(&mut tx, PAUSED, None).await?,
            disabled: count(&mut tx, DISABLED, None).await?,
        };
        let deliveries = DashboardWebhookDeliveries {
            pending: count(&mut tx, PENDING, None).await?,
            failed_last_day: count(&mut tx, FAILED_DELIVERIES, Some(day)).await?,
            failed_last_week: count(&mut tx, FAILED_DELIVERIES, Some(week)).await?,
        };
        let (waiting, failed) = (count(&mut tx, WAITING, None).await?, count(&mut tx, FAILED, None).await?);
        tx.commit().await?;
        let received_is_estimate = received.iter().map(|row| row.last_week).sum::<i64>() >= MAX_RECEIVED;
        Ok(DashboardWebhooks {
            counted_at: now,
            received,
            received_is_estimate,
            waiting,
            failed,
            endpoints,
            deliveries,
        })
    }
}

/// Ids are ordered by time, so the rows of a period are a range of the primary key.
const RECEIVED: &str = "select source, status, count(*) filter (where id >= $2) as last_day, count(*) as last_week
    from (select id, source, status from omni_webhooks where id >= $1 order by id desc limit $3) as newest
    group by source, status order by source, status";

// The conditions are those of partial indexes, so the values are in the text.
const WAITING: &str =
    "select count(*) from (select 1 from omni_webhooks where status = 'received' limit $1) as counted";
const FAILED: &str = "select count(*) from (select 1 from omni_webhooks where status = 'failed' limit $1) as counted";
const ENABLED: &str =
    "select count(*) from (select 1 from omni_webhook_endpoints where status = 'enabled' limit $1) as counted";
const PAUSED: &str =
    "select count(*) from (select 1 from omni_webhook_endpoints where status = 'paused' limit $1) as counted";
const DISABLED: &str =
    "select count(*) from (select 1 from omni_webhook_endpoints where status = 'disabled' limit $1) as counted";
const PENDING: &str = "select count(*) from (
    select 1 from omni_webhook_deliveries where state in ('pending', 'sending') limit $1) as counted";
const FAILED_DELIVERIES: &str = "select count(*) from (
    select 1 from omni_webhook_deliveries where state = 'failed' and id >= $2 limit $1) as counted";

/// Counts rows up to [`MAX_COUNT`]; with `since`, those whose ids are not smaller.
async fn count(tx: &mut Tx, sql: &'static str, since: Option<Uuid>) -> Result<i64, db::Error> {
    let query = tx.query(sql).bind(MAX_COUNT);
    let query = if let Some(since) = since { query.bind(since) } else { query };
    let (count,): (i64,) = query.fetch_one().await?;
    Ok(count)
}

/// Returns an id of that time. Of rows of the same microsecond, some have smaller ids.
fn id_at(at: Timestamp) -> Uuid {
    Id::<()>::new(at).uuid()
}
