//! The client protocol: the Centrifuge client protocol, version 2, in JSON. A frame is one JSON object on each line.

mod codes;
mod command;
mod frame;
mod reply;
#[cfg(any(feature = "client", test))]
mod server_frame;
#[cfg(test)]
mod tests;
mod text_frame;

pub(crate) use codes::{CloseCode, ErrorCode, UnsubscribeCode};
pub(crate) use command::{
    Command, ConnectRequest, HistoryRequest, Method, PresenceRequest, PublishRequest, RecoverRequest, RefreshRequest,
    RpcRequest, StreamPosition, SubscribeRequest, UnsubscribeRequest,
};
#[cfg(any(feature = "client", test))]
pub(crate) use frame::InvalidFrame;
pub(crate) use frame::{PING, parse_frame};
pub(crate) use reply::{
    ClientInfo, ConnectResult, DisconnectPush, EmptyResult, HistoryResult, MembershipPush, PresenceResult,
    PresenceStatsResult, Publication, Push, PushContent, RefreshResult, Reply, ReplyContent, ReplyError, RpcResult,
    SubscribeResult, UnsubscribePush,
};
#[cfg(any(feature = "client", test))]
pub(crate) use reply::{MessagePush, SubRefreshResult};
#[cfg(any(feature = "client", test))]
pub(crate) use server_frame::{ServerMessage, parse_server_frame};
pub(crate) use text_frame::{TextFrame, TextFrameBuilder};

/// Returns whether a value is the default of its type. Such values are left out.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
