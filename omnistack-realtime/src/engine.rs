//! The engine: the state of channels that connections of all replicas share. It stores histories and presence, numbers
//! the messages, and carries them to the replicas that have subscribers.

mod memory;
#[cfg(feature = "redis")]
mod redis;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use omnistack_core::http::Error;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    channel::{ChannelKey, ChannelOptions},
    protocol::{ClientInfo, PresenceStatsResult, Publication, StreamPosition},
};

pub(crate) use memory::MemoryEngine;
#[cfg(feature = "redis")]
pub(crate) use redis::RedisEngine;

/// A message that is to be published.
#[derive(Debug)]
pub(crate) struct NewPublication {
    pub(crate) data: Box<RawValue>,
    pub(crate) info: Option<ClientInfo>,
    /// The idempotency key.
    pub(crate) key: Option<String>,
    /// Milliseconds since 1970.
    pub(crate) time: i64,
}

/// The part of a history that is read.
#[derive(Clone, Debug, Default)]
pub(crate) struct HistoryFilter {
    /// The largest number of messages; `None` for all.
    pub(crate) limit: Option<usize>,
    /// Only messages after this offset, or before it in reverse.
    pub(crate) since: Option<u64>,
    pub(crate) reverse: bool,
}

/// Messages of a history, and the position of its newest message.
#[derive(Clone, Debug, Default)]
pub(crate) struct HistoryPage {
    pub(crate) publications: Vec<Arc<Publication>>,
    pub(crate) position: StreamPosition,
}

/// A client that is present in a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PresenceEntry {
    pub(crate) channel: ChannelKey,
    pub(crate) info: ClientInfo,
}

/// A request to all replicas.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum ControlMessage {
    /// Closes the connections of a user, of all tenants or of one.
    Disconnect { user: Option<String>, tenant: Option<String>, client: Option<String>, code: u16 },
    /// Commands that arrived at another replica than that of their connection, by the emulation.
    Commands { node: String, session: String, caller: String, data: String },
}

/// The receiver of an engine's events, which is the hub. The calls for a channel come one after another, in the order of their offsets.
pub(crate) trait EngineEvents: Send + Sync + 'static {
    /// Delivers a message to the subscribers in this process. `position` is that of the message, if the channel has a
    /// history.
    fn publication(&self, channel: &ChannelKey, publication: Arc<Publication>, epoch: &str);

    /// Delivers that the first client of a user has come, or that the last one has gone.
    fn membership(&self, channel: &ChannelKey, info: ClientInfo, is_join: bool);

    /// Handles a request to all replicas.
    fn control(&self, message: ControlMessage);

    /// Messages of these channels may have been lost, or of all channels if `None`: their positions have to be checked.
    #[cfg_attr(not(any(feature = "redis", test)), expect(dead_code, reason = "the engine in this process loses none"))]
    fn messages_lost(&self, channel: Option<&ChannelKey>);
}

/// The contract of engines. Errors are 503 `REALTIME_UNAVAILABLE`.
#[async_trait]
pub(crate) trait Engine: Send + Sync + 'static {
    /// Sets what receives the events of this engine, and the name of this process among the replicas. Called once, before
    /// all others.
    fn attach(&self, events: Arc<dyn EngineEvents>, node: &str);

    /// Runs the engine's background work until the app shuts down.
    async fn run(&self, shutdown: omnistack_core::ShutdownToken);

    /// Begins to receive the messages of a channel. Returns when all that are published from now on are received.
    async fn subscribe(&self, channel: &ChannelKey) -> Result<(), Error>;

    /// Ends to receive the messages of a channel.
    async fn unsubscribe(&self, channel: &ChannelKey);

    /// Stores a message in the history of its channel, if it has one, and delivers it in all replicas. Returns its
    /// position. With a key that was used within [`IDEMPOTENCY_TTL`], returns the position of the first message and
    /// delivers nothing. While other replicas can't be reached, fails for a message with a key and without subscribers in
    /// this process, and delivers others in this process.
    async fn publish(
        &self,
        channel: &ChannelKey,
        publication: NewPublication,
        options: &ChannelOptions,
    ) -> Result<StreamPosition, Error>;

    /// Reads the history of a channel. A channel that has none yet gets an epoch.
    async fn history(
        &self,
        channel: &ChannelKey,
        filter: HistoryFilter,
        options: &ChannelOptions,
    ) -> Result<HistoryPage, Error>;

    /// Adds a client to the presence of a channel for `ttl`. Tells all replicas if it is the first of its user.
    async fn join(&self, entry: &PresenceEntry, ttl: Duration, tell: bool) -> Result<(), Error>;

    /// Removes a client from the presence of a channel. Tells all replicas if it was the last of its user.
    async fn leave(&self, entry: &PresenceEntry, tell: bool) -> Result<(), Error>;

    /// Keeps clients in the presence of their channels for another `ttl`.
    async fn refresh(&self, entries: &[PresenceEntry], ttl: Duration) -> Result<(), Error>;

    /// Returns the clients that are present in a channel, at most `limit`.
    async fn presence(&self, channel: &ChannelKey, limit: usize) -> Result<Vec<ClientInfo>, Error>;

    /// Returns the numbers of clients and users that are present in a channel, without reading them all.
    async fn presence_stats(&self, channel: &ChannelKey) -> Result<PresenceStatsResult, Error>;

    /// Sends a request to all replicas, including this one, or to the one that it names. Returns false if no replica has
    /// received it.
    async fn control(&self, message: &ControlMessage) -> Result<bool, Error>;
}

/// The time for which an idempotency key is kept, which is longer than the delivery of an event is retried.
pub(crate) const IDEMPOTENCY_TTL: Duration = Duration::from_secs(30 * 60);

/// The time for which the position of a channel is kept after its history has expired. A client that has missed nothing
/// is recovered within that time.
const POSITION_GRACE: Duration = Duration::from_secs(24 * 60 * 60);

/// The time for which the position of a channel without messages is kept after it was last read, which is longer than the
/// time between two checks of positions. Clients may read the positions of any number of channels that have none.
const EMPTY_POSITION_TTL: Duration = Duration::from_secs(2 * 60 * 60);

/// The longest time for which a history is kept.
const MAX_HISTORY_TTL: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// Returns the time for which the history of a channel is kept after its last message.
fn history_ttl(options: &ChannelOptions) -> Duration {
    options.history_ttl.min(MAX_HISTORY_TTL)
}

/// Returns the number of messages that are kept in the history of a channel.
fn history_size(options: &ChannelOptions) -> u32 {
    if options.latest_value { options.history_size.min(1) } else { options.history_size }
}

/// Returns an epoch that no other history has.
fn new_epoch() -> String {
    format!("{:x}", rand::random::<u64>())
}
