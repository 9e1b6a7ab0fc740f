//! Tests of the engines: the same laws for both, and what only one of them has.

mod laws;
#[cfg(feature = "redis")]
mod replicas;

use std::{sync::Arc, time::Duration};

use omnistack_core::{
    ShutdownToken,
    clock::{Clock, MockClock},
    http::Error,
};
use serde_json::value::RawValue;
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::timeout,
};

use super::{
    ControlMessage, EMPTY_POSITION_TTL, Engine, EngineEvents, HistoryFilter, IDEMPOTENCY_TTL, MemoryEngine,
    NewPublication, POSITION_GRACE, PresenceEntry,
};
use crate::{
    channel::{ChannelKey, ChannelOptions},
    protocol::{ClientInfo, Publication, StreamPosition},
};

const MINUTE: Duration = Duration::from_secs(60);
const EVENT_TIMEOUT: Duration = Duration::from_secs(20);

/// An event of an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    /// The channel, the epoch, the offset and the data.
    Message(String, String, u64, String),
    /// The channel, the user and whether the user has come.
    Member(String, String, bool),
    Control(ControlMessage),
    Lost,
}

/// A receiver of an engine, which sends a test what it gets.
struct Witness(UnboundedSender<Seen>);

impl Witness {
    fn tell(&self, seen: Seen) {
        // The test may have ended.
        _ = self.0.send(seen);
    }
}

impl EngineEvents for Witness {
    fn publication(&self, channel: &ChannelKey, publication: Arc<Publication>, epoch: &str) {
        let data = publication.data.get().to_owned();
        self.tell(Seen::Message(channel.name().to_owned(), epoch.to_owned(), publication.offset, data));
    }

    fn membership(&self, channel: &ChannelKey, info: ClientInfo, is_join: bool) {
        self.tell(Seen::Member(channel.name().to_owned(), info.user, is_join));
    }

    fn control(&self, message: ControlMessage) {
        self.tell(Seen::Control(message));
    }

    fn messages_lost(&self, _: Option<&ChannelKey>) {
        self.tell(Seen::Lost);
    }
}

/// An engine that runs until it is dropped, and what it has told.
struct Subject {
    engine: Arc<dyn Engine>,
    clock: MockClock,
    seen: UnboundedReceiver<Seen>,
    shutdown: ShutdownToken,
}

impl Drop for Subject {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

impl Subject {
    fn start(new: impl FnOnce(Clock) -> Arc<dyn Engine>) -> Self {
        let clock = MockClock::at("2030-01-01T00:00:00Z".parse().unwrap());
        let (engine, shutdown) = (new(clock.clock()), ShutdownToken::new());
        let (sender, seen) = unbounded_channel();
        engine.attach(Arc::new(Witness(sender)), "n1");
        let (running, token) = (Arc::clone(&engine), shutdown.clone());
        tokio::spawn(async move { running.run(token).await });
        Self { engine, clock, seen, shutdown }
    }

    /// Starts on an engine in the process.
    fn in_process() -> Self {
        Self::start(|clock| Arc::new(MemoryEngine::new(clock)))
    }

    /// Waits for what the engine tells next, except for lost messages.
    async fn next(&mut self) -> Seen {
        loop {
            let seen = timeout(EVENT_TIMEOUT, self.seen.recv()).await.expect("the engine tells something").unwrap();
            if seen != Seen::Lost {
                return seen;
            }
        }
    }

    /// Waits for something that the engine tells, and drops what comes before.
    async fn until(&mut self, wanted: impl Fn(&Seen) -> bool) -> Seen {
        let found = async {
            loop {
                let seen = self.seen.recv().await.unwrap();
                if wanted(&seen) {
                    return seen;
                }
            }
        };
        timeout(EVENT_TIMEOUT, found).await.expect("the engine tells it")
    }

    /// Returns whether the engine tells nothing more. It would come before the message of this function.
    async fn assert_silent(&mut self, channel: &ChannelKey) {
        self.publish(channel, "the end", &unkept()).await;
        let Seen::Message(name, _, 0, data) = self.next().await else { panic!("only this message") };
        assert_eq!((&*name, &*data), (channel.name(), "\"the end\""));
    }

    async fn try_publish(&self, channel: &ChannelKey, text: &str) -> Result<StreamPosition, Error> {
        self.engine.publish(channel, message(text), &ChannelOptions::default()).await
    }

    async fn publish(&self, channel: &ChannelKey, text: &str, options: &ChannelOptions) -> StreamPosition {
        self.engine.publish(channel, message(text), options).await.unwrap()
    }

