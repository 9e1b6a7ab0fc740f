//! The client protocol: the Centrifuge client protocol, version 2, in JSON. A frame is one JSON object on each line.

mod codes;
mod command;
mod reply;

pub(crate) use codes::{CloseCode, ErrorCode, UnsubscribeCode};
pub(crate) use command::{
    Command, ConnectRequest, HistoryRequest, Method, PresenceRequest, PublishRequest, RecoverRequest, RefreshRequest,
    RpcRequest, SendRequest, StreamPosition, SubRefreshRequest, SubscribeRequest, UnsubscribeRequest,
};
pub(crate) use reply::{
    ClientInfo, ConnectResult, DisconnectPush, EmptyResult, HistoryResult, MembershipPush, MessagePush, PresenceResult,
    PresenceStatsResult, Publication, Push, PushContent, RefreshResult, Reply, ReplyContent, ReplyError, RpcResult,
    SubRefreshResult, SubscribeResult, UnsubscribePush,
};
