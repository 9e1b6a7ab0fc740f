//! An engine with one channel. The test controls its deliveries and outages. The engines of several replicas share a
//! history.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use omnistack_core::{ShutdownToken, http::Error, realtime::RealtimeChannel};
use serde_json::{Value, value::to_raw_value};
use tokio::sync::Notify;

use super::{lock, tenant};
use crate::{
    channel::{ChannelKey, ChannelOptions},
    engine::{ControlMessage, Engine, EngineEvents, HistoryFilter, HistoryPage, NewPublication, PresenceEntry},
    protocol::{ClientInfo, PresenceStatsResult, Publication, StreamPosition},
};

/// The channel of the engine.
pub(super) const FAKE_CHANNEL: &str = "run:1";

#[derive(Default)]
pub(super) struct FakeEngine {
    events: OnceLock<Arc<dyn EngineEvents>>,
    history: Arc<Mutex<FakeHistory>>,
    /// The index of this replica in `in_flight`.
    replica: usize,
    is_down: AtomicBool,
    /// Whether histories that are read are held back.
    is_held: AtomicBool,
    released: Notify,
    calls: Mutex<Vec<&'static str>>,
}

#[derive(Default)]
struct FakeHistory {
    epoch: u32,
    publications: Vec<Arc<Publication>>,
    /// The messages that are on their way, for each replica.
    in_flight: Vec<VecDeque<(String, Arc<Publication>)>>,
}

impl FakeEngine {
    pub(super) fn start() -> Arc<Self> {
        Self::default().replica()
    }

    /// Starts the engine of another replica, which gets the messages that are published from now on.
    pub(super) fn replica(&self) -> Arc<Self> {
        let mut history = lock(&self.history);
        let replica = history.in_flight.len();
        history.in_flight.push(VecDeque::new());
        Arc::new(Self { history: Arc::clone(&self.history), replica, ..Self::default() })
    }

    /// Delivers all messages that are on their way.
    pub(super) fn deliver(&self) {
        while self.deliver_next() {}
    }

    /// Delivers the next message. Returns false if there is none.
    pub(super) fn deliver_next(&self) -> bool {
        let next = lock(&self.history).in_flight[self.replica].pop_front();
        let Some((epoch, publication)) = next else { return false };
        self.events().publication(&key(), publication, &epoch);
        true
    }

    pub(super) fn deliver_unnumbered(&self, data: Value) {
        let publication = Publication { data: to_raw_value(&data).unwrap(), offset: 0, info: None, time: 0 };
        self.events().publication(&key(), Arc::new(publication), "");
    }

    /// Loses the next message.
    pub(super) fn lose(&self) {
        lock(&self.history).in_flight[self.replica].pop_front();
    }

    /// Loses the history. Messages on their way are of the former epoch.
    pub(super) fn flush(&self) {
        let mut history = lock(&self.history);
        history.epoch += 1;
        history.publications.clear();
    }

    /// Loses the last two messages of the history, whose numbers are given again in another epoch. Messages on their
    /// way are of the former epoch.
    pub(super) fn go_back(&self) {
        let mut history = lock(&self.history);
        history.epoch += 1;
        let left = history.publications.len().saturating_sub(2);
        history.publications.truncate(left);
    }

    pub(super) fn tell_lost(&self) {
        self.events().messages_lost(None);
    }

    pub(super) fn set_down(&self, is_down: bool) {
        self.is_down.store(is_down, Ordering::SeqCst);
    }

    pub(super) fn hold(&self) {
        self.is_held.store(true, Ordering::SeqCst);
    }

    pub(super) fn release(&self) {
        self.is_held.store(false, Ordering::SeqCst);
        self.released.notify_waiters();
    }

    pub(super) fn position(&self) -> StreamPosition {
        lock(&self.history).position()
    }

    pub(super) fn calls(&self) -> Vec<&'static str> {
        lock(&self.calls).clone()
    }

    fn events(&self) -> &Arc<dyn EngineEvents> {
        self.events.get().unwrap()
    }

    fn check(&self) -> Result<(), Error> {
        let is_down = self.is_down.load(Ordering::SeqCst);
        if is_down { Err(Error::unavailable("REALTIME_UNAVAILABLE", "down")) } else { Ok(()) }
    }
}

impl FakeHistory {
    fn position(&self) -> StreamPosition {
        let offset = self.publications.last().map_or(0, |publication| publication.offset);
        StreamPosition { offset, epoch: format!("e{}", self.epoch) }
    }
}

fn key() -> ChannelKey {
    ChannelKey::new(&RealtimeChannel::of_tenant(tenant(), FAKE_CHANNEL).unwrap())
}

#[async_trait]
impl Engine for FakeEngine {
    fn attach(&self, events: Arc<dyn EngineEvents>, _: &str) {
        assert!(self.events.set(events).is_ok());
    }

    async fn run(&self, _: ShutdownToken) {}

    async fn subscribe(&self, _: &ChannelKey) -> Result<(), Error> {
        self.check()?;
        lock(&self.calls).push("subscribe");
        Ok(())
    }

    async fn unsubscribe(&self, _: &ChannelKey) {
        lock(&self.calls).push("unsubscribe");
    }

    async fn publish(
        &self,
        _: &ChannelKey,
        publication: NewPublication,
        _: &ChannelOptions,
    ) -> Result<StreamPosition, Error> {
        self.check()?;
        let mut history = lock(&self.history);
        let NewPublication { data, info, time, .. } = publication;
        let offset = history.position().offset + 1;
        let publication = Arc::new(Publication { data, offset, info, time });
        history.publications.push(Arc::clone(&publication));
        let position = history.position();
        for replica in &mut history.in_flight {
            replica.push_back((position.epoch.clone(), Arc::clone(&publication)));
        }
        Ok(position)
    }

    async fn history(&self, _: &ChannelKey, filter: HistoryFilter, _: &ChannelOptions) -> Result<HistoryPage, Error> {
        self.check()?;
        let page = {
            let history = lock(&self.history);
            let since = filter.since.unwrap_or_default();
            let limit = filter.limit.unwrap_or(usize::MAX);
            let publications = history.publications.iter().filter(|publication| publication.offset > since);
            HistoryPage { publications: publications.take(limit).cloned().collect(), position: history.position() }
        };
        loop {
            let released = self.released.notified();
            if !self.is_held.load(Ordering::SeqCst) {
                return Ok(page);
            }
            released.await;
        }
    }

    async fn join(&self, _: &PresenceEntry, _: Duration, _: bool) -> Result<(), Error> {
        Ok(())
    }

    async fn leave(&self, _: &PresenceEntry, _: bool) -> Result<(), Error> {
        Ok(())
    }

    async fn refresh(&self, _: &[PresenceEntry], _: Duration) -> Result<(), Error> {
        Ok(())
    }

    async fn presence(&self, _: &ChannelKey, _: usize) -> Result<Vec<ClientInfo>, Error> {
        Ok(Vec::new())
    }

    async fn presence_stats(&self, _: &ChannelKey) -> Result<PresenceStatsResult, Error> {
        Ok(PresenceStatsResult::default())
    }

    async fn control(&self, message: &ControlMessage) -> Result<bool, Error> {
        self.events().control(message.clone());
        Ok(true)
    }
}
