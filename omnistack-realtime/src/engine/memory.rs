//! The engine of a single replica: all state is in this process.

mod presence;

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher as _, RandomState},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use omnistack_core::{ShutdownToken, clock::Clock, http::Error};

use self::presence::MemoryPresence;
use super::{
    ControlMessage, EMPTY_POSITION_TTL, Engine, EngineEvents, HistoryFilter, HistoryPage, IDEMPOTENCY_TTL,
    NewPublication, POSITION_GRACE, PresenceEntry, history_size, history_ttl, new_epoch,
};
use crate::{
    channel::{ChannelKey, ChannelOptions},
    protocol::{ClientInfo, PresenceStatsResult, Publication, StreamPosition},
};

/// Interval at which the state of unused channels is dropped.
const SWEEP_INTERVAL: Duration = Duration::from_secs(10);
/// Number of tables of channels. While one of them is swept, the channels of the others are not held back.
const CHANNEL_SHARDS: u64 = 64;

/// An engine whose state is in this process.
pub(crate) struct MemoryEngine {
    clock: Clock,
    events: OnceLock<Arc<dyn EngineEvents>>,
    node: OnceLock<String>,
    /// The channels, by the hash of their key.
    shards: Vec<Mutex<ChannelShard>>,
    hasher: RandomState,
}

type ChannelShard = HashMap<ChannelKey, Arc<Mutex<MemoryChannel>>>;

/// The state of a channel. Its mutex is held while events are delivered, so that they come in order. Times are those of
/// [`Clock::elapsed`].
struct MemoryChannel {
    epoch: String,
    offset: u64,
    publications: VecDeque<Arc<Publication>>,
    history_until: Duration,
    position_until: Duration,
    /// Whether the hub receives the messages.
    is_subscribed: bool,
    /// The positions of messages with an idempotency key.
    keys: HashMap<String, StreamPosition>,
    /// The keys in the order in which they expire.
    key_deadlines: VecDeque<(Duration, String)>,
    presence: MemoryPresence,
}

impl MemoryEngine {
    /// Creates an engine.
    pub(crate) fn new(clock: Clock) -> Self {
        let shards = (0..CHANNEL_SHARDS).map(|_| Mutex::default()).collect();
        Self { clock, events: OnceLock::new(), node: OnceLock::new(), shards, hasher: RandomState::new() }
    }

    fn shard(&self, key: &ChannelKey) -> MutexGuard<'_, ChannelShard> {
        let index = usize::try_from(self.hasher.hash_one(key) % CHANNEL_SHARDS).unwrap_or_default();
        lock(&self.shards[index])
    }

    /// Calls a function with the state of a channel.
    fn with_channel<T>(&self, key: &ChannelKey, work: impl FnOnce(&mut MemoryChannel, Duration) -> T) -> T {
        let channel = {
            let mut channels = self.shard(key);
            match channels.get(key) {
                Some(channel) => Arc::clone(channel),
                None => {
                    let channel = Arc::new(Mutex::new(MemoryChannel::new()));
                    channels.insert(key.clone(), Arc::clone(&channel));
                    channel
                }
            }
        };
        let mut channel = lock(&channel);
        work(&mut channel, self.clock.elapsed())
    }

    /// Calls a function with the state of a channel, if it has one.
    fn with_known_channel<T>(
        &self,
        key: &ChannelKey,
        work: impl FnOnce(&mut MemoryChannel, Duration) -> T,
    ) -> Option<T> {
        let channel = self.shard(key).get(key).cloned()?;
        let mut channel = lock(&channel);
        Some(work(&mut channel, self.clock.elapsed()))
    }

    /// Drops all state that is no longer needed.
    #[cfg(test)]
    pub(super) fn sweep(&self) {
        self.shards.iter().for_each(|shard| self.sweep_shard(shard));
    }

    fn sweep_shard(&self, shard: &Mutex<ChannelShard>) {
        let now = self.clock.elapsed();
        lock(shard).retain(|_, channel| {
            // A channel that is in use has another reference, which is taken with the same lock.
            Arc::strong_count(channel) > 1 || lock(channel).is_needed(now)
        });
    }

    /// Returns the number of channels with state.
    #[cfg(test)]
    pub(super) fn channel_count(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    fn deliver(&self, channel: &MemoryChannel, work: impl FnOnce(&dyn EngineEvents)) {
        if let Some(events) = self.events.get().filter(|_| channel.is_subscribed) {
            work(&**events);
        }
    }

    /// Removes the clients whose time is over, and tells that their users have gone.
    fn expire_presence(&self, key: &ChannelKey, channel: &mut MemoryChannel, now: Duration) {
        let tell = channel.presence.tells;
        for info in channel.presence.expire(now) {
            self.tell_membership(key, channel, info, false, tell);
        }
    }

    fn tell_membership(&self, key: &ChannelKey, channel: &MemoryChannel, info: ClientInfo, is_join: bool, tell: bool) {
        if tell {
            self.deliver(channel, |events| events.membership(key, info, is_join));
        }
    }

    /// Adds a client or extends its time.
    fn keep_present(&self, entry: &PresenceEntry, ttl: Duration, tell: Option<bool>) {
        self.with_channel(&entry.channel, |channel, now| {
            channel.presence.tells = tell.unwrap_or(channel.presence.tells);
            if channel.presence.keep(&entry.info, now + ttl) {
                self.tell_membership(&entry.channel, channel, entry.info.clone(), true, channel.presence.tells);
            }
            self.expire_presence(&entry.channel, channel, now);
        });
    }
}

