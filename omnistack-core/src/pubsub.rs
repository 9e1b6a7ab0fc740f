//! Telling whoever listens now.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::broadcast;

/// Messages a subscriber may lag behind before it misses some.
const BACKLOG: usize = 1024;

/// Carries messages to subscribers.
#[async_trait]
pub trait Broker: Send + Sync + 'static {
    /// Gives a message to those who listen to a topic now.
    async fn publish(&self, topic: &str, message: Bytes);

    /// Listens to a topic from now on.
    async fn subscribe(&self, topic: &str) -> broadcast::Receiver<Bytes>;
}

/// The app's messages: at most once, to those who listen now. Within this process unless a module provides a broker that
/// reaches every replica.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use omnistack_core::pubsub::Publisher;
///
/// let publisher = Publisher::default();
/// let mut flags = publisher.subscribe("flags").await;
/// publisher.publish("flags", "new-ui on").await;
/// assert_eq!(flags.recv().await.unwrap(), "new-ui on");
/// # }
/// ```
#[derive(Clone)]
pub struct Publisher(Arc<dyn Broker>);

impl Publisher {
    /// Through this broker.
    pub fn new(broker: impl Broker) -> Self {
        Self(Arc::new(broker))
    }

    /// Gives a message to those who listen to a topic now.
    pub async fn publish(&self, topic: &str, message: impl Into<Bytes>) {
        self.0.publish(topic, message.into()).await;
    }

    /// Listens to a topic from now on. One who falls 1,024 messages behind is told how many were missed.
    pub async fn subscribe(&self, topic: &str) -> broadcast::Receiver<Bytes> {
        self.0.subscribe(topic).await
    }
}

impl Default for Publisher {
    fn default() -> Self {
        Self::new(InProcess::default())
    }
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Publisher")
    }
}

#[derive(Default)]
struct InProcess {
    topics: Mutex<HashMap<String, broadcast::Sender<Bytes>>>,
}

#[async_trait]
impl Broker for InProcess {
    async fn publish(&self, topic: &str, message: Bytes) {
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        // A topic nobody listens to any more is forgotten.
        if topics.get(topic).is_some_and(|topic| topic.send(message).is_err()) {
            topics.remove(topic);
        }
    }

    async fn subscribe(&self, topic: &str) -> broadcast::Receiver<Bytes> {
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        topics.entry(topic.to_owned()).or_insert_with(|| broadcast::channel(BACKLOG).0).subscribe()
    }
}
