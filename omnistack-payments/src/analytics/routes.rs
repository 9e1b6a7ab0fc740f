//! The routes of reports: `/api/v1/app/analytics`.

#![expect(unused_qualifications, reason = "the derive macros for queries generate qualified paths")]

use axum::extract::State;
use garde::Validate;
use omnistack_core::{
    data_environment::DataEnvironment,
    http::{Error, ErrorEnvelope, Json, Path, Query},
    identity::Identity,
    module::Api,
};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::routes;

use super::{
    PaymentReports,
    period::PaymentPeriod,
    report::{PaymentCosts, PaymentErrors, PaymentOverview, PaymentServiceReport},
};

/// Returns the routes.
pub(super) fn api() -> Api<PaymentReports> {
    Api::new().routes(routes!(overview)).routes(routes!(service)).routes(routes!(errors)).routes(routes!(costs))
}

#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct PaymentReportQuery {
    /// The period, which ends today. Default: `30d`.
    #[garde(skip)]
    period: Option<PaymentPeriod>,
    /// The environment. Default: `live`.
    #[garde(skip)]
    environment: Option<DataEnvironment>,
}

/// Get the overview of payments
///
/// Calls, success rate, durations and volume by service, the trend, the projected month, and calls by API key. The
/// numbers are at most a minute old.
#[utoipa::path(get, path = "/overview", operation_id = "get_payment_overview", params(PaymentReportQuery), responses(
    (status = 200, body = PaymentOverview),
    (status = 422, body = ErrorEnvelope)))]
async fn overview(
    State(reports): State<PaymentReports>,
    caller: Identity,
    Query(query): Query<PaymentReportQuery>,
) -> Result<Json<PaymentOverview>, Error> {
    let (environment, period) = (query.environment.unwrap_or_default(), query.period.unwrap_or_default());
    Ok(Json(reports.overview(caller.require_tenant()?, environment, period).await?))
}

/// Get the report of a payment service
///
/// Its calls, durations, volume, trend and errors.
#[utoipa::path(get, path = "/service/{name}", operation_id = "get_payment_service_report",
    params(("name" = String, Path, description = "The name of the service, such as `stripe`.", max_length = 100),
        PaymentReportQuery),
    responses(
    (status = 200, body = PaymentServiceReport),
    (status = 404, description = "The app has no such service.", body = ErrorEnvelope),
    (status = 422, body = ErrorEnvelope)))]
async fn service(
    State(reports): State<PaymentReports>,
    caller: Identity,
    Path(name): Path<String>,
    Query(query): Query<PaymentReportQuery>,
) -> Result<Json<PaymentServiceReport>, Error> {
    if !reports.router.services().contains(&name.as_str()) {
        return Err(Error::not_found("the payment service"));
    }
    let (environment, period) = (query.environment.unwrap_or_default(), query.period.unwrap_or_default());
    Ok(Json(reports.service(caller.require_tenant()?, environment, period, &name).await?))
}

/// Get the errors of payments
///
/// The error rates by service, and the most common errors.
#[utoipa::path(get, path = "/errors", operation_id = "get_payment_errors", params(PaymentReportQuery), responses(
    (status = 200, body = PaymentErrors),
    (status = 422, body = ErrorEnvelope)))]
async fn errors(
    State(reports): State<PaymentReports>,
    caller: Identity,
    Query(query): Query<PaymentReportQuery>,
) -> Result<Json<PaymentErrors>, Error> {
    let (environment, period) = (query.environment.unwrap_or_default(), query.period.unwrap_or_default());
    Ok(Json(reports.errors(caller.require_tenant()?, environment, period).await?))
}

/// Get the costs of payments
///
/// The fees by service and by API key, the trend, the projected month, and what the same payments would have cost at
/// other services by their public prices.
#[utoipa::path(get, path = "/costs", operation_id = "get_payment_costs", params(PaymentReportQuery), responses(
    (status = 200, body = PaymentCosts),
    (status = 422, body = ErrorEnvelope)))]
async fn costs(
    State(reports): State<PaymentReports>,
    caller: Identity,
    Query(query): Query<PaymentReportQuery>,
) -> Result<Json<PaymentCosts>, Error> {
    let (environment, period) = (query.environment.unwrap_or_default(), query.period.unwrap_or_default());
    Ok(Json(reports.costs(caller.require_tenant()?, environment, period).await?))
}
