//! WebSockets (RFC 6455). A connection is one task with small buffers: it reads a frame, passes it to the session, and
//! writes what waits, also while a command is carried out.

use std::{iter::Peekable, time::Duration, vec};

use axum::{
    body::Bytes,
    extract::{
        Query, State,
        ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade},
    },
    response::Response,
};
use http::{StatusCode, request::Parts};
use omnistack_core::{
    http::{Error, Path},
    identity::UserId,
};
use tokio::time::{sleep, timeout};

use super::{CredentialQuery, TransportState, waiting_frames, with_limits};
use crate::{
    hub::{Hub, OutboundItem, OutboundReader, Session, SessionOrigin, Transport},
    protocol::CloseCode,
};

/// The subprotocol of clients that send and read JSON. A client that offers none does so too.
const JSON_PROTOCOL: &str = "centrifuge-json";
/// The subprotocol of clients that send and read Protocol Buffers.
const PROTOBUF_PROTOCOL: &str = "centrifuge-protobuf";
/// Longest time until a client has taken a message from the socket's buffer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time until a client has taken the last messages of a connection that is being closed, and again until it has
/// confirmed the close frame.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for which the socket stays open after the close frame if the client's data is not read any more. Without it the
/// operating system would reset the connection, and the client would not see the close frame.
const LINGER: Duration = Duration::from_millis(500);
/// Size up to which messages that wait together are sent as one frame, a line each.
const MAX_BATCH_BYTES: usize = 16 * 1024;

/// Opens a WebSocket.
pub(super) async fn connect(
    State(state): State<TransportState>,
    Query(query): Query<CredentialQuery>,
    upgrade: WebSocketUpgrade,
    request: Parts,
) -> Result<Response, Error> {
    open(&state, &query, upgrade, &request, Vec::new()).await
}

/// Opens a WebSocket that is subscribed to the channel `run:ID`.
pub(super) async fn connect_to_run(
    State(state): State<TransportState>,
    Path(run): Path<String>,
    Query(query): Query<CredentialQuery>,
    upgrade: WebSocketUpgrade,
    request: Parts,
) -> Result<Response, Error> {
    open(&state, &query, upgrade, &request, vec![format!("run:{run}")]).await
}

/// Opens a WebSocket that is subscribed to the channel `user:ID`. The rule of the channel admits only the user.
pub(super) async fn connect_to_dashboard(
    State(state): State<TransportState>,
    Path(user): Path<UserId>,
    Query(query): Query<CredentialQuery>,
    upgrade: WebSocketUpgrade,
    request: Parts,
) -> Result<Response, Error> {
    open(&state, &query, upgrade, &request, vec![format!("user:{user}")]).await
}

async fn open(
    state: &TransportState,
    query: &CredentialQuery,
    upgrade: WebSocketUpgrade,
    request: &Parts,
    server_channels: Vec<String>,
) -> Result<Response, Error> {
    let has_protobuf = upgrade.requested_protocols().any(|offered| offered == PROTOBUF_PROTOCOL);
    let upgrade = upgrade.protocols([JSON_PROTOCOL]);
    if has_protobuf && upgrade.selected_protocol().is_none() {
        let message = "messages are JSON: use a client with the subprotocol `centrifuge-json`, or with none";
        return Err(Error::new(StatusCode::BAD_REQUEST, "SUBPROTOCOL_UNSUPPORTED", message));
    }
    let origin = state.session_origin(Transport::WebSocket, request, query, server_channels).await?;
    let hub = state.hub.clone();
    Ok(with_limits(upgrade, state.limits).on_upgrade(move |socket| serve(socket, hub, origin)))
}

