//! The layer that limits the rate of requests.

use std::{
    convert::Infallible,
    fmt,
    pin::Pin,
    sync::Once,
    task::{Context, Poll, ready},
};

use axum::response::IntoResponse as _;
use futures_util::future::BoxFuture;
use metrics::Counter;
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use super::{
    exempt::ExemptRoutes,
    key::{RateLimitKey, RateLimitSubject},
};
use crate::{
    clock::Clock,
    http::{
        Rate, RateLimitHeaderTemplate, RateLimitHeaders, RateLimiter, RateLimits, Request, Response, SharedRateLimiter,
    },
    metrics::RATE_LIMIT_HITS,
};

/// Layer that limits the rate of requests, and rejects the rest with 429 `RATE_LIMIT_EXCEEDED` and `Retry-After`.
/// Every response has `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-10), and with
/// [`RateLimits::legacy_headers`] the older `X-RateLimit-Limit`, `-Remaining` and `-Reset` (seconds).
///
/// The client's address is that of [`ClientAddrLayer`](crate::http::layer::ClientAddrLayer), or else of the peer of the
/// connection, which axum adds with `into_make_service_with_connect_info`. A request that has neither passes: otherwise
/// all clients would share one limit. The first one is logged as a warning.
///
/// ```
/// use std::net::SocketAddr;
/// use axum::{Router, body::Body, extract::ConnectInfo, http::Request, routing::get};
/// use omnistack_core::{clock::Clock, http::Rate, rate_limit::{RateLimitKey, RateLimitLayer}};
/// # use tower::ServiceExt as _;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let limit = RateLimitLayer::new(Rate::per_minute(1), RateLimitKey::Address, Clock::system());
/// let app = Router::new().route("/", get(|| async { "hello" })).layer(limit);
/// // axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await?;
///
/// # let request = |peer: &str| -> Result<_, Box<dyn std::error::Error>> {
/// #     Ok(Request::get("/").extension(ConnectInfo(peer.parse::<SocketAddr>()?)).body(Body::empty())?)
/// # };
/// for (peer, status) in [("192.0.2.1:50000", 200), ("192.0.2.1:50001", 429), ("192.0.2.2:50000", 200)] {
///     assert_eq!(app.clone().oneshot(request(peer)?).await?.status(), status);
/// }
/// # Ok(())
/// # }
/// ```
///
/// If it counts in this process, it decides within the call, and its future is a named type and allocates nothing.
/// Only a call to Redis is awaited, in a box.
#[doc(alias("rate limit", "throttle"))]
#[derive(Clone)]
pub struct RateLimitLayer {
    limiter: SharedRateLimiter<RateLimitSubject>,
    by: RateLimitKey,
    cost: u32,
    exempt: &'static [&'static str],
    exempt_routes: Option<ExemptRoutes>,
    fields: RateLimitHeaderTemplate,
    refused: Counter,
}

impl RateLimitLayer {
    /// Creates a layer that counts in this process.
    pub fn new(rate: Rate, by: RateLimitKey, clock: Clock) -> Self {
        Self::with_limiter(RateLimiter::new(rate, clock).into(), "default", by)
    }

    /// Creates a layer that counts where `limits` does: with Redis, for all replicas. There, layers with the same
    /// name and rate share their counters.
    pub fn shared(limits: &RateLimits, name: &str, rate: Rate, by: RateLimitKey) -> Self {
        Self::with_limiter(limits.limiter(name, rate), name, by)
    }

    fn with_limiter(limiter: SharedRateLimiter<RateLimitSubject>, name: &str, by: RateLimitKey) -> Self {
        let refused = RATE_LIMIT_HITS.counter([name.to_owned()]);
        let fields = limiter.fields("default");
        Self { by, cost: 1, exempt: &[], exempt_routes: None, fields, limiter, refused }
    }

    /// Sets how many requests of the limit one request costs.
    #[must_use]
    pub fn cost(mut self, cost: u32) -> Self {
        self.cost = cost;
        self
    }

