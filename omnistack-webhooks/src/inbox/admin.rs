//! The routes of the inbox for operators: `/api/v1/admin/webhooks`.

#![expect(unused_qualifications, reason = "the derive macros for queries generate qualified paths")]

use axum::extract::State;
use garde::Validate;
use omnistack_core::{
    clock::Timestamp,
    http::{CursorPage, Error, ErrorEnvelope, FieldError, Json, PageRequest, Path, Query, StatusCode},
    identity::{Identity, TenantId},
    module::Api,
    text::Text,
    webhook::{DataEnvironment, WebhookId, WebhookStatus},
};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::{
    list::InboxFilter,
    model::{ReceivedWebhook, ReceivedWebhookDetails},
    poll::WebhookPoll,
    receive::DurableInbox,
    replay::{WebhookReplays, WebhooksReplayed},
};

/// State of the routes.
#[derive(Clone)]
pub(super) struct InboxAdmin {
    pub(super) inbox: DurableInbox,
    pub(super) replays: WebhookReplays,
}

/// Returns the routes that read.
pub(super) fn reads() -> Api<InboxAdmin> {
    Api::new().routes(routes!(list)).routes(routes!(get))
}

/// Returns the routes that replay webhooks and ask providers, which can take longer than others.
pub(super) fn actions() -> Api<InboxAdmin> {
    Api::new().routes(routes!(replay)).routes(routes!(replay_all)).routes(routes!(poll))
}

#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct WebhookEventsQuery {
    /// Only webhooks of the source with this name.
    #[garde(length(chars, max = 100))]
    #[param(max_length = 100)]
    source: Option<String>,
    /// Only webhooks with this status; with `duplicate`, those that the provider has sent again. With `processed` or
    /// `ignored`, the time of the response grows with the number of newer webhooks with other statuses.
    #[garde(skip)]
    status: Option<WebhookStatus>,
    /// Only events of this type, such as `invoice.paid`. The time of the response grows with the number of newer events
    /// of other types.
    #[garde(length(chars, max = 100))]
    #[param(max_length = 100)]
    r#type: Option<String>,
    /// Only events of this environment. The time of the response grows with the number of newer events of the other.
    #[garde(skip)]
    environment: Option<DataEnvironment>,
    /// Only webhooks of this tenant.
    #[garde(skip)]
    #[param(value_type = Option<String>, format = "uuid")]
    tenant: Option<TenantId>,
    /// Only the event with this id of the provider.
    #[garde(length(chars, max = 200))]
    #[param(max_length = 200)]
    event_id: Option<String>,
    /// Only webhooks received at this time or later.
    #[garde(skip)]
    since: Option<Timestamp>,
    /// Only webhooks received before this time.
    #[garde(skip)]
    until: Option<Timestamp>,
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
/// The newest come first.
#[utoipa::path(get, path = "/events", operation_id = "list_webhook_events", params(WebhookEventsQuery), responses(
    (status = 200, body = CursorPage<ReceivedWebhook>),
    (status = 422, body = ErrorEnvelope),
))]
async fn list(
    State(state): State<InboxAdmin>,
    Query(query): Query<WebhookEventsQuery>,
) -> Result<Json<CursorPage<ReceivedWebhook>>, Error> {
    let WebhookEventsQuery { source, status, r#type, environment, tenant, event_id, since, until, limit, cursor } =
        query;
    let filter = InboxFilter { source, status, kind: r#type, environment, tenant, event_id, since, until };
    let limit = limit.unwrap_or(PageRequest::DEFAULT_SIZE);
    Ok(Json(state.inbox.store().page(&filter, None, cursor.as_deref(), limit).await?))
}

fn no_webhook() -> Error {
    Error::not_found("the webhook")
}

/// Get a received webhook
///
/// With the headers and the body that the provider has sent.
#[utoipa::path(get, path = "/events/{id}", operation_id = "get_webhook_event",
    params(("id" = String, Path, format = Uuid)), responses(
    (status = 200, body = ReceivedWebhookDetails),
    (status = 404, body = ErrorEnvelope),
))]
async fn get(
    State(state): State<InboxAdmin>,
    Path(id): Path<WebhookId>,
) -> Result<Json<ReceivedWebhookDetails>, Error> {
    let stored = state.inbox.store().get(id).await?.ok_or_else(no_webhook)?;
    Ok(Json(stored.into()))
}

/// Replay a received webhook
///
/// It is processed again, from the stored bytes. An attempt that still waits is replaced.
#[utoipa::path(post, path = "/events/{id}/replay", operation_id = "replay_webhook_event",
    params(("id" = String, Path, format = Uuid)), responses(
    (status = 200, body = ReceivedWebhook),
    (status = 404, body = ErrorEnvelope),
))]
async fn replay(
    State(state): State<InboxAdmin>,
    caller: Identity,
    Path(id): Path<WebhookId>,
) -> Result<Json<ReceivedWebhook>, Error> {
    let row = state.replays.replay(id, &caller).await?.ok_or_else(no_webhook)?;
    Ok(Json(row.into()))
}

/// The webhooks to replay: those that match all fields that are set. At least one must be set.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
struct WebhookSelection {
    /// The name of the source.
    #[serde(default)]
    source: Option<Text<0, 100>>,
    /// The status; with `duplicate`, those that the provider has sent again.
    #[serde(default)]
    status: Option<WebhookStatus>,
    /// Received at this time or later.
    #[serde(default)]
    since: Option<Timestamp>,
    /// Received before this time.
    #[serde(default)]
    until: Option<Timestamp>,
}

/// Replay received webhooks
///
/// At most 10,000 are replayed: those that were received first. Webhooks of one object are processed in the order in
/// which they were received.
#[utoipa::path(post, path = "/events/replay", operation_id = "replay_webhook_events", request_body = WebhookSelection,
    responses((status = 200, body = WebhooksReplayed), (status = 422, body = ErrorEnvelope)))]
async fn replay_all(
    State(state): State<InboxAdmin>,
    caller: Identity,
    Json(selection): Json<WebhookSelection>,
) -> Result<Json<WebhooksReplayed>, Error> {
    let WebhookSelection { source, status, since, until } = selection;
    if source.is_none() && status.is_none() && since.is_none() && until.is_none() {
        let message = "is required, unless `source`, `status` or `until` is set";
        return Err(Error::invalid([FieldError::new("since", message)]));
    }
    let filter = InboxFilter { source: source.map(String::from), status, since, until, ..InboxFilter::default() };
    Ok(Json(state.replays.replay_all(filter, &caller).await?))
}

/// Ask a source for missed webhooks
///
/// The provider is asked for events that it could not deliver since it was last asked, at most a day before the first
/// time. This also happens once an hour.
#[utoipa::path(post, path = "/sources/{source}/poll", operation_id = "poll_webhook_source",
    params(("source" = String, Path, description = "The name of the source, such as `stripe`.")), responses(
    (status = 200, body = WebhookPoll),
    (status = 404, body = ErrorEnvelope),
    (status = 422, body = ErrorEnvelope, description = "The provider can't be asked."),
    (status = 502, body = ErrorEnvelope, description = "The provider has failed, or has not answered in time."),
))]
async fn poll(State(state): State<InboxAdmin>, Path(source): Path<String>) -> Result<Json<WebhookPoll>, Error> {
    state.inbox.poll(&source).await?.map(Json).ok_or_else(|| {
        let message = "this provider can't be asked for missed webhooks; replay them from its dashboard";
        Error::new(StatusCode::UNPROCESSABLE_ENTITY, "WEBHOOK_POLL_UNSUPPORTED", message)
    })
}
