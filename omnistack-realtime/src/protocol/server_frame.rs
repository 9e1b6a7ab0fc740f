//! Frames of the server, as a client parses them.

use serde::Deserialize;

use super::{
    ConnectResult, DisconnectPush, EmptyResult, HistoryResult, InvalidFrame, MembershipPush, MessagePush,
    PresenceResult, PresenceStatsResult, Publication, Push, PushContent, RefreshResult, Reply, ReplyContent,
    ReplyError, RpcResult, SubRefreshResult, SubscribeResult, UnsubscribePush,
    frame::{lines, parse_object},
};

/// A line of a frame of the server.
#[derive(Debug)]
pub(crate) enum ServerMessage {
    Reply(Reply),
    Push(Push),
    Ping,
}

/// Returns the messages of a frame, in their order. Pushes of unknown kinds are left out.
pub(crate) fn parse_server_frame(frame: &str) -> impl Iterator<Item = Result<ServerMessage, InvalidFrame>> {
    lines(frame).filter_map(|line| parse_message(line).transpose())
}

/// The members of a reply or a push. They are listed, because serde buffers the members of a flattened enum, and a
/// buffered value can't become raw JSON.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ServerLine {
    id: u32,
    push: Option<PushMembers>,
    error: Option<ReplyError>,
    connect: Option<ConnectResult>,
    subscribe: Option<SubscribeResult>,
    unsubscribe: Option<EmptyResult>,
    publish: Option<EmptyResult>,
    presence: Option<PresenceResult>,
    presence_stats: Option<PresenceStatsResult>,
    history: Option<HistoryResult>,
    rpc: Option<RpcResult>,
    refresh: Option<RefreshResult>,
    sub_refresh: Option<SubRefreshResult>,
}

/// The members of a push.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PushMembers {
    channel: String,
    r#pub: Option<Publication>,
    join: Option<MembershipPush>,
    leave: Option<MembershipPush>,
    unsubscribe: Option<UnsubscribePush>,
    subscribe: Option<SubscribeResult>,
    message: Option<MessagePush>,
    disconnect: Option<DisconnectPush>,
}

fn parse_message(line: &str) -> Result<Option<ServerMessage>, InvalidFrame> {
    let mut line: ServerLine = parse_object(line)?;
    if let Some(push) = line.push.take() {
        return Ok(push.into_push().map(ServerMessage::Push));
    }
    if line.id == 0 {
        return Ok(Some(ServerMessage::Ping));
    }
    let id = line.id;
    let content = line.into_content().ok_or(InvalidFrame::NoContent)?;
    Ok(Some(ServerMessage::Reply(Reply { id, content })))
}

impl ServerLine {
    fn into_content(self) -> Option<ReplyContent> {
        let contents = [
            self.error.map(ReplyContent::Error),
            self.connect.map(ReplyContent::Connect),
            self.subscribe.map(ReplyContent::Subscribe),
            self.unsubscribe.map(ReplyContent::Unsubscribe),
            self.publish.map(ReplyContent::Publish),
            self.presence.map(ReplyContent::Presence),
            self.presence_stats.map(ReplyContent::PresenceStats),
            self.history.map(ReplyContent::History),
            self.rpc.map(ReplyContent::Rpc),
            self.refresh.map(ReplyContent::Refresh),
            self.sub_refresh.map(ReplyContent::SubRefresh),
        ];
        contents.into_iter().flatten().next()
    }
}

impl PushMembers {
    fn into_push(self) -> Option<Push> {
        let contents = [
            self.r#pub.map(|publication| PushContent::Pub(publication.into())),
            self.join.map(PushContent::Join),
            self.leave.map(PushContent::Leave),
            self.unsubscribe.map(PushContent::Unsubscribe),
            self.subscribe.map(PushContent::Subscribe),
            self.message.map(PushContent::Message),
            self.disconnect.map(PushContent::Disconnect),
        ];
        let content = contents.into_iter().flatten().next()?;
        Some(Push { channel: self.channel, content })
    }
}
