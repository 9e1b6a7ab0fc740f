//! The transports: WebSocket, SSE with its POST back-channel, and the one-way event stream. A transport opens a session
//! of the hub, passes it the client's frames, and writes what waits for the client.

mod emulation;
mod events;
mod origin;
mod sse;
mod websocket;

use std::fmt;

use axum::{
    body::{Body, Bytes},
    response::Response,
    routing::{any, get},
};
use futures_util::{FutureExt as _, Stream};
use http::{HeaderName, HeaderValue, header, request::Parts};
use omnistack_core::{
    BoxError,
    http::{Error, HttpSettings, layer::ClientAddr},
    identity::{AccessLevel, Identity},
    module::{Api, Context, MissingDependency, Mount, Registry},
};
use serde::Deserialize;

use crate::{
    hub::{Hub, OutboundItem, OutboundReader, SessionOrigin, Transport},
    settings::RealtimeSettings,
    sign_in::{Credential, SignIn},
};
use origin::OwnOrigins;

/// Registers the routes. A client may sign in with its first frame, so that all routes are public: each authenticates
/// its caller itself, and a session refuses all commands but `connect` to a client that is not signed in.
pub(crate) fn register(registry: &mut Registry, settings: &RealtimeSettings) {
    let public_url = registry.public_url();
    let origins = OwnOrigins::new(public_url.as_str(), registry.config::<HttpSettings>().as_ref());
    let limits = TransportLimits {
        message_bytes: usize::try_from(settings.max_message.as_u64()).unwrap_or(usize::MAX),
        token_in_query: settings.token_in_query,
    };
    let state = move |ctx: &Context| -> Result<TransportState, MissingDependency> {
        Ok(TransportState { hub: ctx.get()?, sign_in: ctx.get()?, origins: origins.clone(), limits })
    };
    // The timeout is that of the sign-in: a response that has begun is not cut.
    let stream = |path: &str| Mount::root(path, AccessLevel::Public).without_idempotency();
    // A request for another replica is passed on before its session is known, so that the limit of the address applies.
    let emulation = Mount::root("/api/v1/app/emulation", AccessLevel::Public)
        .without_idempotency()
        .body_limit(settings.max_message.as_u64());
    registry
        .routes(stream("/api/v1/app/ws"), sockets().hidden("/", any(websocket::connect)), state.clone())
        // The paths of clients that do not use the versioned API.
        .routes(stream("/ws"), sockets(), state.clone())
        .routes(stream("/api/v1/app/sse"), Api::new().hidden("/", get(sse::connect)), state.clone())
        .routes(stream("/api/v1/app/events"), Api::new().hidden("/", get(events::connect)), state.clone())
        .routes(emulation, emulation::api(), state);
}

/// Returns the routes that subscribe to a channel on the server side. HTTP/2 opens a WebSocket by CONNECT instead of
/// GET, so that they take any method.
fn sockets() -> Api<TransportState> {
    let dashboard = any(websocket::connect_to_dashboard);
    Api::new().hidden("/run/{id}", any(websocket::connect_to_run)).hidden("/dashboard/{user_id}", dashboard)
}

/// State of the routes.
#[derive(Clone)]
struct TransportState {
    hub: Hub,
    sign_in: SignIn,
    origins: OwnOrigins,
    limits: TransportLimits,
}

/// Limits of a connection.
#[derive(Clone, Copy, Debug)]
struct TransportLimits {
    message_bytes: usize,
    token_in_query: bool,
}

/// The credentials in the query of a request. Other parameters are ignored, because clients and proxies add their own.
#[derive(Default, Deserialize)]
struct CredentialQuery {
    ticket: Option<String>,
    token: Option<String>,
}

impl TransportState {
    /// Returns the caller of the request that opens a connection, or `None` if it has no credential. Fails with 401 and
    /// 403 for a credential that is refused, 403 `CROSS_SITE_REQUEST` for a cookie that another site's page has sent,
    /// and 400 `TOKEN_IN_QUERY`.
    async fn caller(&self, request: &Parts, query: &CredentialQuery) -> Result<Option<(Identity, Credential)>, Error> {
        if let Some(ticket) = &query.ticket {
            return self.sign_in.with_ticket(ticket).await.map(Some);
        }
        if let Some(token) = &query.token {
            if !self.limits.token_in_query {
                let message = "a token in the URL is logged by proxies: send it in the connect command, or get a \
                               ticket from POST /api/v1/app/ws/ticket";
                return Err(Error::bad_request("TOKEN_IN_QUERY", message));
            }
            return self.sign_in.with_token(token, request).await.map(Some);
        }
        let caller = self.sign_in.identify(request).await?;
        if caller.is_some() {
            self.origins.check(&request.headers)?;
        }
        Ok(caller)
    }

    /// Returns the origin of a session, after the authentication of its request. Fails with the errors of
    /// [`caller`](Self::caller).
    async fn session_origin(
        &self,
        transport: Transport,
        request: &Parts,
        query: &CredentialQuery,
        server_channels: Vec<String>,
    ) -> Result<SessionOrigin, Error> {
        let identity_changes = self.hub.identity_changes();
        let caller = self.caller(request, query).await?;
        let address = request.extensions.get::<ClientAddr>().map(|client| client.0);
        let base = Credential::from_request(request);
        Ok(SessionOrigin { transport, address, base, caller, identity_changes, server_channels })
    }
}

impl fmt::Debug for TransportState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransportState").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// Returns the frames that wait now, without waiting for more.
fn waiting_frames(outbound: &mut OutboundReader) -> Option<Vec<Bytes>> {
    match outbound.next().now_or_never()? {
        OutboundItem::Frames(frames) => Some(frames),
        OutboundItem::Close(_) => None,
    }
}

/// Returns the response of an event stream. Proxies must not store or buffer it.
fn event_stream(events: impl Stream<Item = Result<Bytes, BoxError>> + Send + 'static) -> Response {
    const BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
    let mut response = Response::new(Body::from_stream(events));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store, no-transform"));
    headers.insert(BUFFERING, HeaderValue::from_static("no"));
    response
}
