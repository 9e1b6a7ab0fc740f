//! `/api/v1/app/errors`: the errors of the caller's tenant.

#![expect(unused_qualifications, reason = "the derive macros for queries generate qualified paths")]

use axum::extract::State;
use garde::Validate;
use omnistack_core::{
    http::{Error, ErrorEnvelope, Json, Query},
    identity::Identity,
    module::Api,
};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::routes;

use super::{
    period::Period,
    reports::{self, ErrorStats},
};
use crate::errors::{analysis::ErrorAnalysis, store::ErrorStore};

pub(super) fn api() -> Api<ErrorStore> {
    Api::new().routes(routes!(stats)).routes(routes!(analysis))
}

#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct TenantErrorQuery {
    /// The period, which ends now. Default: `7d`.
    #[garde(skip)]
    #[param(inline)]
    period: Option<Period>,
}

/// Get numbers of errors
///
/// Counts the errors of the caller's tenant: failed requests, jobs and deliveries, and requests that the app rejected.
#[utoipa::path(get, path = "/stats", operation_id = "get_error_stats", params(TenantErrorQuery), responses(
    (status = 200, body = ErrorStats),
    (status = 403, body = ErrorEnvelope, description = "The caller lacks `errors:read`, or has no tenant."),
    (status = 422, body = ErrorEnvelope, description = "The period is not valid."),
))]
async fn stats(
    State(store): State<ErrorStore>,
    caller: Identity,
    Query(query): Query<TenantErrorQuery>,
) -> Result<Json<ErrorStats>, Error> {
    let tenant = caller.require_tenant()?;
    Ok(Json(reports::stats(&store, query.period.unwrap_or_default(), Some(tenant)).await?))
}

/// Analyse errors
///
/// Returns patterns and recommendations for the errors of the caller's tenant.
#[utoipa::path(get, path = "/analysis", operation_id = "get_error_analysis", params(TenantErrorQuery), responses(
    (status = 200, body = ErrorAnalysis),
    (status = 403, body = ErrorEnvelope, description = "The caller lacks `errors:read`, or has no tenant."),
    (status = 422, body = ErrorEnvelope, description = "The period is not valid."),
))]
async fn analysis(
    State(store): State<ErrorStore>,
    caller: Identity,
    Query(query): Query<TenantErrorQuery>,
) -> Result<Json<ErrorAnalysis>, Error> {
    let tenant = caller.require_tenant()?;
    Ok(Json(reports::analysis(&store, query.period.unwrap_or_default(), Some(tenant)).await?))
}
