//! Server-sent events for clients of the protocol: the server's lines are events, and the client's commands after the
//! first arrive by the [emulation](super::emulation).

use axum::{
    body::Bytes,
    extract::{Query, State},
    response::Response,
};
use futures_util::{Stream, stream};
use http::request::Parts;
use omnistack_core::{BoxError, http::Error};
use serde::Deserialize;

use super::{CredentialQuery, TransportState, event_stream, waiting_frames};
use crate::{
    hub::{OutboundItem, OutboundReader, Session, Transport},
    protocol::{CloseCode, DisconnectPush, Push, PushContent},
};

/// The first command in the query of a request.
#[derive(Deserialize)]
pub(super) struct ConnectQuery {
    cf_connect: String,
}

/// Opens an event stream, whose first event is the reply to the connect command in the query.
pub(super) async fn connect(
    State(state): State<TransportState>,
    Query(credentials): Query<CredentialQuery>,
    Query(ConnectQuery { cf_connect }): Query<ConnectQuery>,
    request: Parts,
) -> Result<Response, Error> {
    if cf_connect.len() > state.limits.message_bytes {
        let message = "the connect command is larger than `REALTIME_MAX_MESSAGE`";
        return Err(Error::bad_request("COMMAND_TOO_LARGE", message));
    }
    let origin = state.session_origin(Transport::Sse, &request, &credentials, Vec::new()).await?;
    // Browsers don't show scripts the status of an event stream, so that a refusal is an event.
    let opened = Session::open(&state.hub, origin);
    Ok(event_stream(events(opened.map(|(session, outbound)| SseConnection {
        session,
        outbound,
        connect: Some(cf_connect),
    }))))
}

/// An event stream of a client.
struct SseConnection {
    /// The end of the session is the end of the connection.
    session: Session,
    outbound: OutboundReader,
    /// The first command, until it is carried out.
    connect: Option<String>,
}

/// Returns the events of a connection, or of one that was refused.
fn events(opened: Result<SseConnection, CloseCode>) -> impl Stream<Item = Result<Bytes, BoxError>> + Send {
    stream::unfold(Some(opened), |opened| async move {
        match opened? {
            Ok(mut connection) => {
                let (events, is_end) = connection.next().await;
                Some((Ok(events), (!is_end).then_some(Ok(connection))))
            }
            Err(code) => Some((Ok(encode(&[disconnect(code)])), None)),
        }
    })
}

impl SseConnection {
    /// Waits for the next events. Returns whether they are the last.
    async fn next(&mut self) -> (Bytes, bool) {
        if let Some(frame) = self.connect.take()
            && let Err(code) = Box::pin(self.session.handle(&frame)).await
        {
            let mut frames = waiting_frames(&mut self.outbound).unwrap_or_default();
            frames.push(disconnect(code));
            return (encode(&frames), true);
        }
        match self.outbound.next().await {
            OutboundItem::Frames(frames) => (encode(&frames), false),
            OutboundItem::Close(code) => (encode(&[disconnect(code)]), true),
        }
    }
}

/// Returns the line that takes the place of a close frame.
fn disconnect(code: CloseCode) -> Bytes {
    let push =
        DisconnectPush { code: code.number().into(), reason: code.reason().to_owned(), reconnect: !code.is_final() };
    Push { channel: String::new(), content: PushContent::Disconnect(push) }.encode().into_lines()
}

/// Returns an event for each line. A ping is one too: a comment would be invisible to the scripts of browsers.
fn encode(lines: &[Bytes]) -> Bytes {
    const OVERHEAD_BYTES: usize = "data: \n\n".len();
    let mut events = Vec::with_capacity(lines.iter().map(|line| line.len() + OVERHEAD_BYTES).sum());
    for line in lines {
        write_data(&mut events, line);
        events.push(b'\n');
    }
    events.into()
}

/// Appends the data of an event. White space in JSON may contain line ends, which would end the field.
pub(super) fn write_data(event: &mut Vec<u8>, data: &[u8]) {
    for line in data.split(|byte| matches!(byte, b'\n' | b'\r')) {
        event.extend_from_slice(b"data: ");
        event.extend_from_slice(line);
        event.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_an_event() {
        let lines = [Bytes::from_static(b"{}"), Bytes::from_static(b"{\"push\":\n{}}")];
        assert_eq!(encode(&lines), "data: {}\n\ndata: {\"push\":\ndata: {}}\n\n");
        let last = String::from_utf8(encode(&[disconnect(CloseCode::Shutdown)]).to_vec()).unwrap();
        let push = r#"{"push":{"disconnect":{"code":3001,"reason":"shutdown","reconnect":true}}}"#;
        assert_eq!(last, format!("data: {push}\n\n"));
    }
}
