//! The frames that wait to be sent on a connection.

use std::{
    future::poll_fn,
    mem,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;

use super::{connection::Connection, lock};
use crate::protocol::CloseCode;

/// Memory of a waiting frame besides its bytes.
const FRAME_OVERHEAD_BYTES: usize = size_of::<Bytes>();

/// The queue of a connection, bounded in bytes. A message to many connections is one buffer that they share.
#[derive(Debug)]
pub(crate) struct Outbound {
    limit: usize,
    queue: Mutex<OutboundQueue>,
}

#[derive(Debug, Default)]
struct OutboundQueue {
    frames: Vec<Bytes>,
    /// The subscriptions of latest-value channels with a waiting message, and its index in `frames`.
    latest: Vec<(u64, usize)>,
    /// Size of the frames that wait, and of those that the reader has taken and still sends.
    bytes: usize,
    taken: usize,
    /// Number of messages since they were last counted.
    delivered: u32,
    close: Option<CloseCode>,
    /// Wakes the reader.
    waker: Option<Waker>,
    /// Wakes what waits for room.
    room_waker: Option<Waker>,
}

/// The next thing to do on a connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum OutboundItem {
    /// Sends frames, in this order.
    Frames(Vec<Bytes>),
    /// Closes the connection. Nothing follows.
    Close(CloseCode),
}

impl Outbound {
    /// Creates the queue of a connection, for this many bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, queue: Mutex::default() }
    }

    /// Adds a frame. Returns false if the connection is being closed. A queue that would exceed its limit is emptied,
    /// and the connection is closed as slow; a single frame may exceed the limit.
    pub(crate) fn push(&self, frame: Bytes) -> bool {
        self.add(frame, None, 0)
    }

    /// Adds a message of a channel. In a latest-value channel it replaces the message that still waits for the same
    /// subscription. Returns false if the connection is being closed.
    pub(super) fn deliver(&self, message: Bytes, latest: Option<u64>) -> bool {
        self.add(message, latest, 1)
    }

    fn add(&self, frame: Bytes, latest: Option<u64>, delivered: u32) -> bool {
        let mut queue = lock(&self.queue);
        if queue.close.is_some() {
            return false;
        }
        let size = frame.len() + FRAME_OVERHEAD_BYTES;
        let waiting = latest.and_then(|key| queue.latest.iter().find(|(waiting, _)| *waiting == key));
        let waiting = waiting.map(|(_, index)| *index);
        if let Some(former) = waiting.and_then(|index| queue.frames.get_mut(index)) {
            let former = mem::replace(former, frame);
            queue.bytes = (queue.bytes + size).saturating_sub(former.len() + FRAME_OVERHEAD_BYTES);
            return true;
        }
        let is_full = queue.bytes > 0 && queue.bytes + size > self.limit;
        if is_full {
            queue.frames = Vec::new();
            queue.latest = Vec::new();
            queue.bytes = queue.taken;
            queue.close = Some(CloseCode::Slow);
        } else {
            if let Some(key) = latest {
                let index = queue.frames.len();
                queue.latest.push((key, index));
            }
            queue.frames.push(frame);
            queue.bytes += size;
            queue.delivered = queue.delivered.saturating_add(delivered);
        }
        let waker = queue.waker.take();
        let room_waker = queue.room_waker_if_due(self.limit);
        drop(queue);
        for waker in [waker, room_waker].into_iter().flatten() {
            waker.wake();
        }
        !is_full
    }

    /// Closes the connection after the frames that wait. The first code counts.
    pub(crate) fn close(&self, code: CloseCode) {
        let mut queue = lock(&self.queue);
        queue.close.get_or_insert(code);
        let wakers = [queue.waker.take(), queue.room_waker.take()];
        drop(queue);
        for waker in wakers.into_iter().flatten() {
            waker.wake();
        }
    }

    /// Returns the code if the connection is being closed.
    pub(crate) fn close_code(&self) -> Option<CloseCode> {
        lock(&self.queue).close
    }

    /// Waits until half of the queue is free, or the connection is being closed. A client that sends commands faster than
    /// it reads their replies is slowed down, and not closed as slow.
    pub(super) async fn room(&self) {
        poll_fn(|context| {
            let mut queue = lock(&self.queue);
            if queue.has_room(self.limit) {
                return Poll::Ready(());
            }
            queue.room_waker = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Returns the largest size of the frames that wait, in bytes.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Returns the size of the frames that wait or are being sent.
    pub(super) fn queued_bytes(&self) -> usize {
        lock(&self.queue).bytes
    }

    /// Returns the number of messages since the last call.
    pub(super) fn take_delivered(&self) -> u32 {
        mem::take(&mut lock(&self.queue).delivered)
    }

    fn poll_next(&self, context: &Context<'_>) -> Poll<OutboundItem> {
        let mut queue = lock(&self.queue);
        // The reader asks again when it has sent the frames that it took.
        queue.bytes = queue.bytes.saturating_sub(mem::take(&mut queue.taken));
        if let Some(waker) = queue.room_waker_if_due(self.limit) {
            waker.wake();
        }
        if !queue.frames.is_empty() {
            queue.latest.clear();
            queue.taken = queue.bytes;
            return Poll::Ready(OutboundItem::Frames(mem::take(&mut queue.frames)));
        }
        if let Some(code) = queue.close {
            return Poll::Ready(OutboundItem::Close(code));
        }
        queue.wake_later(context);
        Poll::Pending
    }

    fn poll_closed(&self, context: &Context<'_>) -> Poll<CloseCode> {
        let mut queue = lock(&self.queue);
        if let Some(code) = queue.close {
            return Poll::Ready(code);
        }
        queue.wake_later(context);
        Poll::Pending
    }
}

impl OutboundQueue {
    /// Returns whether half of the queue is free, or nothing is added to it any more.
    fn has_room(&self, limit: usize) -> bool {
        self.close.is_some() || self.bytes <= limit / 2
    }

    fn room_waker_if_due(&mut self, limit: usize) -> Option<Waker> {
        if self.has_room(limit) { self.room_waker.take() } else { None }
    }

    fn wake_later(&mut self, context: &Context<'_>) {
        if !self.waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            self.waker = Some(context.waker().clone());
        }
    }
}

/// The reader of a connection's queue, of which there is one.
#[derive(Debug)]
pub(crate) struct OutboundReader(Arc<Connection>);

impl OutboundReader {
    pub(super) fn new(connection: Arc<Connection>) -> Self {
        Self(connection)
    }

    /// Waits for the next frames, and takes all that wait. They count as waiting until the next call.
    pub(crate) async fn next(&mut self) -> OutboundItem {
        poll_fn(|context| self.0.outbound.poll_next(context)).await
    }

    /// Waits until the connection is to be closed, also while the frames that were taken are being sent.
    pub(crate) async fn closed(&mut self) -> CloseCode {
        poll_fn(|context| self.0.outbound.poll_closed(context)).await
    }
}
