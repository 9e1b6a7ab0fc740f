//! Limits of a route: body size and timeout. It also checks what applies to all routes, such as content codings.

use std::{
    convert::Infallible,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use matchit::InsertError;
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use super::{
    ContentEncodingLayer, MalformedRequest, RequestHook as _,
    body_limit::BodyLimitLayer,
    timeout::{RequestTimeoutFuture, watch_body},
};
use crate::http::{Request, Response};

/// The limits of a route.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RouteLimits {
    /// Largest request body, in bytes.
    pub(crate) body: u64,
    /// Longest time until the response begins; `None` for no timeout.
    pub(crate) timeout: Option<Duration>,
}

impl RouteLimits {
    /// Returns the larger of both body limits and the longer of both timeouts.
    #[must_use]
    pub(crate) fn union(self, other: Self) -> Self {
        let timeout = self.timeout.zip(other.timeout).map(|(one, another)| one.max(another));
        Self { body: self.body.max(other.body), timeout }
    }
}

/// The pattern of the route that a request has matched, such as `/projects/{id}`, in the response's extensions, so
/// that layers around the router can log and count by route.
#[derive(Clone, Debug)]
pub struct MatchedRoute(Arc<str>);

impl MatchedRoute {
    /// Returns the pattern, as mounted.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Layer that applies a body limit and a timeout per route, from one place around the router: a layer on each route
/// would cost every request another boxed service and future.
///
/// It matches paths as axum does, with axum's matcher.
#[derive(Clone)]
pub(crate) struct RouteLimitsLayer(Arc<RouteTable>);

struct RouteTable {
    routes: matchit::Router<(MatchedRoute, RouteLimits)>,
    fallback: RouteLimits,
}

impl RouteLimitsLayer {
    /// Creates a layer with the limits of each route pattern, and of paths without a route.
    ///
    /// # Errors
    /// Fails if two patterns match the same paths, or if a pattern is invalid.
    pub(crate) fn new(
        routes: impl IntoIterator<Item = (String, RouteLimits)>,
        fallback: RouteLimits,
    ) -> Result<Self, InsertError> {
        let mut table = RouteTable { routes: matchit::Router::new(), fallback };
        for (pattern, limits) in routes {
            let matched = MatchedRoute(pattern.as_str().into());
            table.routes.insert(pattern, (matched, limits))?;
        }
        Ok(Self(Arc::new(table)))
    }

    fn find(&self, path: &str) -> (Option<MatchedRoute>, RouteLimits) {
        match self.0.routes.at(path) {
            Ok(found) => (Some(found.value.0.clone()), found.value.1),
            Err(_) => (None, self.0.fallback),
        }
    }
}

impl<S> Layer<S> for RouteLimitsLayer {
    type Service = RouteLimitsService<S>;

    fn layer(&self, inner: S) -> RouteLimitsService<S> {
        RouteLimitsService { inner, routes: self.clone() }
    }
}

/// Service of [`RouteLimitsLayer`].
#[derive(Clone, Debug)]
pub struct RouteLimitsService<S> {
    inner: S,
    routes: RouteLimitsLayer,
}

impl<S> Service<Request> for RouteLimitsService<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = RouteLimitsFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let (route, limits) = self.routes.find(request.uri().path());
        // Such a request has no path, so it matches no route.
        let unreadable = route.is_none().then(|| request.extensions().get::<MalformedRequest>()).flatten();
        let admitted = match unreadable {
            Some(unreadable) => Err(unreadable.response()),
            None => match ContentEncodingLayer.request(&mut request) {
                Ok(()) => BodyLimitLayer::new(limits.body).request(&mut request),
                refused => refused,
            },
        };
        let state = match admitted {
            Ok(()) => {
                let reading = watch_body(&mut request);
                State::Called { future: RequestTimeoutFuture::new(self.inner.call(request), limits.timeout, reading) }
            }
            Err(answer) => State::Refused { answer: Some(answer) },
        };
        RouteLimitsFuture { state, route }
    }
}

pin_project! {
    /// Future of [`RouteLimitsService`].
    pub struct RouteLimitsFuture<F> {
        #[pin]
        state: State<F>,
        route: Option<MatchedRoute>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<F> {
        Called {
            #[pin]
            future: RequestTimeoutFuture<F>,
        },
        Refused { answer: Option<Response> },
    }
}

impl<F: Future<Output = Result<Response, Infallible>>> Future for RouteLimitsFuture<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut answer = match this.state.project() {
            StateProjection::Called { future } => {
                let Ok(answer) = ready!(future.poll(cx));
                answer
            }
            StateProjection::Refused { answer } => match answer.take() {
                Some(answer) => answer,
                None => return Poll::Pending,
            },
        };
        if let Some(route) = this.route.take() {
            answer.extensions_mut().insert(route);
        }
        Poll::Ready(Ok(answer))
    }
}

impl fmt::Debug for RouteLimitsLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouteLimitsLayer").field("elsewhere", &self.0.fallback).finish_non_exhaustive()
    }
}

impl<F> fmt::Debug for RouteLimitsFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouteLimitsFuture").field("route", &self.route).finish_non_exhaustive()
    }
}
