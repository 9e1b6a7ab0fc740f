//! Resolution of what modules contribute.

use super::routing;
use crate::{
    events::{SubscriberHandler, SubscriberRegistrations},
    health::HealthCheck,
    jobs::{CronSpec, JobHandler, JobRegistrations, Queue},
    module::{BackgroundService, MissingDependency, MissingValues, Registry, ResolvedLayer, Slot},
    webhook::WebhookRegistrations,
};

/// The resolved contributions of all modules.
pub(crate) struct ResolvedModules {
    pub(crate) routes: Vec<routing::ResolvedMount>,
    pub(crate) layers: Vec<(Slot, ResolvedLayer)>,
    pub(crate) checks: Vec<HealthCheck>,
    pub(crate) services: Vec<BackgroundService>,
    pub(crate) handlers: Vec<JobHandler>,
    pub(super) queues: Vec<Queue>,
    pub(super) crons: Vec<CronSpec>,
    pub(crate) subscribers: Vec<SubscriberHandler>,
}

impl ResolvedModules {
    /// Resolves the contributions. Adds what is missing to `all_missing`, and leaves out what can't be resolved.
    pub(crate) fn new(registry: &mut Registry, all_missing: &mut Vec<MissingValues>) -> Self {
        let ctx = registry.ctx.clone();
        let mut keep = |module, missing: MissingDependency| {
            all_missing.push(MissingValues { module, missing, creates: None });
        };
        let mut wired = Self {
            routes: Vec::new(),
            layers: Vec::new(),
            checks: Vec::new(),
            services: Vec::new(),
            handlers: Vec::new(),
            queues: Vec::new(),
            crons: Vec::new(),
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
        for (module, contribute) in registry.contributors.drain(..) {
            if let Err(missing) = contribute(&ctx) {
                keep(module, missing);
            }
        }
        for (module, service) in registry.services.drain(..) {
            match service(&ctx) {
                Ok(service) => wired.services.push(service),
                Err(missing) => keep(module, missing),
            }
        }
        let mut jobs = registry.take_contributions::<JobRegistrations>();
        wired.handlers = jobs.resolve(&ctx, &mut keep);
        (wired.queues, wired.crons) = (jobs.queues, jobs.crons);
        wired.subscribers = registry.take_contributions::<SubscriberRegistrations>().resolve(&ctx, &mut keep);
        registry.take_contributions::<WebhookRegistrations>().resolve(&ctx, keep);
        wired
    }
}
