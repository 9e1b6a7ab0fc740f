//! The one-way event stream, for `EventSource`, htmx and curl, which know nothing of the protocol.
//!
//! The id of an event is the position of each channel after it, as `EPOCH:OFFSET`, in the order in which the request
//! names the channels. A client that reconnects sends it as `Last-Event-ID` (HTML, section 9.2) and gets what it has
//! missed, or the event `missed` for a channel whose messages are not all kept any more.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
};

use axum::{
    body::Bytes,
    extract::{Query, State},
    response::Response,
};
use futures_util::{Stream, stream};
use http::{HeaderValue, StatusCode, request::Parts};
use omnistack_core::{BoxError, http::Error, realtime::is_channel_name};
use serde::{Deserialize, Serialize};
use serde_json::{json, value::RawValue};

use super::{CredentialQuery, TransportState, event_stream, sse::write_data, waiting_frames};
use crate::{
    hub::{OutboundItem, OutboundReader, Session, Transport},
    protocol::{CloseCode, ConnectResult, ErrorCode, Publication, ReplyError, StreamPosition, SubscribeResult},
};

/// Maximum number of channels of an event stream.
const MAX_CHANNELS: usize = 50;

/// The channels of a request.
#[derive(Deserialize)]
pub(super) struct EventsQuery {
    /// Names, separated by commas.
    channels: String,
}

/// Opens an event stream of the messages in some channels.
pub(super) async fn connect(
    State(state): State<TransportState>,
    Query(credentials): Query<CredentialQuery>,
    Query(EventsQuery { channels }): Query<EventsQuery>,
    request: Parts,
) -> Result<Response, Error> {
    let channels = parse_channels(&channels)?;
    let origin = state.session_origin(Transport::Sse, &request, &credentials, channels.clone()).await?;
    if origin.caller.is_none() {
        return Err(Error::unauthorized("sign in first: send `Authorization: Bearer …`, a cookie or a ticket"));
    }
    let last = request.headers.get("last-event-id");
    let positions = last.and_then(|id| parse_positions(id, channels.len()));
    // The position of a client whose last event has another id is not known.
    let is_unknown = last.is_some() && positions.is_none();
    let (mut session, mut outbound) = Session::open(&state.hub, origin).map_err(|code| refused(None, code))?;
    // The channels are checked before the response begins, so that a refusal is a status, and browsers don't reconnect.
    let handled = Box::pin(session.handle(&connect_command(&channels, positions.as_deref()))).await;
    let lines = waiting_frames(&mut outbound).unwrap_or_default();
    let reply: StreamLine = lines.first().and_then(|line| serde_json::from_slice(line).ok()).unwrap_or_default();
    let subscribed = match (handled, reply) {
        (Ok(()), StreamLine { connect: Some(connected), .. }) => connected.subs,
        (Ok(()), StreamLine { error, .. }) => return Err(refused(error, CloseCode::Server)),
        (Err(code), StreamLine { error, .. }) => return Err(refused(error, code)),
    };
    if let Some(channel) = channels.iter().find(|channel| !subscribed.contains_key(*channel)) {
        let message = format!("you may not subscribe to `{channel}`, or there is no such channel");
        return Err(Error::new(StatusCode::FORBIDDEN, "CHANNEL_REFUSED", message));
    }
    let positions = channels.into_iter().map(|channel| (channel, StreamPosition::default())).collect();
    let mut connection =
        EventConnection { _session: session, outbound, positions, waiting: Vec::new(), is_ended: false };
    connection.begin(subscribed, is_unknown);
    for line in lines.iter().skip(1) {
        connection.write_line(line);
    }
    Ok(event_stream(events(connection)))
}

/// Returns the channels, each once. Fails with 400 `CHANNELS_INVALID`.
fn parse_channels(names: &str) -> Result<Vec<String>, Error> {
    let mut seen = BTreeSet::new();
    let names = names.split(',').map(str::trim).filter(|name| !name.is_empty() && seen.insert(*name));
    let channels: Vec<_> = names.map(str::to_owned).collect();
    if channels.is_empty() || channels.len() > MAX_CHANNELS || !channels.iter().all(|name| is_channel_name(name)) {
        let message = format!("`channels` must be 1 to {MAX_CHANNELS} names of channels, separated by commas");
        return Err(Error::bad_request("CHANNELS_INVALID", message));
    }
    Ok(channels)
}

