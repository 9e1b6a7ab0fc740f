//! The access log.

use std::{
    convert::Infallible,
    fmt::{self, Write as _},
    net::IpAddr,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::body::{Body, Bytes, HttpBody as _};
use http::StatusCode;
use http_body::{Frame, SizeHint};
use pin_project_lite::pin_project;
use tower::{Layer, Service};
use tracing::Span;

use super::{ClientAddr, MatchedRoute, RequestId};
use crate::{
    clock::Clock,
    http::{Request, Response},
    metrics::{HttpMetrics, RequestInProgress},
};

/// Layer that runs each request in a span `request` with its id, method, path and client address, and logs one event
/// in it when the response has ended: status, microseconds and route. The query string is not logged, since it may
/// contain secrets. With [`metrics`](Self::metrics), it also counts and measures the requests.
///
/// A response whose size is not known beforehand, such as a stream, ends with its body or when the client disconnects;
/// any other response ends when it is ready.
#[derive(Clone, Debug)]
pub struct AccessLogLayer {
    clock: Clock,
    metrics: Option<HttpMetrics>,
}

impl AccessLogLayer {
    /// Creates a layer that measures durations with `clock`.
    pub fn new(clock: Clock) -> Self {
        Self { clock, metrics: None }
    }

    /// Records these metrics for each request.
    #[must_use]
    pub fn metrics(mut self, metrics: HttpMetrics) -> Self {
        self.metrics = Some(metrics);
        self
    }
}

impl<S> Layer<S> for AccessLogLayer {
    type Service = AccessLog<S>;

    fn layer(&self, inner: S) -> AccessLog<S> {
        AccessLog { inner, clock: self.clock.clone(), metrics: self.metrics.clone() }
    }
}

/// Service of [`AccessLogLayer`].
#[derive(Clone, Debug)]
pub struct AccessLog<S> {
    inner: S,
    clock: Clock,
    metrics: Option<HttpMetrics>,
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
        let extensions = request.extensions();
        let mut text = AddrText::new();
        let span = tracing::info_span!(
            target: "omnistack::http",
            "request",
            method = request.method().as_str(),
            path = request.uri().path(),
            client = extensions.get::<ClientAddr>().map(|client| text.write(client.0)),
            id = extensions.get::<RequestId>().map(RequestId::as_str),
        );
        let in_progress = self.metrics.as_ref().map(|metrics| metrics.begin(request.method()));
        // Without a log line and without metrics, the clock is not read.
        let observed = in_progress.is_some() || !span.is_disabled();
        let timed =
            observed.then(|| RequestTimer { clock: self.clock.clone(), began: self.clock.elapsed(), in_progress });
        let future = {
            let _entered = span.enter();
            self.inner.call(request)
        };
        AccessLogFuture { future, span, timed }
    }
}

pin_project! {
    /// Future of [`AccessLog`].
    #[derive(Debug)]
    pub struct AccessLogFuture<F> {
        #[pin]
        future: F,
        span: Span,
        timed: Option<RequestTimer>,
    }
}

impl<F: Future<Output = Result<Response, Infallible>>> Future for AccessLogFuture<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let entered = this.span.enter();
        let Ok(response) = ready!(this.future.poll(cx));
        let Some(timer) = this.timed.take() else { return Poll::Ready(Ok(response)) };
        let route = response.extensions().get::<MatchedRoute>().cloned();
        let status = response.status();
        if response.body().size_hint().exact().is_some() {
            timer.finish(route.as_ref(), status);
            return Poll::Ready(Ok(response));
        }
        drop(entered);
        let end = ResponseEnd(Some((timer, this.span.clone(), route, status)));
        Poll::Ready(Ok(response.map(|inner| Body::new(ObservedBody { inner, end }))))
    }
}

/// A request that is measured.
#[derive(Debug)]
struct RequestTimer {
    clock: Clock,
    began: Duration,
    in_progress: Option<RequestInProgress>,
}

impl RequestTimer {
    /// Logs the event of the request in the current span, and records its metrics.
    fn finish(self, route: Option<&MatchedRoute>, status: StatusCode) {
        let elapsed = self.clock.elapsed().saturating_sub(self.began);
        let route = route.map(MatchedRoute::as_str);
        tracing::info!(
            target: "omnistack::http",
            status = status.as_u16(),
            micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
            route,
            "request completed"
        );
        if let Some(in_progress) = self.in_progress {
            in_progress.finish(route, status, elapsed);
        }
    }
}

/// Finishes the measurement of a request when it is dropped.
struct ResponseEnd(Option<(RequestTimer, Span, Option<MatchedRoute>, StatusCode)>);

impl Drop for ResponseEnd {
    fn drop(&mut self) {
        if let Some((timer, span, route, status)) = self.0.take() {
            span.in_scope(|| timer.finish(route.as_ref(), status));
        }
    }
}

pin_project! {
    /// A body whose end is the end of the request.
    struct ObservedBody {
        #[pin]
        inner: Body,
        end: ResponseEnd,
    }
}

impl http_body::Body for ObservedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let mut this = self.project();
        let polled = this.inner.as_mut().poll_frame(cx);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) || this.inner.is_end_stream() {
            drop(ResponseEnd(this.end.0.take()));
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

/// An address as text, on the stack. For IPv4 it avoids the formatting machinery, which costs more than the rest of a
/// line.
struct AddrText {
    bytes: [u8; "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255".len()],
    len: usize,
}

impl AddrText {
    fn new() -> Self {
        Self { bytes: [0; _], len: 0 }
    }

    fn write(&mut self, address: IpAddr) -> &str {
        let written = match address {
            IpAddr::V4(address) => address.octets().into_iter().enumerate().try_for_each(|(index, octet)| {
                self.write_str(if index == 0 { "" } else { "." })?;
                self.write_str(itoa::Buffer::new().format(octet))
            }),
            IpAddr::V6(address) => write!(self, "{address}"),
        };
        _ = written;
        std::str::from_utf8(&self.bytes[..self.len]).unwrap_or_default()
    }
}

impl fmt::Write for AddrText {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.len + text.len();
        self.bytes.get_mut(self.len..end).ok_or(fmt::Error)?.copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}
