//! The channels that this process receives, and their subscribers.
//!
//! Each subscriber knows the offset of the last message that it got, so that each message is delivered to it once, in
//! order, or else it is told that it missed some. Messages that arrive while its history is read are kept for it.

mod link;
mod position;
mod subscriber_list;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex},
};

use tokio::sync::oneshot;

use super::{connection::Connection, lock, outbound::Outbound};
use crate::{
    channel::{ChannelKey, ChannelOptions},
    protocol::{StreamPosition, TextFrame},
};
use subscriber_list::SubscriberList;

pub(super) use link::LinkStep;

/// The channels by their keys.
#[derive(Debug, Default)]
pub(super) struct ChannelTable(Mutex<HashMap<ChannelKey, Arc<Channel>>>);

/// A channel, and its subscribers in this process.
pub(super) struct Channel {
    pub(super) key: ChannelKey,
    pub(super) options: ChannelOptions,
    pub(super) state: Mutex<ChannelState>,
}

/// The state of a channel. No lock of a connection is taken while it is locked, other than that of a queue.
#[derive(Debug, Default)]
pub(super) struct ChannelState {
    subscribers: SubscriberList<Subscriber>,
    /// The epoch of the offsets that subscribers have got.
    epoch: Option<Arc<str>>,
    /// The position of the engine that some subscribers have not got when it was read.
    doubt: Option<Box<StreamPosition>>,
    /// Whether the engine delivers the messages.
    is_linked: bool,
    /// Whether a task changes that.
    is_linking: bool,
    /// Whether the channel is no longer in the table.
    is_removed: bool,
    waiting: Vec<oneshot::Sender<bool>>,
    /// The second for which the channel is in the timer wheel.
    pub(super) scheduled: Option<i64>,
}

/// A connection that subscribes to the channel.
struct Subscriber {
    connection: Arc<Connection>,
    /// The queue of the connection: a delivery touches nothing else of it.
    outbound: Arc<Outbound>,
    progress: SubscriberProgress,
}

/// The messages that a subscriber has got.
enum SubscriberProgress {
    /// All messages up to this offset.
    Live(u64),
    /// None yet: messages are kept until the history is read.
    Starting(Box<StartBuffer>),
}

/// The messages that arrive while a history is read.
#[derive(Debug, Default)]
struct StartBuffer {
    messages: Vec<(u64, TextFrame)>,
    bytes: usize,
    /// Whether the epoch has changed meanwhile.
    is_new_epoch: bool,
    /// Whether there were too many.
    is_full: bool,
}

/// A subscriber that has missed messages, and is no longer one.
pub(super) type LostSubscriber = (Arc<Connection>, u64);

/// The result of a delivery.
#[derive(Debug, Default)]
pub(super) struct Delivery {
    /// Number of connections that got the message.
    pub(super) count: u64,
    pub(super) lost: Vec<LostSubscriber>,
    /// Whether the message has an offset that some subscriber has got already.
    pub(super) is_doubtful: bool,
}

impl ChannelTable {
    pub(super) fn get(&self, key: &ChannelKey) -> Option<Arc<Channel>> {
        lock(&self.0).get(key).cloned()
    }

    /// Returns a channel, and creates it if it is new.
    pub(super) fn get_or_create(&self, key: &ChannelKey, options: &ChannelOptions) -> Arc<Channel> {
        let create = || {
            let (key, options) = (key.clone(), options.clone());
            Arc::new(Channel { key, options, state: Mutex::default() })
        };
        Arc::clone(lock(&self.0).entry(key.clone()).or_insert_with(create))
    }

    /// Removes a channel, unless another one has taken its place.
    pub(super) fn remove(&self, channel: &Arc<Channel>) {
        let mut channels = lock(&self.0);
        if channels.get(&channel.key).is_some_and(|present| Arc::ptr_eq(present, channel)) {
            channels.remove(&channel.key);
        }
    }

    /// Returns all channels.
    pub(super) fn all(&self) -> Vec<Arc<Channel>> {
        lock(&self.0).values().cloned().collect()
    }
}

impl Channel {
    /// Removes a subscriber. Returns whether it was the last one.
    pub(super) fn remove(&self, connection: &Connection, serial: u64) -> bool {
        let mut state = lock(&self.state);
        state.subscribers.remove((connection.number, serial)).is_some() && state.subscribers.is_empty()
    }

    pub(super) fn subscriber_count(&self) -> usize {
        lock(&self.state).subscribers.len()
    }

