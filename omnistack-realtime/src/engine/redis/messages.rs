//! The messages between replicas, and how they reach the hub.
//!
//! The topic of a channel is its key. A message begins with its kind: `p` for a publication, as `pEPOCH OFFSET JSON`;
//! `j` and `l` for a join and a leave, as `jCLIENT USER`.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use omnistack_core::{http::Error, redis::RedisListener};

use crate::{
    channel::ChannelKey,
    engine::{ControlMessage, EngineEvents},
    protocol::{ClientInfo, Publication, StreamPosition},
};

/// The topic of requests to all replicas. Keys of channels have a slash.
pub(super) const CONTROL_TOPIC: &str = "control";

/// Returns the topic of requests to one replica.
pub(super) fn node_topic(node: &str) -> String {
    format!("{CONTROL_TOPIC}:{node}")
}

/// The receiver of the messages of all replicas.
pub(super) struct RedisReceiver {
    pub(super) events: OnceLock<Arc<dyn EngineEvents>>,
    /// Held during a delivery: while Redis is away, several tasks deliver.
    pub(super) delivery: Mutex<()>,
}

impl RedisReceiver {
    /// Delivers a message to the hub.
    pub(super) fn deliver(&self, channel: &ChannelKey, publication: Publication, epoch: &str) {
        self.tell(|events| events.publication(channel, Arc::new(publication), epoch));
    }

    /// Passes a request to the hub.
    pub(super) fn control(&self, message: ControlMessage) {
        self.tell(|events| events.control(message));
    }

    /// Tells the hub that messages may have been lost.
    pub(super) fn lose_messages(&self) {
        self.tell(|events| events.messages_lost(None));
    }

    fn tell(&self, work: impl FnOnce(&dyn EngineEvents)) {
        if let Some(events) = self.events.get() {
            let _guard = self.delivery.lock().unwrap_or_else(PoisonError::into_inner);
            work(&**events);
        }
    }

    /// Passes a message to the hub. Returns `None` if it is malformed.
    fn receive(&self, topic: &str, message: &str) -> Option<()> {
        if topic.split(':').next() == Some(CONTROL_TOPIC) {
            self.control(serde_json::from_str(message).ok()?);
            return Some(());
        }
        let channel = ChannelKey::parse(topic)?;
        let (kind, content) = message.split_at_checked(1)?;
        if kind == "p" {
            let (epoch, content) = content.split_once(' ')?;
            let (offset, content) = content.split_once(' ')?;
            self.deliver(&channel, decode_publication(offset.parse().ok()?, content)?, epoch);
        } else {
            let (client, user) = content.split_once(' ')?;
            let info = ClientInfo { user: user.to_owned(), client: client.to_owned() };
            self.tell(|events| events.membership(&channel, info, kind == "j"));
        }
        Some(())
    }
}

impl RedisListener for RedisReceiver {
    fn message(&self, topic: &str, message: Bytes) {
        let received = std::str::from_utf8(&message).ok().and_then(|message| self.receive(topic, message));
        if received.is_none() {
            tracing::warn!(
                target: "omnistack::realtime",
                topic,
                "a message of another replica is malformed; run the same version in all replicas"
            );
        }
    }

    fn messages_lost(&self) {
        self.lose_messages();
    }
}

/// Returns a message as it is stored and sent, without its offset.
pub(super) fn encode_publication(publication: &Publication) -> Result<String, Error> {
    serde_json::to_string(publication).map_err(Error::internal)
}

/// Returns a stored message, or `None` if the text is none.
pub(super) fn decode_publication(offset: u64, text: &str) -> Option<Publication> {
    let mut publication: Publication = serde_json::from_str(text).ok()?;
    publication.offset = offset;
    Some(publication)
}

/// Returns a position that the scripts have written, as `EPOCH OFFSET`, or `None` if the text is none.
pub(super) fn parse_position(text: &str) -> Option<StreamPosition> {
    let (epoch, offset) = text.split_once(' ')?;
    Some(StreamPosition { offset: offset.parse().ok()?, epoch: epoch.to_owned() })
}
