//! Subscriptions to topics, kept up over reconnects.

use std::{
    collections::{HashMap, HashSet},
    fmt, mem,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use fred::{
    clients::SubscriberClient,
    interfaces::{ClientLike as _, EventInterface as _, PubsubInterface as _},
    types::Value,
};
use tokio::{
    sync::{Notify, broadcast, broadcast::error::RecvError, oneshot},
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::{Redis, connection::ConnectionTask};

/// Delay before a failed subscription is tried again.
const RETRY_DELAY: Duration = Duration::from_millis(500);
/// Interval at which an idle connection is checked with a ping.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(10);
/// Largest number of topics in one command.
const MAX_TOPICS_PER_COMMAND: usize = 500;

/// A receiver of the messages of a [`RedisSubscriber`]. Its functions must not block.
pub trait RedisListener: Send + Sync + 'static {
    /// Receives a message of a topic. Messages are passed one after another, in the order in which Redis sent them.
    fn message(&self, topic: &str, message: Bytes);

    /// Receives the news that messages of any topic may have been lost: the connection was lost and all subscriptions
    /// are restored now, or messages arrived faster than they were received.
    fn messages_lost(&self);
}

/// Subscriptions of this process to many topics, over one connection that is opened with the first subscription. After
/// a reconnect they are restored. A subscribed topic takes a few hundred bytes.
///
/// The messages are those that [scripts](super::Script) send: the command `PUBLISH` with a topic of `KEYS`.
pub struct RedisSubscriber {
    redis: Redis,
    shared: Arc<SubscriberState>,
    running: OnceLock<SubscriberTasks>,
}

struct SubscriberState {
    client: SubscriberClient,
    listener: Arc<dyn RedisListener>,
    /// Beginning of all channel names.
    prefix: String,
    topics: Mutex<SubscribedTopics>,
    changed: Notify,
}

struct SubscriberTasks {
    opened: ConnectionTask,
    tasks: [JoinHandle<()>; 2],
}

impl RedisSubscriber {
    pub(super) fn new(redis: Redis, client: SubscriberClient, kind: &str, listener: Arc<dyn RedisListener>) -> Self {
        let (prefix, changed) = (redis.full_name(kind, ""), Notify::new());
        let shared = Arc::new(SubscriberState { client, listener, prefix, topics: Mutex::default(), changed });
        Self { redis, shared, running: OnceLock::new() }
    }

    /// Subscribes to a topic. Returns when all messages that are sent from now on are received. While Redis is
    /// unavailable it returns without that, and [`RedisListener::messages_lost`] is called once the subscription is
    /// made. A topic that is subscribed to several times has to be unsubscribed from as often.
    pub async fn subscribe(&self, topic: &str) {
        self.add(topic);
        self.wait_until_confirmed(topic).await;
    }

    /// Unsubscribes from a topic. Messages that Redis has already sent may still be received.
    pub fn unsubscribe(&self, topic: &str) {
        self.shared.topics().release(topic);
        self.shared.changed.notify_one();
    }

    /// Returns whether this process subscribes to a topic, also while Redis is unavailable.
    pub fn is_subscribed(&self, topic: &str) -> bool {
        self.shared.topics().topics.get(topic).is_some_and(|subscribed| subscribed.count > 0)
    }

    /// Begins to subscribe to a topic.
    pub(super) fn add(&self, topic: &str) {
        self.running.get_or_init(|| self.run());
        self.shared.topics().want(topic);
        self.shared.changed.notify_one();
    }

    /// Waits until Redis has confirmed the subscription to a topic, unless Redis is unavailable.
    pub(super) async fn wait_until_confirmed(&self, topic: &str) {
        if !self.redis.0.is_unavailable() {
            let Some(confirmed) = self.shared.topics().wait_for(topic) else { return };
            // It ends without a confirmation if another task has unsubscribed meanwhile.
            if timeout(self.redis.0.timeout, confirmed).await.is_ok() {
                return;
            }
            self.redis.0.mark_unavailable("a subscription was not confirmed in time");
        }
        self.shared.topics().is_interrupted = true;
    }

    fn run(&self) -> SubscriberTasks {
        // Subscribed before there is a connection, so that no message is missed.
        let (messages, connections) = (self.shared.client.message_rx(), self.shared.client.reconnect_rx());
        let hearing = tokio::spawn(receive_messages(Arc::clone(&self.shared), messages));
        let agreeing = tokio::spawn(keep_subscriptions_in_sync(Arc::clone(&self.shared), connections));
        SubscriberTasks { opened: ConnectionTask::new(&self.shared.client), tasks: [hearing, agreeing] }
    }
}

impl Drop for RedisSubscriber {
    fn drop(&mut self) {
        if let Some(running) = self.running.get() {
            running.tasks.iter().for_each(JoinHandle::abort);
            running.opened.close(&self.shared.client);
        }
    }
}

impl fmt::Debug for RedisSubscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RedisSubscriber")
    }
}