/// Returns the positions in the id of an event, or `None` if it is not an id of a stream with this many channels.
fn parse_positions(id: &HeaderValue, channels: usize) -> Option<Vec<StreamPosition>> {
    let position = |part: &str| {
        let (epoch, offset) = part.rsplit_once(':')?;
        Some(StreamPosition { epoch: epoch.to_owned(), offset: offset.parse().ok()? })
    };
    let positions: Vec<_> = id.to_str().ok()?.split(',').map(position).collect::<Option<_>>()?;
    (positions.len() == channels).then_some(positions)
}

/// Returns the command that connects, and recovers from positions.
fn connect_command(channels: &[String], positions: Option<&[StreamPosition]>) -> String {
    let positions = channels.iter().zip(positions.unwrap_or_default());
    let subs: BTreeMap<_, _> = positions
        .map(|(channel, StreamPosition { epoch, offset })| {
            (channel, json!({ "recover": true, "epoch": epoch, "offset": offset }))
        })
        .collect();
    json!({ "id": 1, "connect": { "name": "events", "subs": subs } }).to_string()
}

/// Returns the error for a stream that can't be opened.
fn refused(error: Option<ReplyError>, code: CloseCode) -> Error {
    let is = |number: ErrorCode| error.as_ref().is_some_and(|error| error.code == number.number());
    if code == CloseCode::ConnectionLimit || is(ErrorCode::TooManyRequests) || is(ErrorCode::LimitExceeded) {
        let message = "there are too many connections or channels; close some, and try again later";
        return Error::new(StatusCode::TOO_MANY_REQUESTS, "REALTIME_LIMIT_EXCEEDED", message);
    }
    let is_denied = [ErrorCode::PermissionDenied, ErrorCode::UnknownChannel].into_iter().any(is);
    if is_denied || code == CloseCode::PermissionDenied {
        let message = "you may not subscribe to one of the channels, or it does not exist";
        return Error::new(StatusCode::FORBIDDEN, "CHANNEL_REFUSED", message);
    }
    Error::unavailable("REALTIME_UNAVAILABLE", "the channels are not available now; try again")
}

/// A line of the server.
#[derive(Default, Deserialize)]
#[serde(default)]
struct StreamLine {
    error: Option<ReplyError>,
    connect: Option<ConnectResult>,
    push: Option<ChannelPush>,
}

/// A push that is about a channel.
#[derive(Default, Deserialize)]
#[serde(default)]
struct ChannelPush {
    channel: String,
    r#pub: Option<Publication>,
}

/// The data of a message.
#[derive(Serialize)]
struct MessageData<'a> {
    channel: &'a str,
    data: &'a RawValue,
    offset: u64,
}

/// An event stream.
struct EventConnection {
    /// The end of the session is the end of the connection.
    _session: Session,
    outbound: OutboundReader,
    /// The channels in the order of the request, with the positions of their last messages.
    positions: Vec<(String, StreamPosition)>,
    /// Events that are to be sent.
    waiting: Vec<u8>,
    is_ended: bool,
}

fn events(connection: EventConnection) -> impl Stream<Item = Result<Bytes, BoxError>> + Send {
    stream::unfold(connection, |mut connection| async move {
        let events = connection.next().await?;
        Some((Ok(events), connection))
    })
}

