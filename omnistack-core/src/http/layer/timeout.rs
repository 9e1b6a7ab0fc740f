//! How long a request may take.

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

/// Answers 408 when the request's body did not come in time, 504 when the handler was not done in time. Once the answer
/// has begun it may take as long as it likes: a stream is not cut.
///
/// The timer is armed when a handler first waits, so one that never does pays nothing for it.
#[derive(Clone, Copy, Debug)]
pub struct TimeoutLayer {
    after: Duration,
}

impl TimeoutLayer {
    /// From the last header to the answer's first byte.
    pub fn new(after: Duration) -> Self {
        Self { after }
    }
}

impl<S> Layer<S> for TimeoutLayer {
    type Service = Timeout<S>;

    fn layer(&self, inner: S) -> Timeout<S> {
        Timeout { inner, after: self.after }
    }
}

/// The service of [`TimeoutLayer`].
#[derive(Clone, Copy, Debug)]
pub struct Timeout<S> {
    inner: S,
    after: Duration,
}

impl<S> Service<Request> for Timeout<S>
where
    S: Service<Request, Error = Infallible>,
    S::Response: axum::response::IntoResponse,
{
    type Response = Response;
    type Error = Infallible;
    type Future = TimeoutFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let (request, reading) = watch_body(request);
        TimeoutFuture { future: self.inner.call(request), after: self.after, timer: None, reading }
    }
}

/// Follows the body of a request that has one, to tell a slow client from a slow handler.
fn watch_body(request: Request) -> (Request, Option<Arc<AtomicBool>>) {
    if request.body().is_end_stream() {
        return (request, None);
    }
    let reading = Arc::new(AtomicBool::new(true));
    let watched = Arc::clone(&reading);
    (request.map(|inner| Body::new(Watched { inner, reading: watched })), Some(reading))
}

pin_project! {
    /// The future of [`Timeout`].
    #[derive(Debug)]
    pub struct TimeoutFuture<F> {
        #[pin]
        future: F,
        after: Duration,
        #[pin]
        timer: Option<Sleep>,
        reading: Option<Arc<AtomicBool>>,
    }
}

impl<F, R> Future for TimeoutFuture<F>
where
    F: Future<Output = Result<R, Infallible>>,
    R: axum::response::IntoResponse,
{
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Poll::Ready(Ok(response)) = this.future.poll(cx) {
            return Poll::Ready(Ok(response.into_response()));
        }
        if this.timer.is_none() {
            this.timer.set(Some(tokio::time::sleep(*this.after)));
        }
        let Some(timer) = this.timer.as_pin_mut() else {
            return Poll::Pending;
        };
        if timer.poll(cx).is_pending() {
            return Poll::Pending;
        }
        let reading = this.reading.as_ref().is_some_and(|reading| reading.load(Ordering::Relaxed));
        let error = if reading {
            Error::new(StatusCode::REQUEST_TIMEOUT, "REQUEST_TIMEOUT", "the body did not arrive in time")
        } else {
            Error::new(StatusCode::GATEWAY_TIMEOUT, "TIMEOUT", "the request took too long and was given up")
        };
        Poll::Ready(Ok(error.into_response()))
    }
}

pin_project! {
    struct Watched {
        #[pin]
        inner: Body,
        reading: Arc<AtomicBool>,
    }
}

impl http_body::Body for Watched {
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
