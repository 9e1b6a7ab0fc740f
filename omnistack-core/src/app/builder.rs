//! The builder of an app.

use std::{any::TypeId, fmt, sync::Arc};

use super::{App, AppService, OwnRoutes, core_routes, defaults, middleware_stack, resolve::ResolvedModules, routing};
use crate::{
    clock::Clock,
    config::{AppSettings, Config, PublicUrl},
    crypto::KeyRing,
    dashboard::Dashboard,
    db::{Db, DbSettings, OutboxRelay, TenantDatabaseSettings},
    events::{Dispatcher, EventSettings, Events},
    health::Health,
    http::{
        HttpSettings, VersionPolicy,
        layer::{RouteLimits, RouteLimitsLayer, no_such_route},
    },
    identity::{AccessLevel, Authenticator, LimitedResources, PermissionCatalog},
    jobs::{JobSettings, Jobs, Runner},
    log::{self, LogGuard},
    module::{Banner, BuildError, Context, Module, Problem, Registry, Slot},
    seed::Seeds,
    tenant_export::TenantExports,
};

/// Builder of an app from modules and settings, by [`build`](Self::build) or [`run`](Self::run).
#[must_use]
pub struct AppBuilder {
    modules: Vec<Box<dyn Module>>,
    config: Config,
    clock: Clock,
    db: Option<Db>,
    title: String,
    version: String,
    policies: Vec<VersionPolicy>,
    replaced: Vec<OverrideFn>,
}

type OverrideFn = Box<dyn FnOnce(&mut Context) + Send>;

impl AppBuilder {
    pub(super) fn new(config: Config) -> Self {
        Self {
            modules: Vec::new(),
            config,
            clock: Clock::system(),
            db: None,
            title: "OmniStack app".into(),
            version: "0.1.0".into(),
            policies: Vec::new(),
            replaced: Vec::new(),
        }
    }

    /// Adds a module. The order in which modules are added has no effect.
    pub fn with(mut self, module: impl Module) -> Self {
        self.modules.push(Box::new(module));
        self
    }

    /// Sets the name and version that the OpenAPI document and the startup text show: `.named(env!("CARGO_PKG_NAME"),
    /// env!("CARGO_PKG_VERSION"))`.
    pub fn named(mut self, title: impl Into<String>, version: impl Into<String>) -> Self {
        self.title = title.into();
        self.version = version.into();
        self
    }

    /// Sets the policy of an API version, such as its deprecation.
    pub fn version_policy(mut self, policy: VersionPolicy) -> Self {
        self.policies.push(policy);
        self
    }

    /// Replaces the system clock.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Uses this database instead of the one from `DATABASE_URL`.
    pub fn db(mut self, db: Db) -> Self {
        self.db = Some(db);
        self
    }

