//! Registration of routes.

use axum::routing::{MethodFilter, MethodRouter};
use utoipa::openapi::Paths;
use utoipa_axum::PathItemExt as _;

use super::{ModuleRoutes, Registry, RequiredRoute, WireRoutes};
use crate::{
    context::{Context, MissingDependency},
    identity::{AccessLevel, Require, RequireLayer},
    module::{
        ANY_METHOD, Api, Mount, PATTERN_FIX, RouteInfo, RoutePattern,
        agent_operation::marked_operations,
        openapi::{operations, retain_operations},
        route_info::{method_name, route_infos},
    },
};

/// The full path of a route that the app keeps, and the methods it keeps, or `None` if it keeps all of them.
type KeptRoute = (String, Option<MethodFilter>);

impl Registry {
    /// Mounts routes. `state` creates their state once, while the app is built, from provided values. The app may leave
    /// routes out, or serve them at other paths: see
    /// [`AppBuilder::without_routes`](crate::app::AppBuilder::without_routes). If it leaves all of them out, `state` is
    /// not called.
    pub fn routes<S: Clone + Send + Sync + 'static>(
        &mut self,
        mount: Mount,
        api: Api<S>,
        state: impl FnOnce(&Context) -> Result<S, MissingDependency> + Send + 'static,
    ) -> &mut Self {
        let mount = mount.moved(self.route_changes.moves_of(self.module));
        let described = api.routes.iter().flat_map(|(paths, ..)| paths.paths.keys());
        let declared: Vec<String> =
            described.chain(api.hidden.iter().map(|(path, _)| path)).map(|path| mount.join(path)).collect();
        let (mut at, mut infos) = (Vec::with_capacity(api.routes.len()), Vec::new());
        let mut routers = Vec::with_capacity(api.routes.len());
        let mut permissions = Vec::new();
        let mut requirements = Vec::with_capacity(api.routes.len());
        for (mut described, router, require) in api.routes {
            let kept = self.keep_routes(&mount, &mut described);
            if kept.is_empty() {
                continue;
            }
            permissions.extend(require.as_ref().and_then(Require::required_permission).map(str::to_owned));
            let limit = require.as_ref().and_then(Require::required_limit);
            self.required_limits.extend(limit.map(|limit| (self.module, limit.to_owned())));
            self.agent_operations.extend(marked_operations(&mount, &described, require.as_ref()));
            infos.extend(route_infos(self.module, &mount, &described, require.as_ref()));
            requirements.push(require);
            routers.push(router);
            at.push(kept);
            for (id, [one, other]) in self.description.add(self.module, &mount, described) {
                let what = format!("has two operations with the id `{id}`: {one} and {other}");
                self.report_problem(
                    what,
                    "rename one with `operation_id = \"verb_resource\"`, or use `Mount::operation_prefix`",
                );
            }
        }
        let mut hidden_routers = Vec::with_capacity(api.hidden.len());
        for (path, router) in api.hidden {
            if !self.route_changes.keeps(self.module, &mount, ANY_METHOD, &path) {
                continue;
            }
            let path = mount.join(&path);
            infos.push(RouteInfo::new(self.module, &mount, path.clone(), ANY_METHOD, None));
            at.push(vec![(path, None)]);
            hidden_routers.push(router);
        }
        let is_left_out = infos.is_empty() && !declared.is_empty();
        if !is_left_out {
            permissions.extend(mount.resource.iter().flat_map(|on| [format!("{on}:read"), format!("{on}:write")]));
        }
        self.permissions.extend(permissions);
        let clock = self.clock();
        let wire: WireRoutes = Box::new(move |ctx| {
            let state = state(ctx);
            let guarded = |(router, require): (MethodRouter<S>, Option<Require>)| {
                let Some(require) = require else { return Ok(router) };
                // The last layer is the outermost: the gate, then the caller, then the plan.
                let mut router = require.entitlement_layers(ctx)?.into_iter().fold(router, MethodRouter::layer);
                if require.has_caller_requirements() {
                    router = router.layer(RequireLayer::new(require.clone(), clock.clone()));
                }
                match require.required_gate() {
                    Some(gate) => Ok(router.layer(gate.layer(ctx)?)),
                    None => Ok(router),
                }
            };
            let guarded: Vec<Result<_, MissingDependency>> =
                routers.into_iter().zip(requirements).map(guarded).collect();
            let of_routes = guarded.iter().filter_map(|router| router.as_ref().err());
            let missing = state.as_ref().err().into_iter().chain(of_routes);
            if let Some(missing) = MissingDependency::merge(missing) {
                return Err(missing);
            }
            let (state, routers) = (state?, guarded.into_iter().collect::<Result<Vec<_>, _>>()?);
            let routers = routers.into_iter().chain(hidden_routers).map(|router| router.with_state(state.clone()));
            let routes = at.into_iter().zip(routers);
            // The last path takes the router itself; most routers have one path.
            let each = |(kept, router): (Vec<KeptRoute>, MethodRouter)| {
                let routers = std::iter::repeat_n(router, kept.len());
                kept.into_iter().zip(routers).map(|((path, methods), router)| (path, restrict(router, methods)))
            };
            Ok(routes.flat_map(each).collect())
        });
        self.check_costs(&mount, &declared);
        if mount.in_person && matches!(mount.access_level(), AccessLevel::Public | AccessLevel::Machine) {
            let what = format!(
                "{} is a mount with `in_person`, which its access level `{}` does not support",
                mount.prefix(),
                mount.access_level()
            );
            self.report_problem(what, "use `Mount::app` or `Mount::admin`, or remove `in_person`");
        }
        self.tables.extend(api.tables);
        if !is_left_out {
            self.routes.push(ModuleRoutes { module: self.module, mount, infos, wire });
            self.add_schemas(api.schemas);
        }
        self
    }

    /// Removes the operations that the app leaves out from a description. Returns the routes that stay.
    fn keep_routes(&mut self, mount: &Mount, described: &mut Paths) -> Vec<KeptRoute> {
        let (changes, module) = (&mut self.route_changes, self.module);
        let mut kept = Vec::with_capacity(described.paths.len());
        described.paths.retain(|path, item| {
            let declared = operations(item).len();
            retain_operations(item, |method| changes.keeps(module, mount, method_name(method), path));
            let methods: Vec<_> = operations(item).into_iter().map(|(method, _)| method.to_method_filter()).collect();
            let all = methods.iter().copied().reduce(MethodFilter::or);
            if let Some(all) = all {
                kept.push((mount.join(path), (methods.len() < declared).then_some(all)));
            }
            all.is_some()
        });
        kept
    }

    /// Leaves out routes of this module that it registers afterwards, by a pattern as in
    /// [`AppBuilder::without_routes`](crate::app::AppBuilder::without_routes). It is for modules that let the app choose
    /// among their routes. A pattern that matches no route has no effect.
    ///
    /// ```
    /// # use omnistack_core::module::Registry;
    /// # fn register(registry: &mut Registry) {
    /// registry.leave_out_routes("/api/*/admin/rooms/**");
    /// # }
    /// ```
    pub fn leave_out_routes(&mut self, pattern: &str) -> &mut Self {
        if let Err(what) = self.route_changes.leave_out(self.module, pattern, false) {
            self.report_problem(format!("leaves out `{pattern}`: {what}"), PATTERN_FIX);
        }
        self
    }

    /// Returns whether the app, or this module, leaves out the route of this module at a path, whatever its method.
    pub fn is_left_out(&self, path: &str) -> bool {
        self.route_changes.leaves_out(self.module, ANY_METHOD, path)
    }

    /// Declares that something depends on a route: a page that calls it, a mail that links to it. If the app leaves the
    /// route out or moves it, and no other module serves its path, the build fails. The problem names `dependent` and
    /// shows `fix`.
    ///
    /// ```
    /// # use omnistack_core::module::Registry;
    /// # fn register(registry: &mut Registry) {
    /// registry.require_route("POST /api/v1/public/rooms/search", "the page `/rooms` searches by", "keep the route");
    /// # }
    /// ```
    pub fn require_route(&mut self, route: &str, dependent: impl Into<String>, fix: impl Into<String>) -> &mut Self {
        match RoutePattern::parse(route) {
            Ok(pattern) => {
                let (dependent, fix) = (dependent.into(), fix.into());
                self.required_routes.push(RequiredRoute { module: self.module, pattern, dependent, fix });
            }
            Err(what) => _ = self.report_problem(format!("requires the route `{route}`: {what}"), PATTERN_FIX),
        }
        self
    }

    /// Reports invalid costs of a rate limit.
    fn check_costs(&mut self, mount: &Mount, routes: &[String]) {
        let Some(limit) = &mount.rate_limit else { return };
        for (path, cost) in limit.costs(|path| mount.join(path)) {
            if !routes.contains(&path) {
                self.report_problem(
                    format!("sets a rate limit cost for {path}, but mounts no such route"),
                    "use a path of the same `Api`",
                );
            } else if cost > limit.rate.max_cost() {
                let what =
                    format!("{path} costs {cost}, which is more than the rate limit of {} ever allows", limit.rate);
                self.report_problem(what, "lower the cost, or raise the burst of the rate limit");
            }
        }
    }
}

/// Restricts a router to some methods. To the others it responds with 405.
fn restrict(router: MethodRouter, methods: Option<MethodFilter>) -> MethodRouter {
    match methods {
        Some(methods) => MethodRouter::new().on_service(methods, router),
        None => router,
    }
}
