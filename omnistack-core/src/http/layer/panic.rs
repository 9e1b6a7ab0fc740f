//! Recovery from panics of handlers.

use std::{
    any::Any,
    convert::Infallible,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
};

use axum::response::IntoResponse as _;
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use crate::{
    http::{Error, Request, Response},
    run_error::panic_text,
};

/// Layer that responds with 500 `INTERNAL_ERROR` if a handler panics, and logs the panic with the request id.
#[derive(Clone, Copy, Debug, Default)]
pub struct CatchPanicLayer;

impl<S> Layer<S> for CatchPanicLayer {
    type Service = CatchPanic<S>;

    fn layer(&self, inner: S) -> CatchPanic<S> {
        CatchPanic { inner }
    }
}

/// Service of [`CatchPanicLayer`].
#[derive(Clone, Copy, Debug)]
pub struct CatchPanic<S> {
    inner: S,
}

impl<S> Service<Request> for CatchPanic<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = CatchPanicFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        match catch_unwind(AssertUnwindSafe(|| self.inner.call(request))) {
            Ok(future) => CatchPanicFuture { future: Some(future), panicked: None },
            Err(panic) => {
                log(panic.as_ref());
                CatchPanicFuture { future: None, panicked: Some(Panicked::new(panic.as_ref())) }
            }
        }
    }
}

pin_project! {
    /// Future of [`CatchPanic`]. It has no inner future if the service itself panicked.
    #[derive(Debug)]
    pub struct CatchPanicFuture<F> {
        #[pin]
        future: Option<F>,
        panicked: Option<Panicked>,
    }
}

impl<F: Future<Output = Result<Response, Infallible>>> Future for CatchPanicFuture<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Some(future) = this.future.as_pin_mut() else {
            return Poll::Ready(Ok(error_response(this.panicked.take())));
        };
        match catch_unwind(AssertUnwindSafe(|| future.poll(cx))) {
            Ok(poll) => poll,
            Err(panic) => {
                log(panic.as_ref());
                Poll::Ready(Ok(error_response(Some(Panicked::new(panic.as_ref())))))
            }
        }
    }
}

fn log(panic: &(dyn Any + Send)) {
    tracing::error!(target: "omnistack::http", panic = panic_text(panic), "a handler panicked");
}

fn error_response(panicked: Option<Panicked>) -> Response {
    Error::internal(panicked.unwrap_or_default()).into_response()
}

/// The cause of an error response: the handler panicked with this message.
#[derive(Debug, Default, thiserror::Error)]
#[error("panicked: {0}")]
pub(crate) struct Panicked(String);

impl Panicked {
    fn new(panic: &(dyn Any + Send)) -> Self {
        Self(panic_text(panic).to_owned())
    }
}
