//! The socket of a WebSocket, on which the queue of its connection is sent.
//!
//! The frames are written as they are, with their headers, and shared by all connections that get them. Several lines
//! that wait are joined to frames, so that a client gets them together.

use std::{
    io, mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use bytes::{Buf as _, Bytes};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};

use super::{FrameList, Outbound, OutboundReader, SendState};
use crate::{
    hub::{lock, send_lists::SendList},
    protocol::{CloseCode, TextFrame, TextFrameBuilder},
};

/// Size up to which lines that wait together are sent as one frame.
const MAX_BATCH_BYTES: usize = 16 * 1024;

/// The stream of a socket, and what is to be written on it before the frames of the queue.
#[derive(Debug)]
pub(super) struct SocketStream {
    io: TokioIo<Upgraded>,
    /// The rest of the frame that is being written.
    current: Bytes,
    /// A control frame that is written after it.
    control: Bytes,
    /// Frames that were taken from the queue.
    taken: FrameList,
    must_flush: bool,
    /// Number of frames whose writing has begun.
    begun: u64,
}

/// The socket of a connection. It is closed when this is dropped.
#[derive(Debug)]
pub(crate) struct OutboundSocket(Arc<Outbound>);

/// The next steps of the task of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SocketState {
    /// The code if the connection is to be closed.
    pub(crate) close: Option<CloseCode>,
    /// Whether frames wait that the connection's task has to send.
    pub(crate) must_send: bool,
}

impl OutboundReader {
    /// Attaches the socket on which the queue is sent, by the task of a list.
    pub(in crate::hub) fn attach(self, io: Upgraded, list: Arc<SendList>) -> OutboundSocket {
        // A reader is attached once: it is consumed.
        _ = self.0.send_list.set(list);
        OutboundSocket::new(self.0, io)
    }
}

impl OutboundSocket {
    /// Returns the socket of a connection that was not admitted.
    pub(crate) fn refused(io: Upgraded) -> Self {
        Self::new(Arc::new(Outbound::new(0)), io)
    }

    fn new(outbound: Arc<Outbound>, io: Upgraded) -> Self {
        let stream = SocketStream {
            io: TokioIo::new(io),
            current: Bytes::new(),
            control: Bytes::new(),
            taken: FrameList::default(),
            must_flush: false,
            begun: 0,
        };
        *lock(&outbound.socket) = Some(stream);
        lock(&outbound.queue).state = SendState::InTask;
        Self(outbound)
    }

    /// Returns what the connection needs now, and wakes the task when it changes.
    pub(crate) fn poll_state(&self, context: &Context<'_>) -> SocketState {
        let mut queue = lock(&self.0.queue);
        queue.wake_later(context);
        SocketState { close: queue.close, must_send: queue.state == SendState::InTask }
    }

    /// Leaves the frames that are added from now on to the task of the connection, until it has sent all. It must do so
    /// soon: it is not woken.
    pub(crate) fn send_in_task(&self) {
        let mut queue = lock(&self.0.queue);
        if queue.state == SendState::Idle {
            queue.state = SendState::InTask;
        }
    }

    /// Sends all that waits.
    pub(crate) fn poll_send(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        lock(&self.0.queue).wake_later(context);
        while ready!(self.0.poll_send_some(context))? {}
        Poll::Ready(Ok(()))
    }

    /// Returns the number of frames whose writing has begun, which tells whether the client reads.
    pub(crate) fn begun_frames(&self) -> u64 {
        lock(&self.0.socket).as_ref().map_or(0, |stream| stream.begun)
    }

    /// Sets the control frame that is sent next, in place of one that still waits: only the last ping needs a pong
    /// (RFC 6455, section 5.5.3).
    pub(crate) fn set_control(&self, frame: Bytes) {
        let mut socket = lock(&self.0.socket);
        let Some(stream) = socket.as_mut() else { return };
        stream.control = frame;
        lock(&self.0.queue).state = SendState::InTask;
    }

    /// Reads what the client has sent.
    pub(crate) fn poll_read(&self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match lock(&self.0.socket).as_mut() {
            Some(stream) => Pin::new(&mut stream.io).poll_read(context, buffer),
            None => Poll::Ready(Ok(())),
        }
    }

