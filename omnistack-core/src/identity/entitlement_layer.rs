//! The layer that checks what a tenant's plan allows.

use std::{
    borrow::Cow,
    convert::Infallible,
    fmt,
    task::{self, Poll},
};

use axum::response::IntoResponse;
use futures_util::future::{BoxFuture, Either, Ready, ready};
use tower::{Layer, Service};

use super::{Entitlements, Identity, LimitedResources, TenantId};
use crate::http::{Error, Request, Response};

/// Layer that rejects requests which the plan of the caller's tenant does not allow. An app applies it to the routes of
/// a [`Require::feature`](super::Require::feature) and [`Require::limit`](super::Require::limit); a plain axum app applies
/// it itself, inside the layer that authenticates callers.
///
/// ```
/// use axum::{Extension, Router, routing::get};
/// use omnistack_core::{http::StatusCode, identity::{EntitlementLayer, Entitlements, Identity}};
/// # use axum::{body::Body, http::Request};
/// # use omnistack_core::{clock::Clock, id::Id};
/// # use tower::ServiceExt as _;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let now = Clock::system().now();
/// # let caller = Identity::user(Id::new(now)).for_tenant(Id::new(now));
/// let layer = EntitlementLayer::feature(Entitlements::default(), "sso");
/// let app: Router = Router::new().route("/sso", get(StatusCode::NO_CONTENT)).layer(layer).layer(Extension(caller));
/// let response = app.oneshot(Request::get("/sso").body(Body::empty())?).await?;
/// assert_eq!(response.status(), StatusCode::NO_CONTENT);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct EntitlementLayer {
    entitlements: Entitlements,
    check: EntitlementCheck,
}

#[derive(Clone)]
enum EntitlementCheck {
    Feature(Cow<'static, str>),
    /// One more of a limited resource.
    Limit(Cow<'static, str>, LimitedResources),
}

impl EntitlementLayer {
    /// Creates a layer that requires a feature, as [`Entitlements::require_feature`] does.
    pub fn feature(entitlements: Entitlements, feature: impl Into<Cow<'static, str>>) -> Self {
        Self { entitlements, check: EntitlementCheck::Feature(feature.into()) }
    }

    /// Creates a layer that requires that the plan allows one more of a limited resource, as
    /// [`Entitlements::check_limit`] does. It counts before the handler runs, so two requests at the same time can both
    /// pass.
    pub fn limit(
        entitlements: Entitlements,
        resources: LimitedResources,
        resource: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { entitlements, check: EntitlementCheck::Limit(resource.into(), resources) }
    }

    /// Decides from memory. Returns `None` if that is not possible.
    fn decide(&self, tenant: TenantId) -> Option<bool> {
        let plan = self.entitlements.cached_plan(tenant)?;
        match &self.check {
            EntitlementCheck::Feature(feature) if plan.has_feature(feature) => Some(true),
            EntitlementCheck::Limit(resource, _) if !plan.limits.contains_key(resource.as_ref()) => Some(true),
            _ => None,
        }
    }

    async fn check(&self, tenant: TenantId) -> Result<(), Error> {
        match &self.check {
            EntitlementCheck::Feature(feature) => self.entitlements.require_feature(tenant, feature).await,
            EntitlementCheck::Limit(resource, resources) => {
                let count = resources.count(resource, tenant).await.map_err(Error::internal)?;
                let used = count
                    .ok_or_else(|| Error::internal(format!("no module declares the limited resource `{resource}`")))?;
                self.entitlements.check_limit(tenant, resource, used, 1).await
            }
        }
    }
}

impl fmt::Debug for EntitlementLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EntitlementLayer").finish_non_exhaustive()
    }
}

impl<S> Layer<S> for EntitlementLayer {
    type Service = EntitlementService<S>;

    fn layer(&self, inner: S) -> EntitlementService<S> {
        EntitlementService { inner, layer: self.clone() }
    }
}

/// Service of [`EntitlementLayer`].
#[derive(Clone)]
pub struct EntitlementService<S> {
    inner: S,
    layer: EntitlementLayer,
}

impl<S: fmt::Debug> fmt::Debug for EntitlementService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EntitlementService").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<S> Service<Request> for EntitlementService<S>
where
    S: Service<Request, Error = Infallible> + Clone + Send + 'static,
    S::Response: IntoResponse,
    S::Future: Send,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Either<Ready<Result<Response, Infallible>>, BoxFuture<'static, Result<Response, Infallible>>>;

    fn poll_ready(&mut self, cx: &mut task::Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let tenant = match request.extensions().get::<Identity>() {
            Some(caller) => caller.require_tenant(),
            None => Err(Error::unauthorized("sign in first")),
        };
        let tenant = match tenant {
            Ok(tenant) => tenant,
            Err(error) => return Either::Left(ready(Ok(error.into_response()))),
        };
        let ready_clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, ready_clone);
        let layer = self.layer.clone();
        Either::Right(Box::pin(async move {
            if layer.decide(tenant) != Some(true)
                && let Err(error) = layer.check(tenant).await
            {
                return Ok(error.into_response());
            }
            Ok(inner.call(request).await?.into_response())
        }))
    }
}
