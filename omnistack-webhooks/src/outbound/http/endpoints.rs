//! The routes of endpoints.

#![expect(unused_qualifications, reason = "the derive macros for queries generate qualified paths")]

use std::collections::BTreeMap;

use axum::extract::State;
use garde::Validate;
use omnistack_core::{
    http::{CursorPage, Error, Json, PageRequest, Patch, Path, Query, StatusCode},
    identity::{Identity, Require},
    module::Api,
    text::Text,
};
use serde::{Deserialize, Serialize};
use utoipa::{
    IntoParams, ToSchema,
    openapi::{
        ObjectBuilder, Schema,
        schema::{SchemaType, Type},
    },
};
use utoipa_axum::routes;

use super::{EndpointState, MAX_FRESH_SIGN_IN_AGE, invalid_cursor, page};
use crate::{
    outbound::{
        endpoint::{EndpointStatus, WebhookEndpoint, WebhookEndpointId},
        endpoints::{EndpointChanges, EndpointWithSecret, NewEndpoint},
    },
    signing::SigningScheme,
};

/// Returns the routes whose responses have no secrets.
pub(super) fn api() -> Api<EndpointState> {
    Api::new().routes(routes!(list)).routes(routes!(get, update, delete))
}

/// Returns the routes whose responses have secrets. A secret outlives the session in which it is created, so rotating
/// one needs a fresh sign-in.
pub(super) fn with_secrets() -> Api<EndpointState> {
    Api::new().routes(routes!(create)).require(Require::fresh_sign_in(MAX_FRESH_SIGN_IN_AGE), routes!(rotate))
}

#[derive(Deserialize, Validate, IntoParams)]
#[into_params(parameter_in = Query)]
struct EndpointListQuery {
    /// The maximum number of items. Default: 20.
    #[garde(inner(range(min = 1, max = 100)))]
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
    /// `next_cursor` of the previous page.
    #[garde(skip)]
    cursor: Option<String>,
}

/// List webhook endpoints
///
/// Lists the endpoints of the current tenant in the order of their creation. Needs `webhooks:read`.
#[utoipa::path(get, path = "/endpoints", operation_id = "list_webhook_endpoints", params(EndpointListQuery),
    responses((status = 200, body = CursorPage<WebhookEndpoint>)))]
async fn list(
    State(endpoints): State<EndpointState>,
    caller: Identity,
    Query(query): Query<EndpointListQuery>,
) -> Result<Json<CursorPage<WebhookEndpoint>>, Error> {
    let after = query.cursor.map(|cursor| cursor.parse().map_err(|_| invalid_cursor())).transpose()?;
    let limit = query.limit.unwrap_or(PageRequest::DEFAULT_SIZE);
    let items = endpoints.list(caller.require_tenant()?, after, limit + 1).await?;
    Ok(Json(page(items, limit, |last| last.id.to_string())))
}

/// An endpoint to create.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
struct NewWebhookEndpoint {
    /// The URL to which events are sent. In production it begins with `https://`.
    #[schema(max_length = 2000)]
    url: String,
    /// A description.
    description: Option<Text<0, 500>>,
    /// The types of events to send; `["*"]` for all.
    #[garde(length(min = 1, max = 200))]
    #[schema(min_items = 1, max_items = 200)]
    events: Vec<Text<1, 100>>,
    /// The scheme by which events are signed. It can't be changed later.
    #[serde(default)]
    scheme: SigningScheme,
    /// Custom headers, such as `Authorization`, at most 20. Their values are not shown again.
    #[serde(default)]
    headers: BTreeMap<String, Text<0, 2000>>,
    /// The largest number of requests a second. If absent, there is no limit.
    #[garde(inner(range(min = 1, max = 1000)))]
    #[schema(minimum = 1, maximum = 1000)]
    rate_per_second: Option<u32>,
}

