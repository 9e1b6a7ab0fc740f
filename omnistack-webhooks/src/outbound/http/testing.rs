//! The route that tests an endpoint.

use axum::extract::State;
use garde::Validate;
use omnistack_core::{
    http::{Error, Json},
    identity::Identity,
    module::Api,
    text::Text,
};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::EndpointState;
use crate::outbound::{
    endpoint::WebhookEndpointId,
    ping::{EndpointTest, WebhookTestResult},
};

/// Returns the route under `/api/v1/app/webhooks/test`.
pub(super) fn api() -> Api<EndpointState> {
    Api::new().routes(routes!(test))
}

/// A test of an endpoint.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
struct WebhookTest {
    /// The endpoint. If absent, the default endpoint, which `PUT /configure` has created.
    #[schema(value_type = Option<String>, format = Uuid)]
    endpoint_id: Option<WebhookEndpointId>,
    /// The type of the event, whose example is sent. If absent, `webhook.ping`.
    event_type: Option<Text<1, 100>>,
    /// The name of an inbound service, such as `stripe`, which a `webhook.ping` then names.
    service_name: Option<Text<1, 100>>,
}

/// Test a webhook endpoint
///
/// Sends the example of an event now, once, and returns the result. The request is signed like all others. It is sent
/// to a paused endpoint as well, and to one that the app has disabled. Needs `webhooks:write`.
#[utoipa::path(post, path = "/test", operation_id = "test_webhook_endpoint", request_body = WebhookTest, responses(
    (status = 200, description = "The result, of a failure too.", body = WebhookTestResult),
    (status = 404, description = "The tenant has no such endpoint."),
    (status = 409, description = "`DISABLED_BY_OPERATOR`: only an operator can enable the endpoint."),
    (status = 422, description = "`VALIDATION_FAILED`: the type or the service is unknown.")))]
async fn test(
    State(endpoints): State<EndpointState>,
    caller: Identity,
    Json(test): Json<WebhookTest>,
) -> Result<Json<WebhookTestResult>, Error> {
    let WebhookTest { endpoint_id, event_type, service_name } = test;
    let [kind, service] = [event_type, service_name].map(|text| text.map(|text| text.to_string()));
    let test = EndpointTest { endpoint: endpoint_id, kind, service };
    Ok(Json(endpoints.test(caller.require_tenant()?, test).await?))
}