#[async_trait]
impl Engine for MemoryEngine {
    fn attach(&self, events: Arc<dyn EngineEvents>, node: &str) {
        // A second call is a mistake of the caller, and changes nothing.
        _ = self.events.set(events);
        _ = self.node.set(node.to_owned());
    }

    async fn run(&self, shutdown: ShutdownToken) {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(SWEEP_INTERVAL) => {
                    for shard in &self.shards {
                        self.sweep_shard(shard);
                        tokio::task::yield_now().await;
                    }
                }
            }
        }
    }

    async fn subscribe(&self, channel: &ChannelKey) -> Result<(), Error> {
        self.with_channel(channel, |channel, _| channel.is_subscribed = true);
        Ok(())
    }

    async fn unsubscribe(&self, channel: &ChannelKey) {
        self.with_known_channel(channel, |channel, _| channel.is_subscribed = false);
    }

    async fn publish(
        &self,
        channel: &ChannelKey,
        publication: NewPublication,
        options: &ChannelOptions,
    ) -> Result<StreamPosition, Error> {
        Ok(self.with_channel(channel, |state, now| {
            state.forget_keys(now);
            if let Some(position) = publication.key.as_ref().and_then(|key| state.keys.get(key)) {
                return position.clone();
            }
            let position = state.next_position(now, options);
            let NewPublication { data, info, key, time } = publication;
            let publication = Arc::new(Publication { data, offset: position.offset, info, time });
            state.store(&publication, options);
            if let Some(key) = key {
                state.keys.insert(key.clone(), position.clone());
                state.key_deadlines.push_back((now + IDEMPOTENCY_TTL, key));
            }
            self.deliver(state, |events| events.publication(channel, publication, &position.epoch));
            position
        }))
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
        Ok(self.with_channel(channel, |state, now| {
            state.expire_history(now);
            let ttl = if state.offset == 0 { EMPTY_POSITION_TTL } else { history_ttl(options) + POSITION_GRACE };
            state.position_until = state.position_until.max(now + ttl);
            HistoryPage { publications: state.select(&filter), position: state.position() }
        }))
    }

    async fn join(&self, entry: &PresenceEntry, ttl: Duration, tell: bool) -> Result<(), Error> {
        self.keep_present(entry, ttl, Some(tell));
        Ok(())
    }

    async fn leave(&self, entry: &PresenceEntry, tell: bool) -> Result<(), Error> {
        self.with_known_channel(&entry.channel, |channel, now| {
            if let Some(info) = channel.presence.remove(&entry.info.client) {
                self.tell_membership(&entry.channel, channel, info, false, tell);
            }
            self.expire_presence(&entry.channel, channel, now);
        });
        Ok(())
    }

    async fn refresh(&self, entries: &[PresenceEntry], ttl: Duration) -> Result<(), Error> {
        for entry in entries {
            self.keep_present(entry, ttl, None);
        }
        Ok(())
    }

    async fn presence(&self, channel: &ChannelKey, limit: usize) -> Result<Vec<ClientInfo>, Error> {
        let found = self.with_known_channel(channel, |state, now| {
            self.expire_presence(channel, state, now);
            state.presence.clients(limit)
        });
        Ok(found.unwrap_or_default())
    }

    async fn presence_stats(&self, channel: &ChannelKey) -> Result<PresenceStatsResult, Error> {
        let stats = self.with_known_channel(channel, |state, now| {
            self.expire_presence(channel, state, now);
            state.presence.stats()
        });
        Ok(stats.unwrap_or_default())
    }

    async fn control(&self, message: &ControlMessage) -> Result<bool, Error> {
        let is_addressed = match message {
            ControlMessage::Disconnect { .. } => true,
            ControlMessage::Commands { node, .. } => self.node.get() == Some(node),
        };
        if let Some(events) = self.events.get().filter(|_| is_addressed) {
            events.control(message.clone());
        }
        Ok(is_addressed)
    }
}

