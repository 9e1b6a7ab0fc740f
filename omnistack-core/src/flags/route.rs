//! Routes that exist only for callers with a flag.

use std::{
    borrow::Cow,
    convert::Infallible,
    task::{self, Poll},
};

use axum::{response::IntoResponse, routing::MethodRouter};
use futures_util::future::BoxFuture;
use http::StatusCode;
use tower::{Layer, Service};

use super::{CallerFlags, Flags};
use crate::{
    app::{Context, MissingDependency},
    http::{Error, Request, Response},
};

/// Layer that responds with 404 to callers for whom a flag is off. [`flag`](super::flag) applies it to a route
/// of a module. A plain axum app applies it itself, inside the layer that authenticates callers.
#[derive(Clone, Debug)]
pub struct FlagLayer {
    flags: Flags,
    key: Cow<'static, str>,
}

impl FlagLayer {
    /// Creates a layer that requires this flag.
    pub fn new(flags: Flags, key: impl Into<Cow<'static, str>>) -> Self {
        Self { flags, key: key.into() }
    }
}

impl<S> Layer<S> for FlagLayer {
    type Service = FlagService<S>;

    fn layer(&self, inner: S) -> FlagService<S> {
        FlagService { inner, layer: self.clone() }
    }
}

/// Service created by [`FlagLayer`].
#[derive(Clone, Debug)]
pub struct FlagService<S> {
    inner: S,
    layer: FlagLayer,
}

impl<S> Service<Request> for FlagService<S>
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
        let FlagLayer { flags, key } = self.layer.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            if !CallerFlags::for_request(&flags, &parts).await.is_on(&key) {
                // The same response as for an unknown path.
                let message = format!("no route matches {}", parts.uri.path());
                return Ok(Error::new(StatusCode::NOT_FOUND, "NOT_FOUND", message).into_response());
            }
            Ok(inner.call(Request::from_parts(parts, body)).await?.into_response())
        })
    }
}

/// Applies [`FlagLayer`] to the routes that require a flag. Fails if the app has no flags.
pub(crate) fn apply_flag_layers<S: Clone + Send + Sync + 'static>(
    routers: Vec<MethodRouter<S>>,
    flags: Vec<Option<Cow<'static, str>>>,
    ctx: &Context,
) -> Result<Vec<MethodRouter<S>>, MissingDependency> {
    let behind = |(router, flag): (MethodRouter<S>, Option<Cow<'static, str>>)| match flag {
        Some(key) => Ok(router.layer(FlagLayer::new(ctx.get()?, key))),
        None => Ok(router),
    };
    routers.into_iter().zip(flags).map(behind).collect()
}
