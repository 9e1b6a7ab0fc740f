//! The router of all mounts.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use axum::{
    Router,
    extract::Request,
    middleware::{self, Next},
    response::Response,
    routing::MethodRouter,
};
use matchit::InsertError;
use tower::{layer::util::Stack, util::Either};

use super::{core_routes, docs};
use crate::{
    clock::Clock,
    db::with_reads_from_replica,
    http::{
        RateLimits,
        layer::{ErrorForms, RouteLimits},
    },
    idempotency::IdempotencyLayer,
    identity::{AccessLevel, Authenticator, GuardLayer},
    maintenance::{MaintenanceLayer, MaintenanceMode},
    module::{
        Context, IdempotencyPolicy, Mount, OpenApiPart, Problem, Registry, RequiredRoute, ResolvedLayer, RouteFate,
        RouteInfo, RoutesWithoutPlanLimits, Slot,
    },
    rate_limit::{ExemptRoutes, RateLimitLayer},
};

/// The routers of one mount, by full path.
pub(super) struct ResolvedMount {
    pub(super) mount: Mount,
    pub(super) routers: Vec<(String, MethodRouter)>,
}

/// Returns all routes: those of the modules, and core's own pages. `has_index` is whether the app has a page at `/`, unless
/// a module serves that path.
pub(super) fn list(registry: &Registry, has_index: bool) -> Vec<RouteInfo> {
    let mut list: Vec<_> = registry.routes.iter().flat_map(|routes| routes.infos.clone()).collect();
    let mut pages = pages(&list, has_index);
    pages.retain(|path| !registry.route_changes.leaves_out("core", "GET", path));
    // The page of the documentation shows documents, and does not exist without one.
    if !pages.iter().any(|path| path.starts_with("/openapi")) {
        pages.retain(|path| !docs::PATHS.contains(&path.as_str()));
    }
    list.extend(pages.into_iter().map(RouteInfo::page));
    list.sort();
    list
}

/// Returns the paths of the pages that core serves beside the routes of the modules.
fn pages(routes: &[RouteInfo], has_index: bool) -> Vec<String> {
    let index = (has_index && !routes.iter().any(|info| info.path == "/")).then_some("/");
    let fixed = [core_routes::DOCUMENT_PATH].into_iter().chain(docs::PATHS.iter().copied()).chain(index);
    let parts = OpenApiPart::list(routes).into_iter().map(OpenApiPart::path);
    fixed.map(str::to_owned).chain(parts).collect()
}

/// Reports changes of routes that are about no route, and routes that are gone and on which something depends.
pub(super) fn check_changes(registry: &mut Registry, has_index: bool) {
    registry.module = "core";
    let routes: Vec<_> = registry.routes.iter().flat_map(|routes| routes.infos.clone()).collect();
    for path in pages(&routes, has_index) {
        registry.route_changes.record_page("core", &path);
    }
    // A module with a problem may have left out routes itself.
    let is_sound = |module: &str| registry.problems.iter().all(|problem| ![module, "core"].contains(&problem.module));
    let unused = registry.route_changes.unused().into_iter().filter(|(_, module)| is_sound(module));
    let unused = unused.map(|(what, module)| format!("{what} of module `{module}`, which mounts no such route"));
    for what in unused.collect::<Vec<_>>() {
        registry.report_problem(what, "compare it with the list that the command `routes` prints without the change");
    }
    for RequiredRoute { module, pattern, dependent, fix } in std::mem::take(&mut registry.required_routes) {
        if routes.iter().any(|route| pattern.is_served_by(&route.method, &route.path)) {
            continue;
        }
        let fate = match registry.route_changes.fate(&pattern) {
            RouteFate::LeftOut => "which the app leaves out".to_owned(),
            RouteFate::MovedTo(path) => format!("which the app has moved to {path}"),
            RouteFate::Unknown => "which no module mounts".to_owned(),
        };
        registry.problems.push(Problem { module, what: format!("{dependent} {}, {fate}", pattern.as_str()), fix });
    }
}

