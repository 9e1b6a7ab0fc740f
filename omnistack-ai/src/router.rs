//! The choice of the model that answers a request.
//!
//! A request names a model, an alias such as `fast`, a named route, or `provider/model`. [`AiRouter`] finds the models
//! behind the name, leaves out those that the tenant may not use or that can't answer, and puts the others in order: by
//! the strategy of the route, and by the [health](ProviderHealth) of their providers.

mod admin;
mod allowed;
mod candidate;
mod complexity;
mod endings;
mod error;
mod experiment;
mod handle;
mod health;
mod needs;
mod routes;
mod settings;
mod strategy;

use std::{collections::HashSet, sync::Arc, time::Duration};

use omnistack_core::{
    BoxError, ShutdownToken,
    flag_variant::FlagVariants,
    identity::Authenticator,
    metrics::{AI_ENDING_MODELS, NO_LABELS},
    module::{Mount, Registry},
    pubsub::PubSub,
};

pub use complexity::{Complexity, complexity_of};
pub use endings::EndingModel;
pub use handle::{AiRouter, EmbeddingRouteQuery, RouteQuery, RouteTarget};
pub use health::{ModelHealth, ProviderHealth};
pub use routes::{ModelRoutes, RoutesError};
pub use strategy::RouteStrategy;

use self::{candidate::ModelDirectory, endings::ending_models, handle::RouterState, settings::AiRoutingSettings};
use crate::{
    catalog::{ModelCatalog, day, read_file},
    provider::LlmProvider,
};

/// The time between two warnings of models that end.
const WARNING_INTERVAL: Duration = Duration::from_secs(24 * 3_600);

/// Registers the router of the app's providers, and its routes for operators if the app authenticates callers. `routes`
/// are those of the app's code, which `AI_ROUTES_FILE` adds to.
pub(crate) fn register(
    registry: &mut Registry,
    catalog: &ModelCatalog,
    providers: Vec<Arc<dyn LlmProvider>>,
    routes: Option<ModelRoutes>,
) -> Option<String> {
    let settings = registry.config::<AiRoutingSettings>()?;
    let routes = read_routes(registry, &settings, routes)?;
    report_equal_names(registry, &providers);
    let clock = registry.clock();
    let AiRoutingSettings { default_model, strategy, allowed_models, use_successors, .. } = settings;
    let default = default_model.clone();
    let (requires_prices, failures) = (settings.require_prices, settings.breaker_failures);
    let catalog = catalog.clone();
    let directory = ModelDirectory { catalog, providers, routes, strategy, uses_successors: use_successors };
    let now = clock.now();
    let ending: Vec<String> =
        ending_models(&directory, &default_model, now).iter().map(|model| model.to_text(day(now))).collect();
    let text = if ending.is_empty() { "none that the app names ends within 60 days".into() } else { ending.join("; ") };
    registry
        .doctor_line("AI models", text)
        .provide_from(move |ctx| {
            let messages = ctx.get::<PubSub>()?;
            let health = ProviderHealth::new(clock.clone(), failures, &directory.providers, Some(messages));
            Ok(AiRouter::new(RouterState {
                directory: directory.clone(),
                default_model: default_model.clone(),
                allowed_models: allowed_models.clone(),
                requires_prices,
                health,
                flags: ctx.get::<FlagVariants>()?,
                clock: clock.clone(),
            }))
        })
        .background_service("ai provider waits", |ctx| {
            let router = ctx.get::<AiRouter>()?;
            Ok(move |shutdown: ShutdownToken| {
                let router = router.clone();
                async move { router.health().listen(&shutdown).await }
            })
        })
        .background_service("ai model ends", |ctx| {
            let router = ctx.get::<AiRouter>()?;
            Ok(move |shutdown: ShutdownToken| warn_of_ends(router.clone(), shutdown))
        })
        .after_modules(|registry| {
            if registry.provides::<Authenticator>() {
                registry.routes(Mount::admin("/ai"), admin::api(), |ctx| ctx.get::<AiRouter>());
            }
        });
    Some(default)
}

/// Returns the built-in routes with those of the code and of `AI_ROUTES_FILE`. Reports a file that is not accepted, and
/// returns `None` then.
fn read_routes(registry: &mut Registry, settings: &AiRoutingSettings, own: Option<ModelRoutes>) -> Option<ModelRoutes> {
    let routes = ModelRoutes::built_in().with(own.unwrap_or_default());
    let Some(path) = &settings.routes_file else { return Some(routes) };
    let text = read_file(registry, path, "AI_ROUTES_FILE")?;
    match ModelRoutes::from_toml(&text) {
        Ok(more) => Some(routes.with(more)),
        Err(error) => {
            for problem in error.problems() {
                registry.report_problem(problem.clone(), format!("correct the file {}", path.display()));
            }
            None
        }
    }
}

/// Reports providers of the same name.
fn report_equal_names(registry: &mut Registry, providers: &[Arc<dyn LlmProvider>]) {
    let mut names = HashSet::new();
    for provider in providers {
        if !names.insert(provider.name()) {
            let what = format!("two AI providers have the name `{}`", provider.name().escape_debug());
            registry.report_problem(what, "give one of them another name");
        }
    }
}

/// Warns at the start and once a day of models which the app names, and which have ended or end soon.
async fn warn_of_ends(router: AiRouter, shutdown: ShutdownToken) -> Result<(), BoxError> {
    loop {
        let today = day(router.now());
        let ending = router.ending_models();
        AI_ENDING_MODELS.gauge(NO_LABELS).set(f64::from(u32::try_from(ending.len()).unwrap_or(u32::MAX)));
        for model in &ending {
            let text = model.to_text(today);
            tracing::warn!(target: "omnistack::ai", "a model ends: {text}; name another one in its place");
        }
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = tokio::time::sleep(WARNING_INTERVAL) => {}
        }
    }
}

#[cfg(test)]
mod tests;