    /// Exempts requests for exactly these paths.
    #[must_use]
    pub fn exempt(mut self, paths: &'static [&'static str]) -> Self {
        self.exempt = paths;
        self
    }

    /// Exempts requests for these routes.
    #[must_use]
    pub(crate) fn exempt_routes(mut self, routes: Option<ExemptRoutes>) -> Self {
        self.exempt_routes = routes;
        self
    }

    fn exempts(&self, path: &str) -> bool {
        self.exempt.contains(&path) || self.exempt_routes.as_ref().is_some_and(|routes| routes.contains(path))
    }
}

impl<S> Layer<S> for RateLimitLayer {
    type Service = RateLimitService<S>;

    fn layer(&self, inner: S) -> RateLimitService<S> {
        RateLimitService { inner, layer: self.clone() }
    }
}

/// Service of [`RateLimitLayer`].
#[derive(Clone, Debug)]
pub struct RateLimitService<S> {
    inner: S,
    layer: RateLimitLayer,
}

impl<S> Service<Request> for RateLimitService<S>
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response;
    type Error = Infallible;
    type Future = RateLimitFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let layer = &self.layer;
        if layer.exempts(request.uri().path()) {
            return RateLimitFuture::Called { future: self.inner.call(request), tell: None };
        }
        let Some(subject) = RateLimitSubject::of(layer.by, &request) else {
            warn_of_missing_address();
            return RateLimitFuture::Called { future: self.inner.call(request), tell: None };
        };
        match layer.limiter.check(&subject, layer.cost).try_ready() {
            Ok(verdict) if verdict.allowed => {
                RateLimitFuture::Called { future: self.inner.call(request), tell: Some(layer.fields.headers(verdict)) }
            }
            Ok(verdict) => {
                layer.refused.increment(1);
                RateLimitFuture::Refused { answer: Some(refusal(layer.fields.headers(verdict))) }
            }
            Err(asked) => {
                // The clone that is ready is called; the other stays.
                let copy = self.inner.clone();
                let mut inner = std::mem::replace(&mut self.inner, copy);
                let (fields, refused) = (layer.fields.clone(), layer.refused.clone());
                let answer = Box::pin(async move {
                    let tell = fields.headers(asked.await);
                    if !tell.verdict.allowed {
                        refused.increment(1);
                        return Ok(refusal(tell));
                    }
                    let Ok(mut answer) = inner.call(request).await;
                    tell.write(answer.headers_mut());
                    Ok(answer)
                });
                RateLimitFuture::Asking { answer }
            }
        }
    }
}

/// Logs once that requests have no address by which they could be limited.
fn warn_of_missing_address() {
    static WARNING: Once = Once::new();
    WARNING.call_once(|| {
        tracing::warn!(
            target: "omnistack",
            "requests have no client address, so rate limits let them pass: serve with \
             `into_make_service_with_connect_info::<SocketAddr>()`, or add `PeerAddr` to their extensions"
        );
    });
}

fn refusal(tell: RateLimitHeaders) -> Response {
    tell.too_many_requests("requests").into_response()
}

pin_project! {
    /// Future of [`RateLimitService`].
    #[project = RateLimitProjection]
    pub enum RateLimitFuture<F> {
        Called {
            #[pin]
            future: F,
            tell: Option<RateLimitHeaders>,
        },
        Refused { answer: Option<Response> },
        Asking { answer: BoxFuture<'static, Result<Response, Infallible>> },
    }
}

impl<F> Future for RateLimitFuture<F>
where
    F: Future<Output = Result<Response, Infallible>>,
{
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            RateLimitProjection::Called { future, tell } => {
                let Ok(mut response) = ready!(future.poll(cx));
                if let Some(tell) = tell.take() {
                    tell.write(response.headers_mut());
                }
                Poll::Ready(Ok(response))
            }
            RateLimitProjection::Refused { answer } => match answer.take() {
                Some(answer) => Poll::Ready(Ok(answer)),
                None => Poll::Pending,
            },
            RateLimitProjection::Asking { answer } => answer.as_mut().poll(cx),
        }
    }
}

impl fmt::Debug for RateLimitLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimitLayer")
            .field("rate", &self.limiter.rate())
            .field("by", &self.by)
            .finish_non_exhaustive()
    }
}

impl<F> fmt::Debug for RateLimitFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimitFuture").finish_non_exhaustive()
    }
}
