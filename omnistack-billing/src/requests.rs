//! Requests of callers: they are counted, and limited by the plan of their tenant.

use std::{
    collections::HashMap,
    convert::Infallible,
    fmt,
    sync::{Arc, PoisonError, RwLock},
    task::{self, Poll},
};

use axum::{extract::MatchedPath, response::IntoResponse};
use futures_util::future::{BoxFuture, Either};
use omnistack_core::{
    clock::Clock,
    http::{Error, Rate, RateLimits, Request, Response, SharedRateLimiter},
    identity::{AccessLevel, Identity, TenantId},
    module::RoutesWithoutPlanLimits,
    usage::{UsageEvent, meters},
};
use tower::{Layer, Service};

use crate::{
    account::{BillingAccounts, Entitled},
    ledger::Ledger,
    quota::Quotas,
};

/// The category of requests that match no route.
const NO_ROUTE: &str = "other";

/// Layer around the routes of signed-in callers. It counts each request of a tenant as `api_requests`, with the route
/// as the category, and rejects requests beyond the rate limit (429) and the limit of `api_requests` (402) of the plan.
/// Requests to the routes of operators are no usage of a tenant. The routes of mounts without plan limits stay open
/// beyond the limit. Requests to mounts without usage are not counted.
#[derive(Clone)]
pub(crate) struct RequestUsageLayer(Arc<RequestUsageInner>);

struct RequestUsageInner {
    ledger: Ledger,
    quotas: Quotas,
    accounts: BillingAccounts,
    limits: RateLimits,
    open: RoutesWithoutPlanLimits,
    clock: Clock,
    /// The limiters of the plans' rates.
    limiters: RwLock<HashMap<String, SharedRateLimiter<TenantId>>>,
}

/// Parts of a [`RequestUsageLayer`].
pub(crate) struct RequestUsageParts {
    pub(crate) ledger: Ledger,
    pub(crate) quotas: Quotas,
    pub(crate) accounts: BillingAccounts,
    pub(crate) limits: RateLimits,
    /// The routes that stay open beyond the limit of `api_requests`.
    pub(crate) open: RoutesWithoutPlanLimits,
    pub(crate) clock: Clock,
}

impl RequestUsageLayer {
    pub(crate) fn new(parts: RequestUsageParts) -> Self {
        let RequestUsageParts { ledger, quotas, accounts, limits, open, clock } = parts;
        Self(Arc::new(RequestUsageInner { ledger, quotas, accounts, limits, open, clock, limiters: RwLock::default() }))
    }

    /// Counts a request if the plan is in memory and does not limit it. Returns `false` otherwise.
    fn count_unlimited(&self, event: &mut Option<UsageEvent>, tenant: TenantId, is_open: bool) -> bool {
        let unlimited = self.0.accounts.cached(tenant).is_some_and(|entitled| {
            let is_counted_only = is_open || !entitled.plan.limits.contains_key(meters::API_REQUESTS);
            entitled.plan.rate_limit.is_none() && is_counted_only
        });
        if unlimited && let Some(event) = event.take() {
            self.0.ledger.count(event);
        }
        unlimited
    }

    /// Counts a request if the plan allows it. To a route without plan limits, only the rate limit applies.
    async fn admit(&self, tenant: TenantId, event: UsageEvent, is_open: bool) -> Result<(), Error> {
        let entitled = self.0.accounts.entitled(tenant).await?;
        if let Some(rate) = entitled.plan.rate_limit {
            let limiter = self.limiter(&entitled, rate);
            let verdict = limiter.check(&tenant, 1).await;
            if !verdict.allowed {
                return Err(limiter.too_many_requests("plan", "requests of this tenant", verdict));
            }
        }
        if is_open {
            self.0.ledger.count(event);
            return Ok(());
        }
        self.0.quotas.consume(event).await
    }

    fn limiter(&self, entitled: &Entitled, rate: Rate) -> SharedRateLimiter<TenantId> {
        let name = format!("billing:{}:{rate}", entitled.plan.key);
        let known = self.0.limiters.read().unwrap_or_else(PoisonError::into_inner).get(&name).cloned();
        known.unwrap_or_else(|| {
            let mut limiters = self.0.limiters.write().unwrap_or_else(PoisonError::into_inner);
            limiters.entry(name).or_insert_with_key(|name| self.0.limits.limiter(name, rate)).clone()
        })
    }
}

impl fmt::Debug for RequestUsageLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RequestUsageLayer")
    }
}

/// Returns whether a route is one of operators: `/api/v1/admin/…`. What they do is no usage of the tenant that their
/// session has selected.
fn is_for_operators(route: &str) -> bool {
    route.split('/').nth(3) == Some(AccessLevel::Admin.as_str())
}

impl<S> Layer<S> for RequestUsageLayer {
    type Service = RequestUsageService<S>;

    fn layer(&self, inner: S) -> RequestUsageService<S> {
        RequestUsageService { inner, layer: self.clone() }
    }
}

/// Service of [`RequestUsageLayer`].
#[derive(Clone, Debug)]
pub(crate) struct RequestUsageService<S> {
    inner: S,
    layer: RequestUsageLayer,
}

impl<S> Service<Request> for RequestUsageService<S>
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Either<S::Future, BoxFuture<'static, Result<Response, Infallible>>>;

    fn poll_ready(&mut self, cx: &mut task::Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let caller = request.extensions().get::<Identity>();
        let Some((caller, tenant)) = caller.and_then(|caller| Some((caller, caller.tenant?))) else {
            return Either::Left(self.inner.call(request));
        };
        let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
        if route.is_some_and(|route| is_for_operators(route) || self.layer.0.open.is_uncounted(route)) {
            return Either::Left(self.inner.call(request));
        }
        let is_open = route.is_some_and(|route| self.layer.0.open.contains(route));
        let event = UsageEvent::new(tenant, meters::API_REQUESTS, 1, self.layer.0.clock.now());
        let event = match route {
            Some(route) => event.category(route.to_owned()),
            None => event.category(NO_ROUTE),
        };
        let mut event = Some(event.user(caller.user).api_key(caller.api_key));
        if self.layer.count_unlimited(&mut event, tenant, is_open) {
            return Either::Left(self.inner.call(request));
        }
        // The clone that is ready is called; the other stays.
        let copy = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, copy);
        let layer = self.layer.clone();
        Either::Right(Box::pin(async move {
            if let Some(event) = event
                && let Err(error) = layer.admit(tenant, event, is_open).await
            {
                return Ok(error.into_response());
            }
            inner.call(request).await
        }))
    }
}
