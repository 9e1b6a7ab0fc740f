//! The routes of the configuration: an overview, and the simple form with a single endpoint.

use axum::extract::State;
use garde::Validate;
use omnistack_core::{
    config::PublicUrl,
    http::{Error, Json},
    identity::Identity,
    module::Api,
    text::Text,
    webhook::{WebhookEventType, WebhookSources},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::EndpointState;
use crate::outbound::{endpoint::WebhookEndpoint, log::WebhookMessageSummary, ping::WebhookTestResult};

/// Largest number of endpoints in the configuration: the greatest value of `WEBHOOKS_MAX_ENDPOINTS`.
const MAX_LISTED_ENDPOINTS: u32 = 1_000;

/// State of the overview.
#[derive(Clone)]
pub(super) struct ConfigurationState {
    pub(super) endpoints: EndpointState,
    pub(super) sources: WebhookSources,
    pub(super) public_url: PublicUrl,
}

/// Returns the route that reads.
pub(super) fn reading() -> Api<ConfigurationState> {
    Api::new().routes(routes!(get))
}

/// Returns the route that changes.
pub(super) fn changing() -> Api<EndpointState> {
    Api::new().routes(routes!(configure))
}

/// The URL at which the app receives the webhooks of a service for a tenant.
#[derive(Serialize, ToSchema)]
struct InboundWebhookUrl {
    /// The name of the service, such as `stripe`.
    service: &'static str,
    /// The URL to enter at the service.
    url: String,
}

/// The webhooks of a tenant.
#[derive(Serialize, ToSchema)]
struct WebhookConfiguration {
    /// The URLs at which the app receives webhooks for this tenant.
    inbound_urls: Vec<InboundWebhookUrl>,
    /// The types of events that endpoints can receive.
    event_types: Vec<WebhookEventType>,
    /// The endpoints.
    endpoints: Vec<WebhookEndpoint>,
    /// The last 100 events, the newest first.
    events: Vec<WebhookMessageSummary>,
}

/// Get the webhook configuration
///
/// The URLs for webhooks to this app, the types of events on offer, the endpoints that receive them, and the last 100
/// events. Needs `webhooks:read`.
#[utoipa::path(get, path = "/configure", operation_id = "get_webhook_configuration",
    responses((status = 200, body = WebhookConfiguration)))]
async fn get(State(state): State<ConfigurationState>, caller: Identity) -> Result<Json<WebhookConfiguration>, Error> {
    let ConfigurationState { endpoints, sources, public_url } = state;
    let tenant = caller.require_tenant()?;
    let inbound_url =
        |service| InboundWebhookUrl { service, url: format!("{public_url}/api/v1/public/webhooks/{service}/{tenant}") };
    Ok(Json(WebhookConfiguration {
        inbound_urls: sources.names().into_iter().map(inbound_url).collect(),
        event_types: endpoints.event_types(),
        endpoints: endpoints.list(tenant, None, MAX_LISTED_ENDPOINTS).await?,
        events: endpoints.messages(tenant).await?,
    }))
}

/// The endpoint of the simple form of configuration.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
struct WebhookConfigurationUpdate {
    /// The URL to which events are sent. In production it begins with `https://`.
    #[schema(max_length = 2000)]
    url: String,
    /// The types of events to send; `["*"]` for all.
    #[garde(length(min = 1, max = 200))]
    #[schema(min_items = 1, max_items = 200)]
    events: Vec<Text<1, 100>>,
    /// A description. If absent, it is kept.
    description: Option<Text<0, 500>>,
}

/// The endpoint that was saved.
#[derive(Serialize, ToSchema)]
struct ConfiguredWebhookEndpoint {
    /// The endpoint.
    endpoint: WebhookEndpoint,
    /// The secret that verifies events. Present only if the endpoint was created: it is not shown again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    secret: Option<String>,
    /// The result of the ping.
    ping: WebhookTestResult,
}

/// Configure the webhook endpoint
///
/// Creates the tenant's default endpoint, or replaces it and enables it. Before that, the event `webhook.ping` is sent
/// to the URL, and the endpoint is saved only if the response is 2xx. The ping of a new endpoint is signed with the
/// secret in the response, which the receiver does not have yet. Needs `webhooks:write`.
#[utoipa::path(put, path = "/configure", operation_id = "configure_webhooks",
    request_body = WebhookConfigurationUpdate, responses(
    (status = 200, description = "The endpoint was saved.", body = ConfiguredWebhookEndpoint),
    (status = 403, description = "`IMPERSONATION_REFUSED`: the endpoint would outlive the impersonation."),
    (status = 409, description = "`TOO_MANY_WEBHOOK_ENDPOINTS`, `DISABLED_BY_OPERATOR`, or a concurrent change."),
    (status = 422, description = "`WEBHOOK_PING_FAILED`, with the result in `details.ping`; or `VALIDATION_FAILED`.")))]
async fn configure(
    State(endpoints): State<EndpointState>,
    caller: Identity,
    Json(update): Json<WebhookConfigurationUpdate>,
) -> Result<Json<ConfiguredWebhookEndpoint>, Error> {
    let WebhookConfigurationUpdate { url, events, description } = update;
    let saved =
        endpoints.configure(&caller, url, super::texts(events), description.map(|text| text.to_string())).await?;
    Ok(Json(ConfiguredWebhookEndpoint { endpoint: saved.endpoint, secret: saved.secret, ping: saved.ping }))
}
