//! Request bodies that are not read to their end.
//!
//! A response may be ready before the request's body has arrived: 401, 404, 413, 429. The rest of the body then
//! precedes the next request on the connection. A small rest is read and discarded; otherwise the response announces
//! that the connection closes (RFC 9112, section 9.6). HTTP/2 does not need this: its streams end separately.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::body::{Body, Bytes};
use http::{HeaderValue, StatusCode, Version, header};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::sync::oneshot::{self, error::TryRecvError};

use crate::http::{Request, Response};

/// Largest rest of a body that is read to keep the connection open.
const MAX_DRAINED_BODY_BYTES: u64 = 64 * 1024;
/// Longest time that a response waits for that rest.
const MAX_DRAIN_TIME: Duration = Duration::from_millis(500);

/// The rest of the body of an HTTP/1 request, after the handler has dropped the body before its end.
#[derive(Debug)]
pub(super) struct UnreadBody {
    dropped: oneshot::Receiver<Incoming>,
    body: Option<Incoming>,
    /// Whether the client waits for `100 Continue` before it sends the body (`ExpectationBuilder: 100-continue`).
    waits: bool,
}

/// Wraps the body of a request. Returns `None` if there is no body, and on HTTP/2.
pub(super) fn track_body(request: hyper::Request<Incoming>) -> (Request, Option<UnreadBody>) {
    if request.body().is_end_stream() || request.version() > Version::HTTP_11 {
        return (request.map(Body::new), None);
    }
    let waits = request.headers().contains_key(header::EXPECT);
    let (sender, dropped) = oneshot::channel();
    let request = request.map(|body| Body::new(TrackedBody(Some((body, sender)))));
    (request, Some(UnreadBody { dropped, body: None, waits }))
}

impl UnreadBody {
    /// Returns whether the body was read to its end.
    pub(super) fn is_read(&mut self) -> bool {
        match self.dropped.try_recv() {
            Ok(body) => {
                self.body = Some(body);
                false
            }
            Err(error) => self.body.is_none() && error == TryRecvError::Closed,
        }
    }

    /// Reads the rest of the body, or adds `Connection: close` to the response.
    pub(super) async fn drain(mut self, mut response: Response) -> Response {
        // The handler's future has been dropped, and everything it held.
        if self.is_read() {
            return response;
        }
        let drained = match self.body.take() {
            Some(rest) if !self.waits && response.status() != StatusCode::REQUEST_TIMEOUT => {
                tokio::time::timeout(MAX_DRAIN_TIME, read(rest)).await.unwrap_or(false)
            }
            // Another task still reads the body, or the client does not send it.
            _ => false,
        };
        if !drained {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// Reads a body. Returns whether it ended within [`MAX_DRAINED_BODY_BYTES`].
async fn read(mut body: Incoming) -> bool {
    let mut left = MAX_DRAINED_BODY_BYTES;
    while body.size_hint().lower() <= left {
        let Some(frame) = body.frame().await else { return true };
        let Ok(frame) = frame else { return false };
        let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
        let Some(rest) = left.checked_sub(bytes) else { return false };
        left = rest;
    }
    false
}

/// A body that is sent to [`UnreadBody`] if it is dropped before its end.
struct TrackedBody(Option<(Incoming, oneshot::Sender<Incoming>)>);

impl http_body::Body for TrackedBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some((body, _)) = &mut self.0 else { return Poll::Ready(None) };
        let polled = Pin::new(&mut *body).poll_frame(cx);
        // hyper closes the connection after an error.
        if body.is_end_stream() || matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.0 = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(|(body, _)| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or(SizeHint::with_exact(0), |(body, _)| body.size_hint())
    }
}

impl Drop for TrackedBody {
    fn drop(&mut self) {
        if let Some((body, unread)) = self.0.take() {
            // Without a receiver the connection has ended.
            _ = unread.send(body);
        }
    }
}