    async fn offsets(&self, channel: &ChannelKey, filter: HistoryFilter, options: &ChannelOptions) -> Vec<u64> {
        let page = self.engine.history(channel, filter, options).await.unwrap();
        page.publications.iter().map(|publication| publication.offset).collect()
    }

    async fn position(&self, channel: &ChannelKey) -> StreamPosition {
        self.try_position(channel).await.unwrap()
    }

    async fn try_position(&self, channel: &ChannelKey) -> Option<StreamPosition> {
        let filter = HistoryFilter { limit: Some(0), ..HistoryFilter::default() };
        Some(self.engine.history(channel, filter, &ChannelOptions::default()).await.ok()?.position)
    }

    /// Returns the numbers of clients and of users.
    async fn counts(&self, channel: &ChannelKey) -> (u32, u32) {
        let stats = self.engine.presence_stats(channel).await.unwrap();
        (stats.num_clients, stats.num_users)
    }

    /// Returns the sorted clients that are present.
    async fn clients(&self, channel: &ChannelKey, limit: usize) -> Vec<String> {
        let present = self.engine.presence(channel, limit).await.unwrap();
        let mut clients: Vec<_> = present.into_iter().map(|info| info.client).collect();
        clients.sort();
        clients
    }

    async fn join(&self, entry: &PresenceEntry) {
        self.engine.join(entry, MINUTE, true).await.unwrap();
    }
}

fn channel(name: &str) -> ChannelKey {
    ChannelKey::parse(&format!("-/{name}")).unwrap()
}

fn message(text: &str) -> NewPublication {
    let data = RawValue::from_string(format!("\"{text}\"")).unwrap();
    NewPublication { data, info: None, key: None, time: 1_893_456_000_000 }
}

fn entry(channel: &ChannelKey, client: &str, user: &str) -> PresenceEntry {
    let info = ClientInfo { user: user.to_owned(), client: client.to_owned() };
    PresenceEntry { channel: channel.clone(), info }
}

/// The options of a channel without history.
fn unkept() -> ChannelOptions {
    ChannelOptions { history_size: 0, ..ChannelOptions::default() }
}

fn member(channel: &ChannelKey, user: &str, is_join: bool) -> Seen {
    Seen::Member(channel.name().to_owned(), user.to_owned(), is_join)
}

#[tokio::test]
async fn the_engine_in_the_process_conforms() {
    laws::conforms(Subject::in_process).await;
}

#[tokio::test]
async fn state_in_the_process_is_dropped_when_it_is_no_longer_needed() {
    let clock = MockClock::at("2030-01-01T00:00:00Z".parse().unwrap());
    let engine = MemoryEngine::new(clock.clock());
    let options = ChannelOptions { history_ttl: MINUTE, ..ChannelOptions::default() };
    let [kept, keyed, present, subscribed] = ["kept", "keyed", "present", "subscribed"].map(channel);
    engine.subscribe(&subscribed).await.unwrap();
    engine.publish(&kept, message("hello"), &options).await.unwrap();
    let with_key = NewPublication { key: Some("key".to_owned()), ..message("hello") };
    engine.publish(&keyed, with_key, &unkept()).await.unwrap();
    engine.join(&entry(&present, "c1", "u1"), MINUTE, true).await.unwrap();
    engine.history(&channel("empty"), HistoryFilter::default(), &options).await.unwrap();
    for (after, left) in
        [(Duration::ZERO, 5), (MINUTE, 4), (IDEMPOTENCY_TTL, 3), (EMPTY_POSITION_TTL, 2), (POSITION_GRACE, 1)]
    {
        clock.advance(after);
        engine.sweep();
        assert_eq!(engine.channel_count(), left, "after another {after:?}");
    }
    engine.unsubscribe(&subscribed).await;
    engine.sweep();
    assert_eq!(engine.channel_count(), 0);
}

#[tokio::test]
async fn the_engine_in_the_process_tells_nothing_of_unsubscribed_channels() {
    let mut subject = Subject::in_process();
    let room = channel("room");
    subject.publish(&room, "before", &ChannelOptions::default()).await;
    subject.engine.subscribe(&room).await.unwrap();
    subject.publish(&room, "meanwhile", &ChannelOptions::default()).await;
    subject.engine.unsubscribe(&room).await;
    subject.publish(&room, "after", &ChannelOptions::default()).await;
    subject.engine.subscribe(&room).await.unwrap();
    assert!(matches!(subject.next().await, Seen::Message(_, _, 2, _)));
    subject.assert_silent(&room).await;
}
