//! The routes for tenants: `/api/v1/app/usage` and `/api/v1/app/billing/usage`.

#![expect(unused_qualifications, reason = "the derive macros for queries generate qualified paths")]

use axum::extract::State;
use garde::Validate;
use omnistack_core::{
    http::{Error, ErrorEnvelope, Json, Query},
    identity::Identity,
    module::Api,
    usage::DataEnvironment,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::{
    UsageReports,
    billing_usage::BillingUsage,
    breakdown::{BreakdownRequest, UsageBreakdown},
    current::PeriodUsage,
    dimensions::{BreakdownBy, BreakdownScope},
    range::UsagePeriod,
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

#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct UsagePeriodQuery {
    /// The period, which ends today. Default: `30d`.
    #[garde(skip)]
    #[param(inline)]
    pub(super) period: Option<UsagePeriod>,
    /// The environment. Default: `live`.
    #[garde(skip)]
    #[param(inline)]
    pub(super) environment: Option<DataEnvironment>,
}

#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct UsageTrendQuery {
    /// The period, which ends today. Default: `30d`.
    #[garde(skip)]
    #[param(inline)]
    pub(super) period: Option<UsagePeriod>,
    /// The environment. Default: `live`.
    #[garde(skip)]
    #[param(inline)]
    pub(super) environment: Option<DataEnvironment>,
    /// The name of a meter. Default: all meters with usage.
    #[garde(length(chars, max = 50))]
    #[param(max_length = 50)]
    pub(super) meter: Option<String>,
}

#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct UsageBreakdownQuery {
    /// The property that the usage is broken down by. Default: `category`.
    #[garde(skip)]
    #[param(inline)]
    by: Option<BreakdownBy>,
    /// The name of a meter with the aggregation `sum` or `count`. Default: `api_requests`.
    #[garde(length(chars, max = 50))]
    #[param(max_length = 50)]
    meter: Option<String>,
    /// The period, which ends today. Default: `30d`.
    #[garde(skip)]
    #[param(inline)]
    period: Option<UsagePeriod>,
    /// The environment. Default: `live`.
    #[garde(skip)]
    #[param(inline)]
    environment: Option<DataEnvironment>,
}

impl UsageBreakdownQuery {
    /// Returns what is asked for.
    pub(super) fn request<'a>(&self, reports: &'a UsageReports) -> Result<BreakdownRequest<'a>, Error> {
        Ok(BreakdownRequest {
            environment: self.environment.unwrap_or_default(),
            meter: reports.meter_that_adds_up(self.meter.as_deref())?,
            by: self.by.unwrap_or_default(),
            period: self.period.unwrap_or_default(),
        })
    }
}

#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct UsageStatsQuery {
    /// The name of a meter. Default: `api_requests`.
    #[garde(length(chars, max = 50))]
    #[param(max_length = 50)]
    meter: Option<String>,
    /// The period, which ends today. Default: `30d`.
    #[garde(skip)]
    #[param(inline)]
    period: Option<UsagePeriod>,
    /// The environment. Default: `live`.
    #[garde(skip)]
    #[param(inline)]
    environment: Option<DataEnvironment>,
}

#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct CurrentPeriodQuery {
    /// The environment. Default: `live`.
    #[garde(skip)]
    #[param(inline)]
    environment: Option<DataEnvironment>,
}

/// Returns the usage of the caller's tenant.
fn scope(caller: &Identity, environment: DataEnvironment) -> Result<UsageScope, Error> {
    Ok(UsageScope { tenant: caller.require_tenant()?, environment })
}