    /// Uses this value instead of the value of its type that a module provides, for tests.
    pub fn replace<T: Clone + Send + Sync + 'static>(mut self, value: T) -> Self {
        self.replaced.push(Box::new(move |ctx| ctx.insert(value)));
        self
    }

    /// Sets one setting. It overrides every other source of settings.
    pub fn set(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.config = self.config.with(name, value);
        self
    }

    /// Runs the command that the command line names, or `serve` if it names none.
    ///
    /// # Errors
    /// Fails with the error that ended the command. `main` returns it, so that it is printed in full.
    pub async fn run(self) -> crate::Result<()> {
        super::cli::run(self).await
    }

    /// Builds the app. Does no I/O. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// Fails with all problems, each with its fix.
    pub fn build(self) -> Result<App, BuildError> {
        let mut registry = Registry::new(self.config, self.clock, self.title.clone(), self.version.clone());
        // Read only to report their problems: their values are needed before the app exists.
        _ = (registry.config::<AppSettings>().map(|app| app.environment), registry.config::<log::LogSettings>());
        registry.ctx.insert(registry.public_url());
        let (db_settings, http) = (registry.config::<DbSettings>(), registry.config::<HttpSettings>());
        let (jobs, events) = (registry.config::<JobSettings>(), registry.config::<EventSettings>());
        let tenants = registry.config::<TenantDatabaseSettings>();
        let db = self.db.or_else(|| open_database(db_settings.as_ref()?, &mut registry));
        let db = db.map(|db| match (&db_settings, &tenants) {
            (Some(own), Some(tenants)) => with_tenant_databases(db, own, tenants, &mut registry),
            _ => db,
        });
        let health = Health::new(registry.clock());
        registry.ctx.insert(registry.clock.clone());
        registry.ctx.insert(registry.config.clone());
        registry.ctx.insert(health.clone());
        registry.ctx.insert(Dashboard::default());
        registry.ctx.insert(LimitedResources::default());
        registry.ctx.insert(Seeds::default());
        registry.ctx.insert(TenantExports::default());
        let own_routes = OwnRoutes::default();
        registry.ctx.insert(own_routes.clone());
        if let Some(db) = &db {
            registry.ctx.insert(db.clone());
            registry.ctx.insert(Jobs::new(db.clone(), registry.clock()));
            registry.ctx.insert(Events::new(db.clone(), registry.clock()));
        }
        for module in defaults::modules(db.as_ref().zip(db_settings.as_ref())) {
            module.register(&mut registry);
        }
        for (index, module) in self.modules.iter().enumerate() {
            registry.module = module.name();
            if self.modules[..index].iter().any(|other| other.name() == module.name()) {
                registry
                    .report_problem("was added twice", format!("remove one `.with(…)` of module `{}`", module.name()));
                continue;
            }
            module.register(&mut registry);
        }
        registry.module = "core";
        for replace in self.replaced {
            replace(&mut registry.ctx);
        }
        registry.complete();
        registry.resolve_provided();
        registry.ctx.insert(PermissionCatalog(registry.permissions.iter().cloned().collect()));
        let open = routing::without_plan_limits(&registry);
        registry.ctx.insert(open);
        let forms = routing::error_forms(&registry);
        registry.ctx.insert(forms);
        report_missing_requirements(&mut registry);
        for problem in registry.config.problems() {
            registry.problems.push(Problem::from_setting("core", &problem));
        }
        routing::conflicts(&mut registry);

        let problems = !registry.problems.is_empty();
        let (Some(db_settings), Some(http), Some(jobs), Some(events), Some(db), false) =
            (db_settings, http, jobs, events, db, problems)
        else {
            return Err(BuildError(registry.problems));
        };
        let routes = routing::list(&registry);
        let description = std::mem::take(&mut registry.description);
        // Without a public address, the server is the host from which the document was loaded.
        let public_url = Some(registry.public_url()).filter(|url| *url != PublicUrl::default());
        let server = public_url.as_ref().map_or("/", PublicUrl::as_str);
        let openapi = description.document(&self.title, &self.version, server);
        let versions = description.versions();
        drop(description);
        let wired = ResolvedModules::new(&mut registry);
        let (Some(wired), true) = (wired, registry.problems.is_empty()) else {
            return Err(BuildError(registry.problems));
        };
        for check in wired.checks {
            health.add(check);
        }
        let elsewhere = RouteLimits { body: http.body_limit.as_u64(), timeout: Some(http.timeout) };
        let limits = routing::limits(&wired.routes, elsewhere);
        let keys = registry.ctx.get().ok().map(|layer| routing::IdempotencyLayers::new(layer, &routes, &limits));
        let limits = match RouteLimitsLayer::new(limits, elsewhere) {
            Ok(limits) => limits,
            Err(error) => {
                registry.report_problem(format!("routes conflict: {error}"), "mount one of them at another path");
                return Err(BuildError(registry.problems));
            }
        };
        let exempt = routing::exempt_routes(&wired.routes);
        let router = routing::router(wired.routes, &wired.layers, keys.as_ref(), &registry.clock, &registry.ctx);
        let router = core_routes::add_documents(router, &openapi, &versions, &self.title, &routes);
        let router = router.fallback(no_such_route);
        let router = wired
            .layers
            .iter()
            .filter(|(slot, _)| *slot == Slot::Outermost)
            .fold(router, |router, (_, layer)| (layer.router)(router));
        let edge: AppService =
            middleware_stack::build_stack(router, &limits, exempt, &http, &registry, versions, &self.policies);
        let agent_operations = std::mem::take(&mut registry.agent_operations);
        let own_routes = own_routes.publish(edge.clone(), openapi.clone(), agent_operations);
        let jobs_in_serve = jobs.serve;
        let queue = registry.provided::<Jobs>().unwrap_or_else(|| Jobs::new(db.clone(), registry.clock()));
        let events_in_serve = events.serve;
        let published = registry.provided::<Events>().unwrap_or_else(|| Events::new(db.clone(), registry.clock()));
        if let Some(databases) = db.tenant_databases() {
            databases.set_migrations(&registry.migrations);
        }
        let mut receivers = std::mem::take(&mut registry.outbox_receivers);
        receivers.push(Arc::new(queue.clone()));
        receivers.push(Arc::new(published.clone()));
        let relay = OutboxRelay::new(&db, registry.clock(), receivers);
        let dispatcher = Dispatcher::new(published, wired.subscribers, events)
            .relayed_by(relay.clone())
            .reporting_to(registry.ctx.get().ok());
        let runner = Runner::new(queue, wired.handlers, &wired.queues, wired.crons, jobs)
            .relayed_by(relay.clone())
            .reporting_to(registry.ctx.get().ok())
            .publishing_to(registry.ctx.get().ok());
        let mut banner = Banner::default();
        std::mem::swap(&mut banner, &mut registry.banner);
        Ok(App {
            modules: self.modules,
            ctx: registry.ctx,
            config: registry.config,
            db,
            db_settings,
            http,
            health,
            edge,
            _own_routes: own_routes,
            title: self.title,
            version: self.version,
            openapi,
            routes,
            migrations: registry.migrations,
            services: wired.services,
            runner,
            jobs_in_serve,
            dispatcher,
            events_in_serve,
            relay,
            banner,
            doctor_lines: registry.doctor_lines,
        })
    }

    /// Starts logging, with the layers of the modules.
    pub(super) fn install_log(&self) -> LogGuard {
        let layers = self.modules.iter().filter_map(|module| module.subscriber_layer(&self.config));
        log::install_to(&self.config, std::io::stdout(), layers.collect())
    }

    pub(super) fn title(&self) -> (&str, &str) {
        (&self.title, &self.version)
    }
}

