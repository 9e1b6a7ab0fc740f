//! The default layer stack around the whole router, composed as one type: no layer is boxed.

use std::{
    collections::BTreeSet,
    convert::Infallible,
    fmt,
    task::{Context, Poll},
};

use axum::Router;
use http::{HeaderName, HeaderValue, Method};
use tower::{
    Layer as _, Service,
    util::{Either, option_layer},
};
use tower_http::cors::{AllowOrigin, Any, Cors, CorsLayer};

#[cfg(feature = "compression")]
use crate::http::layer::{Compress, CompressionLayer};
use crate::module::Registry;
use crate::{
    error_event::ErrorReportLayer,
    http::{
        ApiVersion, CorsOrigin, HttpSettings, RateLimits, Request, Response, VersionPolicy,
        layer::{
            ApiVersionLayer, CatchPanic, CatchPanicLayer, ClientAddrLayer, ErrorForms, ErrorLayer, HookLayer,
            HookService, Observe, ObserveLayer, RequestIdLayer, RouteLimitsLayer, RouteLimitsService,
            SecurityHeadersLayer, SingletonHeadersLayer,
        },
    },
    rate_limit::{ExemptRoutes, RateLimitKey, RateLimitLayer, RateLimitService},
};

/// The stack, from the outside in. The order of the layers has these reasons: observation sees the response that
/// is sent, errors are rendered before they are compressed, the version is known before the router matches the path,
/// and a panic in a route or a module's layer becomes an error with the same headers and the same route as any other.
type Stack = HookService<Observe<HookService<WithCors, SecurityHeadersLayer>>, (RequestIdLayer, ClientAddrLayer)>;
type WithCors = Either<Cors<WithCompression>, WithCompression>;
#[cfg(feature = "compression")]
type WithCompression = Compress<WithErrors>;
#[cfg(not(feature = "compression"))]
type WithCompression = WithErrors;
type WithErrors = HookService<WithRate, (ErrorReportLayer, ErrorLayer, SingletonHeadersLayer, ApiVersionLayer)>;
type WithRate = Either<RateLimitService<Routes>, Routes>;
type Routes = RouteLimitsService<CatchPanic<Router>>;

/// Paths that load balancers probe often from one address: they are exempt from the rate limit.
const PROBES: &[&str] = &["/health", "/health/ready"];

/// The whole app as a tower service: the default layer stack around all routes. Cheap to clone.
#[derive(Clone)]
pub struct AppService(Stack);

pub(crate) fn build_stack(
    router: Router,
    route_limits: &RouteLimitsLayer,
    exempt: Option<ExemptRoutes>,
    settings: &HttpSettings,
    registry: &Registry,
    versions: BTreeSet<ApiVersion>,
    policies: &[VersionPolicy],
) -> AppService {
    let clock = &registry.clock;
    let limits = registry.ctx.get::<RateLimits>().unwrap_or_else(|_| RateLimits::in_process(clock.clone()));
    let rate = settings
        .rate_limit
        .0
        .map(|rate| RateLimitLayer::shared(&limits, "app", rate, RateLimitKey::Address))
        .map(|layer| layer.exempt(PROBES).exempt_routes(exempt));
    let service: WithRate = option_layer(rate).layer(route_limits.layer(CatchPanicLayer.layer(router)));
    let singletons = SingletonHeadersLayer::new(registry.headers.request.iter().cloned());
    let reports = ErrorReportLayer::new(clock.clone(), registry.ctx.get().ok());
    let errors = ErrorLayer::new(clock.clone()).forms(registry.ctx.get::<ErrorForms>().unwrap_or_default());
    let steps = (reports, errors, singletons, ApiVersionLayer::new(versions, policies));
    let service = HookLayer(steps).layer(service);
    #[cfg(feature = "compression")]
    let service: WithCompression = CompressionLayer.layer(service);
    let service: WithCors = match cors(settings, registry) {
        Some(cors) => Either::Left(cors.layer(service)),
        None => Either::Right(service),
    };
    let https = registry.environment().is_production();
    let service = SecurityHeadersLayer::default().https(https).layer(service);
    let mut observe = ObserveLayer::new(clock.clone());
    if let Ok(metrics) = registry.ctx.get() {
        observe = observe.metrics(metrics);
    }
    let service = observe.layer(service);
    let client = ClientAddrLayer::new(settings.trusted_proxies.iter().copied());
    AppService(HookLayer((RequestIdLayer::new(clock.clone()), client)).layer(service))
}

/// Request headers that core reads and that browsers must ask for.
const REQUEST_HEADERS: &[&str] = &[
    "authorization",
    "content-type",
    "accept",
    "accept-version",
    "x-api-version",
    "x-request-id",
    "idempotency-key",
    "if-match",
    "if-none-match",
    "if-modified-since",
    "if-unmodified-since",
    "if-range",
    "range",
    "traceparent",
    "tracestate",
    "baggage",
];

/// Response headers that core sends and that scripts can't read unless they are exposed.
const RESPONSE_HEADERS: &[&str] = &[
    "x-request-id",
    "accept-ranges",
    "allow",
    "content-disposition",
    "content-range",
    "etag",
    "link",
    "retry-after",
    "location",
    "ratelimit",
    "ratelimit-policy",
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "x-api-version",
    "x-api-latest-version",
    "deprecation",
    "sunset",
    "idempotent-replayed",
    "www-authenticate",
];

/// Returns the CORS layer. Browsers from the configured origins may call every route, send the headers that core, the
/// modules and the settings name, and read the response headers that those name. Returns `None` without origins.
fn cors(settings: &HttpSettings, registry: &Registry) -> Option<CorsLayer> {
    let origins = &settings.cors_origins;
    if origins.is_empty() {
        return None;
    }
    let all = |core: &[&'static str], declared: &[HeaderName], set: &[HeaderName]| {
        let core = core.iter().map(|name| HeaderName::from_static(name));
        core.chain(declared.iter().chain(set).cloned()).collect::<Vec<_>>()
    };
    let cors = CorsLayer::new()
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allow_headers(all(REQUEST_HEADERS, &registry.headers.request, &settings.cors_request_headers))
        .expose_headers(all(RESPONSE_HEADERS, &registry.headers.response, &settings.cors_response_headers))
        .max_age(std::time::Duration::from_secs(3600));
    if origins.iter().any(CorsOrigin::is_any) {
        return Some(cors.allow_origin(Any));
    }
    let origins = origins.iter().filter_map(|origin| HeaderValue::from_str(origin.as_str()).ok());
    Some(cors.allow_origin(AllowOrigin::list(origins)).allow_credentials(true))
}

impl Service<Request> for AppService {
    type Response = Response;
    type Error = Infallible;
    type Future = <Stack as Service<Request>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        self.0.call(request)
    }
}

impl fmt::Debug for AppService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Edge").finish_non_exhaustive()
    }
}
