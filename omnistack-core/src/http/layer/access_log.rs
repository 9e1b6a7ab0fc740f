//! One span and one line a request.

use std::{
    convert::Infallible,
    net::IpAddr,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::extract::MatchedPath;
use pin_project_lite::pin_project;
use tower::{Layer, Service};
use tracing::{Level, Span};

use super::{ClientAddr, RequestId};
use crate::{
    clock::Clock,
    http::{Request, Response},
};

/// Runs each request in a span `request` with its id, and logs one line when it has been answered: method, path, route,
/// status, milliseconds and client address. The query string is left out: it may hold what should not be logged.
#[derive(Clone, Debug)]
pub struct AccessLogLayer {
    clock: Clock,
}

impl AccessLogLayer {
    /// Requests are timed by the clock.
    pub fn new(clock: Clock) -> Self {
        Self { clock }
    }
}

impl<S> Layer<S> for AccessLogLayer {
    type Service = AccessLog<S>;

    fn layer(&self, inner: S) -> AccessLog<S> {
        AccessLog { inner, clock: self.clock.clone() }
    }
}

/// The service of [`AccessLogLayer`].
#[derive(Clone, Debug)]
pub struct AccessLog<S> {
    inner: S,
    clock: Clock,
}

impl<S> Service<Request> for AccessLog<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = AccessLogFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let id = request.extensions().get::<RequestId>();
        let span = tracing::info_span!(target: "omnistack::http", "request", id = id.map(RequestId::as_str));
        // Nothing is kept for a line nobody will read.
        let line = tracing::enabled!(target: "omnistack::http", Level::INFO).then(|| Line {
            method: request.method().clone(),
            uri: request.uri().clone(),
            client: request.extensions().get::<ClientAddr>().map(|client| client.0),
            began: self.clock.elapsed(),
            clock: self.clock.clone(),
        });
        let future = span.in_scope(|| self.inner.call(request));
        AccessLogFuture { future, span, line }
    }
}

#[derive(Debug)]
struct Line {
    method: http::Method,
    uri: http::Uri,
    client: Option<IpAddr>,
    began: Duration,
    clock: Clock,
}

pin_project! {
    /// The future of [`AccessLog`].
    #[derive(Debug)]
    pub struct AccessLogFuture<F> {
        #[pin]
        future: F,
        span: Span,
        line: Option<Line>,
    }
}

impl<F: Future<Output = Result<Response, Infallible>>> Future for AccessLogFuture<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let _entered = this.span.enter();
        let Ok(response) = ready!(this.future.poll(cx));
        if let Some(line) = this.line.take() {
            let ms = line.clock.elapsed().saturating_sub(line.began).as_secs_f64() * 1000.0;
            tracing::info!(
                target: "omnistack::http",
                method = line.method.as_str(),
                path = line.uri.path(),
                route = response.extensions().get::<MatchedPath>().map(MatchedPath::as_str),
                status = response.status().as_u16(),
                ms = (ms * 1000.0).round() / 1000.0,
                client = line.client.map(tracing::field::display),
            );
        }
        Poll::Ready(Ok(response))
    }
}