impl EventConnection {
    /// Waits for the next events. Returns `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        while self.waiting.is_empty() && !self.is_ended {
            match self.outbound.next().await {
                OutboundItem::Frames(lines) => lines.iter().for_each(|line| self.write_line(line)),
                OutboundItem::Close(code) => self.end(code),
            }
        }
        let events = mem::take(&mut self.waiting);
        (!events.is_empty()).then(|| events.into())
    }

    /// Writes what was recovered, and the position.
    fn begin(&mut self, subscribed: BTreeMap<String, SubscribeResult>, is_unknown: bool) {
        // A client that has got some of the events only continues from their positions in all channels, and was told
        // before of what is missing.
        for (channel, result) in &subscribed {
            if is_unknown || (result.was_recovering && !result.recovered) {
                self.write_event("missed", &json!({ "channel": channel }));
            }
            let waiting = u64::try_from(result.publications.len()).unwrap_or(u64::MAX);
            let start = StreamPosition { epoch: result.epoch.clone(), offset: result.offset.saturating_sub(waiting) };
            self.set_position(channel, |position| *position = start);
        }
        for (channel, result) in subscribed {
            for publication in &result.publications {
                self.write_publication(&channel, publication);
            }
            self.set_position(&channel, |position| position.offset = result.offset);
        }
        // An id without data is not dispatched, but a client that reconnects before the first message sends it.
        let id = format!("id: {}\n\n", self.id());
        self.waiting.extend_from_slice(id.as_bytes());
    }

    fn write_line(&mut self, line: &[u8]) {
        if line == b"{}" {
            // The comment keeps proxies from closing the connection, and the event shows a script that it is open.
            self.waiting.extend_from_slice(b": ping\n");
            self.write_event("ping", &json!({}));
            return;
        }
        let Ok(StreamLine { push: Some(push), .. }) = serde_json::from_slice(line) else { return };
        if let ChannelPush { channel, r#pub: Some(publication) } = push {
            self.write_publication(&channel, &publication);
        }
    }

    fn write_publication(&mut self, channel: &str, publication: &Publication) {
        let offset = publication.offset;
        if offset > 0 {
            self.set_position(channel, |position| position.offset = offset);
        }
        let id = format!("id: {}\n", self.id());
        self.waiting.extend_from_slice(id.as_bytes());
        self.write_event("message", &MessageData { channel, data: &publication.data, offset });
    }

    /// Writes the last event, such as of a stream that has missed messages. A browser reconnects and recovers them, and
    /// ends if the response has an error status then.
    fn end(&mut self, code: CloseCode) {
        self.write_event("disconnect", &json!({ "code": code.number(), "reason": code.reason() }));
        self.is_ended = true;
    }

    fn write_event(&mut self, kind: &str, data: &impl Serialize) {
        // Values of these types can be serialized.
        let data = serde_json::to_vec(data).unwrap_or_default();
        self.waiting.extend_from_slice(format!("event: {kind}\n").as_bytes());
        write_data(&mut self.waiting, &data);
        self.waiting.push(b'\n');
    }

    fn set_position(&mut self, channel: &str, set: impl FnOnce(&mut StreamPosition)) {
        if let Some((_, position)) = self.positions.iter_mut().find(|(name, _)| name == channel) {
            set(position);
        }
    }

    /// Returns the id of the last event.
    fn id(&self) -> String {
        let parts: Vec<_> =
            self.positions.iter().map(|(_, position)| format!("{}:{}", position.epoch, position.offset)).collect();
        parts.join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_id_has_the_positions_of_all_channels() {
        let parse = |id: &'static str, channels| parse_positions(&HeaderValue::from_static(id), channels);
        let position = |epoch: &str, offset| StreamPosition { epoch: epoch.to_owned(), offset };
        assert_eq!(parse("a1:7", 1), Some(vec![position("a1", 7)]));
        assert_eq!(parse("a1:7,:0", 2), Some(vec![position("a1", 7), position("", 0)]));
        for wrong in ["", "7", "a1:7", "a1:x,b:1", "a1:7,b:1,c:1"] {
            assert_eq!(parse(wrong, 2), None, "{wrong}");
        }
    }

    #[test]
    fn channels_are_named_once() {
        assert_eq!(parse_channels(" a, b,a,").unwrap(), ["a", "b"]);
        for wrong in ["", ",", "no spaces", "ä"] {
            assert_eq!(parse_channels(wrong).unwrap_err().code(), "CHANNELS_INVALID", "{wrong}");
        }
        assert!(parse_channels(&vec!["a"; MAX_CHANNELS + 1].join(",")).is_ok());
    }
}