/// Passes messages to the listener.
async fn receive_messages(shared: Arc<SubscriberState>, mut messages: broadcast::Receiver<fred::types::Message>) {
    loop {
        match messages.recv().await {
            Ok(message) => {
                let Some(topic) = message.channel.strip_prefix(&shared.prefix) else { continue };
                if let Some(content) = message.value.into_bytes() {
                    shared.listener.message(topic, content);
                }
            }
            Err(RecvError::Lagged(missed)) => {
                tracing::warn!(target: "omnistack::pubsub", missed, "missed messages of other replicas");
                shared.listener.messages_lost();
            }
            Err(RecvError::Closed) => return,
        }
    }
}

/// Updates the subscriptions in Redis whenever the wanted topics or the connection change.
///
/// The client could restore the subscriptions after a reconnect (`manage_subscriptions`), but only those that were
/// sent once: a subscription requested while Redis was unavailable would be lost. So the wanted topics are kept here,
/// and one task updates the subscriptions in Redis, in order, and again for every new connection.
async fn keep_subscriptions_in_sync<T: Clone>(shared: Arc<SubscriberState>, mut connections: broadcast::Receiver<T>) {
    let mut pause = HEARTBEAT_INTERVAL;
    loop {
        tokio::select! {
            // A new connection first, or topics that were confirmed on it would be taken for lost.
            biased;
            connected = connections.recv() => {
                if matches!(connected, Err(RecvError::Closed)) {
                    return;
                }
                shared.topics().begin_connection();
            }
            () = shared.changed.notified() => {}
            () = sleep(pause) => {
                // If the ping gets no response for too long, the client closes the connection and opens
                // another.
                if pause == HEARTBEAT_INTERVAL && shared.client.is_connected() {
                    _ = shared.client.ping::<Value>(None).await;
                }
            }
        }
        pause = if shared.sync_subscriptions().await { HEARTBEAT_INTERVAL } else { RETRY_DELAY };
    }
}

impl SubscriberState {
    fn topics(&self) -> MutexGuard<'_, SubscribedTopics> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Updates the subscriptions. Returns whether nothing is left to do on this connection.
    async fn sync_subscriptions(&self) -> bool {
        if !self.client.is_connected() {
            return true;
        }
        loop {
            let changes = self.topics().next_changes();
            if changes.is_empty() {
                break;
            }
            if !changes.surplus.is_empty() && self.client.unsubscribe(self.channels(&changes.surplus)).await.is_err() {
                let mut topics = self.topics();
                topics.retry(changes.surplus);
                topics.retry(changes.missing);
                return false;
            }
            if changes.missing.is_empty() {
                continue;
            }
            // The client reports a subscription as complete once it is written. The response to the ping after
            // it shows that Redis has processed it.
            let asked = self.client.subscribe(self.channels(&changes.missing)).await;
            if asked.is_err() || self.client.ping::<Value>(None).await.is_err() {
                self.topics().retry(changes.missing);
                return false;
            }
            self.topics().confirm(changes.missing);
        }
        let was_interrupted = mem::take(&mut self.topics().is_interrupted);
        if was_interrupted {
            self.listener.messages_lost();
        }
        true
    }

    fn channels(&self, topics: &[Arc<str>]) -> Vec<String> {
        topics.iter().map(|topic| format!("{}{topic}", self.prefix)).collect()
    }
}

/// The wanted topics, and those that Redis has confirmed on this connection.
#[derive(Default)]
struct SubscribedTopics {
    topics: HashMap<Arc<str>, SubscribedTopic>,
    /// Topics for which something may be left to do.
    pending: HashSet<Arc<str>>,
    /// Whether messages may have been lost since the listener was told the last time.
    is_interrupted: bool,
}

