//! `/api/v1/admin/dashboard`: the numbers of the app for operators.

#![expect(unused_qualifications, reason = "what the macros make of a query's type")]

use std::collections::BTreeMap;

use axum::extract::State;
use garde::Validate;
use omnistack_core::{
    clock::Timestamp,
    http::{Error, Json, Query},
    metrics::{ACTIVE_SUBSCRIPTIONS, BACKGROUND_JOB_OLDEST_AGE, BACKGROUND_JOB_QUEUE_SIZE, USERS},
    module::{Api, Mount, Registry},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use crate::{
    counts::{Counts, DashboardNumber, DashboardStats, StoredCount},
    period::Period,
};

/// Registers the routes.
pub(crate) fn register(registry: &mut Registry) {
    let api = Api::new().routes(routes!(stats)).routes(routes!(user_growth)).routes(routes!(jobs));
    let api = api.routes(routes!(subscriptions));
    registry.routes(Mount::admin("/dashboard"), api, |ctx| ctx.get::<Counts>());
}

/// Read the numbers of the app
///
/// Users, tenants, sessions, waiting jobs, and what other modules count. They are counted once a minute. With the
/// feature `realtime`, operators who are connected get them in the channel `operators` too, each time that they are
/// counted.
#[utoipa::path(get, path = "/stats", operation_id = "read_dashboard_stats", responses((status = 200, body = DashboardStats)))]
async fn stats(State(counts): State<Counts>) -> Result<Json<DashboardStats>, Error> {
    Ok(Json(DashboardStats::read(&counts).await?))
}

/// Query parameters of the growth.
#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct GrowthQuery {
    /// The period. Defaults to `30d`.
    #[garde(skip)]
    #[param(inline)]
    period: Option<Period>,
}

/// The growth of a number.
#[derive(Debug, Serialize, ToSchema)]
struct Growth {
    /// The days of the period, the oldest first.
    days: Vec<GrowthDay>,
}

/// A day of a growth.
#[derive(Debug, Serialize, ToSchema)]
struct GrowthDay {
    /// The day, in UTC.
    #[schema(examples("2030-01-31"))]
    day: String,
    /// Number of users who were created on this day and have not been deleted since.
    new: i64,
    /// Number of users at the end of this day who have not been deleted since.
    total: i64,
}

/// Read the growth of users
///
/// New users and all users, for each day in UTC. The numbers are counted once a minute.
#[utoipa::path(get, path = "/users/growth", operation_id = "read_user_growth", params(GrowthQuery), responses(
    (status = 200, body = Growth),
))]
async fn user_growth(State(counts): State<Counts>, Query(query): Query<GrowthQuery>) -> Result<Json<Growth>, Error> {
    let period = query.period.unwrap_or(Period::Month);
    let days = counts.days("users", period.days()).await?;
    let stored = counts.stored().await?;
    let users = stored.iter().find(|count| count.metric == USERS.name).map_or(0.0, |count| count.value);
    #[expect(clippy::cast_possible_truncation, reason = "it was an integer when it was counted")]
    let mut total = users as i64 - days.iter().map(|(_, new)| new).sum::<i64>();
    let days = days.into_iter().map(|(day, new)| {
        total += new;
        GrowthDay { day, new, total }
    });
    Ok(Json(Growth { days: days.collect() }))
}

/// The subscriptions of an app.
#[derive(Debug, Serialize, ToSchema)]
struct DashboardSubscriptions {
    /// When the subscriptions were counted. `null` before the first count, and without the feature `billing`.
    #[schema(required)]
    counted_at: Option<Timestamp>,
    /// Number of active subscriptions.
    active: f64,
    /// Number of active subscriptions by plan.
    plans: BTreeMap<String, f64>,
    /// New subscriptions of each day of the period, the oldest first.
    days: Vec<DashboardSubscriptionDay>,
}

/// A day with its new subscriptions.
#[derive(Debug, Serialize, ToSchema)]
struct DashboardSubscriptionDay {
    /// The day, in UTC.
    #[schema(examples("2030-01-31"))]
    day: String,
    /// Number of subscriptions that were created on this day.
    new: i64,
}

/// Read the numbers of subscriptions
///
/// Live subscriptions by plan, and those that are new on each day in UTC. They are counted once a minute. The recurring
/// revenue is at `/api/v1/admin/billing/revenue`.
#[utoipa::path(get, path = "/subscriptions", operation_id = "read_dashboard_subscriptions", params(GrowthQuery),
    responses((status = 200, body = DashboardSubscriptions)))]
async fn subscriptions(
    State(counts): State<Counts>,
    Query(query): Query<GrowthQuery>,
) -> Result<Json<DashboardSubscriptions>, Error> {
    let days = counts.days("subscriptions", query.period.unwrap_or(Period::Month).days()).await?;
    let days = days.into_iter().map(|(day, new)| DashboardSubscriptionDay { day, new }).collect();
    let stored = counts.stored().await?;
    let counted = || stored.iter().filter(|count| count.metric == ACTIVE_SUBSCRIPTIONS.name);
    let counted_at = counted().map(|count| count.counted_at).max();
    let plan = |count: &StoredCount| Some((count.labels().pop()?, count.value));
    let plans: BTreeMap<_, _> = counted().filter_map(plan).collect();
    Ok(Json(DashboardSubscriptions { counted_at, active: plans.values().sum(), plans, days }))
}

/// The jobs of an app.
#[derive(Debug, Serialize, ToSchema)]
struct DashboardJobs {
    /// When the jobs were counted. `null` before the first count.
    #[schema(required)]
    counted_at: Option<Timestamp>,
    /// The queues.
    queues: Vec<DashboardQueue>,
}

/// A queue of jobs.
#[derive(Debug, Default, Serialize, ToSchema)]
struct DashboardQueue {
    /// The name of the queue.
    queue: String,
    /// Number of jobs by state: `ready`, `running`, `scheduled` and `dead`. Each is counted up to 10,000.
    jobs: BTreeMap<String, f64>,
    /// Seconds for which the longest waiting job has been due.
    oldest_age_seconds: f64,
}

/// Read the numbers of jobs
///
/// The jobs of each queue that are not finished. They are counted once a minute.
#[utoipa::path(get, path = "/jobs", operation_id = "read_dashboard_jobs", responses((status = 200, body = DashboardJobs)))]
async fn jobs(State(counts): State<Counts>) -> Result<Json<DashboardJobs>, Error> {
    let stored = counts.stored().await?;
    let counted_at = stored.iter().map(|count| count.counted_at).max();
    let mut queues = BTreeMap::<String, DashboardQueue>::new();
    for number in stored.iter().filter_map(DashboardNumber::new) {
        let Some(name) = number.labels.get("queue").cloned() else { continue };
        let queue = queues.entry(name.clone()).or_insert_with(|| DashboardQueue { queue: name, ..Default::default() });
        if number.is(&BACKGROUND_JOB_OLDEST_AGE) {
            queue.oldest_age_seconds = number.value;
        } else if let (true, Some(state)) = (number.is(&BACKGROUND_JOB_QUEUE_SIZE), number.labels.get("state")) {
            queue.jobs.insert(state.clone(), number.value);
        }
    }
    Ok(Json(DashboardJobs { counted_at, queues: queues.into_values().collect() }))
}
