//! The routes for operators: `/api/v1/admin/usage`.

use axum::extract::State;
use omnistack_core::{
    clock::Timestamp,
    http::{Error, ErrorEnvelope, Json, PageRequest, Path, Query},
    identity::UserId,
    module::Api,
    usage::DataEnvironment,
};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{
    UsageReports,
    breakdown::UsageBreakdown,
    dimensions::{self, BreakdownScope, UserTotal},
    numbers::quantity,
    queries::{BreakdownQuery, MeterQuery, PeriodQuery, TopUsersQuery},
    range::{ReportRange, UsagePeriod},
    series::{DailyUsage, UsageTrends},
    summary::UsageSummary,
    totals::UsageTotals,
};
use crate::quantity::Quantity;

/// Returns the routes.
pub(super) fn api() -> Api<UsageReports> {
    Api::new()
        .routes(routes!(totals))
        .routes(routes!(top_users))
        .routes(routes!(summary))
        .routes(routes!(trends))
        .routes(routes!(daily))
        .routes(routes!(breakdown))
}

/// Get the usage of all tenants
///
/// The usage of each meter on each day of a period, with the number of tenants. A job adds it up every five minutes.
#[utoipa::path(get, path = "/metrics", operation_id = "get_usage_totals", params(PeriodQuery), responses(
    (status = 200, body = UsageTotals),
    (status = 422, body = ErrorEnvelope),
))]
async fn totals(
    State(reports): State<UsageReports>,
    Query(PeriodQuery { period, environment }): Query<PeriodQuery>,
) -> Result<Json<UsageTotals>, Error> {
    Ok(Json(reports.totals(environment, period).await?))
}

/// The users with the largest usage of a meter.
#[derive(Debug, Serialize, ToSchema)]
struct TopUsers {
    /// The name of the meter.
    meter: &'static str,
    /// The unit of its quantities.
    unit: &'static str,
    /// The period.
    period: UsagePeriod,
    /// The environment.
    environment: DataEnvironment,
    /// The start of the first day, in UTC.
    start: Timestamp,
    /// The end of today, in UTC.
    end: Timestamp,
    /// The users, those with the largest usage first.
    items: Vec<TopUser>,
}

/// The usage of a user in all tenants.
#[derive(Debug, Serialize, ToSchema)]
struct TopUser {
    /// The id of the user.
    #[schema(value_type = String, format = Uuid)]
    user: UserId,
    /// The usage.
    quantity: Quantity,
    /// The number of events.
    events: i64,
    /// The number of tenants in which the user has used it.
    tenants: i64,
}

/// List the users with the largest usage
///
/// The usage of a meter in all tenants of each user.
#[utoipa::path(get, path = "/top-users", operation_id = "list_top_users", params(TopUsersQuery), responses(
    (status = 200, body = TopUsers),
    (status = 422, body = ErrorEnvelope, description = "There is no such meter, or it does not add up."),
))]
async fn top_users(
    State(reports): State<UsageReports>,
    Query(TopUsersQuery { meter, period, environment, limit }): Query<TopUsersQuery>,
) -> Result<Json<TopUsers>, Error> {
    let meter = reports.meter_that_adds_up(meter.as_deref())?;
    let range = ReportRange::days_until(reports.now(), period);
    let limit = limit.unwrap_or(PageRequest::DEFAULT_SIZE);
    // An operator's report about all tenants.
    let mut tx = reports.db().all_tenants().begin_read().await?;
    let users = dimensions::top_users(&mut tx, environment, meter, range, limit).await?;
    tx.commit().await?;
    let items = users.into_iter().map(|total| {
        let UserTotal { user, units, events, tenants } = total;
        TopUser { user, quantity: quantity(meter, units), events, tenants }
    });
    Ok(Json(TopUsers {
        meter: meter.name,
        unit: meter.unit,
        period,
        environment,
        start: range.start,
        end: range.end,
        items: items.collect(),
    }))
}

/// Get the summary of a user's usage
///
/// The usage in all tenants of the user, of each meter with the aggregation `sum` or `count`.
#[utoipa::path(get, path = "/summary/{user}", operation_id = "get_user_usage_summary",
    params(("user" = String, Path, format = Uuid, description = "The user."), PeriodQuery), responses(
    (status = 200, body = UsageSummary),
    (status = 422, body = ErrorEnvelope),
))]
async fn summary(
    State(reports): State<UsageReports>,
    Path(user): Path<UserId>,
    Query(PeriodQuery { period, environment }): Query<PeriodQuery>,
) -> Result<Json<UsageSummary>, Error> {
    Ok(Json(reports.summary_of_user(user, environment, period).await?))
}

/// Get the trends of a user's usage
///
/// The usage in all tenants of the user on each day of a period.
#[utoipa::path(get, path = "/trends/{user}", operation_id = "get_user_usage_trends",
    params(("user" = String, Path, format = Uuid, description = "The user."), MeterQuery), responses(
    (status = 200, body = UsageTrends),
    (status = 422, body = ErrorEnvelope),
))]
async fn trends(
    State(reports): State<UsageReports>,
    Path(user): Path<UserId>,
    Query(MeterQuery { meter, period, environment }): Query<MeterQuery>,
) -> Result<Json<UsageTrends>, Error> {
    Ok(Json(reports.trends_of_user(user, environment, period, meter.as_deref()).await?))
}

/// Get a user's usage of each day
///
/// The usage in all tenants of the user.
#[utoipa::path(get, path = "/daily/{user}", operation_id = "get_user_daily_usage",
    params(("user" = String, Path, format = Uuid, description = "The user."), PeriodQuery), responses(
    (status = 200, body = DailyUsage),
    (status = 422, body = ErrorEnvelope),
))]
async fn daily(
    State(reports): State<UsageReports>,
    Path(user): Path<UserId>,
    Query(PeriodQuery { period, environment }): Query<PeriodQuery>,
) -> Result<Json<DailyUsage>, Error> {
    Ok(Json(reports.daily_of_user(user, environment, period).await?))
}

/// Break down a user's usage of a meter
///
/// The usage in all tenants of the user, by category or API key.
#[utoipa::path(get, path = "/breakdown/{user}", operation_id = "get_user_usage_breakdown",
    params(("user" = String, Path, format = Uuid, description = "The user."), BreakdownQuery), responses(
    (status = 200, body = UsageBreakdown),
    (status = 422, body = ErrorEnvelope, description = "There is no such meter, or it does not add up."),
))]
async fn breakdown(
    State(reports): State<UsageReports>,
    Path(user): Path<UserId>,
    Query(query): Query<BreakdownQuery>,
) -> Result<Json<UsageBreakdown>, Error> {
    let request = query.request(&reports)?;
    Ok(Json(reports.breakdown(BreakdownScope::User(user), request).await?))
}