impl MemoryChannel {
    fn new() -> Self {
        Self {
            epoch: new_epoch(),
            offset: 0,
            publications: VecDeque::new(),
            history_until: Duration::ZERO,
            position_until: Duration::ZERO,
            is_subscribed: false,
            keys: HashMap::new(),
            key_deadlines: VecDeque::new(),
            presence: MemoryPresence::default(),
        }
    }

    fn position(&self) -> StreamPosition {
        StreamPosition { offset: self.offset, epoch: self.epoch.clone() }
    }

    /// Returns the position of the next message, or the default without a history.
    fn next_position(&mut self, now: Duration, options: &ChannelOptions) -> StreamPosition {
        if history_size(options) == 0 {
            return StreamPosition::default();
        }
        self.expire_history(now);
        self.offset += 1;
        self.history_until = now + history_ttl(options);
        self.position_until = self.history_until + POSITION_GRACE;
        self.position()
    }

    fn store(&mut self, publication: &Arc<Publication>, options: &ChannelOptions) {
        let size = usize::try_from(history_size(options)).unwrap_or(usize::MAX);
        if size == 0 {
            return;
        }
        while self.publications.len() >= size {
            self.publications.pop_front();
        }
        self.publications.push_back(Arc::clone(publication));
    }

    fn select(&self, filter: &HistoryFilter) -> Vec<Arc<Publication>> {
        let limit = filter.limit.unwrap_or(usize::MAX);
        let matching = self.publications.iter().filter(|publication| match filter.since {
            None => true,
            Some(since) if filter.reverse => publication.offset < since,
            Some(since) => publication.offset > since,
        });
        if filter.reverse {
            matching.rev().take(limit).cloned().collect()
        } else {
            matching.take(limit).cloned().collect()
        }
    }

    fn expire_history(&mut self, now: Duration) {
        if now >= self.history_until {
            self.publications = VecDeque::new();
        }
    }

    fn forget_keys(&mut self, now: Duration) {
        while let Some((_, key)) = self.key_deadlines.pop_front_if(|(until, _)| now >= *until) {
            self.keys.remove(&key);
        }
    }

    /// Drops what has expired. Returns whether something is left.
    fn is_needed(&mut self, now: Duration) -> bool {
        self.expire_history(now);
        self.forget_keys(now);
        self.is_subscribed || !self.keys.is_empty() || now < self.position_until || self.presence.is_used(now)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
