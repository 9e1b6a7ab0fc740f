//! The routes of operators: `/api/v1/admin/realtime`.

#![expect(unused_qualifications, reason = "the derive macros for queries generate qualified paths")]

mod actions;
mod model;

use axum::extract::State;
use garde::Validate;
use omnistack_core::{
    audit::AuditLog,
    db::Db,
    http::{Error, ErrorEnvelope, Json, Query, StatusCode},
    identity::{Identity, TenantId, UserId},
    module::{Api, Mount, Registry},
    realtime::RealtimePublisher,
    text::Text,
};
use serde::Deserialize;
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use crate::{
    channel::Channels,
    hub::{ConnectionFilter, Hub},
};
use actions::BroadcastTarget;
use model::{RealtimeBroadcast, RealtimeConnection, RealtimeStats};

/// Number of connections in a response, unless the request has a limit.
const DEFAULT_CONNECTIONS: u32 = 100;

/// Registers the routes.
pub(crate) fn register(registry: &mut Registry, channels: Channels) {
    registry.routes(Mount::admin("/realtime"), api(), move |ctx| {
        Ok(RealtimeAdmin {
            hub: ctx.get()?,
            channels: channels.clone(),
            realtime: ctx.get()?,
            // The entries of all tenants are the app's, also if each tenant has a database.
            db: ctx.get::<Db>()?.app_database(),
            log: ctx.get()?,
        })
    });
}

/// State of the routes.
#[derive(Clone)]
struct RealtimeAdmin {
    hub: Hub,
    channels: Channels,
    realtime: RealtimePublisher,
    db: Db,
    log: AuditLog,
}

fn api() -> Api<RealtimeAdmin> {
    Api::new()
        .routes(routes!(stats))
        .routes(routes!(connections))
        .routes(routes!(disconnect))
        .routes(routes!(broadcast))
}

/// Read the numbers of realtime
///
/// The connections and channels of the process that responds, and the rules of channels, which are the same in all
/// processes.
#[utoipa::path(get, path = "/stats", operation_id = "read_realtime_stats", responses(
    (status = 200, body = RealtimeStats),
))]
async fn stats(State(state): State<RealtimeAdmin>) -> Json<RealtimeStats> {
    Json(RealtimeStats::new(state.hub.stats(), state.channels.table()))
}

#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct RealtimeConnectionsQuery {
    /// Only connections of this user.
    #[garde(skip)]
    #[param(value_type = Option<String>, format = "uuid")]
    user: Option<UserId>,
    /// Only connections of this tenant.
    #[garde(skip)]
    #[param(value_type = Option<String>, format = "uuid")]
    tenant: Option<TenantId>,
    /// The largest number of items to return, 1 to 1000. Default: 100.
    #[garde(range(min = 1, max = 1000))]
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
}

/// List the connections of a process
///
/// The open connections of the process that responds, those that were opened first come first.
#[utoipa::path(get, path = "/connections", operation_id = "list_realtime_connections",
    params(RealtimeConnectionsQuery), responses(
    (status = 200, body = Vec<RealtimeConnection>),
    (status = 422, body = ErrorEnvelope),
))]
async fn connections(
    State(state): State<RealtimeAdmin>,
    Query(query): Query<RealtimeConnectionsQuery>,
) -> Json<Vec<RealtimeConnection>> {
    let RealtimeConnectionsQuery { user, tenant, limit } = query;
    let limit = usize::try_from(limit.unwrap_or(DEFAULT_CONNECTIONS)).unwrap_or(usize::MAX);
    let found = state.hub.connections(&ConnectionFilter { user, tenant, client: None }, limit);
    Json(found.into_iter().map(RealtimeConnection::from).collect())
}

/// The connections to close: those that match all fields that are set.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
struct RealtimeDisconnect {
    /// The user.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = Uuid)]
    user: Option<UserId>,
    /// The tenant.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = Uuid)]
    tenant: Option<TenantId>,
    /// The id of one connection.
    #[serde(default)]
    connection: Option<Text<1, 100>>,
    /// Whether the clients may connect again at once. Default: no; their users have to open the app again.
    #[serde(default)]
    reconnect: bool,
    /// The reason, for the audit log.
    #[serde(default)]
    reason: Option<Text<0, 500>>,
}

/// Close connections
///
/// Closes the matching connections of all processes, and records that in the audit log. Set at least one of `user`,
/// `tenant` and `connection`. A client that is closed can sign in again: revoke its session as well to keep it out.
#[utoipa::path(post, path = "/disconnect", operation_id = "disconnect_realtime_connections",
    request_body = RealtimeDisconnect, responses(
    (status = 204, description = "The connections are being closed."),
    (status = 422, body = ErrorEnvelope),
    (status = 503, body = ErrorEnvelope, description = "The other processes can't be reached."),
))]
async fn disconnect(
    State(state): State<RealtimeAdmin>,
    caller: Identity,
    Json(request): Json<RealtimeDisconnect>,
) -> Result<StatusCode, Error> {
    let RealtimeDisconnect { user, tenant, connection, reconnect, reason } = request;
    let target = ConnectionFilter { user, tenant, client: connection.map(String::from) };
    state.disconnect(&caller, &target, reconnect, reason.map(String::from)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A message of an operator.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct RealtimeBroadcastMessage {
    /// Only the members of this tenant get it.
    #[garde(skip)]
    #[serde(default)]
    #[schema(value_type = Option<String>, format = Uuid)]
    tenant: Option<TenantId>,
    /// Only this user gets it.
    #[garde(skip)]
    #[serde(default)]
    #[schema(value_type = Option<String>, format = Uuid)]
    user: Option<UserId>,
    /// The content, as the clients get it.
    #[garde(skip)]
    #[schema(value_type = Object)]
    data: Value,
}

/// Send a message to clients
///
/// Sends a message to all signed-in users in the channel `broadcast`, to the members of a tenant in its channel
/// `tenant`, or to a user in the channel `user:ID`, and records that in the audit log. Clients that don't subscribe to
/// the channel don't get it.
#[utoipa::path(post, path = "/broadcast", operation_id = "broadcast_realtime_message",
    request_body = RealtimeBroadcastMessage, responses(
    (status = 202, body = RealtimeBroadcast),
    (status = 422, body = ErrorEnvelope),
))]
async fn broadcast(
    State(state): State<RealtimeAdmin>,
    caller: Identity,
    Json(request): Json<RealtimeBroadcastMessage>,
) -> Result<(StatusCode, Json<RealtimeBroadcast>), Error> {
    let RealtimeBroadcastMessage { tenant, user, data } = request;
    let sent = state.broadcast(&caller, BroadcastTarget::new(tenant, user)?, data).await?;
    Ok((StatusCode::ACCEPTED, Json(sent)))
}
