//! The comparison of the positions of subscribers with that of the engine.

use std::sync::Arc;

use super::{Channel, ChannelState, LostSubscriber};
use crate::{hub::lock, protocol::StreamPosition};

/// The newest position that a subscriber has got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::hub) struct NewestPosition {
    epoch: Arc<str>,
    offset: u64,
}

impl Channel {
    /// Returns the newest position that a subscriber has got, or `None` if there is nothing to compare.
    pub(in crate::hub) fn newest_position(&self) -> Option<NewestPosition> {
        let state = lock(&self.state);
        let offset = state.subscribers.iter().filter_map(|subscriber| subscriber.offset()).max()?;
        Some(NewestPosition { epoch: state.epoch.clone()?, offset })
    }

    /// Returns whether an earlier comparison has left a doubt.
    pub(in crate::hub) fn has_doubt(&self) -> bool {
        lock(&self.state).doubt.is_some()
    }

    /// Compares with the position of the engine, which was read after `newest`. A message may still be on its way to
    /// this process, so a subscriber that is behind leaves a doubt, to be settled later. A history that is behind its
    /// subscribers was lost in part: returns these subscribers, which are no longer ones.
    pub(in crate::hub) fn compare_position(
        &self,
        newest: &NewestPosition,
        position: &StreamPosition,
    ) -> Vec<LostSubscriber> {
        let mut state = lock(&self.state);
        if state.epoch.as_ref() != Some(&newest.epoch) {
            return Vec::new();
        }
        let is_same_epoch = *newest.epoch == *position.epoch;
        if is_same_epoch && position.offset < newest.offset {
            return state.take_lost(|offset| offset > position.offset);
        }
        let is_behind = |offset| offset < position.offset;
        let is_doubtful =
            !is_same_epoch || state.subscribers.iter().filter_map(|subscriber| subscriber.offset()).any(is_behind);
        state.doubt = is_doubtful.then(|| Box::new(position.clone()));
        Vec::new()
    }

    /// Settles the doubt of an earlier comparison. Returns the subscribers that have missed messages, which are no
    /// longer ones.
    pub(in crate::hub) fn settle_doubt(&self) -> Vec<LostSubscriber> {
        let mut state = lock(&self.state);
        let Some(position) = state.doubt.take() else { return Vec::new() };
        let is_same_epoch = state.epoch.as_deref() == Some(position.epoch.as_str());
        state.take_lost(|offset| !is_same_epoch || offset < position.offset)
    }
}

impl ChannelState {
    /// Removes and returns the subscribers that have got the messages up to an offset for which the function returns
    /// true.
    fn take_lost(&mut self, is_lost: impl Fn(u64) -> bool) -> Vec<LostSubscriber> {
        let mut lost = Vec::new();
        self.subscribers.retain_mut(|serial, subscriber| {
            let is_kept = !subscriber.offset().is_some_and(&is_lost);
            if !is_kept {
                lost.push((Arc::clone(&subscriber.connection), serial));
            }
            is_kept
        });
        lost
    }
}
