//! The frames that wait to be sent on a connection.

mod frame_list;
mod socket;

use std::{
    future::poll_fn,
    mem,
    sync::{Arc, Mutex, OnceLock},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;

use super::{lock, send_lists::SendList};
use crate::protocol::{CloseCode, TextFrame};
use frame_list::FrameList;
use socket::SocketStream;

pub(crate) use socket::OutboundSocket;

/// Memory of a waiting frame besides its bytes.
const FRAME_OVERHEAD_BYTES: usize = size_of::<TextFrame>();

/// The queue of a connection, bounded in bytes. A message to many connections is one buffer that they share.
#[derive(Debug)]
pub(crate) struct Outbound {
    limit: usize,
    /// No other lock is taken while it is locked.
    queue: Mutex<OutboundQueue>,
    /// The socket of a WebSocket, while it is open.
    socket: Mutex<Option<SocketStream>>,
    /// The list of the sockets whose frames wait, for a connection with a socket.
    send_list: OnceLock<Arc<SendList>>,
}

#[derive(Debug, Default)]
struct OutboundQueue {
    frames: FrameList,
    /// The subscriptions of latest-value channels with a waiting message, and its index in `frames`.
    latest: Vec<(u64, usize)>,
    /// Size of the frames that wait, and of those that the reader has taken and still sends.
    bytes: usize,
    taken: usize,
    /// Number of messages since they were last counted.
    delivered: u32,
    close: Option<CloseCode>,
    state: SendState,
    /// Wakes the reader, or the task of the socket.
    waker: Option<Waker>,
    /// Wakes what waits for room.
    room_waker: Option<Waker>,
}

/// The sender of the frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum SendState {
    /// A reader takes them.
    #[default]
    Reader,
    /// There is a socket, and no frame waits.
    Idle,
    /// The task of the list sends them.
    Listed,
    /// The task of the connection sends them.
    InTask,
}

/// The next thing to do on a connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum OutboundItem {
    /// Sends the lines of frames, in this order.
    Frames(Vec<Bytes>),
    /// Closes the connection. Nothing follows.
    Close(CloseCode),
}

impl Outbound {
    /// Creates the queue of a connection, for this many bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, queue: Mutex::default(), socket: Mutex::default(), send_list: OnceLock::new() }
    }

    /// Adds a frame. Returns false if the connection is being closed. A queue that would exceed its limit is emptied,
    /// and the connection is closed as slow; a single frame may exceed the limit.
    pub(crate) fn push(self: &Arc<Self>, frame: TextFrame) -> bool {
        self.add(frame, None, 0)
    }

    /// Adds a message of a channel. In a latest-value channel it replaces the message that still waits for the same
    /// subscription. Returns false if the connection is being closed.
    pub(super) fn deliver(self: &Arc<Self>, message: TextFrame, latest: Option<u64>) -> bool {
        self.add(message, latest, 1)
    }

    fn add(self: &Arc<Self>, frame: TextFrame, latest: Option<u64>, delivered: u32) -> bool {
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
            queue.clear();
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
        let must_wake = is_full || queue.state == SendState::Reader;
        let waker = if must_wake { queue.waker.take() } else { None };
        let room_waker = queue.room_waker_if_due(self.limit);
        let must_list = !is_full && queue.state == SendState::Idle;
        if must_list {
            queue.state = SendState::Listed;
        }
        drop(queue);
        if let Some(list) = self.send_list.get().filter(|_| must_list) {
            list.add(Arc::clone(self));
        }
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
        if let Some(waker) = queue.release(self.limit) {
            waker.wake();
        }
        if !queue.frames.is_empty() {
            let lines = queue.take().into_iter().map(TextFrame::into_lines).collect();
            return Poll::Ready(OutboundItem::Frames(lines));
        }
        if let Some(code) = queue.close {
            return Poll::Ready(OutboundItem::Close(code));
        }
        queue.wake_later(context);
        Poll::Pending
    }
}

impl OutboundQueue {
    /// Takes the frames. They count as waiting until they are released.
    fn take(&mut self) -> FrameList {
        self.latest.clear();
        self.taken = self.bytes;
        mem::take(&mut self.frames)
    }

    /// Releases the frames that were taken and sent. Returns the waker of what waits for room, if there is enough.
    fn release(&mut self, limit: usize) -> Option<Waker> {
        self.bytes = self.bytes.saturating_sub(mem::take(&mut self.taken));
        self.room_waker_if_due(limit)
    }

    /// Drops the frames that wait.
    fn clear(&mut self) {
        self.frames = FrameList::default();
        self.latest = Vec::new();
        self.bytes = self.taken;
    }

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

/// The reader of a connection's queue, of which there is one. A WebSocket has a [socket](OutboundSocket) instead.
#[derive(Debug)]
pub(crate) struct OutboundReader(Arc<Outbound>);

impl OutboundReader {
    pub(super) fn new(outbound: Arc<Outbound>) -> Self {
        Self(outbound)
    }

    /// Waits for the next frames, and takes all that wait. They count as waiting until the next call.
    pub(crate) async fn next(&mut self) -> OutboundItem {
        poll_fn(|context| self.0.poll_next(context)).await
    }
}
