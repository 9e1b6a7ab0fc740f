//! Frames: the commands in a frame of a client, and the lines that are sent.

#[cfg(any(feature = "client", test))]
use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use super::{
    Command, Method, Push, Reply,
    text_frame::{TextFrame, TextFrameBuilder},
};

/// The line of a ping and of a pong.
pub(crate) const PING: &[u8] = b"{}";

/// The error for a frame that breaks the protocol. The server closes the connection with 3501.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvalidFrame {
    #[error("the line does not follow the protocol: {0}")]
    Json(#[from] serde_json::Error),
    #[error("the line or the parameters of its method are no JSON object")]
    NoObject,
    #[error("the line has several methods")]
    SeveralMethods,
    #[cfg(any(feature = "client", test))]
    #[error("the reply has neither a result nor an error that is known")]
    NoContent,
}

/// Returns the commands of a frame, in their order. A line that is no JSON object, or has several methods, or
/// parameters or an id of other types than the protocol has, is an error. An object without a method that is known has
/// the method `None`. Unknown members are ignored, and so are blank lines.
pub(crate) fn parse_frame(frame: &str) -> impl Iterator<Item = Result<Command, InvalidFrame>> {
    lines(frame).map(parse_command)
}

/// Returns the lines of a frame that are not blank. A carriage return ends a line too: as white space in the data of a
/// message, it would end the line of an event of SSE.
pub(super) fn lines(frame: &str) -> impl Iterator<Item = &str> {
    frame.split(['\n', '\r']).map(str::trim_ascii).filter(|line| !line.is_empty())
}

/// The members of a command that are known.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CommandLine<'a> {
    id: u32,
    #[serde(borrow)]
    connect: Option<&'a RawValue>,
    #[serde(borrow)]
    subscribe: Option<&'a RawValue>,
    #[serde(borrow)]
    unsubscribe: Option<&'a RawValue>,
    #[serde(borrow)]
    publish: Option<&'a RawValue>,
    #[serde(borrow)]
    presence: Option<&'a RawValue>,
    #[serde(borrow)]
    presence_stats: Option<&'a RawValue>,
    #[serde(borrow)]
    history: Option<&'a RawValue>,
    #[serde(borrow)]
    rpc: Option<&'a RawValue>,
    #[serde(borrow)]
    refresh: Option<&'a RawValue>,
    #[serde(borrow)]
    sub_refresh: Option<&'a RawValue>,
    #[serde(borrow)]
    send: Option<&'a RawValue>,
}

fn parse_command(line: &str) -> Result<Command, InvalidFrame> {
    let line: CommandLine<'_> = parse_object(line)?;
    let methods = [
        line.connect.map(|parameters| parse_method(parameters, Method::Connect)),
        line.subscribe.map(|parameters| parse_method(parameters, Method::Subscribe)),
        line.unsubscribe.map(|parameters| parse_method(parameters, Method::Unsubscribe)),
        line.publish.map(|parameters| parse_method(parameters, Method::Publish)),
        line.presence.map(|parameters| parse_method(parameters, Method::Presence)),
        line.presence_stats.map(|parameters| parse_method(parameters, Method::PresenceStats)),
        line.history.map(|parameters| parse_method(parameters, Method::History)),
        line.rpc.map(|parameters| parse_method(parameters, Method::Rpc)),
        line.refresh.map(|parameters| parse_method(parameters, Method::Refresh)),
        line.sub_refresh.map(|parameters| parse_method(parameters, Method::SubRefresh)),
        line.send.map(|parameters| parse_method(parameters, Method::Send)),
    ];
    let mut methods = methods.into_iter().flatten();
    let method = methods.next().transpose()?;
    if methods.next().is_some() {
        return Err(InvalidFrame::SeveralMethods);
    }
    Ok(Command { id: line.id, method })
}

fn parse_method<T: DeserializeOwned>(
    parameters: &RawValue,
    method: impl FnOnce(T) -> Method,
) -> Result<Method, InvalidFrame> {
    parse_object(parameters.get()).map(method)
}

/// Parses a JSON object. Serde would take an array too, as the members of a struct in their order.
pub(super) fn parse_object<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, InvalidFrame> {
    if text.starts_with('{') { Ok(serde_json::from_str(text)?) } else { Err(InvalidFrame::NoObject) }
}

impl Reply {
    /// Returns a frame with the reply.
    pub(crate) fn encode(&self) -> TextFrame {
        TextFrame::of_json(self).unwrap_or_else(|_| internal_error(self.id))
    }
}

fn internal_error(id: u32) -> TextFrame {
    let line = format!(r#"{{"id":{id},"error":{{"code":100,"message":"internal server error","temporary":true}}}}"#);
    let mut frame = TextFrameBuilder::new();
    frame.push_line(line.as_bytes());
    frame.build()
}

impl Push {
    /// Returns a frame with the push.
    pub(crate) fn encode(&self) -> TextFrame {
        TextFrame::of_json(&PushLine { push: self }).unwrap_or_else(|_| TextFrame::ping())
    }
}

/// A push in the member of a line that names it.
#[derive(Serialize)]
struct PushLine<'a> {
    push: &'a Push,
}

#[cfg(any(feature = "client", test))]
impl Command {
    /// Returns the command as a line of JSON, without its end.
    pub(crate) fn encode(&self) -> Bytes {
        serde_json::to_vec(self).map_or(Bytes::from_static(PING), Bytes::from)
    }
}
