//! The link of a channel to the engine: whether the engine delivers its messages to this process.
//!
//! A single task at a time changes the link, so that a subscription of the engine never overtakes the end of an earlier
//! one. No lock is held while the engine works.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::{Channel, StartBuffer, Subscriber, SubscriberProgress};
use crate::hub::{connection::Connection, lock};

/// The next step of the task that changes a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::hub) enum LinkStep {
    Subscribe,
    Unsubscribe,
    /// The link is as the subscribers need it.
    Done,
    /// Nothing needs the channel: it is to be removed from the table.
    Remove,
}

/// A subscriber that was added to a channel.
#[derive(Debug)]
pub(in crate::hub) struct AddedSubscriber {
    /// Receives whether the engine delivers the messages, unless it does so already.
    pub(in crate::hub) linked: Option<oneshot::Receiver<bool>>,
    /// Whether the caller has to start the task that changes the link.
    pub(in crate::hub) must_link: bool,
}

impl Channel {
    /// Adds a subscriber, for which messages are kept from now on. Returns `None` if the channel was removed from the
    /// table.
    pub(in crate::hub) fn add(&self, connection: &Arc<Connection>, serial: u64) -> Option<AddedSubscriber> {
        let mut state = lock(&self.state);
        if state.is_removed {
            return None;
        }
        let progress = SubscriberProgress::Starting(Box::<StartBuffer>::default());
        let (connection, outbound) = (Arc::clone(connection), Arc::clone(&connection.outbound));
        let key = (connection.number, serial);
        state.subscribers.insert(key, Subscriber { connection, outbound, progress });
        if state.is_linked && !state.is_linking {
            return Some(AddedSubscriber { linked: None, must_link: false });
        }
        let (sender, receiver) = oneshot::channel();
        state.waiting.push(sender);
        let must_link = !std::mem::replace(&mut state.is_linking, true);
        Some(AddedSubscriber { linked: Some(receiver), must_link })
    }

    /// Returns whether the caller has to start the task that ends the link, because no subscriber is left.
    pub(in crate::hub) fn begin_unlink(&self) -> bool {
        let mut state = lock(&self.state);
        let is_idle = state.subscribers.is_empty() && !state.is_linking && !state.is_removed;
        state.is_linking |= is_idle;
        is_idle
    }

    /// Returns the next step of the task that changes the link. After the last one it has to end.
    pub(in crate::hub) fn next_link_step(&self) -> LinkStep {
        let mut state = lock(&self.state);
        match (state.subscribers.is_empty(), state.is_linked) {
            (false, false) => LinkStep::Subscribe,
            (true, true) => LinkStep::Unsubscribe,
            (false, true) => {
                state.is_linking = false;
                for waiting in std::mem::take(&mut state.waiting) {
                    // The receiver is gone if its connection has ended.
                    _ = waiting.send(true);
                }
                LinkStep::Done
            }
            (true, false) => {
                state.is_linking = false;
                state.is_removed = true;
                state.waiting = Vec::new();
                LinkStep::Remove
            }
        }
    }

    /// Records the result of a step.
    pub(in crate::hub) fn set_linked(&self, is_linked: bool) {
        let mut state = lock(&self.state);
        state.is_linked = is_linked;
        if !is_linked {
            // The offsets that the next subscribers see may be of another epoch.
            state.epoch = None;
        }
    }

    /// Ends the task that changes the link after the engine has failed: those who wait are told.
    pub(in crate::hub) fn fail_link(&self) {
        let mut state = lock(&self.state);
        state.is_linking = false;
        for waiting in std::mem::take(&mut state.waiting) {
            _ = waiting.send(false);
        }
    }
}
