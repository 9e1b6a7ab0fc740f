//! Registration of routes.

use axum::routing::MethodRouter;

use super::{ModuleRoutes, Registry, WireRoutes};
use crate::{
    context::{Context, MissingDependency},
    identity::{AccessLevel, Require, RequireLayer},
    module::{Api, Mount, RouteInfo, agent_operation::marked_operations, route_info::route_infos},
};

impl Registry {
    /// Mounts routes. `state` creates their state once, while the app is built, from provided values.
    pub fn routes<S: Clone + Send + Sync + 'static>(
        &mut self,
        mount: Mount,
        api: Api<S>,
        state: impl FnOnce(&Context) -> Result<S, MissingDependency> + Send + 'static,
    ) -> &mut Self {
        let (mut at, mut infos) = (Vec::with_capacity(api.routes.len()), Vec::new());
        let mut routers = Vec::with_capacity(api.routes.len());
        let mut permissions = Vec::new();
        let mut requirements = Vec::with_capacity(api.routes.len());
        for (described, router, require) in api.routes {
            permissions.extend(require.as_ref().and_then(Require::required_permission).map(str::to_owned));
            let limit = require.as_ref().and_then(Require::required_limit);
            self.required_limits.extend(limit.map(|limit| (self.module, limit.to_owned())));
            self.agent_operations.extend(marked_operations(&mount, &described, require.as_ref()));
            requirements.push(require);
            routers.push(router);
            at.push(described.paths.keys().map(|path| mount.join(path)).collect::<Vec<_>>());
            infos.extend(route_infos(self.module, &mount, &described));
            for (id, [one, other]) in self.description.add(self.module, &mount, described) {
                let what = format!("has two operations with the id `{id}`: {one} and {other}");
                self.report_problem(
                    what,
                    "rename one with `operation_id = \"verb_resource\"`, or use `Mount::operation_prefix`",
                );
            }
        }
        permissions.extend(mount.resource.iter().flat_map(|on| [format!("{on}:read"), format!("{on}:write")]));
        self.permissions.extend(permissions);
        let (hidden, hidden_routers): (Vec<_>, Vec<_>) =
            api.hidden.into_iter().map(|(path, router)| (mount.join(&path), router)).unzip();
        infos.extend(hidden.iter().map(|path| RouteInfo::new(self.module, &mount, path.clone(), "ANY")));
        at.extend(hidden.into_iter().map(|path| vec![path]));
        let known: Vec<String> = at.concat();
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
            let each = |(paths, router): (Vec<String>, _)| {
                let routers = std::iter::repeat_n(router, paths.len());
                paths.into_iter().zip(routers)
            };
            Ok(routes.flat_map(each).collect())
        });
        self.check_costs(&mount, &known);
        if mount.in_person && matches!(mount.access_level(), AccessLevel::Public | AccessLevel::Machine) {
            let what = format!(
                "{} is a mount with `in_person`, which its access level `{}` does not support",
                mount.prefix(),
                mount.access_level()
            );
            self.report_problem(what, "use `Mount::app` or `Mount::admin`, or remove `in_person`");
        }
        self.routes.push(ModuleRoutes { module: self.module, mount, infos, wire });
        self.tables.extend(api.tables);
        self.add_schemas(api.schemas);
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