/// An endpoint with its secret, which is shown only once.
#[derive(Serialize, ToSchema)]
struct WebhookEndpointWithSecret {
    #[serde(flatten)]
    endpoint: WebhookEndpoint,
    /// The key that verifies events: the secret `whsec_…` of the scheme `v1`, or the public key `whpk_…` of `v1a`.
    secret: String,
}

impl From<EndpointWithSecret> for WebhookEndpointWithSecret {
    fn from((endpoint, secret): EndpointWithSecret) -> Self {
        Self { endpoint, secret }
    }
}

/// Create a webhook endpoint
///
/// Events that are published from now on are sent to it. The secret is only in this response. Needs `webhooks:write`.
#[utoipa::path(post, path = "/endpoints", operation_id = "create_webhook_endpoint",
    request_body = NewWebhookEndpoint, responses(
    (status = 201, description = "The endpoint, with its secret.", body = WebhookEndpointWithSecret),
    (status = 403, description = "`IMPERSONATION_REFUSED`: the endpoint would outlive the impersonation."),
    (status = 409, description = "`TOO_MANY_WEBHOOK_ENDPOINTS`"),
    (status = 422, description = "`VALIDATION_FAILED`: the URL, a type of event or a header is not accepted.")))]
async fn create(
    State(endpoints): State<EndpointState>,
    caller: Identity,
    Json(new): Json<NewWebhookEndpoint>,
) -> Result<(StatusCode, Json<WebhookEndpointWithSecret>), Error> {
    let NewWebhookEndpoint { url, description, events, scheme, headers, rate_per_second } = new;
    let description = description.map(|text| text.to_string()).unwrap_or_default();
    let headers = headers.into_iter().map(|(name, value)| (name, value.to_string())).collect();
    let new = NewEndpoint { url, description, events: super::texts(events), scheme, headers, rate_per_second };
    Ok((StatusCode::CREATED, Json(endpoints.create(&caller, new).await?.into())))
}

/// Get a webhook endpoint
///
/// Needs `webhooks:read`.
#[utoipa::path(get, path = "/endpoints/{id}", operation_id = "get_webhook_endpoint",
    params(("id" = String, Path, format = Uuid, description = "The endpoint.")), responses(
    (status = 200, body = WebhookEndpoint),
    (status = 404, description = "The tenant has no such endpoint.")))]
async fn get(
    State(endpoints): State<EndpointState>,
    caller: Identity,
    Path(id): Path<WebhookEndpointId>,
) -> Result<Json<WebhookEndpoint>, Error> {
    Ok(Json(endpoints.get(caller.require_tenant()?, id).await?))
}

/// A status that a tenant can set.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum NewWebhookEndpointStatus {
    /// Events are sent.
    Enabled,
    /// Events wait until the endpoint is enabled again.
    Paused,
}

impl From<NewWebhookEndpointStatus> for EndpointStatus {
    fn from(status: NewWebhookEndpointStatus) -> Self {
        match status {
            NewWebhookEndpointStatus::Enabled => Self::Enabled,
            NewWebhookEndpointStatus::Paused => Self::Paused,
        }
    }
}

/// Returns the schema of new values of headers. The derive macro has none for a map whose values may be `null`.
fn header_changes() -> Schema {
    let types = SchemaType::from_iter([Type::String, Type::Null]);
    let value = ObjectBuilder::new().schema_type(types).max_length(Some(2000));
    ObjectBuilder::new().additional_properties(Some(value)).into()
}

