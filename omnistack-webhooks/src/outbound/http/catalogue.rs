//! The public route of the catalogue.

use axum::extract::State;
use omnistack_core::{
    http::Json,
    module::Api,
    webhook::{WebhookCatalogue, WebhookEventType},
};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

/// Returns the route under `/api/v1/public/webhooks`.
pub(super) fn api() -> Api<WebhookCatalogue> {
    Api::new().routes(routes!(list))
}

/// The types of events that tenants can receive by webhook.
#[derive(Serialize, ToSchema)]
pub(super) struct WebhookEventTypes {
    /// The types, sorted by name.
    pub(super) types: Vec<WebhookEventType>,
}

/// List the types of webhook events
///
/// Each type with the JSON Schema of its data, an example and its version.
#[utoipa::path(get, path = "/catalogue", operation_id = "list_webhook_event_types",
    responses((status = 200, body = WebhookEventTypes)))]
async fn list(State(catalogue): State<WebhookCatalogue>) -> Json<WebhookEventTypes> {
    Json(WebhookEventTypes { types: catalogue.types() })
}
