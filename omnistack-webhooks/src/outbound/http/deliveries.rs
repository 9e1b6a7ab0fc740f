//! The routes of the log of deliveries.

#![expect(unused_qualifications, reason = "the derive macros for queries generate qualified paths")]

use axum::extract::State;
use garde::Validate;
use omnistack_core::{
    clock::Timestamp,
    http::{CursorPage, Error, Json, PageRequest, Path, Query},
    identity::Identity,
    module::Api,
};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::routes;

use super::{EndpointState, invalid_cursor, page};
use crate::outbound::{
    endpoint::{WebhookDeliveryId, WebhookEndpointId},
    log::{DeliveryState, WebhookDelivery, WebhookDeliveryDetails},
    store::log::{DeliveryFilter, DeliveryPosition},
};

/// Returns the routes under `/api/v1/app/webhooks/deliveries` that read.
pub(super) fn api() -> Api<EndpointState> {
    Api::new().routes(routes!(list)).routes(routes!(get))
}

/// Returns the route that sends a delivery again.
pub(super) fn retrying() -> Api<EndpointState> {
    Api::new().routes(routes!(retry))
}

#[derive(Deserialize, Validate, IntoParams)]
#[into_params(parameter_in = Query)]
struct DeliveryListQuery {
    /// The maximum number of items. Default: 20.
    #[garde(inner(range(min = 1, max = 100)))]
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
    /// `next_cursor` of the previous page.
    #[garde(skip)]
    cursor: Option<String>,
    /// Only deliveries to this endpoint.
    #[garde(skip)]
    #[param(value_type = Option<String>, format = Uuid)]
    endpoint_id: Option<WebhookEndpointId>,
    /// Only deliveries in this state.
    #[garde(skip)]
    state: Option<DeliveryState>,
    /// Only events of this type. The time of the response grows with the number of newer events of other types.
    #[serde(rename = "type")]
    #[garde(inner(length(chars, max = 100)))]
    #[param(max_length = 100)]
    kind: Option<String>,
    /// Only events that were published at this time or later.
    #[garde(skip)]
    since: Option<Timestamp>,
}

/// Reads a cursor: the ids of the message and of the delivery.
fn position(cursor: &str) -> Result<DeliveryPosition, Error> {
    let read = || {
        let (message, delivery) = cursor.split_once('_')?;
        Some((message.parse().ok()?, delivery.parse().ok()?))
    };
    read().ok_or_else(invalid_cursor)
}

/// List webhook deliveries
///
/// Lists the deliveries of the current tenant, those of the newest events first. Needs `webhooks:read`.
#[utoipa::path(get, path = "/deliveries", operation_id = "list_webhook_deliveries", params(DeliveryListQuery),
    responses((status = 200, body = CursorPage<WebhookDelivery>)))]
async fn list(
    State(endpoints): State<EndpointState>,
    caller: Identity,
    Query(query): Query<DeliveryListQuery>,
) -> Result<Json<CursorPage<WebhookDelivery>>, Error> {
    let DeliveryListQuery { limit, cursor, endpoint_id, state, kind, since } = query;
    let before = cursor.as_deref().map(position).transpose()?;
    let limit = limit.unwrap_or(PageRequest::DEFAULT_SIZE);
    let filter = DeliveryFilter { endpoint: endpoint_id, state, kind, since };
    let items = endpoints.deliveries(caller.require_tenant()?, &filter, before, limit + 1).await?;
    let CursorPage { items, next_cursor } =
        page(items, limit, |((message, delivery), _)| format!("{message}_{delivery}"));
    Ok(Json(CursorPage { items: items.into_iter().map(|(_, delivery)| delivery).collect(), next_cursor }))
}

/// Get a webhook delivery
///
/// The delivery with the body of its requests and its attempts. Needs `webhooks:read`.
#[utoipa::path(get, path = "/deliveries/{id}", operation_id = "get_webhook_delivery",
    params(("id" = String, Path, format = Uuid, description = "The delivery.")), responses(
    (status = 200, body = WebhookDeliveryDetails),
    (status = 404, description = "The tenant has no such delivery.")))]
async fn get(
    State(endpoints): State<EndpointState>,
    caller: Identity,
    Path(id): Path<WebhookDeliveryId>,
) -> Result<Json<WebhookDeliveryDetails>, Error> {
    Ok(Json(endpoints.delivery(caller.require_tenant()?, id).await?))
}

/// Retry a webhook delivery
///
/// Makes it due now, with all its attempts, also if it was delivered before. A failing endpoint gets it after its
/// pause, which is at most a minute. Needs `webhooks:write`.
#[utoipa::path(post, path = "/deliveries/{id}/retry", operation_id = "retry_webhook_delivery",
    params(("id" = String, Path, format = Uuid, description = "The delivery.")), responses(
    (status = 200, description = "The delivery, which is due.", body = WebhookDelivery),
    (status = 404, description = "The tenant has no such delivery."),
    (status = 409, description = "`WEBHOOK_ENDPOINT_DISABLED`, or `DELIVERY_IN_PROGRESS`: it is being sent.")))]
async fn retry(
    State(endpoints): State<EndpointState>,
    caller: Identity,
    Path(id): Path<WebhookDeliveryId>,
) -> Result<Json<WebhookDelivery>, Error> {
    Ok(Json(endpoints.retry(&caller, id).await?))
}
