//! Timeout of requests.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, Bytes},
    response::IntoResponse as _,
};
use http::StatusCode;
use http_body::{Body as _, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::Sleep;
use tower::{Layer, Service};

use crate::http::{Error, Request, Response};

/// Layer that responds with 408 `REQUEST_TIMEOUT` if the request's body did not arrive in time, and with 504
/// `TIMEOUT` if the handler did not respond in time. Once the response has begun, there is no timeout: a stream is
/// not cut.
///
/// The timer is set when the handler first waits, so a handler that never waits costs nothing.
#[derive(Clone, Copy, Debug)]
pub struct TimeoutLayer {
    after: Duration,
}

impl TimeoutLayer {
    /// Creates a layer with a timeout from the last header to the first byte of the response.
    pub fn new(after: Duration) -> Self {
        Self { after }
    }
}

impl<S> Layer<S> for TimeoutLayer {
    type Service = RequestTimeout<S>;

    fn layer(&self, inner: S) -> RequestTimeout<S> {
        RequestTimeout { inner, after: self.after }
    }
}

/// Service of [`TimeoutLayer`].
#[derive(Clone, Copy, Debug)]
pub struct RequestTimeout<S> {
    inner: S,
    after: Duration,
}

impl<S> Service<Request> for RequestTimeout<S>
where
    S: Service<Request, Error = Infallible>,
    S::Response: axum::response::IntoResponse,
{
    type Response = Response;
    type Error = Infallible;
    type Future = RequestTimeoutFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let reading = watch_body(&mut request);
        RequestTimeoutFuture::new(self.inner.call(request), Some(self.after), reading)
    }
}

/// Whether the client is still sending the body; `None` for a request without a body.
type BodyProgress = Option<Arc<AtomicBool>>;

/// Watches the body, to distinguish a slow client from a slow handler.
pub(super) fn watch_body(request: &mut Request) -> BodyProgress {
    if request.body().is_end_stream() {
        return None;
    }
    let reading = Arc::new(AtomicBool::new(true));
    let inner = std::mem::replace(request.body_mut(), Body::empty());
    *request.body_mut() = Body::new(WatchedBody { inner, reading: Arc::clone(&reading) });
    Some(reading)
}

pin_project! {
    /// Future of [`RequestTimeout`].
    #[derive(Debug)]
    pub struct RequestTimeoutFuture<F> {
        #[pin]
        future: F,
        after: Option<Duration>,
        // Created when it is first needed: the future stays small for the many requests that need none.
        timer: Option<Pin<Box<Sleep>>>,
        reading: BodyProgress,
    }
}

impl<F> RequestTimeoutFuture<F> {
    pub(super) fn new(future: F, after: Option<Duration>, reading: BodyProgress) -> Self {
        Self { future, after, timer: None, reading }
    }
}

impl<F, R> Future for RequestTimeoutFuture<F>
where
    F: Future<Output = Result<R, Infallible>>,
    R: axum::response::IntoResponse,
{
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(Ok(response)) = this.future.poll(cx) {
            return Poll::Ready(Ok(response.into_response()));
        }
        let Some(after) = *this.after else { return Poll::Pending };
        let timer = this.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(after)));
        if timer.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        let reading = this.reading.as_ref().is_some_and(|reading| reading.load(Ordering::Relaxed));
        let error = if reading {
            Error::new(StatusCode::REQUEST_TIMEOUT, "REQUEST_TIMEOUT", "the body did not arrive in time")
        } else {
            Error::new(StatusCode::GATEWAY_TIMEOUT, "TIMEOUT", "the request took too long and was cancelled")
        };
        Poll::Ready(Ok(error.into_response()))
    }
}

pin_project! {
    struct WatchedBody {
        #[pin]
        inner: Body,
        reading: Arc<AtomicBool>,
    }
}

impl http_body::Body for WatchedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let mut this = self.project();
        let polled = this.inner.as_mut().poll_frame(cx);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) || this.inner.is_end_stream() {
            this.reading.store(false, Ordering::Relaxed);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
