//! The engine of several replicas: the state is in Redis, and all messages come from there, so that each replica gets
//! them in the same order.
//!
//! While Redis is away, messages are delivered in this process, without a number, and the history, presence and
//! requests to other replicas fail. When it is back, the hub has to check all positions. The histories of channels
//! whose messages were delivered in this process only begin anew, so that the subscribers of other replicas, which may
//! have had Redis all the time, are told that they have missed some.

mod messages;
mod scripts;

use std::{
    collections::{BTreeMap, HashSet},
    iter, mem,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use omnistack_core::{
    BoxError, ShutdownToken,
    cache::{self, ErrorKind},
    clock::Clock,
    http::Error,
    redis::{Redis, RedisSubscriber, RedisValue, Script},
};

use self::{
    messages::{CONTROL_TOPIC, RedisReceiver, decode_publication, encode_publication, node_topic, parse_position},
    scripts::{CLIENTS, COUNT, FORGET, HISTORY, KEEP, LEAVE, PROBE, PUBLISH, SEND},
};
use super::{
    ControlMessage, EMPTY_POSITION_TTL, Engine, EngineEvents, HistoryFilter, HistoryPage, IDEMPOTENCY_TTL,
    NewPublication, POSITION_GRACE, PresenceEntry, history_size, history_ttl, new_epoch,
};
use crate::{
    channel::{ChannelKey, ChannelOptions},
    protocol::{ClientInfo, PresenceStatsResult, Publication, StreamPosition},
};

/// Interval at which an engine asks Redis whether it is back.
const AWAY_CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// The key that is set to find out whether Redis stores again. Keys of channels have a slash.
const PROBE_KEY: &str = "probe";
/// Largest number of clients whose presence is refreshed by one script.
const MAX_CLIENTS_PER_SCRIPT: usize = 256;

/// An engine whose state is in Redis.
pub(crate) struct RedisEngine {
    redis: Redis,
    clock: Clock,
    subscriber: RedisSubscriber,
    receiver: Arc<RedisReceiver>,
    /// Channels with clients of this replica whose joins and leaves are told.
    telling: Mutex<HashSet<ChannelKey>>,
    /// Whether messages were delivered in this process only.
    is_away: AtomicBool,
    /// The topic of requests to this replica.
    node_topic: OnceLock<String>,
    /// Channels whose histories lack messages that were delivered in this process only.
    incomplete: Mutex<HashSet<ChannelKey>>,
}

impl RedisEngine {
    /// Creates an engine. `redis` and `clock` are those of the app.
    ///
    /// # Errors
    /// Fails if the connection for subscriptions can't be prepared.
    pub(crate) fn new(redis: Redis, clock: Clock) -> Result<Self, BoxError> {
        let receiver = Arc::new(RedisReceiver { events: OnceLock::new(), delivery: Mutex::new(()) });
        let listener = Arc::clone(&receiver);
        let subscriber = redis.subscriber(listener)?;
        Ok(Self {
            redis,
            clock,
            subscriber,
            receiver,
            telling: Mutex::default(),
            is_away: AtomicBool::new(false),
            node_topic: OnceLock::new(),
            incomplete: Mutex::default(),
        })
    }

    async fn call(
        &self,
        script: &Script,
        keys: impl IntoIterator<Item = impl AsRef<str>>,
        values: Vec<RedisValue>,
    ) -> Result<RedisValue, cache::Error> {
        self.redis.run_script(script, keys, values).await
    }

    /// Ends an outage, if there was one and Redis stores again. One that is full or read-only answers other calls.
    async fn end_outage(&self) {
        if !self.is_away.load(Ordering::Relaxed) || self.call(&PROBE, [PROBE_KEY], Vec::new()).await.is_err() {
            return;
        }
        self.is_away.store(false, Ordering::Relaxed);
        tracing::info!(target: "omnistack::realtime", "messages reach the clients of all replicas again");
        self.receiver.lose_messages();
    }

    /// Ends the histories that lack messages.
    async fn forget_incomplete(&self) {
        // Taken before, since a channel may be added again while it is being forgotten.
        let mut channels = mem::take(&mut *self.incomplete()).into_iter();
        while let Some(channel) = channels.next() {
            if self.call(&FORGET, history_keys(&channel), Vec::new()).await.is_err() {
                self.incomplete().extend(iter::once(channel).chain(channels));
                return;
            }
        }
    }

    fn incomplete(&self) -> MutexGuard<'_, HashSet<ChannelKey>> {
        self.incomplete.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn telling(&self) -> MutexGuard<'_, HashSet<ChannelKey>> {
        self.telling.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the time for the scripts of presence, which is that of Redis if it is empty.
    fn presence_time(&self) -> RedisValue {
        self.clock.mock_time().map_or_else(|| "".into(), |now| (now.as_micros() / 1000).to_string().into())
    }

    /// Adds clients to the presence of their channels, or extends their time.
    async fn keep_present(&self, entries: &[PresenceEntry], ttl: Duration) -> Result<(), Error> {
        let mut channels: BTreeMap<&ChannelKey, Vec<&ClientInfo>> = BTreeMap::new();
        for entry in entries {
            channels.entry(&entry.channel).or_default().push(&entry.info);
        }
        let (mut keys, mut values) = (Vec::new(), vec![self.presence_time(), millis(ttl)]);
        for (channel, clients) in channels {
            let tell = self.telling().contains(channel);
            keys.extend(presence_keys(channel));
            values.extend([count(clients.len()), flag(tell)]);
            values.extend(clients.into_iter().flat_map(|info| [&*info.client, &*info.user].map(RedisValue::from)));
        }
        // A call removes a limited number of clients whose time is over. The next one removes more, and extends the
        // time of the others to the same end.
        while self.call(&KEEP, keys.clone(), values.clone()).await.map_err(unavailable)?.as_i64() == Some(1) {}
        Ok(())
    }

    /// Delivers a message in this process, because Redis is away.
    fn deliver_here(&self, channel: &ChannelKey, publication: Publication) {
        if !self.is_away.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                target: "omnistack::realtime",
                "Redis is unavailable: messages reach the clients of this replica only, and are not kept"
            );
        }
        self.receiver.deliver(channel, publication, "");
    }
}