fn open_database(settings: &DbSettings, registry: &mut Registry) -> Option<Db> {
    Db::open(settings, registry.clock())
        .map_err(|error| {
            registry
                .report_problem(format!("`DATABASE_URL`: {error}"), "set it to postgres://… or sqlite:path/to/file.db");
        })
        .ok()
}

/// Gives each tenant a database, if the settings say so.
fn with_tenant_databases(db: Db, own: &DbSettings, settings: &TenantDatabaseSettings, registry: &mut Registry) -> Db {
    let shared = db.clone();
    db.with_tenant_databases(own, settings).unwrap_or_else(|error| {
        let fix = "set it to postgres://…/app_{tenant} or sqlite:data/tenants/{tenant}.db, or unset it";
        registry.report_problem(format!("`TENANT_DATABASE_URL`: {error}"), fix);
        shared
    })
}

fn report_missing_requirements(registry: &mut Registry) {
    let guarded = registry.routes.iter().find(|routes| routes.mount.access_level() != AccessLevel::Public);
    if let Some(routes) = guarded.filter(|_| registry.ctx.get::<Authenticator>().is_err()) {
        registry.problems.push(Problem {
            module: routes.module,
            what: format!(
                "mounts routes for signed-in callers at {}, but no module authenticates callers",
                routes.mount.prefix()
            ),
            fix: "add a module that provides `Authenticator`: `.with(DevIdentity::default())` while developing".into(),
        });
    }
    for (id, problem) in std::mem::take(&mut registry.requirements) {
        // Without a database or keys, the problems already include their settings.
        if !registry.ctx.has(id) && id != TypeId::of::<Db>() && id != TypeId::of::<KeyRing>() {
            registry.problems.push(problem);
        }
    }
}

impl fmt::Debug for AppBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let modules: Vec<_> = self.modules.iter().map(|module| module.name()).collect();
        f.debug_struct("AppBuilder").field("modules", &modules).finish_non_exhaustive()
    }
}