    /// Drops the frames that wait, and takes no others.
    pub(crate) fn discard(&self) {
        if let Some(stream) = lock(&self.0.socket).as_mut() {
            stream.taken = FrameList::default();
        }
        let mut queue = lock(&self.0.queue);
        queue.close.get_or_insert(CloseCode::ConnectionClosed);
        queue.clear();
    }
}

impl Drop for OutboundSocket {
    fn drop(&mut self) {
        *lock(&self.0.socket) = None;
    }
}

impl Outbound {
    /// Sends as much of what waits as the socket takes at once. The rest is left to the task of the connection. Returns
    /// whether frames were added meanwhile.
    pub(in crate::hub) fn send_now(&self) -> bool {
        // The task of the connection polls the socket again if it waits, with a waker that wakes it.
        match self.poll_send_some(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(is_more)) => return is_more,
            Poll::Ready(Err(_)) | Poll::Pending => {}
        }
        let mut queue = lock(&self.queue);
        queue.state = SendState::InTask;
        let waker = queue.waker.take();
        drop(queue);
        if let Some(waker) = waker {
            waker.wake();
        }
        false
    }

    /// Sends the frames that have been taken from the queue, or else those that wait in it now. Returns whether others
    /// wait.
    fn poll_send_some(&self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut socket = lock(&self.socket);
        let Some(stream) = socket.as_mut() else { return Poll::Ready(Ok(false)) };
        if stream.taken.is_empty() {
            stream.taken = lock(&self.queue).take();
        }
        ready!(stream.poll_send(context))?;
        let mut queue = lock(&self.queue);
        let room_waker = queue.release(self.limit);
        let is_more = !queue.frames.is_empty();
        if !is_more {
            queue.state = SendState::Idle;
        }
        drop(queue);
        if let Some(waker) = room_waker {
            waker.wake();
        }
        Poll::Ready(Ok(is_more))
    }
}

impl SocketStream {
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.begin_frame() {
            while !self.current.is_empty() {
                let written = ready!(Pin::new(&mut self.io).poll_write(context, &self.current))?;
                if written == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.current.advance(written);
                self.must_flush = true;
            }
            // The memory of a message is kept as long as an empty rest of it.
            self.current = Bytes::new();
        }
        if self.must_flush {
            ready!(Pin::new(&mut self.io).poll_flush(context))?;
            self.must_flush = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Takes the next frame if none is being written. Returns false if there is none.
    fn begin_frame(&mut self) -> bool {
        if !self.current.is_empty() {
            return true;
        }
        if !self.control.is_empty() {
            self.current = mem::take(&mut self.control);
        } else if let Some(first) = self.taken.pop() {
            self.current = join(first, &mut self.taken).into_bytes();
        } else {
            return false;
        }
        self.begun += 1;
        true
    }
}

/// Returns a frame with as many of the next lines as fit in [`MAX_BATCH_BYTES`].
fn join(first: TextFrame, next: &mut FrameList) -> TextFrame {
    let fits = |bytes: usize, frame: &TextFrame| bytes + 1 + frame.lines().len() <= MAX_BATCH_BYTES;
    if !next.front().is_some_and(|frame| fits(first.lines().len(), frame)) {
        return first;
    }
    let mut joined = TextFrameBuilder::new();
    joined.push_line(first.lines());
    while next.front().is_some_and(|frame| fits(joined.lines_len(), frame)) {
        if let Some(frame) = next.pop() {
            joined.push_line(frame.lines());
        }
    }
    joined.build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_wait_together_are_one_frame_up_to_its_size() {
        let frame = |length: usize| {
            let mut frame = TextFrameBuilder::new();
            frame.push_line(&vec![b'x'; length]);
            frame.build()
        };
        for (lengths, expected) in [
            (vec![2], vec![2]),
            (vec![2, 3], vec![6]),
            (vec![MAX_BATCH_BYTES, 1], vec![MAX_BATCH_BYTES, 1]),
            (vec![1, MAX_BATCH_BYTES, 1, 1], vec![1, MAX_BATCH_BYTES, 3]),
            (vec![1, MAX_BATCH_BYTES - 2, 1], vec![MAX_BATCH_BYTES, 1]),
        ] {
            let mut frames = FrameList::default();
            lengths.iter().copied().map(frame).for_each(|frame| frames.push(frame));
            let mut sizes = Vec::new();
            while let Some(first) = frames.pop() {
                sizes.push(join(first, &mut frames).lines().len());
            }
            assert_eq!(sizes, expected, "{lengths:?}");
        }
    }
}