    /// Delivers a message, whose offset is 0 if the channel has no history, or the engine can't number it now.
    pub(super) fn deliver(&self, offset: u64, epoch: &str, message: &TextFrame) -> Delivery {
        let mut delivery = Delivery::default();
        let mut state = lock(&self.state);
        if offset > 0 && state.epoch.as_deref() != Some(epoch) {
            state.begin_epoch(epoch, &mut delivery.lost);
        }
        let is_latest = self.options.latest_value;
        state.subscribers.retain_mut(|serial, subscriber| {
            let latest = is_latest.then_some(serial);
            match &mut subscriber.progress {
                SubscriberProgress::Starting(buffer) => {
                    buffer.keep(offset, message, subscriber.outbound.limit());
                    return true;
                }
                SubscriberProgress::Live(got) if offset > 0 => {
                    if offset <= *got {
                        delivery.is_doubtful = true;
                        return true;
                    }
                    if offset != *got + 1 && !is_latest {
                        delivery.lost.push((Arc::clone(&subscriber.connection), serial));
                        return false;
                    }
                    *got = offset;
                }
                SubscriberProgress::Live(_) => {}
            }
            delivery.count += u64::from(subscriber.outbound.deliver(message.clone(), latest));
            true
        });
        delivery
    }

    /// Delivers a message that is not of the history. Returns the number of connections that got it.
    pub(super) fn notify(&self, message: &TextFrame) -> u64 {
        let state = lock(&self.state);
        let live = state.subscribers.iter().filter(|subscriber| subscriber.offset().is_some());
        live.map(|subscriber| u64::from(subscriber.outbound.deliver(message.clone(), None))).sum()
    }

    /// Begins the deliveries to a subscriber that knows the history up to a position, with the messages that have
    /// arrived since it subscribed. Returns the subscribers that have missed messages.
    pub(super) fn go_live(
        &self,
        connection: &Connection,
        serial: u64,
        position: &StreamPosition,
    ) -> Vec<LostSubscriber> {
        let mut lost = Vec::new();
        let mut state = lock(&self.state);
        let key = (connection.number, serial);
        let Some(subscriber) = state.subscribers.get_mut(key) else { return lost };
        let SubscriberProgress::Starting(buffer) = &mut subscriber.progress else { return lost };
        let mut buffer = std::mem::take(&mut **buffer);
        let has_history = self.options.history_size > 0;
        let is_other_epoch = has_history && state.epoch.as_deref() != Some(position.epoch.as_str());
        let mut is_lost = buffer.is_full || (is_other_epoch && buffer.is_new_epoch);
        if is_other_epoch && !is_lost {
            // The history is of a newer epoch than the messages of the others, and those that were kept. Their numbers
            // may have been given again.
            buffer.messages.retain(|(offset, _)| *offset == 0);
            state.begin_epoch(&position.epoch, &mut lost);
        }
        let Some(subscriber) = state.subscribers.get_mut(key) else { return lost };
        let latest = self.options.latest_value.then_some(serial);
        let mut got = position.offset;
        for (offset, message) in buffer.messages {
            if is_lost || (offset > 0 && offset <= got) {
                continue;
            }
            if offset > 0 {
                is_lost = offset != got + 1 && latest.is_none();
                got = offset;
            }
            if !is_lost {
                subscriber.outbound.deliver(message, latest);
            }
        }
        subscriber.progress = SubscriberProgress::Live(got);
        if is_lost && let Some(subscriber) = state.subscribers.remove(key) {
            lost.push((subscriber.connection, serial));
        }
        lost
    }
}

impl ChannelState {
    /// Begins another epoch: those who have got messages of the former one can't continue.
    fn begin_epoch(&mut self, epoch: &str, lost: &mut Vec<LostSubscriber>) {
        let has_former = self.epoch.replace(epoch.into()).is_some();
        self.doubt = None;
        self.subscribers.retain_mut(|serial, subscriber| match &mut subscriber.progress {
            SubscriberProgress::Live(_) => {
                lost.push((Arc::clone(&subscriber.connection), serial));
                false
            }
            SubscriberProgress::Starting(buffer) => {
                if has_former {
                    **buffer = StartBuffer::default();
                }
                buffer.is_new_epoch = true;
                true
            }
        });
    }
}

impl Subscriber {
    /// Returns the offset of the last message that it got, or `None` while its history is read.
    fn offset(&self) -> Option<u64> {
        match self.progress {
            SubscriberProgress::Live(offset) => Some(offset),
            SubscriberProgress::Starting(_) => None,
        }
    }
}

impl StartBuffer {
    fn keep(&mut self, offset: u64, message: &TextFrame, limit: usize) {
        if self.is_full {
            return;
        }
        self.bytes += message.len();
        self.is_full = self.bytes > limit;
        if self.is_full {
            self.messages = Vec::new();
        } else {
            self.messages.push((offset, message.clone()));
        }
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").field("key", &self.key).finish_non_exhaustive()
    }
}

impl fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Subscriber").field(&self.connection.number).field(&self.offset()).finish()
    }
}
