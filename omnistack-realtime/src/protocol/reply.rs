//! Replies and pushes of the server. Values that are zero or empty are left out.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{ErrorCode, is_default};

/// The reply to a command: its result or an error.
#[derive(Debug, Serialize)]
pub(crate) struct Reply {
    pub(crate) id: u32,
    #[serde(flatten)]
    pub(crate) content: ReplyContent,
}

/// The content of a reply, under the name of its method.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ReplyContent {
    Error(ReplyError),
    Connect(ConnectResult),
    Subscribe(SubscribeResult),
    Unsubscribe(EmptyResult),
    Publish(EmptyResult),
    Presence(PresenceResult),
    PresenceStats(PresenceStatsResult),
    History(HistoryResult),
    Rpc(RpcResult),
    Refresh(RefreshResult),
    #[cfg(any(feature = "client", test))]
    SubRefresh(SubRefreshResult),
}

/// The error of a command. The message may name what the app must change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReplyError {
    pub(crate) code: u32,
    pub(crate) message: String,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) temporary: bool,
}

impl From<ErrorCode> for ReplyError {
    fn from(code: ErrorCode) -> Self {
        code.with_message(code.message())
    }
}

impl ErrorCode {
    /// Returns the error with a message of its own.
    pub(crate) fn with_message(self, message: impl Into<String>) -> ReplyError {
        ReplyError { code: self.number(), message: message.into(), temporary: self.is_temporary() }
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ConnectResult {
    pub(crate) client: String,
    pub(crate) version: String,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) expires: bool,
    /// Seconds until the token expires.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) ttl: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) data: Option<Box<RawValue>>,
    /// The subscriptions that the server made.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) subs: BTreeMap<String, SubscribeResult>,
    /// Seconds between pings of the server.
    pub(crate) ping: u32,
    pub(crate) pong: bool,
    /// The secret with which requests of the emulation name this connection.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) session: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) node: String,
    /// Milliseconds since 1970.
    pub(crate) time: i64,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[expect(clippy::struct_excessive_bools, reason = "they are those of the protocol")]
pub(crate) struct SubscribeResult {
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) expires: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) ttl: u32,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) recoverable: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) positioned: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) epoch: String,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) offset: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) publications: Vec<Arc<Publication>>,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) recovered: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) was_recovering: bool,
}

/// A message in a channel.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Publication {
    pub(crate) data: Box<RawValue>,
    /// The number in the channel's history; 0 in a channel without history.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) offset: u64,
    /// The client that published the message; `None` if the app did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) info: Option<ClientInfo>,
    /// Milliseconds since 1970.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) time: i64,
}

/// A client in a channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ClientInfo {
    /// The id of the user.
    pub(crate) user: String,
    /// The id of the connection.
    pub(crate) client: String,
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct EmptyResult {}

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct PresenceResult {
    /// The clients by the ids of their connections.
    #[serde(default)]
    pub(crate) presence: BTreeMap<String, ClientInfo>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct PresenceStatsResult {
    pub(crate) num_clients: u32,
    pub(crate) num_users: u32,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct HistoryResult {
    pub(crate) publications: Vec<Arc<Publication>>,
    pub(crate) epoch: String,
    pub(crate) offset: u64,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct RpcResult {
    pub(crate) data: Option<Box<RawValue>>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct RefreshResult {
    pub(crate) client: String,
    pub(crate) version: String,
    pub(crate) expires: bool,
    pub(crate) ttl: u32,
}

#[cfg(any(feature = "client", test))]
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct SubRefreshResult {
    pub(crate) expires: bool,
    pub(crate) ttl: u32,
}

/// A message of the server that no command asked for.
#[derive(Debug, Serialize)]
pub(crate) struct Push {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) channel: String,
    #[serde(flatten)]
    pub(crate) content: PushContent,
}

/// The content of a push, under the name of its kind.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PushContent {
    Pub(Arc<Publication>),
    Join(MembershipPush),
    Leave(MembershipPush),
    Unsubscribe(UnsubscribePush),
    #[cfg(any(feature = "client", test))]
    Subscribe(SubscribeResult),
    #[cfg(any(feature = "client", test))]
    Message(MessagePush),
    Disconnect(DisconnectPush),
}

/// The first client of a user has come, or the last one has gone.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct MembershipPush {
    pub(crate) info: ClientInfo,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct UnsubscribePush {
    pub(crate) code: u32,
    pub(crate) reason: String,
}

#[cfg(any(feature = "client", test))]
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct MessagePush {
    pub(crate) data: Box<RawValue>,
}

/// The last push of a connection over SSE, which has no close frame.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct DisconnectPush {
    pub(crate) code: u32,
    pub(crate) reason: String,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) reconnect: bool,
}
