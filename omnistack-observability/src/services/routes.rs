//! The routes of service health: for signed-in callers, for operators and for every client.

#![expect(unused_qualifications, reason = "the derive macros for queries generate qualified paths")]

use axum::extract::State;
use garde::Validate;
use omnistack_core::{
    http::{CursorPage, Error, ErrorEnvelope, FieldError, Json, PageRequest, Path, Query},
    module::Api,
};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::routes;

use super::{
    checks::ServiceChecks,
    model::{AppStatus, ServiceCheckResult, ServiceDetails, ServiceHealth, ServiceReport, ServiceReports},
};

/// Returns the routes under `/api/v1/public/status`.
pub(crate) fn public() -> Api<ServiceChecks> {
    Api::new().routes(routes!(status))
}

/// Returns the routes under `/api/v1/app/services`.
pub(crate) fn app() -> Api<ServiceChecks> {
    Api::new().routes(routes!(health))
}

/// Returns the routes under `/api/v1/admin/health` that read.
pub(crate) fn admin() -> Api<ServiceChecks> {
    Api::new().routes(routes!(list)).routes(routes!(get)).routes(routes!(history))
}

/// Returns the route under `/api/v1/admin/health` that runs a check.
pub(crate) fn check_now() -> Api<ServiceChecks> {
    Api::new().routes(routes!(check))
}

/// Get the status of the app
///
/// The states of the app and its services, without errors and response times.
#[utoipa::path(get, path = "/", operation_id = "get_app_status", responses((status = 200, body = AppStatus)))]
async fn status(State(checks): State<ServiceChecks>) -> Result<Json<AppStatus>, Error> {
    Ok(Json(checks.status().await?))
}

/// Get the health of a service
///
/// If the last result is older than ten minutes, the service is checked before the response. Requests within five
/// seconds share one check.
#[utoipa::path(get, path = "/{name}/health", operation_id = "get_service_health", params(("name" = String, Path)),
    responses(
    (status = 200, body = ServiceHealth),
    (status = 404, body = ErrorEnvelope),
    (status = 429, body = ErrorEnvelope),
))]
async fn health(State(checks): State<ServiceChecks>, Path(name): Path<String>) -> Result<Json<ServiceHealth>, Error> {
    Ok(Json(checks.health_of(&name).await?))
}

/// List the health of all services
///
/// Sorted by name, with the last result and the share of checks that succeeded.
#[utoipa::path(get, path = "/", operation_id = "list_service_health", responses((status = 200, body = ServiceReports)))]
async fn list(State(checks): State<ServiceChecks>) -> Result<Json<ServiceReports>, Error> {
    Ok(Json(checks.reports().await?))
}

/// Get the health of a service and its last results
#[utoipa::path(get, path = "/{name}", operation_id = "get_service_health", params(("name" = String, Path)), responses(
    (status = 200, body = ServiceDetails),
    (status = 404, body = ErrorEnvelope),
))]
async fn get(State(checks): State<ServiceChecks>, Path(name): Path<String>) -> Result<Json<ServiceDetails>, Error> {
    Ok(Json(checks.details(&name).await?))
}

#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ServiceHistoryQuery {
    /// The largest number of items to return, 1 to 100. Default: 20.
    #[garde(range(min = 1, max = 100))]
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
    /// The `next_cursor` of the previous page.
    #[garde(length(chars, max = 400))]
    #[param(max_length = 400)]
    cursor: Option<String>,
}

/// List the results of a service's checks
///
/// Newest first.
#[utoipa::path(get, path = "/{name}/history", operation_id = "list_service_history",
    params(("name" = String, Path), ServiceHistoryQuery), responses(
    (status = 200, body = CursorPage<ServiceCheckResult>),
    (status = 404, body = ErrorEnvelope),
    (status = 422, body = ErrorEnvelope),
))]
async fn history(
    State(checks): State<ServiceChecks>,
    Path(name): Path<String>,
    Query(query): Query<ServiceHistoryQuery>,
) -> Result<Json<CursorPage<ServiceCheckResult>>, Error> {
    let limit = query.limit.unwrap_or(PageRequest::DEFAULT_SIZE);
    let before = query.cursor.as_deref().map_or(Ok(i64::MAX), str::parse::<i64>);
    let before = before
        .map_err(|_| Error::invalid([FieldError::new("cursor", "must be the `next_cursor` of a previous page")]))?;
    Ok(Json(checks.history(&name, before, limit).await?))
}

/// Check a service now
///
/// Returns when the check has ended, at the latest after `SERVICES_CHECK_TIMEOUT`. Requests within five seconds share
/// one check.
#[utoipa::path(post, path = "/{name}/check", operation_id = "check_service", params(("name" = String, Path)), responses(
    (status = 200, body = ServiceReport),
    (status = 404, body = ErrorEnvelope),
    (status = 429, body = ErrorEnvelope),
))]
async fn check(State(checks): State<ServiceChecks>, Path(name): Path<String>) -> Result<Json<ServiceReport>, Error> {
    Ok(Json(checks.check_now(&name).await?))
}