/// Changes of an endpoint. Absent fields keep their values.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
struct WebhookEndpointUpdate {
    /// The URL to which events are sent.
    #[schema(max_length = 2000)]
    url: Option<String>,
    /// A description.
    description: Option<Text<0, 500>>,
    /// The types of events to send; `["*"]` for all.
    #[garde(inner(length(min = 1, max = 200)))]
    #[schema(min_items = 1, max_items = 200)]
    events: Option<Vec<Text<1, 100>>>,
    /// New values of custom headers; `null` removes a header. Others keep their values.
    #[schema(schema_with = header_changes, required = false)]
    headers: Option<BTreeMap<String, Option<Text<0, 2000>>>>,
    /// The largest number of requests a second; `null` for no limit.
    #[serde(default)]
    #[garde(inner(range(min = 1, max = 1000)))]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    rate_per_second: Patch<u32>,
    /// Enables a paused or disabled endpoint, or pauses it. Events that were published while it was disabled are not
    /// sent automatically; `recover` sends them.
    status: Option<NewWebhookEndpointStatus>,
}

/// Change a webhook endpoint
///
/// Needs `webhooks:write`.
#[utoipa::path(patch, path = "/endpoints/{id}", operation_id = "update_webhook_endpoint",
    request_body = WebhookEndpointUpdate,
    params(("id" = String, Path, format = Uuid, description = "The endpoint.")), responses(
    (status = 200, body = WebhookEndpoint),
    (status = 403, description = "`IMPERSONATION_REFUSED`: the change would outlive the impersonation."),
    (status = 404, description = "The tenant has no such endpoint."),
    (status = 409, description = "`DISABLED_BY_OPERATOR`: only an operator can enable the endpoint."),
    (status = 422, description = "`VALIDATION_FAILED`: the URL, a type of event or a header is not accepted.")))]
async fn update(
    State(endpoints): State<EndpointState>,
    caller: Identity,
    Path(id): Path<WebhookEndpointId>,
    Json(update): Json<WebhookEndpointUpdate>,
) -> Result<Json<WebhookEndpoint>, Error> {
    let changes = EndpointChanges {
        url: update.url,
        description: update.description.map(|text| text.to_string()),
        events: update.events.map(super::texts),
        headers: update.headers.map(|headers| {
            headers.into_iter().map(|(name, value)| (name, value.map(|value| value.to_string()))).collect()
        }),
        rate_per_second: update.rate_per_second.into_nested_option(),
        status: update.status.map(Into::into),
    };
    Ok(Json(endpoints.update(&caller, id, changes).await?))
}

/// Delete a webhook endpoint
///
/// Deletes it with its deliveries. It is not called again, except for requests that have begun. Needs `webhooks:write`.
#[utoipa::path(delete, path = "/endpoints/{id}", operation_id = "delete_webhook_endpoint",
    params(("id" = String, Path, format = Uuid, description = "The endpoint.")), responses(
    (status = 204, description = "Deleted."),
    (status = 404, description = "The tenant has no such endpoint.")))]
async fn delete(
    State(endpoints): State<EndpointState>,
    caller: Identity,
    Path(id): Path<WebhookEndpointId>,
) -> Result<StatusCode, Error> {
    endpoints.delete(&caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Rotate the secret of a webhook endpoint
///
/// Returns a new secret. Events are signed with both secrets for `WEBHOOKS_SECRET_OVERLAP`, 24 hours by default. Needs
/// `webhooks:write` and a sign-in within the last 10 minutes.
#[utoipa::path(post, path = "/endpoints/{id}/secret/rotate", operation_id = "rotate_webhook_secret",
    params(("id" = String, Path, format = Uuid, description = "The endpoint.")), responses(
    (status = 200, description = "The endpoint, with its new secret.", body = WebhookEndpointWithSecret),
    (status = 401, description = "`REAUTHENTICATION_REQUIRED`: the sign-in is older than 10 minutes."),
    (status = 403, description = "`IMPERSONATION_REFUSED`: the secret would outlive the impersonation."),
    (status = 404, description = "The tenant has no such endpoint.")))]
async fn rotate(
    State(endpoints): State<EndpointState>,
    caller: Identity,
    Path(id): Path<WebhookEndpointId>,
) -> Result<Json<WebhookEndpointWithSecret>, Error> {
    Ok(Json(endpoints.rotate(&caller, id).await?.into()))
}
