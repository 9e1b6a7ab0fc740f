//! The route of quotas: `/api/v1/app/usage/quotas`.

#![expect(unused_qualifications, reason = "the derive macros for queries generate qualified paths")]

use axum::extract::State;
use garde::Validate;
use omnistack_core::{
    http::{Error, ErrorEnvelope, Json, Query},
    identity::Identity,
    module::Api,
    usage::DataEnvironment,
};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::routes;

use super::{handle::Quotas, status::QuotaList};

pub(super) fn api() -> Api<Quotas> {
    Api::new().routes(routes!(list))
}

#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct QuotasQuery {
    /// Whether to count real usage, or that of tests. Default: `live`.
    #[garde(skip)]
    environment: Option<DataEnvironment>,
}

/// List quotas
///
/// The limits of the plan for what is metered, with what is used, reserved and left of each.
#[utoipa::path(get, path = "/quotas", operation_id = "list_quotas", params(QuotasQuery), responses(
    (status = 200, body = QuotaList),
    (status = 422, body = ErrorEnvelope),
))]
async fn list(
    State(quotas): State<Quotas>,
    caller: Identity,
    Query(query): Query<QuotasQuery>,
) -> Result<Json<QuotaList>, Error> {
    let environment = query.environment.unwrap_or_default();
    Ok(Json(quotas.list(caller.require_tenant()?, environment).await?))
}
