//! An open WebSocket. Its task reads the client's messages, and sends replies and what the socket did not take at once.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use tokio::{
    io::ReadBuf,
    time::{Sleep, sleep, timeout},
};
use tungstenite::{
    Error, Message, Utf8Bytes,
    error::ProtocolError,
    protocol::{CloseFrame, Role, WebSocketConfig, WebSocketContext},
};

use crate::{
    hub::{OutboundSocket, Session},
    protocol::CloseCode,
    transport::TransportLimits,
};

/// Capacity of the buffer for frames that arrive, such as the 8 bytes of a pong. Most connections wait most of the
/// time, and the buffer grows for larger messages.
const READ_BUFFER_BYTES: usize = 1024;
/// Longest time until a client has taken a frame from the socket's buffer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time until a client has taken the last messages of a connection that is being closed, and again until it has
/// confirmed the close frame.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for which the socket stays open after the close frame if the client's data is not read any more. Without it the
/// operating system would reset the connection, and the client would not see the close frame.
const LINGER: Duration = Duration::from_millis(500);

/// The end of a connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SocketEnd {
    /// The server closes the connection, and tells the client why.
    Closed(CloseCode),
    /// The client has broken a rule of WebSockets: the connection is closed with a code of RFC 6455, section 7.4.1.
    Failed(u16, &'static str),
    /// The client has sent a close frame.
    ClosedByClient,
    /// The client does not answer any more.
    Lost,
}

/// An open WebSocket.
pub(super) struct Socket {
    outbound: OutboundSocket,
    /// Parses frames, and makes the control frames that respond to them.
    protocol: WebSocketContext,
    /// The end of the time in which the client must take the frame that is being written, while it takes none.
    write_limit: Option<Pin<Box<Sleep>>>,
    /// The number of that frame.
    limited_frame: u64,
}

