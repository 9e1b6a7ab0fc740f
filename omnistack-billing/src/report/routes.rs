//! The routes for tenants: `/api/v1/app/usage` and `/api/v1/app/billing/usage`.

use axum::extract::State;
use omnistack_core::{
    http::{Error, ErrorEnvelope, Json, Query},
    identity::Identity,
    module::Api,
    usage::DataEnvironment,
};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{
    UsageReports,
    billing_usage::BillingUsage,
    breakdown::UsageBreakdown,
    current::PeriodUsage,
    dimensions::BreakdownScope,
    queries::{BreakdownQuery, CurrentPeriodQuery, MeterQuery, PeriodQuery},
    series::{DailyUsage, UsageTrends},
    stats::UsageStats,
    store::UsageScope,
    summary::UsageSummary,
};
use crate::meter::{Aggregation, Meter};

/// Returns the routes below `/usage`.
pub(super) fn usage() -> Api<UsageReports> {
    Api::new()
        .routes(routes!(summary))
        .routes(routes!(current_period))
        .routes(routes!(trends))
        .routes(routes!(daily))
        .routes(routes!(breakdown))
        .routes(routes!(stats))
        .routes(routes!(list_meters))
}

/// Returns the routes below `/billing`.
pub(super) fn billing() -> Api<UsageReports> {
    Api::new().routes(routes!(billing_usage))
}

/// Returns the usage of the caller's tenant.
fn scope(caller: &Identity, environment: DataEnvironment) -> Result<UsageScope, Error> {
    Ok(UsageScope { tenant: caller.require_tenant()?, environment })
}

/// Get the summary of usage
///
/// The usage of each meter in a period, and the change since the period before it. Today is included.
#[utoipa::path(get, path = "/summary", operation_id = "get_usage_summary", params(PeriodQuery), responses(
    (status = 200, body = UsageSummary),
    (status = 422, body = ErrorEnvelope),
))]
async fn summary(
    State(reports): State<UsageReports>,
    caller: Identity,
    Query(PeriodQuery { period, environment }): Query<PeriodQuery>,
) -> Result<Json<UsageSummary>, Error> {
    Ok(Json(reports.summary(scope(&caller, environment)?, period).await?))
}

/// Get the usage of the billing period
///
/// The usage of each meter in the current billing period, and what is left of the plan's limits. Lifetime meters have
/// the usage since the beginning.
#[utoipa::path(get, path = "/current-period", operation_id = "get_current_usage", params(CurrentPeriodQuery), responses(
    (status = 200, body = PeriodUsage),
    (status = 422, body = ErrorEnvelope),
))]
async fn current_period(
    State(reports): State<UsageReports>,
    caller: Identity,
    Query(CurrentPeriodQuery { environment }): Query<CurrentPeriodQuery>,
) -> Result<Json<PeriodUsage>, Error> {
    Ok(Json(reports.current_period(scope(&caller, environment)?).await?))
}

/// Get the trends of usage
///
/// The usage of each meter on each day of a period, or of one meter.
#[utoipa::path(get, path = "/trends", operation_id = "get_usage_trends", params(MeterQuery), responses(
    (status = 200, body = UsageTrends),
    (status = 422, body = ErrorEnvelope),
))]
async fn trends(
    State(reports): State<UsageReports>,
    caller: Identity,
    Query(MeterQuery { meter, period, environment }): Query<MeterQuery>,
) -> Result<Json<UsageTrends>, Error> {
    Ok(Json(reports.trends(scope(&caller, environment)?, period, meter.as_deref()).await?))
}

/// Get the usage of each day
#[utoipa::path(get, path = "/daily", operation_id = "get_daily_usage", params(PeriodQuery), responses(
    (status = 200, body = DailyUsage),
    (status = 422, body = ErrorEnvelope),
))]
async fn daily(
    State(reports): State<UsageReports>,
    caller: Identity,
    Query(PeriodQuery { period, environment }): Query<PeriodQuery>,
) -> Result<Json<DailyUsage>, Error> {
    Ok(Json(reports.daily(scope(&caller, environment)?, period).await?))
}

/// Break down the usage of a meter
///
/// By category, API key or user. The 100 with the largest usage are listed, the others are added up.
#[utoipa::path(get, path = "/breakdown", operation_id = "get_usage_breakdown", params(BreakdownQuery), responses(
    (status = 200, body = UsageBreakdown),
    (status = 422, body = ErrorEnvelope, description = "There is no such meter, or it does not add up."),
))]
async fn breakdown(
    State(reports): State<UsageReports>,
    caller: Identity,
    Query(query): Query<BreakdownQuery>,
) -> Result<Json<UsageBreakdown>, Error> {
    let request = query.request(&reports)?;
    Ok(Json(reports.breakdown(BreakdownScope::Tenant(caller.require_tenant()?), request).await?))
}

/// Get all numbers of a meter
///
/// The days of a period, the largest categories, API keys and users, and the minutes of the last hour, for a page of
/// charts. Without `meter`, they are those of `api_requests`.
#[utoipa::path(get, path = "/stats", operation_id = "get_usage_stats", params(MeterQuery), responses(
    (status = 200, body = UsageStats),
    (status = 422, body = ErrorEnvelope, description = "There is no such meter."),
))]
async fn stats(
    State(reports): State<UsageReports>,
    caller: Identity,
    Query(MeterQuery { meter, period, environment }): Query<MeterQuery>,
) -> Result<Json<UsageStats>, Error> {
    Ok(Json(reports.stats(scope(&caller, environment)?, period, meter.as_deref()).await?))
}

/// The meters of the app.
#[derive(Debug, Serialize, ToSchema)]
struct MeterList {
    /// The meters, ordered by name.
    meters: Vec<MeterDescription>,
}

/// A meter of the app.
#[derive(Debug, Serialize, ToSchema)]
struct MeterDescription {
    /// The name.
    meter: &'static str,
    /// The unit of quantities.
    unit: &'static str,
    /// The way in which the events become a number.
    aggregation: Aggregation,
    /// The number of decimals of quantities.
    decimals: u32,
    /// Whether limits apply to the total since the beginning instead of that of a billing period.
    lifetime: bool,
    /// Whether tenants can report events of the meter. Only the app counts the others.
    reported_by_tenants: bool,
    /// A sentence that says what is counted.
    description: &'static str,
}

impl From<&Meter> for MeterDescription {
    fn from(meter: &Meter) -> Self {
        let Meter { name, unit, description, aggregation, decimals, lifetime, reported_by_tenants, .. } = *meter;
        Self { meter: name, unit, aggregation, decimals, lifetime, reported_by_tenants, description }
    }
}

/// List the meters
#[utoipa::path(get, path = "/metrics", operation_id = "list_usage_meters", responses((status = 200, body = MeterList)))]
async fn list_meters(State(reports): State<UsageReports>) -> Json<MeterList> {
    Json(MeterList { meters: reports.meters().iter().map(MeterDescription::from).collect() })
}

/// Get the used limits of the plan
///
/// One field for each limit of the plan and each limited resource, and the current billing period.
#[utoipa::path(get, path = "/usage", operation_id = "get_billing_usage", responses(
    (status = 200, body = BillingUsage),
))]
async fn billing_usage(State(reports): State<UsageReports>, caller: Identity) -> Result<Json<BillingUsage>, Error> {
    Ok(Json(reports.billing_usage(caller.require_tenant()?).await?))
}
