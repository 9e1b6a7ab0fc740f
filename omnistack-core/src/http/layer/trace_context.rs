//! `traceparent` and `tracestate`.

use std::{
    convert::Infallible,
    task::{Context, Poll},
};

use tower::{Layer, Service};

use crate::{
    http::{Request, Response},
    trace::{TraceContext, Within, within},
};

/// Answers each request as part of the trace it says it belongs to, so that [`TraceContext::current`] is that of the request
/// wherever its own task runs. A request that says nothing, or nothing valid, pays for looking up one header.
#[derive(Clone, Copy, Debug, Default)]
pub struct TraceContextLayer;

impl<S> Layer<S> for TraceContextLayer {
    type Service = Traced<S>;

    fn layer(&self, inner: S) -> Traced<S> {
        Traced { inner }
    }
}

/// The service of [`TraceContextLayer`].
#[derive(Clone, Copy, Debug)]
pub struct Traced<S> {
    inner: S,
}

impl<S> Service<Request> for Traced<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Within<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let trace = TraceContext::of_headers(request.headers());
        within(trace, self.inner.call(request))
    }
}
