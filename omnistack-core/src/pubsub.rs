//! Telling whoever listens now.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
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

/// The app's messages: at most once, to those who listen now. Through Redis to every replica with `REDIS_URL`, within this
/// process without.
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
struct InProcess(Topics);

#[async_trait]
impl Broker for InProcess {
    async fn publish(&self, topic: &str, message: Bytes) {
        self.0.send(topic, message);
    }

    async fn subscribe(&self, topic: &str) -> broadcast::Receiver<Bytes> {
        self.0.sweep();
        self.0.listen(topic).0
    }
}

/// Those who listen in this process.
#[derive(Default)]
pub(crate) struct Topics(Mutex<Table>);

#[derive(Default)]
struct Table {
    topics: HashMap<String, broadcast::Sender<Bytes>>,
    /// How many may be there before those nobody listens to are looked for.
    sweep_at: usize,
}

impl Topics {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn send(&self, topic: &str, message: Bytes) {
        if let Some(sender) = self.table().topics.get(topic) {
            // An error means that nobody listens.
            _ = sender.send(message);
        }
    }

    /// Listens; with the sender when the topic is new.
    pub(crate) fn listen(&self, topic: &str) -> (broadcast::Receiver<Bytes>, Option<broadcast::Sender<Bytes>>) {
        let mut table = self.table();
        if let Some(sender) = table.topics.get(topic) {
            return (sender.subscribe(), None);
        }
        let (sender, receiver) = broadcast::channel(BACKLOG);
        table.topics.insert(topic.to_owned(), sender.clone());
        (receiver, Some(sender))
    }

    /// Forgets topics nobody listens to, when there are twice as many as there were after the last time.
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
    /// Forgets a topic nobody listens to; tells whether it did.
    pub(crate) fn forget(&self, topic: &str) -> bool {
        let mut table = self.table();
        let silent = table.topics.get(topic).is_none_or(|sender| sender.receiver_count() == 0);
        if silent {
            table.topics.remove(topic);
        }
        silent
    }

    /// Looks at every topic while none is added or forgotten.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&HashMap<String, broadcast::Sender<Bytes>>) -> T) -> T {
        look(&self.table().topics)
    }
}
