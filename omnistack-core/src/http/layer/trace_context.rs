//! The trace context of requests.

use std::{
    convert::Infallible,
    task::{Context, Poll},
};

use tower::{Layer, Service};

use crate::{
    http::{Request, Response},
    trace::{TraceContext, WithTrace, with_trace},
};

/// Layer that runs each request in the trace of its `traceparent` and `tracestate` headers, so that
/// [`TraceContext::current`] returns that trace in the request's task. A request without a valid `traceparent` costs
/// the lookup of one header.
#[derive(Clone, Copy, Debug, Default)]
pub struct TraceContextLayer;

impl<S> Layer<S> for TraceContextLayer {
    type Service = TraceContextService<S>;

    fn layer(&self, inner: S) -> TraceContextService<S> {
        TraceContextService { inner }
    }
}

/// Service of [`TraceContextLayer`].
#[derive(Clone, Copy, Debug)]
pub struct TraceContextService<S> {
    inner: S,
}

impl<S> Service<Request> for TraceContextService<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = WithTrace<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let trace = TraceContext::from_headers(request.headers());
        with_trace(trace, self.inner.call(request))
    }
}