impl Socket {
    pub(super) fn new(outbound: OutboundSocket, limits: TransportLimits) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(0)
            .max_frame_size(Some(limits.message_bytes))
            .max_message_size(Some(limits.message_bytes));
        let protocol = WebSocketContext::new(Role::Server, Some(config));
        Self { outbound, protocol, write_limit: None, limited_frame: 0 }
    }

    /// Carries out the client's frames, one after another, and sends what waits for the client, also while a command is
    /// carried out.
    pub(super) async fn exchange(&mut self, session: &mut Session) -> SocketEnd {
        loop {
            let frame = match poll_fn(|context| self.poll_message(context)).await {
                Ok(Message::Text(frame)) => frame,
                Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => continue,
                // A client that speaks Protocol Buffers without saying so.
                Ok(Message::Binary(_)) => return SocketEnd::Closed(CloseCode::BadRequest),
                Ok(Message::Close(_)) => return SocketEnd::ClosedByClient,
                Err(end) => return end,
            };
            if session.accept_pong(&frame) {
                continue;
            }
            // The replies are sent by this task: at the latest when the command waits.
            self.outbound.send_in_task();
            // In a box, so that a connection that waits has no room for the largest command.
            let mut handling = Box::pin(session.handle(&frame));
            let handled = poll_fn(|context| match handling.as_mut().poll(context) {
                Poll::Ready(handled) => Poll::Ready(Ok(handled)),
                Poll::Pending => self.poll_end(context).map(Err),
            });
            match handled.await {
                Ok(Ok(())) => {}
                Ok(Err(code)) => return SocketEnd::Closed(code),
                Err(end) => return end,
            }
        }
    }

    /// Ends the connection as its end says.
    pub(super) async fn end(&mut self, end: SocketEnd) {
        match end {
            SocketEnd::Closed(code) => {
                if self.send_close(code.number(), code.reason()).await {
                    self.read_to_end().await;
                }
            }
            SocketEnd::Failed(code, reason) => {
                if self.send_close(code, reason).await {
                    sleep(LINGER).await;
                }
            }
            SocketEnd::ClosedByClient => {
                self.outbound.discard();
                self.read_to_end().await;
            }
            SocketEnd::Lost => {}
        }
    }

    /// Sends what waits and a close frame after it. Returns false if the client does not take them in time.
    async fn send_close(&mut self, code: u16, reason: &'static str) -> bool {
        self.send_in_time().await && self.set_close(code, reason) && self.send_in_time().await
    }

    /// Sets the close frame to be sent. Returns false if the protocol allows none any more.
    fn set_close(&mut self, code: u16, reason: &'static str) -> bool {
        let frame = CloseFrame { code: code.into(), reason: Utf8Bytes::from_static(reason) };
        let mut context = Context::from_waker(Waker::noop());
        let mut stream = FrameStream { socket: &self.outbound, context: &mut context, control: Vec::new() };
        let is_set = self.protocol.close(&mut stream, Some(frame)).is_ok();
        self.outbound.set_control(stream.control.into());
        is_set
    }

    async fn send_in_time(&self) -> bool {
        let sending = poll_fn(|context| self.outbound.poll_send(context));
        timeout(CLOSE_TIMEOUT, sending).await.is_ok_and(|sent| sent.is_ok())
    }

    /// Reads until both sides have sent a close frame. Messages are ignored.
    async fn read_to_end(&mut self) {
        let reading = poll_fn(|context| {
            while ready!(self.poll_read(context)).is_ok() {}
            // The confirmation of the client's close frame.
            self.outbound.poll_send(context)
        });
        // A client that does not take part is gone.
        _ = timeout(CLOSE_TIMEOUT, reading).await;
    }

    /// Waits for a message of the client, or for the end of the connection.
    fn poll_message(&mut self, context: &mut Context<'_>) -> Poll<Result<Message, SocketEnd>> {
        if let Poll::Ready(end) = self.poll_end(context) {
            return Poll::Ready(Err(end));
        }
        let read = self.poll_read(context);
        // The response to a ping may wait now.
        if read.is_pending()
            && let Poll::Ready(end) = self.poll_end(context)
        {
            return Poll::Ready(Err(end));
        }
        read.map_err(|error| end_of(&error))
    }

    /// Sends what waits, until the connection has to end.
    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<SocketEnd> {
        let state = self.outbound.poll_state(context);
        if let Some(code) = state.close {
            return Poll::Ready(SocketEnd::Closed(code));
        }
        if !state.must_send {
            return Poll::Pending;
        }
        match self.outbound.poll_send(context) {
            Poll::Ready(Ok(())) => {
                self.write_limit = None;
                Poll::Pending
            }
            Poll::Ready(Err(_)) => Poll::Ready(SocketEnd::Lost),
            Poll::Pending => self.poll_write_limit(context),
        }
    }

    /// Waits until the client has not taken a frame in time.
    fn poll_write_limit(&mut self, context: &mut Context<'_>) -> Poll<SocketEnd> {
        let frame = self.outbound.begun_frames();
        if frame != self.limited_frame {
            self.write_limit = None;
            self.limited_frame = frame;
        }
        let limit = self.write_limit.get_or_insert_with(|| Box::pin(sleep(WRITE_TIMEOUT)));
        limit.as_mut().poll(context).map(|()| SocketEnd::Lost)
    }

    /// Reads a message. A control frame that responds to the client is set to be sent.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<Result<Message, Error>> {
        let mut stream = FrameStream { socket: &self.outbound, context, control: Vec::new() };
        let read = self.protocol.read(&mut stream);
        if !stream.control.is_empty() {
            self.outbound.set_control(stream.control.into());
        }
        match read {
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
            read => Poll::Ready(read),
        }
    }
}

/// Returns the end after a read error.
fn end_of(error: &Error) -> SocketEnd {
    match error {
        Error::Capacity(_) => SocketEnd::Failed(1009, "message too big"),
        Error::Utf8(_) => SocketEnd::Failed(1007, "invalid UTF-8"),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => SocketEnd::Lost,
        Error::Protocol(_) => SocketEnd::Failed(1002, "protocol error"),
        _ => SocketEnd::Lost,
    }
}

/// The stream from which frames are parsed. What is written to it is collected.
struct FrameStream<'a, 'c> {
    socket: &'a OutboundSocket,
    context: &'a mut Context<'c>,
    control: Vec<u8>,
}

impl io::Read for FrameStream<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut buffer = ReadBuf::new(buffer);
        match self.socket.poll_read(self.context, &mut buffer) {
            Poll::Ready(read) => read.map(|()| buffer.filled().len()),
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl io::Write for FrameStream<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.control.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
