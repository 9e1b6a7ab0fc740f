//! The POST back-channel of event streams. A request may arrive at any replica, which passes the commands to that of the
//! connection.

use axum::extract::State;
use garde::Validate;
use http::request::Parts;
use omnistack_core::{
    http::{Error, ErrorEnvelope, Json, StatusCode},
    module::Api,
    text::Text,
};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{CredentialQuery, TransportState};

/// Returns the route `/api/v1/app/emulation`.
pub(super) fn api() -> Api<TransportState> {
    Api::new().routes(routes!(send))
}

/// Commands of a client whose connection is an event stream.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
struct EmulationRequest {
    /// The `session` of the connect result, which is a secret.
    session: Text<0, 100>,
    /// The `node` of the connect result.
    node: Text<0, 100>,
    /// Commands, a line of JSON each.
    data: Text<0, 16_777_216>,
}

/// Send commands of an event stream
///
/// Commands of a client that is connected by `/api/v1/app/sse`. The replies are events of the stream. The session in
/// the request is the credential; a request that is signed in must be of the user who has opened the stream.
#[utoipa::path(post, path = "/", operation_id = "send_realtime_commands", request_body = EmulationRequest, responses(
    (status = 204, description = "The commands are passed to the connection."),
    (status = 404, body = ErrorEnvelope, description = "The connection has ended: connect again."),
    (status = 422, body = ErrorEnvelope),
    (status = 503, body = ErrorEnvelope, description = "The replica of the connection can't be reached now."),
))]
async fn send(
    State(state): State<TransportState>,
    request: Parts,
    Json(commands): Json<EmulationRequest>,
) -> Result<StatusCode, Error> {
    let caller = state.caller(&request, &CredentialQuery::default()).await?;
    let caller = caller.map(|(identity, _)| identity.user.to_string()).unwrap_or_default();
    let EmulationRequest { session, node, data } = commands;
    let is_passed = if *node == *state.hub.node() {
        state.hub.commands(&session, &caller, data.into())
    } else {
        state.hub.forward_commands(node.into(), session.into(), caller, data.into()).await?
    };
    if is_passed { Ok(StatusCode::NO_CONTENT) } else { Err(Error::not_found("the connection")) }
}
