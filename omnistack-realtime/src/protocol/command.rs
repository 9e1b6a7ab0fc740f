//! Commands of clients.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::is_default;

/// A position in the history of a channel: the number of a message within an epoch. A new epoch begins when a history
/// was lost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StreamPosition {
    #[serde(default)]
    pub(crate) offset: u64,
    #[serde(default)]
    pub(crate) epoch: String,
}

/// A command. The id is 0 for an asynchronous message, and for the pong `{}`, which has no method.
#[derive(Debug, Serialize)]
pub(crate) struct Command {
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) id: u32,
    #[serde(flatten)]
    pub(crate) method: Option<Method>,
}

/// The method of a command, with its parameters.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Method {
    Connect(ConnectRequest),
    Subscribe(SubscribeRequest),
    Unsubscribe(UnsubscribeRequest),
    Publish(PublishRequest),
    Presence(PresenceRequest),
    PresenceStats(PresenceRequest),
    History(HistoryRequest),
    Rpc(RpcRequest),
    Refresh(RefreshRequest),
    SubRefresh(SubRefreshRequest),
    Send(SendRequest),
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ConnectRequest {
    pub(crate) token: String,
    pub(crate) data: Option<Box<RawValue>>,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) subs: BTreeMap<String, RecoverRequest>,
}

/// The position from which a subscription that the server made is recovered.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct RecoverRequest {
    pub(crate) recover: bool,
    pub(crate) epoch: String,
    pub(crate) offset: u64,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[expect(clippy::struct_excessive_bools, reason = "they are those of the protocol")]
pub(crate) struct SubscribeRequest {
    pub(crate) channel: String,
    pub(crate) token: String,
    pub(crate) recover: bool,
    pub(crate) epoch: String,
    pub(crate) offset: u64,
    pub(crate) data: Option<Box<RawValue>>,
    pub(crate) positioned: bool,
    pub(crate) recoverable: bool,
    pub(crate) join_leave: bool,
    /// Bit 2: the client wants the error 112 instead of a subscription that is not recovered.
    pub(crate) flag: i64,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct UnsubscribeRequest {
    pub(crate) channel: String,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct PublishRequest {
    pub(crate) channel: String,
    pub(crate) data: Option<Box<RawValue>>,
}

/// A request for the presence of a channel, or for its numbers.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct PresenceRequest {
    pub(crate) channel: String,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct HistoryRequest {
    pub(crate) channel: String,
    /// 0 for the position only, −1 for as many as the server allows.
    pub(crate) limit: i32,
    pub(crate) since: Option<StreamPosition>,
    pub(crate) reverse: bool,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct RpcRequest {
    pub(crate) method: String,
    pub(crate) data: Option<Box<RawValue>>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct RefreshRequest {
    pub(crate) token: String,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct SubRefreshRequest {
    pub(crate) channel: String,
    pub(crate) token: String,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct SendRequest {
    pub(crate) data: Option<Box<RawValue>>,
}
