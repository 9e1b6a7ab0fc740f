//! The routes of the inbox for providers and for tenants.

#![expect(unused_qualifications, reason = "the derive macros for queries generate qualified paths")]

use axum::{Extension, extract::State};
use garde::Validate;
use omnistack_core::{
    http::{CursorPage, Error, ErrorEnvelope, Json, PageRequest, Path, Query, layer::ClientAddr},
    identity::{Identity, TenantId},
    module::Api,
    webhook::{IncomingWebhook, WebhookReceipt, WebhookStatus},
};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::routes;

use super::{list::InboxFilter, model::WebhookLogEntry, receive::DurableInbox, store::InboxStore};

/// Returns the routes under `/api/v1/public/webhooks`.
pub(super) fn public() -> Api<DurableInbox> {
    Api::new().routes(routes!(receive)).routes(routes!(receive_for_tenant))
}

/// Returns the route under `/api/v1/app/webhooks`.
pub(super) fn app() -> Api<InboxStore> {
    Api::new().routes(routes!(log))
}

/// Receive a webhook
///
/// A provider sends its events here. The event is stored before the response, and processed afterwards. A repetition of
/// an event gets the status `duplicate`.
#[utoipa::path(post, path = "/{source}", operation_id = "receive_webhook",
    params(("source" = String, Path, description = "The name of the source, such as `stripe`.")),
    request_body(content = serde_json::Value, content_type = "application/json", description = "The event, as it is signed."),
    responses(
    (status = 200, body = WebhookReceipt, description = "The event is stored."),
    (status = 400, body = ErrorEnvelope, description = "The request is not verified."),
    (status = 404, body = ErrorEnvelope, description = "There is no such source."),
    (status = 413, body = ErrorEnvelope, description = "The body is larger than `WEBHOOKS_BODY_LIMIT`."),
    (status = 422, body = ErrorEnvelope, description = "The request is verified, and its body contains no event."),
    (status = 429, body = ErrorEnvelope, description = "Too many requests of this address were not verified."),
    (status = 503, body = ErrorEnvelope, description = "The request could not be verified or stored now."),
))]
async fn receive(
    State(inbox): State<DurableInbox>,
    Path(source): Path<String>,
    client: Option<Extension<ClientAddr>>,
    incoming: IncomingWebhook,
) -> Result<Json<WebhookReceipt>, Error> {
    let client = client.map(|Extension(client)| client.0);
    Ok(Json(inbox.receive_from(client, &source, None, incoming).await?))
}

/// Receive a webhook of a tenant
///
/// Like the route without a tenant, for an account with the provider that belongs to a tenant. The signature does not
/// cover the tenant: with a secret of the source, events can be sent for every tenant. An event is stored once, for the
/// tenant of its first request.
#[utoipa::path(post, path = "/{source}/{tenant}", operation_id = "receive_tenant_webhook",
    params(
        ("source" = String, Path, description = "The name of the source, such as `stripe`."),
        ("tenant" = String, Path, format = Uuid, description = "The id of the tenant."),
    ),
    request_body(content = serde_json::Value, content_type = "application/json", description = "The event, as it is signed."),
    responses(
    (status = 200, body = WebhookReceipt, description = "The event is stored."),
    (status = 400, body = ErrorEnvelope, description = "The request is not verified."),
    (status = 404, body = ErrorEnvelope, description = "There is no such source."),
    (status = 413, body = ErrorEnvelope, description = "The body is larger than `WEBHOOKS_BODY_LIMIT`."),
    (status = 422, body = ErrorEnvelope, description = "The request is verified, and its body contains no event."),
    (status = 429, body = ErrorEnvelope, description = "Too many requests of this address were not verified."),
    (status = 503, body = ErrorEnvelope, description = "The request could not be verified or stored now."),
))]
async fn receive_for_tenant(
    State(inbox): State<DurableInbox>,
    Path((source, tenant)): Path<(String, TenantId)>,
    client: Option<Extension<ClientAddr>>,
    incoming: IncomingWebhook,
) -> Result<Json<WebhookReceipt>, Error> {
    let client = client.map(|Extension(client)| client.0);
    Ok(Json(inbox.receive_from(client, &source, Some(tenant), incoming).await?))
}

#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct WebhookLogQuery {
    /// Only webhooks of the source with this name. The time of the response grows with the number of newer webhooks of
    /// other sources.
    #[garde(length(chars, max = 100))]
    #[param(max_length = 100)]
    service_name: Option<String>,
    /// Only webhooks with this status; with `duplicate`, those that the provider has sent again. The time of the
    /// response grows with the number of newer webhooks with other statuses.
    #[garde(skip)]
    status: Option<WebhookStatus>,
    /// The largest number of items to return, 1 to 100. Default: 20.
    #[garde(range(min = 1, max = 100))]
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
    /// The `next_cursor` of the previous page.
    #[garde(length(chars, max = 100))]
    #[param(max_length = 100)]
    cursor: Option<String>,
}

/// List received webhooks
///
/// Those that name the caller's tenant, newest first.
#[utoipa::path(get, path = "/logs", operation_id = "list_received_webhooks", params(WebhookLogQuery), responses(
    (status = 200, body = CursorPage<WebhookLogEntry>),
    (status = 422, body = ErrorEnvelope),
))]
async fn log(
    State(store): State<InboxStore>,
    caller: Identity,
    Query(query): Query<WebhookLogQuery>,
) -> Result<Json<CursorPage<WebhookLogEntry>>, Error> {
    let tenant = caller.require_tenant()?;
    let WebhookLogQuery { service_name, status, limit, cursor } = query;
    let filter = InboxFilter { source: service_name, status, ..InboxFilter::default() };
    let limit = limit.unwrap_or(PageRequest::DEFAULT_SIZE);
    Ok(Json(store.page(&filter, Some(tenant), cursor.as_deref(), limit).await?))
}
