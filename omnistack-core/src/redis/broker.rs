//! Messages between replicas.

use std::{
    collections::HashSet,
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use async_trait::async_trait;
use bytes::{BufMut as _, Bytes, BytesMut};
use fred::{
    clients::SubscriberClient,
    interfaces::{ClientLike as _, EventInterface as _, PubsubInterface as _},
    types::Value,
};
use tokio::{
    sync::{Notify, broadcast, broadcast::error::RecvError, watch},
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::{Redis, connection::ConnectionTask};
use crate::pubsub::{Broker, Topics};

/// Delay before a failed subscription is tried again.
const RETRY_DELAY: Duration = Duration::from_millis(500);
/// Interval at which an idle connection is checked with a ping.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(10);
/// Largest number of topics in one command.
const MAX_TOPICS_PER_COMMAND: usize = 500;

/// Id of the sending process, with which every message begins.
type SenderId = [u8; 16];

/// Broker that exchanges messages with other replicas through Redis.
///
/// The client could restore the subscriptions after a reconnect (`manage_subscriptions`), but only those that
/// were sent once: a subscription requested while Redis was unavailable would be lost. So the wanted topics are
/// kept here, and one task updates the subscriptions in Redis, in order, and again for every new connection.
pub(super) struct RedisBroker {
    redis: Redis,
    origin: SenderId,
    shared: Arc<Shared>,
    running: OnceLock<BrokerTasks>,
}

struct Shared {
    subscriber: SubscriberClient,
    topics: Arc<Topics>,
    /// Beginning of all channel names.
    prefix: String,
    /// Topics that Redis has confirmed on this connection.
    confirmed: watch::Sender<HashSet<String>>,
    changed: Notify,
}

struct BrokerTasks {
    opened: ConnectionTask,
    tasks: [JoinHandle<()>; 2],
}

impl RedisBroker {
    pub(super) fn new(redis: Redis, subscriber: SubscriberClient) -> Self {
        let prefix = redis.full_name("c", "");
        let (confirmed, changed) = (watch::Sender::new(HashSet::new()), Notify::new());
        let shared = Arc::new(Shared { subscriber, topics: Arc::default(), prefix, confirmed, changed });
        Self { redis, origin: rand::random(), shared, running: OnceLock::new() }
    }

    fn run(&self) -> BrokerTasks {
        // Subscribed before there is a connection, so that no message is missed.
        let (messages, connections) = (self.shared.subscriber.message_rx(), self.shared.subscriber.reconnect_rx());
        let hearing = tokio::spawn(receive_messages(Arc::clone(&self.shared), messages, self.origin));
        let agreeing = tokio::spawn(keep_subscriptions_in_sync(Arc::clone(&self.shared), connections));
        BrokerTasks { opened: ConnectionTask::new(&self.shared.subscriber), tasks: [hearing, agreeing] }
    }
}

#[async_trait]
impl Broker for RedisBroker {
    async fn publish(&self, topic: &str, message: Bytes) {
        let mut parcel = BytesMut::with_capacity(self.origin.len() + message.len());
        parcel.put_slice(&self.origin);
        parcel.put_slice(&message);
        self.shared.topics.send(topic, message);
        let channel = format!("{}{topic}", self.shared.prefix);
        let sent = self.redis.0.commands().publish::<(), _, _>(channel, Value::Bytes(parcel.freeze()));
        if let Err(error) = self.redis.0.run("PUBLISH", sent).await {
            tracing::debug!(target: "omnistack::pubsub", topic, %error, "a message was not sent to other replicas");
        }
    }

    async fn subscribe(&self, topic: &str) -> broadcast::Receiver<Bytes> {
        let (receiver, new) = self.shared.topics.subscribe(topic);
        self.running.get_or_init(|| self.run());
        if let Some(sender) = new {
            self.shared.changed.notify_one();
            tokio::spawn(remove_when_unused(Arc::downgrade(&self.shared), topic.to_owned(), sender));
        }
        if !self.redis.0.is_unavailable() {
            let mut confirmed = self.shared.confirmed.subscribe();
            let there = confirmed.wait_for(|topics| topics.contains(topic));
            if timeout(self.redis.0.timeout, there).await.is_err() {
                self.redis.0.mark_unavailable("a subscription was not confirmed in time");
            }
        }
        receiver
    }
}

impl Drop for RedisBroker {
    fn drop(&mut self) {
        if let Some(running) = self.running.get() {
            running.tasks.iter().for_each(JoinHandle::abort);
            running.opened.close(&self.shared.subscriber);
        }
    }
}

/// Removes a topic when its last subscriber is gone.
async fn remove_when_unused(shared: Weak<Shared>, topic: String, sender: broadcast::Sender<Bytes>) {
    loop {
        sender.closed().await;
        let Some(shared) = shared.upgrade() else { return };
        if shared.topics.remove_if_unused(&topic) {
            shared.changed.notify_one();
            return;
        }
    }
}

/// Passes messages of other replicas to the subscribers in this process.
async fn receive_messages(shared: Arc<Shared>, mut messages: broadcast::Receiver<fred::types::Message>, own: SenderId) {
    loop {
        match messages.recv().await {
            Ok(message) => {
                let Some(topic) = message.channel.strip_prefix(&shared.prefix) else { continue };
                let Some(mut parcel) = message.value.into_bytes().filter(|parcel| parcel.len() >= own.len()) else {
                    continue;
                };
                let content = parcel.split_off(own.len());
                if parcel != own[..] {
                    shared.topics.send(topic, content);
                }
            }
            Err(RecvError::Lagged(missed)) => {
                tracing::warn!(target: "omnistack::pubsub", missed, "missed messages of other replicas");
            }
            Err(RecvError::Closed) => return,
        }
    }
}

/// Updates the subscriptions in Redis whenever the wanted topics or the connection change.
async fn keep_subscriptions_in_sync<T: Clone>(shared: Arc<Shared>, mut connections: broadcast::Receiver<T>) {
    let (mut pause, mut surplus) = (HEARTBEAT_INTERVAL, HashSet::new());
    loop {
        tokio::select! {
            connected = connections.recv() => {
                if matches!(connected, Err(RecvError::Closed)) {
                    return;
                }
                // A new connection has no subscriptions.
                shared.confirmed.send_modify(HashSet::clear);
                surplus.clear();
            }
            () = shared.changed.notified() => {}
            () = sleep(pause) => {
                // If the ping gets no response for too long, the client closes the connection and opens
                // another.
                if pause == HEARTBEAT_INTERVAL && shared.subscriber.is_connected() {
                    _ = shared.subscriber.ping::<Value>(None).await;
                }
            }
        }
        pause = if shared.sync_subscriptions(&mut surplus).await { HEARTBEAT_INTERVAL } else { RETRY_DELAY };
    }
}

impl Shared {
    /// Updates the subscriptions. Returns whether nothing is left to do on this connection. `surplus` are the
    /// topics to unsubscribe from.
    async fn sync_subscriptions(&self, surplus: &mut HashSet<String>) -> bool {
        if !self.subscriber.is_connected() {
            return true;
        }
        // No topic can be added meanwhile: a later subscriber finds its topic unconfirmed, and waits.
        let missing = self.topics.with_topics(|wanted| {
            surplus.retain(|topic| !wanted.contains_key(topic));
            self.confirmed
                .send_modify(|confirmed| surplus.extend(confirmed.extract_if(|topic| !wanted.contains_key(topic))));
            let confirmed = self.confirmed.borrow();
            wanted.keys().filter(|topic| !confirmed.contains(*topic)).cloned().collect::<Vec<_>>()
        });
        let channels = |topics: &[String]| -> Vec<String> {
            topics.iter().map(|topic| format!("{}{topic}", self.prefix)).collect()
        };
        for topics in surplus.iter().cloned().collect::<Vec<_>>().chunks(MAX_TOPICS_PER_COMMAND) {
            if self.subscriber.unsubscribe(channels(topics)).await.is_err() {
                return false;
            }
            surplus.retain(|topic| !topics.contains(topic));
        }
        for topics in missing.chunks(MAX_TOPICS_PER_COMMAND) {
            // The client reports a subscription as complete once it is written. The response to the ping after
            // it shows that Redis has processed it.
            let asked = self.subscriber.subscribe(channels(topics)).await;
            if asked.is_err() || self.subscriber.ping::<Value>(None).await.is_err() {
                return false;
            }
            self.confirmed.send_modify(|confirmed| confirmed.extend(topics.iter().cloned()));
        }
        true
    }
}