/// Reports routes that conflict with each other or with core's own pages, by the rules of axum's matcher.
pub(super) fn conflicts(registry: &mut Registry, has_index: bool) {
    const OTHER_PATH_FIX: &str = "mount one of them at another path: `Mount::app(\"/another-path\")`";
    const LEFT_OUT_FIX: &str = "mount one of them at another path, or leave one out: a resource's own route by \
        `crud::resource::<Room>().without(Verb::Create)`";
    const PARAMETER_FIX: &str = "write a parameter as `{name}`, and the rest of a path as `{*name}`";
    let mut matcher = matchit::Router::new();
    let mut taken: BTreeMap<String, Vec<(String, &'static str)>> = BTreeMap::new();
    let mut problems = Vec::new();
    for info in list(registry, has_index) {
        if let Some(methods) = taken.get_mut(&info.path) {
            let clash =
                methods.iter().find(|(method, _)| *method == info.method || method == "ANY" || info.method == "ANY");
            if let Some((_, other)) = clash {
                let what = format!("{} {} is also mounted by module `{other}`", info.method, info.path);
                let is_described = info.method != "ANY" && info.module != "core";
                problems.push((info.module, what, if is_described { LEFT_OUT_FIX } else { OTHER_PATH_FIX }));
            }
            methods.push((info.method, info.module));
            continue;
        }
        if info.path.split('/').any(|segment| segment.starts_with([':', '*'])) {
            problems.push((
                info.module,
                format!("{} uses the parameter syntax of an older axum version", info.path),
                PARAMETER_FIX,
            ));
        } else if let Err(error) = matcher.insert(info.path.clone(), ()) {
            let fix = if matches!(error, InsertError::Conflict { .. }) { OTHER_PATH_FIX } else { PARAMETER_FIX };
            problems.push((info.module, format!("{} can't be mounted: {error}", info.path), fix));
        }
        taken.insert(info.path, vec![(info.method, info.module)]);
    }
    for (module, what, fix) in problems {
        registry.module = module;
        registry.report_problem(what, fix);
    }
}

/// Returns the limits of each path. Where mounts share a path, each for its own methods, the larger limits apply.
pub(super) fn limits(mounts: &[ResolvedMount], elsewhere: RouteLimits) -> BTreeMap<String, RouteLimits> {
    let mut all = BTreeMap::new();
    for ResolvedMount { mount, routers } in mounts {
        let own = RouteLimits {
            body: mount.body_limit.unwrap_or(elsewhere.body),
            timeout: mount.timeout.unwrap_or(elsewhere.timeout),
        };
        for (path, _) in routers {
            all.entry(path.clone()).and_modify(|limits: &mut RouteLimits| *limits = limits.union(own)).or_insert(own);
        }
    }
    all
}

/// Returns the routes that `HTTP_RATE_LIMIT` does not limit. Returns `None` if it limits all of them.
pub(super) fn exempt_routes(mounts: &[ResolvedMount]) -> Option<ExemptRoutes> {
    let paths = |limited: bool| -> BTreeSet<&str> {
        let mounts = mounts.iter().filter(|resolved| resolved.mount.address_limit == limited);
        mounts.flat_map(|resolved| &resolved.routers).map(|(path, _)| path.as_str()).collect()
    };
    let (exempt, limited) = (paths(false), paths(true));
    let others = limited.difference(&exempt).copied();
    ExemptRoutes::new(&exempt.iter().copied().collect::<Vec<_>>(), others)
}

/// Returns the routes that the limit of requests in a plan does not close, and those whose requests do not count.
pub(super) fn without_plan_limits(registry: &Registry) -> RoutesWithoutPlanLimits {
    let paths = |is_meant: fn(&Mount) -> bool| -> Vec<String> {
        let routes = registry.routes.iter().filter(|routes| is_meant(&routes.mount));
        routes.flat_map(|routes| &routes.infos).map(|info| info.path.clone()).collect()
    };
    RoutesWithoutPlanLimits::new(paths(|mount| !mount.plan_limits), paths(|mount| !mount.counted))
}

/// Returns the forms of errors that mounts set, for their prefixes and for the paths of routes that the app has moved out
/// of them.
pub(super) fn error_forms(registry: &Registry) -> ErrorForms {
    let forms = registry.routes.iter().filter_map(|routes| Some((routes, routes.mount.error_form?)));
    let all = forms.flat_map(|(routes, form)| {
        let prefix = routes.mount.prefix();
        let moved = routes.infos.iter().filter(|info| !info.path.starts_with(&prefix));
        let moved = moved.filter_map(|info| info.path.split("/{").next().map(str::to_owned));
        let moved: Vec<_> = moved.collect();
        std::iter::once(prefix).chain(moved).map(move |path| (path, form))
    });
    ErrorForms::new(all)
}

/// The idempotency layers of the paths that read `Idempotency-Key`.
pub(super) struct IdempotencyLayers {
    layer: IdempotencyLayer,
    /// Timeout by path, for each path with a POST or PATCH.
    paths: BTreeMap<String, Option<Duration>>,
}

impl IdempotencyLayers {
    pub(super) fn new(layer: IdempotencyLayer, routes: &[RouteInfo], limits: &BTreeMap<String, RouteLimits>) -> Self {
        let changes = routes.iter().filter(|route| ["POST", "PATCH", "ANY"].contains(&route.method.as_str()));
        let paths =
            changes.map(|route| (route.path.clone(), limits.get(&route.path).and_then(|limits| limits.timeout)));
        Self { paths: paths.collect(), layer }
    }

    /// Returns the layer of a path. Its lease is at least as long as the timeout of the path.
    fn layer_for(&self, mount: &Mount, path: &str) -> Option<IdempotencyLayer> {
        let timeout = self.paths.get(path).filter(|_| mount.keys != IdempotencyPolicy::Ignored)?;
        let layer = self.layer.clone().lease_at_least(timeout.unwrap_or_default());
        Some(if mount.keys == IdempotencyPolicy::Required { layer.required() } else { layer })
    }
}

/// Puts each mount's rate limit and guard around its routes, and around their fallbacks too (`any(…)`,
/// `.fallback(…)`, the 405 response): `route_layer` would leave those unguarded.
pub(super) fn router(
    mounts: Vec<ResolvedMount>,
    layers: &[(Slot, ResolvedLayer)],
    keys: Option<&IdempotencyLayers>,
    clock: &Clock,
    ctx: &Context,
) -> Router {
    let authenticator = ctx.get::<Authenticator>().ok();
    let maintenance = ctx.get::<MaintenanceMode>().ok();
    let limits = ctx.get::<RateLimits>().unwrap_or_else(|_| RateLimits::in_process(clock.clone()));
    let mut prefixes: BTreeMap<String, usize> = BTreeMap::new();
    let in_slot = |router: MethodRouter, slot: Slot| {
        let layers = layers.iter().filter(|(at, _)| *at == slot);
        layers.fold(router, |router, (_, layer)| (layer.route)(router))
    };
    let mut all = Router::new();
    for ResolvedMount { mount, routers } in mounts {
        // Mounts that share a prefix, each for its own routes, have separate counters.
        let turn = prefixes.entry(mount.prefix()).or_default();
        *turn += 1;
        let limit = mount.rate_limit.as_ref().map(|limit| {
            let name = format!("mount:{}:{turn}", mount.prefix());
            (limit, RateLimitLayer::shared(&limits, &name, limit.rate, limit.by), limit.costs(|path| mount.join(path)))
        });
        for (path, router) in routers {
            let limit = limit.as_ref().map(|(limit, layer, costs)| {
                let layer = if limit.each_route {
                    RateLimitLayer::shared(&limits, &format!("route:{path}:{turn}"), limit.rate, limit.by)
                } else {
                    layer.clone()
                };
                layer.cost(costs.iter().rev().find(|(at, _)| *at == path).map_or(1, |(_, cost)| *cost))
            });
            let is_list = !path.ends_with('}');
            let router = if mount.reads_from_replica && is_list {
                router.layer(middleware::from_fn(read_from_replica))
            } else {
                router
            };
            let router = in_slot(in_slot(router, Slot::Route), Slot::Tenant);
            let closed_by = maintenance.clone().filter(|_| !mount.during_maintenance);
            let guard = authenticator.clone().filter(|_| mount.audience != AccessLevel::Public);
            let guard = guard.map(|authenticator| {
                let guard = GuardLayer::new(mount.audience, authenticator);
                let guard = if mount.in_person { guard.in_person() } else { guard };
                let guard = closed_by.clone().map_or(guard.clone(), |mode| guard.closed_by(mode));
                mount.resource.as_deref().map_or(guard.clone(), |resource| guard.permissions(resource))
            });
            let key = keys.and_then(|keys| keys.layer_for(&mount, &path));
            let gate = guard.map(Either::Left).or_else(|| closed_by.map(|mode| Either::Right(mode.layer())));
            let router = with_layers(router, key, limit, gate);
            all = all.route(&path, in_slot(router, Slot::Identity));
        }
    }
    all
}

/// Lets a request that only reads do so from the standby of the database.
async fn read_from_replica(request: Request, next: Next) -> Response {
    if request.method().is_safe() { with_reads_from_replica(next.run(request)).await } else { next.run(request).await }
}

/// The layer that decides whether a request is served: by its caller, or without one only by maintenance.
type AccessGate = Either<GuardLayer, MaintenanceLayer>;

/// Puts the layers around a router: the caller is authenticated first, then counted, then the idempotency key is
/// read. Each layer of a router boxes everything inside it, so the layers are added as one.
fn with_layers(
    router: MethodRouter,
    key: Option<IdempotencyLayer>,
    limit: Option<RateLimitLayer>,
    gate: Option<AccessGate>,
) -> MethodRouter {
    match (key, limit, gate) {
        (None, None, None) => router,
        (Some(key), None, None) => router.layer(key),
        (None, Some(limit), None) => router.layer(limit),
        (None, None, Some(gate)) => router.layer(gate),
        (Some(key), Some(limit), None) => router.layer(Stack::new(key, limit)),
        (Some(key), None, Some(gate)) => router.layer(Stack::new(key, gate)),
        (None, Some(limit), Some(gate)) => router.layer(Stack::new(limit, gate)),
        (Some(key), Some(limit), Some(gate)) => router.layer(Stack::new(Stack::new(key, limit), gate)),
    }
}
