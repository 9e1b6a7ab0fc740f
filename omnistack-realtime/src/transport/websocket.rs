//! WebSockets (RFC 6455). A connection is one task with small buffers: it reads a frame and passes it to the session.
//! A few tasks, which all connections share, write the frames of published messages to the sockets.

mod socket;
mod upgrade;

use axum::{
    extract::{Query, State},
    response::Response,
};
use http::{StatusCode, request::Parts};
use hyper::upgrade::Upgraded;
use omnistack_core::{
    http::{Error, Path},
    identity::UserId,
};

use super::{CredentialQuery, TransportLimits, TransportState};
use crate::hub::{Hub, OutboundSocket, Session, SessionOrigin, Transport};
use socket::{Socket, SocketEnd};
use upgrade::WebSocketRequest;

/// The subprotocol of clients that send and read JSON. A client that offers none does so too.
const JSON_PROTOCOL: &str = "centrifuge-json";
/// The subprotocol of clients that send and read Protocol Buffers.
const PROTOBUF_PROTOCOL: &str = "centrifuge-protobuf";

/// Opens a WebSocket.
pub(super) async fn connect(
    State(state): State<TransportState>,
    Query(query): Query<CredentialQuery>,
    upgrade: WebSocketRequest,
    request: Parts,
) -> Result<Response, Error> {
    open(&state, &query, upgrade, &request, Vec::new()).await
}

/// Opens a WebSocket that is subscribed to the channel `run:ID`.
pub(super) async fn connect_to_run(
    State(state): State<TransportState>,
    Path(run): Path<String>,
    Query(query): Query<CredentialQuery>,
    upgrade: WebSocketRequest,
    request: Parts,
) -> Result<Response, Error> {
    open(&state, &query, upgrade, &request, vec![format!("run:{run}")]).await
}

/// Opens a WebSocket that is subscribed to the channel `user:ID`. The rule of the channel admits only the user.
pub(super) async fn connect_to_dashboard(
    State(state): State<TransportState>,
    Path(user): Path<UserId>,
    Query(query): Query<CredentialQuery>,
    upgrade: WebSocketRequest,
    request: Parts,
) -> Result<Response, Error> {
    open(&state, &query, upgrade, &request, vec![format!("user:{user}")]).await
}

async fn open(
    state: &TransportState,
    query: &CredentialQuery,
    upgrade: WebSocketRequest,
    request: &Parts,
    server_channels: Vec<String>,
) -> Result<Response, Error> {
    let WebSocketRequest { handshake, connection } = upgrade;
    let has_protobuf = handshake.requested_protocols().any(|offered| offered == PROTOBUF_PROTOCOL);
    let handshake = handshake.protocols([JSON_PROTOCOL]);
    if has_protobuf && handshake.selected_protocol().is_none() {
        let message = "messages are JSON: use a client with the subprotocol `centrifuge-json`, or with none";
        return Err(Error::new(StatusCode::BAD_REQUEST, "SUBPROTOCOL_UNSUPPORTED", message));
    }
    let origin = state.session_origin(Transport::WebSocket, request, query, server_channels).await?;
    let (hub, limits) = (state.hub.clone(), state.limits);
    tokio::spawn(async move {
        // The client may have gone before the response.
        if let Ok(connection) = connection.await {
            serve(connection, hub, origin, limits).await;
        }
    });
    Ok(handshake.on_upgrade(|_| std::future::ready(())))
}

/// Serves a connection until its end.
async fn serve(connection: Upgraded, hub: Hub, origin: SessionOrigin, limits: TransportLimits) {
    match Session::open(&hub, origin) {
        Ok((mut session, outbound)) => {
            let mut socket = Socket::new(hub.attach(outbound, connection), limits);
            let end = socket.exchange(&mut session).await;
            // Others are told that the client has gone before it confirms that.
            drop(session);
            socket.end(end).await;
        }
        Err(code) => {
            let outbound = OutboundSocket::refused(connection);
            Socket::new(outbound, limits).end(SocketEnd::Closed(code)).await;
        }
    }
}
