//! The opening handshake of a WebSocket.

use axum::extract::{
    FromRequestParts,
    ws::{WebSocketUpgrade, rejection::WebSocketUpgradeRejection},
};
use http::{Request, request::Parts};
use hyper::upgrade::OnUpgrade;

/// A request that opens a WebSocket. axum checks the handshake and responds to it. axum would also wrap the connection
/// in a WebSocket of its own, which copies each message that is sent. So axum gets an upgrade that never comes, and the
/// upgrade of the connection is here.
pub(in crate::transport) struct WebSocketRequest {
    pub(super) handshake: WebSocketUpgrade,
    pub(super) connection: OnUpgrade,
}

impl<S: Send + Sync> FromRequestParts<S> for WebSocketRequest {
    type Rejection = WebSocketUpgradeRejection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let none = hyper::upgrade::on(Request::new(()));
        // Without one, axum says so.
        let connection = match parts.extensions.get_mut::<OnUpgrade>() {
            Some(connection) => std::mem::replace(connection, none),
            None => none,
        };
        let handshake = WebSocketUpgrade::from_request_parts(parts, state).await?;
        Ok(Self { handshake, connection })
    }
}
