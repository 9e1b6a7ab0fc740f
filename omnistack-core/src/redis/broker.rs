//! Messages between replicas.

use std::sync::{Arc, Weak};

use async_trait::async_trait;
use bytes::{BufMut as _, Bytes, BytesMut};
use fred::{clients::SubscriberClient, interfaces::PubsubInterface as _, types::Value};
use tokio::sync::broadcast;

use super::{
    Redis,
    subscriber::{RedisListener, RedisSubscriber},
};
use crate::pubsub::{Broker, Topics};

/// Kind of the channels in Redis.
const CHANNEL_KIND: &str = "c";

/// Id of the sending process, with which every message begins.
type SenderId = [u8; 16];

/// Broker that exchanges messages with other replicas through Redis.
pub(super) struct RedisBroker {
    redis: Redis,
    receiver: Arc<BrokerReceiver>,
    subscriber: Arc<RedisSubscriber>,
}

/// The subscribers in this process.
struct BrokerReceiver {
    origin: SenderId,
    topics: Topics,
}

impl RedisBroker {
    pub(super) fn new(redis: Redis, client: SubscriberClient) -> Self {
        let receiver = Arc::new(BrokerReceiver { origin: rand::random(), topics: Topics::default() });
        let listener = Arc::clone(&receiver);
        let subscriber = RedisSubscriber::new(redis.clone(), client, CHANNEL_KIND, listener);
        Self { redis, receiver, subscriber: Arc::new(subscriber) }
    }
}

#[async_trait]
impl Broker for RedisBroker {
    async fn publish(&self, topic: &str, message: Bytes) {
        let origin = self.receiver.origin;
        let mut parcel = BytesMut::with_capacity(origin.len() + message.len());
        parcel.put_slice(&origin);
        parcel.put_slice(&message);
        self.receiver.topics.send(topic, message);
        let channel = self.redis.full_name(CHANNEL_KIND, topic);
        let sent = self.redis.0.commands().publish::<(), _, _>(channel, Value::Bytes(parcel.freeze()));
        if let Err(error) = self.redis.0.run("PUBLISH", sent).await {
            tracing::debug!(target: "omnistack::pubsub", topic, %error, "a message was not sent to other replicas");
        }
    }

    async fn subscribe(&self, topic: &str) -> broadcast::Receiver<Bytes> {
        let (receiver, new) = self.receiver.topics.subscribe(topic);
        if let Some(sender) = new {
            self.subscriber.add(topic);
            let (broker, subscriber) = (Arc::downgrade(&self.receiver), Arc::downgrade(&self.subscriber));
            tokio::spawn(remove_when_unused(broker, subscriber, topic.to_owned(), sender));
        }
        self.subscriber.wait_until_confirmed(topic).await;
        receiver
    }
}

impl RedisListener for BrokerReceiver {
    /// Passes messages of other replicas to the subscribers in this process.
    fn message(&self, topic: &str, mut message: Bytes) {
        if message.len() >= self.origin.len() {
            let content = message.split_off(self.origin.len());
            if message != self.origin[..] {
                self.topics.send(topic, content);
            }
        }
    }

    /// Does nothing: messages are delivered at most once.
    fn messages_lost(&self) {}
}

/// Removes a topic when its last subscriber is gone.
async fn remove_when_unused(
    receiver: Weak<BrokerReceiver>,
    subscriber: Weak<RedisSubscriber>,
    topic: String,
    sender: broadcast::Sender<Bytes>,
) {
    loop {
        sender.closed().await;
        let (Some(receiver), Some(subscriber)) = (receiver.upgrade(), subscriber.upgrade()) else { return };
        if receiver.topics.remove_if_unused(&topic) {
            subscriber.unsubscribe(&topic);
            return;
        }
    }
}
