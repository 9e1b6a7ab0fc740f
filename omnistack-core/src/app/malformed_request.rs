//! Responses to requests that hyper rejects before any service sees them: requests that are not HTTP, a path that is
//! too long, headers that are too large or too many.
//!
//! hyper writes a bare status line for them. Such a response is recognised as it is written and replaced by the app's
//! response to a request that is marked [`Unreadable`], so that it has the standard error format, a request id, a
//! line in the access log, and counts towards the rate limit.

use std::{
    convert::Infallible,
    io::{self, Write as _},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum::body::{Body, to_bytes};
use http::{StatusCode, Uri, header};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower::{Service, ServiceExt as _};

use super::connections::{Connection, ConnectionGuard, Order};
use crate::http::{
    Request, Response,
    layer::{MalformedRequest, PeerAddr},
};

/// The stream of a connection. It records when the client reads the response, and replaces hyper's error responses by
/// the app's.
///
/// When the connection changes to another protocol, such as WebSocket, the stream remains. It then drops its service,
/// because many such connections are open for a long time, and it obeys the order to close now itself, because hyper's
/// task has ended.
pub(crate) struct ConnectionStream<S> {
    inner: TokioIo<TcpStream>,
    connection: Arc<Connection>,
    /// Removes the connection from the table of open connections when the stream is dropped.
    _place: ConnectionGuard,
    /// `None` after the connection has changed to another protocol. In a box, so that nothing of it remains then.
    service: Option<Box<S>>,
    peer: PeerAddr,
    refusal: ErrorReplacement,
}

enum ErrorReplacement {
    /// No request was rejected.
    None,
    /// The app is creating its response.
    Asked(Pin<Box<dyn Future<Output = Option<Vec<u8>>> + Send>>),
    /// The response is being written.
    Writing(Vec<u8>, usize),
    /// The app has no response: hyper's own response is sent.
    Bare,
}

impl<S> ConnectionStream<S> {
    pub(super) fn new(
        stream: TcpStream,
        connection: Arc<Connection>,
        place: ConnectionGuard,
        service: S,
        peer: PeerAddr,
    ) -> Self {
        let (inner, service) = (TokioIo::new(stream), Some(Box::new(service)));
        Self { inner, connection, _place: place, service, peer, refusal: ErrorReplacement::None }
    }

    /// Fails if the connection has changed to another protocol and must close now.
    fn check_upgraded(&mut self) -> io::Result<()> {
        if !self.connection.is_upgraded() {
            return Ok(());
        }
        if self.service.is_some() {
            self.service = None;
        }
        obey(self.connection.current_order())
    }

    /// Returns the result of a read or a write. If it waits on a connection that has changed to another protocol, the
    /// order to close now wakes `cx`. One that does not wait registers no waker, which would cost more than the rest.
    fn wake_at_cut<T>(&self, cx: &Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_pending() && self.connection.is_upgraded() {
            obey(self.connection.order(cx))?;
        }
        polled
    }

    fn record_write(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(_) => self.connection.record_activity(),
            Poll::Pending => self.connection.record_blocked_write(),
        }
        written
    }
}

impl<S> ConnectionStream<S>
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + Unpin + 'static,
    S::Future: Send,
{
    /// Writes the app's response if `head` is an error response of hyper. Returns `None` if it is not.
    fn poll_replace_error(&mut self, cx: &mut Context<'_>, head: &[u8]) -> Poll<Option<io::Result<()>>> {
        loop {
            match &mut self.refusal {
                ErrorReplacement::None => {
                    let Some(service) = &self.service else { return Poll::Ready(None) };
                    let Some(unreadable) = hyper_error(head) else { return Poll::Ready(None) };
                    self.refusal = ErrorReplacement::Asked(Box::pin(app_error_response(
                        (**service).clone(),
                        self.peer,
                        unreadable,
                    )));
                }
                ErrorReplacement::Asked(answer) => {
                    self.refusal = match ready!(answer.as_mut().poll(cx)) {
                        Some(bytes) => ErrorReplacement::Writing(bytes, 0),
                        None => ErrorReplacement::Bare,
                    };
                }
                ErrorReplacement::Writing(bytes, at) if *at < bytes.len() => {
                    match ready!(Pin::new(&mut self.inner).poll_write(cx, &bytes[*at..])) {
                        Ok(0) => return Poll::Ready(Some(Err(io::ErrorKind::WriteZero.into()))),
                        Ok(written) => *at += written,
                        Err(error) => return Poll::Ready(Some(Err(error))),
                    }
                }
                // The connection ends with this response: nothing else is written.
                ErrorReplacement::Writing(..) => return Poll::Ready(Some(Ok(()))),
                ErrorReplacement::Bare => return Poll::Ready(None),
            }
        }
    }
}