/// The end of a connection.
#[derive(Debug, PartialEq, Eq)]
enum SocketEnd {
    /// The server closes the connection, and tells the client why.
    Closed(CloseCode),
    /// The client has broken a rule of WebSockets: the connection is closed with a code of RFC 6455, section 7.4.1.
    Failed(u16, &'static str),
    /// The client has sent a close frame.
    ClosedByClient,
    /// The client does not answer any more.
    Lost,
}

/// Serves a connection until its end.
async fn serve(mut socket: WebSocket, hub: Hub, origin: SessionOrigin) {
    let end = match Session::open(&hub, origin) {
        Ok((mut session, mut outbound)) => exchange(&mut socket, &mut session, &mut outbound).await,
        Err(code) => SocketEnd::Closed(code),
    };
    match end {
        SocketEnd::Closed(code) => close(&mut socket, code).await,
        SocketEnd::Failed(code, reason) => fail(&mut socket, code, reason).await,
        SocketEnd::ClosedByClient => finish(&mut socket).await,
        SocketEnd::Lost => {}
    }
}

/// Carries out the client's frames, one after another, and sends what waits for the client.
async fn exchange(socket: &mut WebSocket, session: &mut Session, outbound: &mut OutboundReader) -> SocketEnd {
    loop {
        let frame = tokio::select! {
            item = outbound.next() => match send(socket, outbound, item).await {
                Ok(()) => continue,
                Err(end) => return end,
            },
            received = socket.recv() => match frame_of(received) {
                Ok(Some(frame)) => frame,
                Ok(None) => continue,
                Err(end) => return end,
            },
        };
        if session.accept_pong(&frame) {
            continue;
        }
        // In a box, so that a connection that waits has no room for the largest command.
        let mut handling = Box::pin(session.handle(&frame));
        let handled = loop {
            tokio::select! {
                handled = &mut handling => break handled,
                item = outbound.next() => if let Err(end) = send(socket, outbound, item).await {
                    return end;
                },
            }
        };
        if let Err(code) = handled {
            // The last reply says more than the code.
            while let Some(frames) = waiting_frames(outbound) {
                if let Err(end) = send(socket, outbound, OutboundItem::Frames(frames)).await {
                    return end;
                }
            }
            return SocketEnd::Closed(code);
        }
    }
}

/// Returns the frame of a message, or `None` for a control frame.
fn frame_of(received: Option<Result<Message, axum::Error>>) -> Result<Option<Utf8Bytes>, SocketEnd> {
    match received {
        Some(Ok(Message::Text(frame))) => Ok(Some(frame)),
        // Pings are answered by the next read.
        Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(None),
        // A client that speaks Protocol Buffers without saying so.
        Some(Ok(Message::Binary(_))) => Err(SocketEnd::Closed(CloseCode::BadRequest)),
        Some(Ok(Message::Close(_))) => Err(SocketEnd::ClosedByClient),
        Some(Err(error)) => Err(failure(&error)),
        None => Err(SocketEnd::Lost),
    }
}

/// Returns the end after a read error. axum does not export the type of the error, so that its text is compared.
fn failure(error: &axum::Error) -> SocketEnd {
    let text = error.to_string();
    if text.starts_with("Space limit exceeded") {
        SocketEnd::Failed(1009, "message too big")
    } else if text.starts_with("UTF-8 encoding error") {
        SocketEnd::Failed(1007, "invalid UTF-8")
    } else if text.starts_with("WebSocket protocol error") && !text.contains("without closing handshake") {
        SocketEnd::Failed(1002, "protocol error")
    } else {
        SocketEnd::Lost
    }
}

/// Sends what waits. Fails with the end of the connection if it is to be closed, or if the client does not read.
async fn send(socket: &mut WebSocket, outbound: &mut OutboundReader, item: OutboundItem) -> Result<(), SocketEnd> {
    let frames = match item {
        OutboundItem::Frames(frames) => frames,
        OutboundItem::Close(code) => return Err(SocketEnd::Closed(code)),
    };
    let sending = send_frames(socket, frames.into_iter().peekable());
    tokio::pin!(sending);
    tokio::select! {
        biased;
        sent = &mut sending => sent,
        // The client reads too slowly, or the server shuts down: it has little time left.
        _ = outbound.closed() => timeout(CLOSE_TIMEOUT, sending).await.unwrap_or(Err(SocketEnd::Lost)),
    }
}

async fn send_frames(socket: &mut WebSocket, mut frames: Peekable<vec::IntoIter<Bytes>>) -> Result<(), SocketEnd> {
    while let Some(first) = frames.next() {
        // What the server sends is UTF-8.
        let Ok(text) = Utf8Bytes::try_from(batch(first, &mut frames)) else { continue };
        match timeout(WRITE_TIMEOUT, socket.send(Message::Text(text))).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return Err(SocketEnd::Lost),
        }
    }
    Ok(())
}

/// Returns a frame with as many of the next lines as fit in [`MAX_BATCH_BYTES`].
fn batch(first: Bytes, next: &mut Peekable<vec::IntoIter<Bytes>>) -> Bytes {
    let fits = |bytes: usize, line: &Bytes| bytes + 1 + line.len() <= MAX_BATCH_BYTES;
    if !next.peek().is_some_and(|line| fits(first.len(), line)) {
        return first;
    }
    let mut lines = first.to_vec();
    while let Some(line) = next.next_if(|line| fits(lines.len(), line)) {
        lines.push(b'\n');
        lines.extend_from_slice(&line);
    }
    lines.into()
}

/// Sends a close frame and waits until the client has confirmed it.
async fn close(socket: &mut WebSocket, code: CloseCode) {
    let frame = CloseFrame { code: code.number(), reason: Utf8Bytes::from_static(code.reason()) };
    let closing = async {
        if socket.send(Message::Close(Some(frame))).await.is_ok() {
            while let Some(Ok(_)) = socket.recv().await {}
        }
    };
    _ = timeout(CLOSE_TIMEOUT, closing).await;
}

/// Sends a close frame to a client whose frames can't be read any more.
async fn fail(socket: &mut WebSocket, code: u16, reason: &'static str) {
    let frame = CloseFrame { code, reason: Utf8Bytes::from_static(reason) };
    if timeout(CLOSE_TIMEOUT, socket.send(Message::Close(Some(frame)))).await.is_ok_and(|sent| sent.is_ok()) {
        sleep(LINGER).await;
    }
}

/// Sends the confirmation of the client's close frame, which waits in the socket.
async fn finish(socket: &mut WebSocket) {
    let finishing = async { while let Some(Ok(_)) = socket.recv().await {} };
    _ = timeout(CLOSE_TIMEOUT, finishing).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_wait_together_are_one_frame_up_to_its_size() {
        let line = |length: usize| Bytes::from(vec![b'x'; length]);
        for (lengths, expected) in [
            (vec![2], vec![2]),
            (vec![2, 3], vec![6]),
            (vec![MAX_BATCH_BYTES, 1], vec![MAX_BATCH_BYTES, 1]),
            (vec![1, MAX_BATCH_BYTES, 1, 1], vec![1, MAX_BATCH_BYTES, 3]),
            (vec![1, MAX_BATCH_BYTES - 2, 1], vec![MAX_BATCH_BYTES, 1]),
        ] {
            let mut frames = lengths.iter().copied().map(line).collect::<Vec<_>>().into_iter().peekable();
            let mut sizes = Vec::new();
            while let Some(first) = frames.next() {
                sizes.push(batch(first, &mut frames).len());
            }
            assert_eq!(sizes, expected, "{lengths:?}");
        }
    }
}
