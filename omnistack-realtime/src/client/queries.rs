//! Histories and presence, as a client reads them.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::ClientError;
use crate::protocol::{ClientInfo, HistoryRequest, HistoryResult, PresenceStatsResult, Publication, StreamPosition};

/// A position in the history of a channel: the number of a message within an epoch. A new epoch begins when the history
/// was lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelPosition {
    /// The epoch.
    pub epoch: String,
    /// The number of the message; 0 before the first.
    pub offset: u64,
}

impl From<StreamPosition> for ChannelPosition {
    fn from(position: StreamPosition) -> Self {
        Self { epoch: position.epoch, offset: position.offset }
    }
}

impl From<ChannelPosition> for StreamPosition {
    fn from(position: ChannelPosition) -> Self {
        Self { offset: position.offset, epoch: position.epoch }
    }
}

/// The part of a channel's history to read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct HistoryRange {
    limit: Option<u32>,
    since: Option<ChannelPosition>,
    newest_first: bool,
}

impl HistoryRange {
    /// Returns the range of all messages, up to the limit of the server.
    pub fn all() -> Self {
        Self::default()
    }

    /// Returns the range without messages: the result has the position of the channel only.
    pub fn position() -> Self {
        Self::all().limit(0)
    }

    /// Sets the largest number of messages.
    pub fn limit(mut self, messages: u32) -> Self {
        self.limit = Some(messages);
        self
    }

    /// Sets the position after which the messages begin, or before which they end if the newest come first.
    pub fn since(mut self, position: ChannelPosition) -> Self {
        self.since = Some(position);
        self
    }

    /// Sets the order: the newest message comes first.
    pub fn newest_first(mut self) -> Self {
        self.newest_first = true;
        self
    }

    pub(super) fn into_request(self, channel: &str) -> HistoryRequest {
        HistoryRequest {
            channel: channel.to_owned(),
            limit: self.limit.map_or(-1, |limit| i32::try_from(limit).unwrap_or(i32::MAX)),
            since: self.since.map(StreamPosition::from),
            reverse: self.newest_first,
        }
    }
}

/// Messages of a channel's history, and the channel's position.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct MessageHistory<T> {
    /// The messages.
    pub messages: Vec<HistoryMessage<T>>,
    /// The position of the newest message of the channel, also if it is not among the messages.
    pub position: ChannelPosition,
}

impl<T: DeserializeOwned> MessageHistory<T> {
    pub(super) fn new(result: HistoryResult) -> Result<Self, ClientError> {
        let HistoryResult { publications, epoch, offset } = result;
        let messages = publications.iter().map(|publication| HistoryMessage::new(publication));
        Ok(Self { messages: messages.collect::<Result<_, _>>()?, position: ChannelPosition { epoch, offset } })
    }
}

/// A message of a channel's history.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct HistoryMessage<T> {
    /// The content.
    pub data: T,
    /// The number of the message.
    pub offset: u64,
    /// The client that has published the message; `None` if the app has.
    pub sender: Option<PresentClient>,
}

impl<T: DeserializeOwned> HistoryMessage<T> {
    fn new(publication: &Publication) -> Result<Self, ClientError> {
        Ok(Self {
            data: decode(publication)?,
            offset: publication.offset,
            sender: publication.info.clone().map(PresentClient::from),
        })
    }
}

/// Parses the content of a message.
pub(super) fn decode<T: DeserializeOwned>(publication: &Publication) -> Result<T, ClientError> {
    serde_json::from_str(publication.data.get()).map_err(|error| ClientError::decode(publication.offset, error))
}

/// A client in a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PresentClient {
    /// The id of the user.
    pub user: String,
    /// The id of the connection.
    pub client: String,
}

impl From<ClientInfo> for PresentClient {
    fn from(info: ClientInfo) -> Self {
        Self { user: info.user, client: info.client }
    }
}

/// The numbers of clients and users in a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PresenceCounts {
    /// Number of connections.
    pub clients: u32,
    /// Number of users.
    pub users: u32,
}

impl From<PresenceStatsResult> for PresenceCounts {
    fn from(stats: PresenceStatsResult) -> Self {
        Self { clients: stats.num_clients, users: stats.num_users }
    }
}