/// Fails with the order to close now.
fn obey(order: Order) -> io::Result<()> {
    match order {
        Order::Serve | Order::Finish => Ok(()),
        Order::Cut => Err(io::ErrorKind::ConnectionAborted.into()),
    }
}

/// Returns the reason if these are the bytes of an error response of hyper: one of three statuses, and no headers but
/// its own three.
fn hyper_error(head: &[u8]) -> Option<MalformedRequest> {
    let rest = head.strip_prefix(b"HTTP/1.1 4").or_else(|| head.strip_prefix(b"HTTP/1.0 4"))?;
    let unreadable = match rest.first_chunk()? {
        b"00" => MalformedRequest::NotHttp,
        b"14" => MalformedRequest::PathTooLong,
        b"31" => MalformedRequest::HeadersTooLarge,
        _ => return None,
    };
    let mut headers = head.split(|byte| *byte == b'\n').skip(1).take_while(|line| line.len() > 1);
    let own = [&b"connection:"[..], b"content-length: 0", b"date:"];
    headers.all(|line| own.iter().any(|own| line.starts_with(own))).then_some(unreadable)
}

/// Returns the app's response as bytes, or `None` if the app has no response for this error.
async fn app_error_response<S>(service: S, peer: PeerAddr, unreadable: MalformedRequest) -> Option<Vec<u8>>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = Uri::from_static("*");
    request.extensions_mut().insert(peer);
    request.extensions_mut().insert(unreadable);
    let Ok(response) = service.oneshot(request).await;
    let known = response.status() == unreadable.status() || response.status() == StatusCode::TOO_MANY_REQUESTS;
    let (head, body) = known.then(|| response.into_parts())?;
    let body = to_bytes(body, 64 * 1024).await.ok()?;
    let mut bytes = Vec::with_capacity(1024);
    write!(bytes, "HTTP/1.1 {}\r\n", head.status).ok()?;
    for (name, value) in head.headers.iter().filter(|(name, _)| **name != header::CONTENT_LENGTH) {
        bytes.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    write!(bytes, "connection: close\r\ncontent-length: {}\r\n\r\n", body.len()).ok()?;
    bytes.extend(body);
    Some(bytes)
}

impl<S: Unpin> Read for ConnectionStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        self.check_upgraded()?;
        let read = Pin::new(&mut self.inner).poll_read(cx, buffer);
        self.wake_at_cut(cx, read)
    }
}

impl<S> Write for ConnectionStream<S>
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + Unpin + 'static,
    S::Future: Send,
{
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check_upgraded()?;
        let written = match self.poll_replace_error(cx, bytes) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(refused)) => Poll::Ready(refused.map(|()| bytes.len())),
            Poll::Ready(None) => Pin::new(&mut self.inner).poll_write(cx, bytes),
        };
        self.wake_at_cut(cx, self.record_write(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check_upgraded()?;
        let written = match self.poll_replace_error(cx, slices.first().map_or(&[], |slice| slice)) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(refused)) => Poll::Ready(refused.map(|()| slices.iter().map(|slice| slice.len()).sum())),
            Poll::Ready(None) => Pin::new(&mut self.inner).poll_write_vectored(cx, slices),
        };
        self.wake_at_cut(cx, self.record_write(written))
    }
}
