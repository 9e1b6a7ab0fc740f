//! Conditions that hide a route.

use std::{
    convert::Infallible,
    fmt,
    sync::Arc,
    task::{self, Poll},
};

use async_trait::async_trait;
use axum::response::IntoResponse;
use futures_util::future::BoxFuture;
use http::{StatusCode, request::Parts};
use tower::{Layer, Service};

use crate::{
    context::{Context, MissingDependency},
    http::{Error, Request, Response},
};

/// A condition on a request besides the rights of its caller, such as a feature flag. While a gate is closed for a
/// request, its route responds with 404, as if it did not exist.
#[async_trait]
pub trait Gate: Send + Sync + 'static {
    /// Returns whether the gate is open for the request.
    async fn is_open(&self, request: &Parts) -> bool;
}

type CreateGate = dyn Fn(&Context) -> Result<Arc<dyn Gate>, MissingDependency> + Send + Sync;

/// A [`Gate`] that is created from provided values while the app is built, for [`Require`](super::Require).
#[derive(Clone)]
pub struct GateSource {
    name: Arc<str>,
    create: Arc<CreateGate>,
}

impl GateSource {
    /// Creates a source. Two sources with the same name are equal.
    pub fn new<G: Gate>(
        name: impl Into<Arc<str>>,
        create: impl Fn(&Context) -> Result<G, MissingDependency> + Send + Sync + 'static,
    ) -> Self {
        Self { name: name.into(), create: Arc::new(move |ctx| Ok(Arc::new(create(ctx)?))) }
    }

    /// Creates the layer of the gate.
    pub(crate) fn layer(&self, ctx: &Context) -> Result<GateLayer, MissingDependency> {
        Ok(GateLayer { gate: (self.create)(ctx)? })
    }
}

impl PartialEq for GateSource {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for GateSource {}

impl fmt::Debug for GateSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("GateSource").field(&self.name).finish()
    }
}

/// Layer that responds with 404 while a [`Gate`] is closed. An app applies it to the routes of a
/// [`Require::gate`](super::Require::gate); a plain axum app applies it itself, inside the layer that authenticates
/// callers.
#[derive(Clone)]
pub struct GateLayer {
    gate: Arc<dyn Gate>,
}

impl GateLayer {
    /// Creates a layer with this gate.
    pub fn new(gate: impl Gate) -> Self {
        Self { gate: Arc::new(gate) }
    }
}

impl fmt::Debug for GateLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GateLayer").finish_non_exhaustive()
    }
}

impl<S> Layer<S> for GateLayer {
    type Service = GateService<S>;

    fn layer(&self, inner: S) -> GateService<S> {
        GateService { inner, gate: self.gate.clone() }
    }
}

/// Service of [`GateLayer`].
#[derive(Clone)]
pub struct GateService<S> {
    inner: S,
    gate: Arc<dyn Gate>,
}

impl<S: fmt::Debug> fmt::Debug for GateService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GateService").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<S> Service<Request> for GateService<S>
where
    S: Service<Request, Error = Infallible> + Clone + Send + 'static,
    S::Response: IntoResponse,
    S::Future: Send,
{
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, cx: &mut task::Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let ready = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, ready);
        let gate = self.gate.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            if !gate.is_open(&parts).await {
                // The same response as for an unknown path.
                let message = format!("no route matches {}", parts.uri.path());
                return Ok(Error::new(StatusCode::NOT_FOUND, "NOT_FOUND", message).into_response());
            }
            Ok(inner.call(Request::from_parts(parts, body)).await?.into_response())
        })
    }
}