#[async_trait]
impl Engine for RedisEngine {
    fn attach(&self, events: Arc<dyn EngineEvents>, node: &str) {
        // A second call is a mistake of the caller, and changes nothing.
        _ = self.receiver.events.set(events);
        _ = self.node_topic.set(node_topic(node));
    }

    async fn run(&self, shutdown: ShutdownToken) {
        let topics = [Some(CONTROL_TOPIC), self.node_topic.get().map(String::as_str)];
        for topic in topics.into_iter().flatten() {
            self.subscriber.subscribe(topic).await;
        }
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = tokio::time::sleep(AWAY_CHECK_INTERVAL) => {
                    self.end_outage().await;
                    if !self.is_away.load(Ordering::Relaxed) {
                        self.forget_incomplete().await;
                    }
                }
            }
        }
        for topic in topics.into_iter().flatten() {
            self.subscriber.unsubscribe(topic);
        }
    }

    async fn subscribe(&self, channel: &ChannelKey) -> Result<(), Error> {
        self.subscriber.subscribe(channel.as_str()).await;
        Ok(())
    }

    async fn unsubscribe(&self, channel: &ChannelKey) {
        self.telling().remove(channel);
        self.subscriber.unsubscribe(channel.as_str());
    }

    async fn publish(
        &self,
        channel: &ChannelKey,
        publication: NewPublication,
        options: &ChannelOptions,
    ) -> Result<StreamPosition, Error> {
        let NewPublication { data, info, key, time } = publication;
        let publication = Publication { data, offset: 0, info, time };
        let values = vec![
            encode_publication(&publication)?.into(),
            new_epoch().into(),
            RedisValue::Integer(history_size(options).into()),
            millis(history_ttl(options)),
            millis(history_ttl(options) + POSITION_GRACE),
            key.as_ref().map_or(RedisValue::Integer(0), |_| millis(IDEMPOTENCY_TTL)),
        ];
        let is_repeatable = key.is_some();
        let [position, history] = history_keys(channel);
        let idempotency = format!("i:{channel} {}", key.unwrap_or_default());
        let keys = [position, history, idempotency, channel.as_str().to_owned()];
        match self.call(&PUBLISH, keys, values).await {
            Ok(position) => position.as_str().and_then(parse_position).ok_or_else(unexpected),
            // The script did not run. If that is unknown, a message that is delivered here could arrive twice.
            Err(error) if error.kind() == ErrorKind::Unavailable => {
                // No client would get a message without subscribers here. A publisher with a key tries again.
                if is_repeatable && !self.subscriber.is_subscribed(channel.as_str()) {
                    return Err(unavailable(error));
                }
                if history_size(options) > 0 {
                    self.incomplete().insert(channel.clone());
                }
                self.deliver_here(channel, publication);
                Ok(StreamPosition::default())
            }
            Err(error) => Err(unavailable(error)),
        }
    }

    async fn history(
        &self,
        channel: &ChannelKey,
        filter: HistoryFilter,
        options: &ChannelOptions,
    ) -> Result<HistoryPage, Error> {
        if history_size(options) == 0 {
            return Ok(HistoryPage::default());
        }
        let limit = filter.limit.map_or(RedisValue::Integer(-1), count);
        // Ranges include both ends, and there is no message 0.
        let (command, from, to) = match (filter.reverse, filter.since) {
            (false, None) => ("XRANGE", "-".to_owned(), "+"),
            (false, Some(since)) => ("XRANGE", since.saturating_add(1).to_string(), "+"),
            (true, None) => ("XREVRANGE", "+".to_owned(), "-"),
            (true, Some(since)) => ("XREVRANGE", since.saturating_sub(1).to_string(), "-"),
        };
        let values = vec![
            new_epoch().into(),
            millis(history_ttl(options) + POSITION_GRACE),
            command.into(),
            from.into(),
            to.into(),
            limit,
            millis(EMPTY_POSITION_TTL),
        ];
        let answer = self.call(&HISTORY, history_keys(channel), values).await.map_err(unavailable)?;
        let mut parts = answer.into_list().into_iter();
        let position = parts.next().as_ref().and_then(RedisValue::as_str).and_then(parse_position);
        let mut publications = Vec::with_capacity(parts.len() / 2);
        while let (Some(offset), Some(message)) = (parts.next(), parts.next()) {
            let offset: Option<u64> = offset.as_str().and_then(|offset| offset.parse().ok());
            let publication = offset.zip(message.as_str()).and_then(|(offset, text)| decode_publication(offset, text));
            publications.push(Arc::new(publication.ok_or_else(unexpected)?));
        }
        Ok(HistoryPage { publications, position: position.ok_or_else(unexpected)? })
    }

    async fn join(&self, entry: &PresenceEntry, ttl: Duration, tell: bool) -> Result<(), Error> {
        if tell {
            self.telling().insert(entry.channel.clone());
        }
        self.keep_present(std::slice::from_ref(entry), ttl).await
    }

    async fn leave(&self, entry: &PresenceEntry, tell: bool) -> Result<(), Error> {
        let values = vec![self.presence_time(), entry.info.client.as_str().into(), flag(tell)];
        self.call(&LEAVE, presence_keys(&entry.channel), values).await.map(drop).map_err(unavailable)
    }

    async fn refresh(&self, entries: &[PresenceEntry], ttl: Duration) -> Result<(), Error> {
        for entries in entries.chunks(MAX_CLIENTS_PER_SCRIPT) {
            self.keep_present(entries, ttl).await?;
        }
        Ok(())
    }

    async fn presence(&self, channel: &ChannelKey, limit: usize) -> Result<Vec<ClientInfo>, Error> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let values = vec![self.presence_time(), count(limit)];
        let answer = self.call(&CLIENTS, presence_keys(channel), values).await.map_err(unavailable)?;
        let text = |value: &RedisValue| value.as_str().map(str::to_owned).ok_or_else(unexpected);
        let clients = answer.into_list();
        let (clients, _) = clients.as_chunks::<2>();
        clients.iter().map(|[client, user]| Ok(ClientInfo { user: text(user)?, client: text(client)? })).collect()
    }

    async fn presence_stats(&self, channel: &ChannelKey) -> Result<PresenceStatsResult, Error> {
        let values = vec![self.presence_time()];
        let answer = self.call(&COUNT, presence_keys(channel), values).await.map_err(unavailable)?;
        let counts: Vec<_> = answer.into_list().iter().filter_map(RedisValue::as_i64).collect();
        let [clients, users] = counts[..] else { return Err(unexpected()) };
        let count = |count| u32::try_from(count).unwrap_or(u32::MAX);
        Ok(PresenceStatsResult { num_clients: count(clients), num_users: count(users) })
    }

    async fn control(&self, message: &ControlMessage) -> Result<bool, Error> {
        let text = serde_json::to_string(message).map_err(Error::internal)?;
        let topic = match message {
            ControlMessage::Disconnect { .. } => CONTROL_TOPIC.to_owned(),
            ControlMessage::Commands { node, .. } => node_topic(node),
        };
        let sent = self.call(&SEND, [topic], vec![text.into()]).await;
        if sent.is_err() && matches!(message, ControlMessage::Disconnect { .. }) {
            // At least the connections of this replica are closed. If Redis does it as well, nothing more happens.
            self.receiver.control(message.clone());
        }
        sent.map(|receivers| receivers.as_i64() != Some(0)).map_err(unavailable)
    }
}

/// Returns the keys of the position and of the history.
fn history_keys(channel: &ChannelKey) -> [String; 2] {
    [format!("o:{channel}"), format!("h:{channel}")]
}

/// Returns the keys that `presence.lua` describes.
fn presence_keys(channel: &ChannelKey) -> [String; 4] {
    [format!("p:{channel}"), format!("d:{channel}"), format!("u:{channel}"), channel.as_str().to_owned()]
}

fn millis(ttl: Duration) -> RedisValue {
    // Redis has no time to live of zero.
    RedisValue::Integer(i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX).max(1))
}

fn count(count: usize) -> RedisValue {
    RedisValue::Integer(i64::try_from(count).unwrap_or(i64::MAX))
}

fn flag(is_set: bool) -> RedisValue {
    if is_set { "1" } else { "0" }.into()
}

fn unavailable(error: cache::Error) -> Error {
    Error::unavailable("REALTIME_UNAVAILABLE", "channels are unavailable at the moment: try again").with_source(error)
}

fn unexpected() -> Error {
    unavailable(cache::Error::new(ErrorKind::Other, "a script returned an unexpected value"))
}
