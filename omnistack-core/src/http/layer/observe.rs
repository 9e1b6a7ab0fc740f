//! Observation of requests: the access log, the metrics and the trace.

use std::{
    convert::Infallible,
    fmt::{self, Write as _},
    net::IpAddr,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::body::{Body, Bytes, HttpBody as _};
use http::{StatusCode, Version, header};
use http_body::{Frame, SizeHint};
use opentelemetry::{KeyValue, trace::TraceContextExt as _};
use pin_project_lite::pin_project;
use tower::{Layer, Service};
use tracing::field;

use super::{ClientAddr, MatchedRoute, RequestId};
use crate::{
    clock::Clock,
    http::{Request, Response},
    metrics::{HttpMetrics, RequestInProgress, known_method},
    trace::{self, Span, SpanKind, attribute},
};

/// Layer that observes each request: it logs it, measures it and traces it.
///
/// - The request runs in a `tracing` span `request` with its id, method, path and client address, and one event in it
///   is logged when the response has ended: status, microseconds and route. The query string is not logged, since it
///   may contain secrets.
/// - With [`metrics`](Self::metrics), the request is counted and measured.
/// - The request runs in the trace of its `traceparent` and `tracestate` headers, and is a [`Span`] of it if spans are
///   [enabled](crate::trace::enable), named by method and route. A status of 500 or more is an error of the span. A
///   request without a valid `traceparent` begins a trace, unless it is to `/health`, `/health/ready` or `/metrics`.
/// - The members of its `baggage` header are the current [`Baggage`](crate::trace::Baggage), if baggage is
///   [propagated](crate::trace::set_propagators).
///
/// A response whose size is not known beforehand, such as a stream, ends with its body or when the client disconnects;
/// any other response ends when it is ready.
#[derive(Clone, Debug)]
pub struct ObserveLayer {
    clock: Clock,
    metrics: Option<HttpMetrics>,
}

impl ObserveLayer {
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

impl<S> Layer<S> for ObserveLayer {
    type Service = Observe<S>;

    fn layer(&self, inner: S) -> Observe<S> {
        Observe { inner, clock: self.clock.clone(), metrics: self.metrics.clone() }
    }
}

/// Service of [`ObserveLayer`].
#[derive(Clone, Debug)]
pub struct Observe<S> {
    inner: S,
    clock: Clock,
    metrics: Option<HttpMetrics>,
}

impl<S> Service<Request> for Observe<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = ObserveFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let extensions = request.extensions();
        let mut text = AddrText::new();
        let client = extensions.get::<ClientAddr>().map(|client| text.write(client.0));
        let span = server_span(&request, client);
        let log = {
            let _attached = span.attach();
            tracing::info_span!(
                target: "omnistack::http",
                "request",
                method = request.method().as_str(),
                path = request.uri().path(),
                client,
                request_id = extensions.get::<RequestId>().map(RequestId::as_str),
                tenant = field::Empty,
                user = field::Empty,
            )
        };
        let in_progress = self.metrics.as_ref().map(|metrics| metrics.begin(request.method()));
        // A request that is not observed does not read the clock.
        let observed = in_progress.is_some() || !log.is_disabled() || span.is_recording();
        let timer = observed.then(|| RequestTimer {
            clock: self.clock.clone(),
            began: self.clock.elapsed(),
            method: known_method(request.method()),
            in_progress,
        });
        let future = {
            let _attached = span.attach();
            let _entered = log.enter();
            self.inner.call(request)
        };
        ObserveFuture { future, spans: RequestSpans { log, span }, timer }
    }
}

/// Paths of probes and scrapers, which begin no trace.
const UNTRACED: [&str; 3] = ["/health", "/health/ready", "/metrics"];

