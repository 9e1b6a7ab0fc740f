//! The access log.

use std::{
    convert::Infallible,
    fmt::{self, Write as _},
    net::IpAddr,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use pin_project_lite::pin_project;
use tower::{Layer, Service};
use tracing::Span;

use super::{ClientAddr, MatchedRoute, RequestId};
use crate::{
    clock::Clock,
    http::{Request, Response},
};

/// Layer that runs each request in a span `request` with its id, method, path and client address, and logs one event
/// in it when the response is ready: status, microseconds and route. The query string is not logged, since it may
/// contain secrets.
#[derive(Clone, Debug)]
pub struct AccessLogLayer {
    clock: Clock,
}

impl AccessLogLayer {
    /// Creates a layer that measures durations with `clock`.
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

/// Service of [`AccessLogLayer`].
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
        // Without a log line the clock is not read.
        let timed = (!span.is_disabled()).then(|| (self.clock.clone(), self.clock.elapsed()));
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
        timed: Option<(Clock, Duration)>,
    }
}

impl<F: Future<Output = Result<Response, Infallible>>> Future for AccessLogFuture<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let _entered = this.span.enter();
        let Ok(response) = ready!(this.future.poll(cx));
        if let Some((clock, began)) = this.timed.take() {
            let micros = clock.elapsed().saturating_sub(began).as_micros();
            tracing::info!(
                target: "omnistack::http",
                status = response.status().as_u16(),
                micros = u64::try_from(micros).unwrap_or(u64::MAX),
                route = response.extensions().get::<MatchedRoute>().map(MatchedRoute::as_str),
                "request completed"
            );
        }
        Poll::Ready(Ok(response))
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
