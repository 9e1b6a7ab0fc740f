//! The routes of operators.

#![expect(unused_qualifications, reason = "the derive macros for queries generate qualified paths")]

use axum::extract::State;
use garde::Validate;
use omnistack_core::{
    http::{CursorPage, Error, Json, PageRequest, Path, Query},
    identity::{Identity, TenantId},
    module::Api,
    text::Text,
};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::{EndpointState, invalid_cursor, page};
use crate::outbound::{
    endpoint::{EndpointStatus, WebhookEndpointId},
    operator::TenantWebhookEndpoint,
    store::endpoints::EndpointFilter,
};

/// Returns the routes under `/api/v1/admin/webhooks`.
pub(super) fn api() -> Api<EndpointState> {
    Api::new().routes(routes!(list)).routes(routes!(update))
}

#[derive(Deserialize, Validate, IntoParams)]
#[into_params(parameter_in = Query)]
struct TenantEndpointListQuery {
    /// The maximum number of items. Default: 20.
    #[garde(inner(range(min = 1, max = 100)))]
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
    /// `next_cursor` of the previous page.
    #[garde(skip)]
    cursor: Option<String>,
    /// Only endpoints with this status.
    #[garde(skip)]
    status: Option<EndpointStatus>,
    /// Only endpoints of this tenant.
    #[garde(skip)]
    #[param(value_type = Option<String>, format = Uuid)]
    tenant_id: Option<TenantId>,
}

/// List the webhook endpoints of all tenants
///
/// In the order of their creation.
#[utoipa::path(get, path = "/endpoints", operation_id = "list_webhook_endpoints", params(TenantEndpointListQuery),
    responses((status = 200, body = CursorPage<TenantWebhookEndpoint>)))]
async fn list(
    State(endpoints): State<EndpointState>,
    Query(query): Query<TenantEndpointListQuery>,
) -> Result<Json<CursorPage<TenantWebhookEndpoint>>, Error> {
    let TenantEndpointListQuery { limit, cursor, status, tenant_id } = query;
    let after = cursor.map(|cursor| cursor.parse().map_err(|_| invalid_cursor())).transpose()?;
    let limit = limit.unwrap_or(PageRequest::DEFAULT_SIZE);
    let filter = EndpointFilter { tenant: tenant_id, status };
    let items = endpoints.list_all(filter, after, limit + 1).await?;
    Ok(Json(page(items, limit, |last| last.id.to_string())))
}

/// A change of a tenant's endpoint.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
struct TenantWebhookEndpointUpdate {
    /// Whether events are sent to the endpoint.
    enabled: bool,
    /// The reason, for the audit log of the tenant.
    reason: Option<Text<0, 500>>,
}

/// Disable or enable a webhook endpoint of a tenant
///
/// An endpoint that an operator has disabled can only be enabled by an operator. Deliveries that wait are skipped.
#[utoipa::path(patch, path = "/endpoints/{id}", operation_id = "update_webhook_endpoint",
    request_body = TenantWebhookEndpointUpdate,
    params(("id" = String, Path, format = Uuid, description = "The endpoint.")), responses(
    (status = 200, body = TenantWebhookEndpoint),
    (status = 404, description = "There is no such endpoint.")))]
async fn update(
    State(endpoints): State<EndpointState>,
    caller: Identity,
    Path(id): Path<WebhookEndpointId>,
    Json(update): Json<TenantWebhookEndpointUpdate>,
) -> Result<Json<TenantWebhookEndpoint>, Error> {
    let TenantWebhookEndpointUpdate { enabled, reason } = update;
    Ok(Json(endpoints.set_enabled(&caller, id, enabled, reason.map(String::from)).await?))
}