/// Get the summary of usage
///
/// The usage of each meter in a period, and the change since the period before it. Today is included.
#[utoipa::path(get, path = "/summary", operation_id = "get_usage_summary", params(UsagePeriodQuery), responses(
    (status = 200, body = UsageSummary),
    (status = 422, body = ErrorEnvelope),
))]
async fn summary(
    State(reports): State<UsageReports>,
    caller: Identity,
    Query(query): Query<UsagePeriodQuery>,
) -> Result<Json<UsageSummary>, Error> {
    let UsagePeriodQuery { period, environment } = query;
    let scope = scope(&caller, environment.unwrap_or_default())?;
    Ok(Json(reports.summary(scope, period.unwrap_or_default()).await?))
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
    Query(query): Query<CurrentPeriodQuery>,
) -> Result<Json<PeriodUsage>, Error> {
    let scope = scope(&caller, query.environment.unwrap_or_default())?;
    Ok(Json(reports.current_period(scope).await?))
}

/// Get the trends of usage
///
/// The usage of each meter on each day of a period.
#[utoipa::path(get, path = "/trends", operation_id = "get_usage_trends", params(UsageTrendQuery), responses(
    (status = 200, body = UsageTrends),
    (status = 422, body = ErrorEnvelope),
))]
async fn trends(
    State(reports): State<UsageReports>,
    caller: Identity,
    Query(query): Query<UsageTrendQuery>,
) -> Result<Json<UsageTrends>, Error> {
    let UsageTrendQuery { period, environment, meter } = query;
    let scope = scope(&caller, environment.unwrap_or_default())?;
    Ok(Json(reports.trends(scope, period.unwrap_or_default(), meter.as_deref()).await?))
}

/// Get the usage of each day
#[utoipa::path(get, path = "/daily", operation_id = "get_daily_usage", params(UsagePeriodQuery), responses(
    (status = 200, body = DailyUsage),
    (status = 422, body = ErrorEnvelope),
))]
async fn daily(
    State(reports): State<UsageReports>,
    caller: Identity,
    Query(query): Query<UsagePeriodQuery>,
) -> Result<Json<DailyUsage>, Error> {
    let UsagePeriodQuery { period, environment } = query;
    let scope = scope(&caller, environment.unwrap_or_default())?;
    Ok(Json(reports.daily(scope, period.unwrap_or_default()).await?))
}

/// Break down the usage of a meter
///
/// By category, API key or user. The 100 with the largest usage are listed, the others are added up.
#[utoipa::path(get, path = "/breakdown", operation_id = "get_usage_breakdown", params(UsageBreakdownQuery), responses(
    (status = 200, body = UsageBreakdown),
    (status = 422, body = ErrorEnvelope, description = "There is no such meter, or it does not add up."),
))]
async fn breakdown(
    State(reports): State<UsageReports>,
    caller: Identity,
    Query(query): Query<UsageBreakdownQuery>,
) -> Result<Json<UsageBreakdown>, Error> {
    let request = query.request(&reports)?;
    Ok(Json(reports.breakdown(BreakdownScope::Tenant(caller.require_tenant()?), request).await?))
}

/// Get all numbers of a meter
///
/// The days of a period, the largest categories, API keys and users, and the minutes of the last hour, for a page of
/// charts.
#[utoipa::path(get, path = "/stats", operation_id = "get_usage_stats", params(UsageStatsQuery), responses(
    (status = 200, body = UsageStats),
    (status = 422, body = ErrorEnvelope, description = "There is no such meter."),
))]
async fn stats(
    State(reports): State<UsageReports>,
    caller: Identity,
    Query(query): Query<UsageStatsQuery>,
) -> Result<Json<UsageStats>, Error> {
    let UsageStatsQuery { meter, period, environment } = query;
    let scope = scope(&caller, environment.unwrap_or_default())?;
    Ok(Json(reports.stats(scope, period.unwrap_or_default(), meter.as_deref()).await?))
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
    /// A sentence that says what is counted.
    description: &'static str,
}

impl From<&Meter> for MeterDescription {
    fn from(meter: &Meter) -> Self {
        let Meter { name, unit, description, aggregation, decimals, lifetime, .. } = *meter;
        Self { meter: name, unit, aggregation, decimals, lifetime, description }
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
