//! Resolution of what modules contribute.

use super::{
    MissingDependency, Problem, Registry,
    registry::{ResolvedLayer, Slot},
    routing, services,
};
use crate::{events::SubscriberHandler as EventHandler, health::HealthCheck, jobs::JobHandler};

/// The resolved contributions of all modules.
pub(super) struct ResolvedModules {
    pub(super) routes: Vec<routing::ResolvedMount>,
    pub(super) layers: Vec<(Slot, ResolvedLayer)>,
    pub(super) checks: Vec<HealthCheck>,
    pub(super) services: Vec<services::BackgroundService>,
    pub(super) handlers: Vec<JobHandler>,
    pub(super) subscribers: Vec<EventHandler>,
}

impl ResolvedModules {
    /// Resolves the contributions. Returns `None` if a value is missing, after reporting it.
    pub(super) fn new(registry: &mut Registry) -> Option<Self> {
        let ctx = registry.ctx.clone();
        let mut problems = Vec::new();
        let mut keep = |module, missing: MissingDependency| problems.push(Problem::from_missing(module, missing));
        let mut wired = Self {
            routes: Vec::new(),
            layers: Vec::new(),
            checks: Vec::new(),
            services: Vec::new(),
            handlers: Vec::new(),
            subscribers: Vec::new(),
        };
        for routes in registry.routes.drain(..) {
            match (routes.wire)(&ctx) {
                Ok(routers) => wired.routes.push(routing::ResolvedMount { mount: routes.mount, routers }),
                Err(missing) => keep(routes.module, missing),
            }
        }
        // Layers are added innermost first. Within a slot they are ordered by module name, so that the order of
        // modules has no effect.
        registry.layers.sort_by_key(|(slot, module, _)| (std::cmp::Reverse(*slot), *module));
        for (slot, module, layer) in registry.layers.drain(..) {
            match layer(&ctx) {
                Ok(layer) => wired.layers.push((slot, layer)),
                Err(missing) => keep(module, missing),
            }
        }
        for (_, module, check) in registry.checks.drain(..) {
            match check(&ctx) {
                Ok(check) => wired.checks.push(check),
                Err(missing) => keep(module, missing),
            }
        }
        for (module, service) in registry.services.drain(..) {
            match service(&ctx) {
                Ok(service) => wired.services.push(service),
                Err(missing) => keep(module, missing),
            }
        }
        for (_, module, handler) in registry.handlers.drain(..) {
            match handler(&ctx) {
                Ok(handler) => wired.handlers.push(handler),
                Err(missing) => keep(module, missing),
            }
        }
        for (_, module, subscriber) in registry.subscribers.drain(..) {
            match subscriber(&ctx) {
                Ok(subscriber) => wired.subscribers.push(subscriber),
                Err(missing) => keep(module, missing),
            }
        }
        for (module, layer) in registry.job_layers.drain(..) {
            match layer(&ctx) {
                Ok(layer) => {
                    wired.handlers.iter_mut().for_each(|handler| handler.service = layer(handler.service.clone()));
                }
                Err(missing) => keep(module, missing),
            }
        }
        registry.problems.extend(problems);
        registry.problems.is_empty().then_some(wired)
    }
}