/// Starts the span of a request.
fn server_span(request: &Request, client: Option<&str>) -> Span {
    let arrived = trace::extract(request.headers());
    let in_trace = arrived.as_ref().is_some_and(|context| context.has_active_span());
    if !in_trace && UNTRACED.contains(&request.uri().path()) {
        return Span::none();
    }
    let span = Span::in_context(arrived, SpanKind::Server, || known_method(request.method()).into());
    if span.is_recording() {
        let text = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
        let method = known_method(request.method());
        let attributes = [
            (attribute::HTTP_REQUEST_METHOD, Some(method)),
            (attribute::HTTP_REQUEST_METHOD_ORIGINAL, Some(request.method().as_str()).filter(|name| *name != method)),
            (attribute::URL_PATH, Some(request.uri().path())),
            (attribute::URL_SCHEME, request.uri().scheme_str().or(Some("http"))),
            (attribute::SERVER_ADDRESS, text(header::HOST).map(without_port)),
            (attribute::CLIENT_ADDRESS, client),
            (attribute::USER_AGENT_ORIGINAL, text(header::USER_AGENT)),
            (attribute::NETWORK_PROTOCOL_VERSION, protocol_version(request.version())),
        ];
        span.set_all(attributes.into_iter().filter_map(|(key, value)| Some(KeyValue::new(key, value?.to_owned()))));
    }
    span
}

/// Returns the host of a header `Host`, which may end in a port.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => host,
    }
}

fn protocol_version(version: Version) -> Option<&'static str> {
    match version {
        Version::HTTP_10 => Some("1.0"),
        Version::HTTP_11 => Some("1.1"),
        Version::HTTP_2 => Some("2"),
        _ => None,
    }
}

pin_project! {
    /// Future of [`Observe`].
    #[derive(Debug)]
    pub struct ObserveFuture<F> {
        #[pin]
        future: F,
        spans: RequestSpans,
        timer: Option<RequestTimer>,
    }
}

impl<F: Future<Output = Result<Response, Infallible>>> Future for ObserveFuture<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let attached = this.spans.span.attach();
        let entered = this.spans.log.enter();
        let Ok(response) = ready!(this.future.poll(cx));
        let Some(timer) = this.timer.take() else { return Poll::Ready(Ok(response)) };
        let route = response.extensions().get::<MatchedRoute>().cloned();
        let status = response.status();
        drop((entered, attached));
        let end = ResponseEnd(Some((timer, std::mem::take(this.spans), route, status)));
        if response.body().size_hint().exact().is_some() {
            drop(end);
            return Poll::Ready(Ok(response));
        }
        Poll::Ready(Ok(response.map(|inner| Body::new(ObservedBody { inner, end }))))
    }
}

/// The `tracing` span of a request, for the fields of log lines, and its span in a trace.
#[derive(Debug)]
struct RequestSpans {
    log: tracing::Span,
    span: Span,
}

impl Default for RequestSpans {
    fn default() -> Self {
        Self { log: tracing::Span::none(), span: Span::none() }
    }
}

/// A request that is measured.
#[derive(Debug)]
struct RequestTimer {
    clock: Clock,
    began: Duration,
    method: &'static str,
    in_progress: Option<RequestInProgress>,
}

impl RequestTimer {
    /// Logs the event of the request, records its metrics, and completes its span.
    fn finish(self, spans: &RequestSpans, route: Option<&str>, status: StatusCode) {
        let elapsed = self.clock.elapsed().saturating_sub(self.began);
        let _attached = spans.span.attach();
        spans.log.in_scope(|| {
            tracing::info!(
                target: "omnistack::http",
                status = status.as_u16(),
                micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
                route,
                "request completed"
            );
        });
        if spans.span.is_recording() {
            self.complete_span(&spans.span, route, status);
        }
        if let Some(in_progress) = self.in_progress {
            in_progress.finish(route, status, elapsed);
        }
    }

    fn complete_span(&self, span: &Span, route: Option<&str>, status: StatusCode) {
        if let Some(route) = route {
            span.rename(format!("{} {route}", self.method));
            span.set(attribute::HTTP_ROUTE, route.to_owned());
        }
        span.set(attribute::HTTP_RESPONSE_STATUS_CODE, i64::from(status.as_u16()));
        if status.is_server_error() {
            span.set_error(status.as_str().to_owned());
        }
    }
}

/// A guard that finishes the observation of a request when it is dropped.
struct ResponseEnd(Option<(RequestTimer, RequestSpans, Option<MatchedRoute>, StatusCode)>);

impl Drop for ResponseEnd {
    fn drop(&mut self) {
        if let Some((timer, spans, route, status)) = self.0.take() {
            timer.finish(&spans, route.as_ref().map(MatchedRoute::as_str), status);
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
