//! Frames in their order.

use std::collections::VecDeque;

use crate::protocol::TextFrame;

/// Frames in their order. One frame, the usual number, needs no memory of its own.
#[derive(Debug, Default)]
pub(super) struct FrameList {
    first: Option<TextFrame>,
    /// The frames after the first one. Empty if there is none.
    rest: VecDeque<TextFrame>,
}

impl FrameList {
    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    pub(super) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.len()
    }

    pub(super) fn push(&mut self, frame: TextFrame) {
        if self.first.is_none() {
            self.first = Some(frame);
        } else {
            self.rest.push_back(frame);
        }
    }

    /// Returns the first frame.
    pub(super) fn front(&self) -> Option<&TextFrame> {
        self.first.as_ref()
    }

    /// Removes the first frame, and returns it.
    pub(super) fn pop(&mut self) -> Option<TextFrame> {
        let next = self.rest.pop_front();
        std::mem::replace(&mut self.first, next)
    }

    /// Returns the frame with an index.
    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut TextFrame> {
        match index.checked_sub(1) {
            None => self.first.as_mut(),
            Some(index) => self.rest.get_mut(index),
        }
    }
}

impl IntoIterator for FrameList {
    type Item = TextFrame;
    type IntoIter =
        std::iter::Chain<std::option::IntoIter<TextFrame>, std::collections::vec_deque::IntoIter<TextFrame>>;

    fn into_iter(self) -> Self::IntoIter {
        self.first.into_iter().chain(self.rest)
    }
}