#[derive(Default)]
struct SubscribedTopic {
    /// Number of subscriptions in this process.
    count: usize,
    is_confirmed: bool,
    waiters: Vec<oneshot::Sender<()>>,
}

/// Changes to the subscriptions in Redis.
struct TopicChanges {
    missing: Vec<Arc<str>>,
    surplus: Vec<Arc<str>>,
}

impl TopicChanges {
    fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.surplus.is_empty()
    }
}

impl SubscribedTopics {
    fn want(&mut self, topic: &str) {
        let name: Arc<str> = Arc::from(topic);
        let subscribed = self.topics.entry(Arc::clone(&name)).or_default();
        subscribed.count += 1;
        if !subscribed.is_confirmed {
            self.pending.insert(name);
        }
    }

    fn release(&mut self, topic: &str) {
        let Some(subscribed) = self.topics.get_mut(topic) else { return };
        subscribed.count = subscribed.count.saturating_sub(1);
        if subscribed.count > 0 {
            return;
        }
        if subscribed.is_confirmed {
            self.pending.insert(Arc::from(topic));
        } else {
            // If a subscription is on its way, `confirm` adds the topic again to end it.
            self.topics.remove(topic);
            self.pending.remove(topic);
        }
    }

    /// Returns what resolves when the topic is confirmed, or `None` if it is.
    fn wait_for(&mut self, topic: &str) -> Option<oneshot::Receiver<()>> {
        // A topic that is not there yet is about to be added by another task.
        let subscribed = self.topics.entry(Arc::from(topic)).or_default();
        if subscribed.is_confirmed {
            return None;
        }
        let (sender, receiver) = oneshot::channel();
        subscribed.waiters.retain(|waiter| !waiter.is_closed());
        subscribed.waiters.push(sender);
        Some(receiver)
    }

    /// Takes the next changes. A topic of `surplus` is forgotten, so a later subscriber waits for a new subscription.
    fn next_changes(&mut self) -> TopicChanges {
        let mut changes = TopicChanges { missing: Vec::new(), surplus: Vec::new() };
        for topic in self.pending.extract_if(|_| true) {
            match self.topics.get(&topic) {
                Some(subscribed) if subscribed.count > 0 && !subscribed.is_confirmed => changes.missing.push(topic),
                Some(subscribed) if subscribed.count == 0 && subscribed.is_confirmed => {
                    self.topics.remove(&topic);
                    changes.surplus.push(topic);
                }
                _ => {}
            }
            if changes.missing.len() + changes.surplus.len() >= MAX_TOPICS_PER_COMMAND {
                break;
            }
        }
        changes
    }

    fn confirm(&mut self, topics: Vec<Arc<str>>) {
        for topic in topics {
            let subscribed = self.topics.entry(Arc::clone(&topic)).or_default();
            subscribed.is_confirmed = true;
            for waiter in subscribed.waiters.drain(..) {
                // A waiter that has given up is no error.
                _ = waiter.send(());
            }
            if subscribed.count == 0 {
                self.pending.insert(topic);
            }
        }
    }

    /// Puts topics back whose change failed. Whether Redis sends their messages is unknown, so it is asked to stop for
    /// those that are not wanted.
    fn retry(&mut self, topics: Vec<Arc<str>>) {
        for topic in topics {
            if !self.topics.contains_key(&topic) {
                let unwanted = SubscribedTopic { is_confirmed: true, ..SubscribedTopic::default() };
                self.topics.insert(Arc::clone(&topic), unwanted);
            }
            self.pending.insert(topic);
        }
    }

    /// Begins with a new connection, which has no subscriptions.
    fn begin_connection(&mut self) {
        self.is_interrupted |= self.topics.values().any(|subscribed| subscribed.is_confirmed && subscribed.count > 0);
        self.topics.retain(|_, subscribed| subscribed.count > 0 || !subscribed.waiters.is_empty());
        for subscribed in self.topics.values_mut() {
            subscribed.is_confirmed = false;
        }
        self.pending.clear();
        let wanted = self.topics.iter().filter(|(_, subscribed)| subscribed.count > 0);
        self.pending.extend(wanted.map(|(topic, _)| Arc::clone(topic)));
    }
}
