//! Publish/subscribe: messages to the current subscribers of a topic.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::broadcast;

/// Messages buffered for a subscriber, at most; a slower subscriber misses messages.
const MAX_BUFFERED_MESSAGES: usize = 1024;

/// Transport of messages from publishers to subscribers.
#[async_trait]
pub trait Broker: Send + Sync + 'static {
    /// Sends a message to the current subscribers of a topic.
    async fn publish(&self, topic: &str, message: Bytes);

    /// Subscribes to a topic, for messages published from now on.
    async fn subscribe(&self, topic: &str) -> broadcast::Receiver<Bytes>;
}

/// The app's publish/subscribe. Messages are delivered at most once, to the current subscribers: in all
/// replicas through Redis if `REDIS_URL` is set, otherwise within this process.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use omnistack_core::pubsub::PubSub;
///
/// let publisher = PubSub::default();
/// let mut flags = publisher.subscribe("flags").await;
/// publisher.publish("flags", "new-ui on").await;
/// assert_eq!(flags.recv().await.unwrap(), "new-ui on");
/// # }
/// ```
#[derive(Clone)]
pub struct PubSub(Arc<dyn Broker>);

impl PubSub {
    /// Creates a publisher that uses this broker.
    pub fn new(broker: impl Broker) -> Self {
        Self(Arc::new(broker))
    }

    /// Sends a message to the current subscribers of a topic.
    pub async fn publish(&self, topic: &str, message: impl Into<Bytes>) {
        self.0.publish(topic, message.into()).await;
    }

    /// Subscribes to a topic, for messages published from now on. A subscriber that falls behind by more than
    /// 1,024 messages gets an error with the number of missed messages.
    pub async fn subscribe(&self, topic: &str) -> broadcast::Receiver<Bytes> {
        self.0.subscribe(topic).await
    }
}

impl Default for PubSub {
    fn default() -> Self {
        Self::new(InProcessBroker::default())
    }
}

impl fmt::Debug for PubSub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Publisher")
    }
}

#[derive(Default)]
struct InProcessBroker(Topics);

#[async_trait]
impl Broker for InProcessBroker {
    async fn publish(&self, topic: &str, message: Bytes) {
        self.0.send(topic, message);
    }

    async fn subscribe(&self, topic: &str) -> broadcast::Receiver<Bytes> {
        self.0.sweep();
        self.0.subscribe(topic).0
    }
}

/// Topics and their subscribers in this process.
#[derive(Default)]
pub(crate) struct Topics(Mutex<TopicTable>);

#[derive(Default)]
struct TopicTable {
    topics: HashMap<String, broadcast::Sender<Bytes>>,
    /// Number of topics from which on topics without subscribers are removed.
    sweep_at: usize,
}

impl Topics {
    fn table(&self) -> MutexGuard<'_, TopicTable> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn send(&self, topic: &str, message: Bytes) {
        if let Some(sender) = self.table().topics.get(topic) {
            // `send` fails if there are no subscribers.
            _ = sender.send(message);
        }
    }

    /// Subscribes to a topic. Also returns the sender if the topic is new.
    pub(crate) fn subscribe(&self, topic: &str) -> (broadcast::Receiver<Bytes>, Option<broadcast::Sender<Bytes>>) {
        let mut table = self.table();
        if let Some(sender) = table.topics.get(topic) {
            return (sender.subscribe(), None);
        }
        let (sender, receiver) = broadcast::channel(MAX_BUFFERED_MESSAGES);
        table.topics.insert(topic.to_owned(), sender.clone());
        (receiver, Some(sender))
    }

    /// Removes topics without subscribers if their number has doubled since the last time.
    fn sweep(&self) {
        let mut table = self.table();
        if table.topics.len() >= table.sweep_at.max(64) {
            table.topics.retain(|_, sender| sender.receiver_count() > 0);
            table.sweep_at = table.topics.len() * 2;
        }
    }
}

#[cfg(feature = "redis")]
impl Topics {
    /// Removes a topic if it has no subscribers. Returns whether it has none.
    pub(crate) fn remove_if_unused(&self, topic: &str) -> bool {
        let mut table = self.table();
        let silent = table.topics.get(topic).is_none_or(|sender| sender.receiver_count() == 0);
        if silent {
            table.topics.remove(topic);
        }
        silent
    }
}
