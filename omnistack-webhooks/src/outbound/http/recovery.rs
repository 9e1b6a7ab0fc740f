//! The routes that send the events of a period again.

use axum::extract::State;
use garde::Validate;
use omnistack_core::{
    clock::Timestamp,
    http::{Error, Json, Path},
    identity::Identity,
    module::Api,
};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::EndpointState;
use crate::outbound::{endpoint::WebhookEndpointId, recover::WebhookRecovery, store::recovery::MessagePeriod};

/// Returns the routes under `/api/v1/app/webhooks/endpoints/{id}`.
pub(super) fn api() -> Api<EndpointState> {
    Api::new().routes(routes!(recover)).routes(routes!(replay))
}

/// A period in which events were published.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
struct WebhookPeriod {
    /// The beginning of the period.
    since: Timestamp,
    /// The end of the period, which is not part of it.
    until: Timestamp,
}

impl From<WebhookPeriod> for MessagePeriod {
    fn from(period: WebhookPeriod) -> Self {
        Self { since: period.since, until: period.until }
    }
}

/// Recover webhook deliveries
///
/// Sends the events of a period again that the endpoint has not received: deliveries that have failed, that were
/// skipped while the endpoint was disabled, or that were never created. At most 5,000 at a time. The time of the
/// response grows with the number of the tenant's events in the period. Needs `webhooks:write`.
#[utoipa::path(post, path = "/endpoints/{id}/recover", operation_id = "recover_webhook_deliveries",
    request_body = WebhookPeriod,
    params(("id" = String, Path, format = Uuid, description = "The endpoint.")), responses(
    (status = 200, description = "The number of deliveries that are due.", body = WebhookRecovery),
    (status = 404, description = "The tenant has no such endpoint."),
    (status = 409, description = "`WEBHOOK_ENDPOINT_DISABLED`: enable the endpoint first."),
    (status = 422, description = "`VALIDATION_FAILED`: the period is empty.")))]
async fn recover(
    State(endpoints): State<EndpointState>,
    caller: Identity,
    Path(id): Path<WebhookEndpointId>,
    Json(period): Json<WebhookPeriod>,
) -> Result<Json<WebhookRecovery>, Error> {
    Ok(Json(endpoints.recover(&caller, id, period.into()).await?))
}

/// Replay missing webhook events
///
/// Sends the events of a period for which the endpoint has no delivery, for example because it was created later or did
/// not receive their type. At most 5,000 at a time. The time of the response grows with the number of the tenant's
/// events in the period. Needs `webhooks:write`.
#[utoipa::path(post, path = "/endpoints/{id}/replay", operation_id = "replay_missing_webhook_events",
    request_body = WebhookPeriod,
    params(("id" = String, Path, format = Uuid, description = "The endpoint.")), responses(
    (status = 200, description = "The number of deliveries that are due.", body = WebhookRecovery),
    (status = 404, description = "The tenant has no such endpoint."),
    (status = 409, description = "`WEBHOOK_ENDPOINT_DISABLED`: enable the endpoint first."),
    (status = 422, description = "`VALIDATION_FAILED`: the period is empty.")))]
async fn replay(
    State(endpoints): State<EndpointState>,
    caller: Identity,
    Path(id): Path<WebhookEndpointId>,
    Json(period): Json<WebhookPeriod>,
) -> Result<Json<WebhookRecovery>, Error> {
    Ok(Json(endpoints.replay_missing(&caller, id, period.into()).await?))
}
