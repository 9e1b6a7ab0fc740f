//! The builder of an app.

use std::{fmt, sync::Arc};

use axum::Router;
use secrecy::ExposeSecret as _;
use tower::Layer as _;

use super::{
    App, AppService, OwnRoutes, beside::FallbackRouter, core_routes, defaults, middleware_stack,
    resolve::ResolvedModules, routing,
};
use crate::{
    clock::Clock,
    config::{AppSettings, Config, PublicUrl},
    dashboard::Dashboard,
    db::{self, Db, DbSettings, OutboxRelay, TenantDatabaseSettings},
    events::{Dispatcher, EventSettings, Events},
    health::Health,
    http::{
        HttpSettings, VersionPolicy,
        layer::{RouteLimits, RouteLimitsLayer, no_such_route},
    },
    identity::{AccessLevel, Authenticator, LimitedResources, PermissionCatalog},
    jobs::{JobSettings, Jobs, Runner},
    log::{self, LogGuard},
    maintenance::MaintenanceMode,
    module::{Banner, BuildError, Context, Module, PATTERN_FIX, Problem, Registry, RouteChange, RouteInfo, Slot},
    seed::Seeds,
    tenant_export::TenantExports,
};

/// The settings of databases and backups that only PostgreSQL has, and that name another server or program.
const SETTINGS_OF_POSTGRES: [&str; 3] = ["DATABASE_REPLICA_URL", "TENANT_DATABASE_ADMIN_URL", "BACKUP_POSTGRES_BIN"];

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
    route_changes: Vec<RouteChange>,
    fallback: Option<Router>,
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
            route_changes: Vec::new(),
            fallback: None,
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

    /// Serves requests that match no route of the app by this router, within the app's middleware stack. It is meant for
    /// the routes of an existing app. They get the app's request ids, limits, compression, form of errors and log, and
    /// keep their own way to authenticate callers. The app has no page at `/` then.
    ///
    /// `HTTP_BODY_LIMIT`, `HTTP_TIMEOUT` and `HTTP_RATE_LIMIT` apply to them. A response with an error status and
    /// without a body, or with plain text, becomes an error of the app.
    ///
    /// During [maintenance](crate::maintenance) all of them are refused. A route that must be served then, such as a health
    /// check, is a route of a module: [`Api::hidden`](crate::module::Api::hidden) takes it as it is, on a mount with
    /// [`during_maintenance`](crate::module::Mount::during_maintenance).
    ///
    /// ```
    /// use axum::{Router, routing::get};
    /// use omnistack_core::{app::App, config::Config};
    /// # use axum::{body::Body, http::Request};
    /// # use tower::ServiceExt as _;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let shop = Router::new().route("/orders/{id}", get(|| async { "an order" }));
    /// # let config = Config::from_pairs([("DATABASE_URL", "sqlite::memory:")]);
    /// let app = App::builder(config).fallback(shop).build()?;
    /// let response = app.service().oneshot(Request::get("/orders/7").body(Body::empty())?).await?;
    /// assert_eq!(response.status(), 200);
    /// assert!(response.headers().contains_key("x-request-id"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn fallback(mut self, router: Router) -> Self {
        self.fallback = Some(router);
        self
    }

    /// Uses this database instead of the one from `DATABASE_URL`: one with other settings, or the pools of an app that
    /// was there before, by [`Db::from_pools`].
    pub fn db(mut self, db: Db) -> Self {
        self.db = Some(db);
        self
    }

    /// Leaves out routes of a module: they respond with 404 to all callers, need no values that no other route needs, and
    /// are not in the OpenAPI document. A module of the app may mount its own handler at their path.
    ///
    /// `pattern` is a path as the command `routes` prints it, with the method before it if only routes of that method are
    /// meant. `*` stands for one segment, and `**` at the end for the path and all paths below it. The module is the one
    /// in the last column of `routes`; `core` has the pages `/docs/**`, `/openapi/**` and `/`.
    ///
    /// A pattern that matches no route is a problem of the build, and so is a route that is left out although something
    /// depends on it, such as a page that calls it.
    ///
    /// ```
    /// # use omnistack_core::{app::App, config::Config};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let config = Config::from_pairs([("DATABASE_URL", "sqlite::memory:")]);
    /// let app = App::builder(config).without_routes("core", "/api/*/public/health").build()?;
    /// assert!(!app.routes().iter().any(|route| route.path.ends_with("/public/health")));
    /// # Ok(())
    /// # }
    /// ```
    pub fn without_routes(mut self, module: impl Into<String>, pattern: impl Into<String>) -> Self {
        self.route_changes.push(RouteChange::LeaveOut { module: module.into(), pattern: pattern.into() });
        self
    }

    /// Serves routes of a module at another path: those at `from`, and all below it. Segments `*` and parameters in
    /// `from` stand for any, and those in `to` keep them, in their order. The guards, the limits and the ids of the
    /// operations stay the same. Something that depends on the old path is a problem of the build, as for
    /// [`without_routes`](Self::without_routes).
    ///
    /// ```
    /// # use omnistack_core::{app::App, config::Config};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let config = Config::from_pairs([("DATABASE_URL", "sqlite::memory:")]);
    /// let app = App::builder(config).move_routes("core", "/api/*/public/health", "/api/*/public/status").build()?;
    /// assert!(app.routes().iter().any(|route| route.path == "/api/v1/public/status"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn move_routes(mut self, module: impl Into<String>, from: impl Into<String>, to: impl Into<String>) -> Self {
        self.route_changes.push(RouteChange::Move { module: module.into(), from: from.into(), to: to.into() });
        self
    }

    /// Uses this value instead of the value of its type that a module provides: another provider behind a handle, such as
    /// `.replace(Mailer::new(provider))`, or a fake in tests. A module that holds a value of its own, and does not take it
    /// from the [`Context`], keeps it.
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
        #[cfg(feature = "cli")]
        use super::cli;
        #[cfg(not(feature = "cli"))]
        use super::plain_cli as cli;

        cli::run(self).await
    }

    /// Builds the app. Does no I/O. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// Fails with all problems, each with its fix.
    pub fn build(self) -> Result<App, BuildError> {
        let mut registry = Registry::new(self.config, self.clock, self.title.clone(), self.version.clone());
        // Read only to report their problems: their values are needed before the app exists.
        _ = (registry.config::<AppSettings>().map(|app| app.environment), registry.config::<log::LogSettings>());
        for change in self.route_changes {
            if let Err(what) = registry.route_changes.add(change) {
                registry.report_problem(format!("a change of routes can't be read: {what}"), PATTERN_FIX);
            }
        }
        let (db_settings, http) = (registry.config::<DbSettings>(), registry.config::<HttpSettings>());
        let (jobs, events) = (registry.config::<JobSettings>(), registry.config::<EventSettings>());
        let tenants = registry.config::<TenantDatabaseSettings>();
        if !cfg!(feature = "postgres")
            && let Err(problems) = registry.config.check_unset("postgres", "omnistack", &SETTINGS_OF_POSTGRES)
        {
            registry.report_settings(&problems);
        }
        registry.ctx.insert(registry.public_url());
        let passed = self.db.as_ref().map(Db::dialect);
        let db = self.db.or_else(|| open_database(db_settings.as_ref()?, &mut registry));
        let db = db.map(|db| match (&db_settings, &tenants) {
            (Some(own), Some(tenants)) => with_tenant_databases(db, own, tenants, &mut registry),
            _ => db,
        });
        // `DATABASE_URL` is not used then, so it is not shown, and its directory not created.
        let db_settings = db_settings.map(|settings| match passed {
            Some(dialect) => settings.passed_by_program(dialect),
            None => settings,
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
        let mut modules = defaults::modules(db.as_ref().zip(db_settings.as_ref()));
        for module in &modules {
            module.register(&mut registry);
        }
        registry.added = self.modules.iter().map(|module| module.name()).collect();
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
        let mut missing = registry.resolve_provided();
        registry.ctx.insert(PermissionCatalog(registry.permissions.iter().cloned().collect()));
        let open = routing::without_plan_limits(&registry);
        registry.ctx.insert(open);
        let forms = routing::error_forms(&registry);
        registry.ctx.insert(forms);
        for problem in registry.config.problems() {
            registry.problems.push(Problem::from_setting("core", &problem));
        }
        let has_index = self.fallback.is_none();
        routing::conflicts(&mut registry, has_index);
        routing::check_changes(&mut registry, has_index);
        let routes: Arc<[RouteInfo]> = routing::list(&registry, has_index).into();
        let unguarded = routes_without_authenticator(&registry);
        // Also after a problem, so that one build reports them all.
        let wired = ResolvedModules::new(&mut registry, &mut missing);
        let known = registry.problems.len();
        registry.report_missing(missing);
        if let Some(problem) = unguarded {
            registry.problems.insert(known, problem);
        }
        let (Some(db_settings), Some(http), Some(jobs), Some(events), Some(db), true) =
            (db_settings, http, jobs, events, db, registry.problems.is_empty())
        else {
            return Err(BuildError(registry.problems));
        };
        let description = std::mem::take(&mut registry.description);
        // Without a public address, the server is the host from which the document was loaded.
        let public_url = registry.config.read_settings::<AppSettings>().ok().and_then(|app| app.public_url);
        let server = public_url.as_ref().map_or("/", PublicUrl::as_str);
        let were_removed = registry.route_changes.removed_any();
        let versions = description.versions();
        let openapi = Arc::new(description.finish(&self.title, &self.version, server, were_removed));
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
        let router = core_routes::add_pages(router, &openapi, &self.title, &routes);
        let router = match self.fallback {
            Some(existing) => {
                let existing = FallbackRouter(existing);
                match registry.ctx.get::<MaintenanceMode>() {
                    Ok(mode) => router.fallback_service(mode.layer().layer(existing)),
                    Err(_) => router.fallback_service(existing),
                }
            }
            None => router.fallback(no_such_route),
        };
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
        modules.extend(self.modules);
        Ok(App {
            modules,
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
            tables_in_schemas: registry.tables_in_schemas,
            unprotected: registry.unprotected,
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

    #[cfg(feature = "cli")]
    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    #[cfg(feature = "cli")]
    pub(super) fn title(&self) -> (&str, &str) {
        (&self.title, &self.version)
    }
}

fn open_database(settings: &DbSettings, registry: &mut Registry) -> Option<Db> {
    Db::open(settings, registry.clock())
        .map_err(|error| {
            let fix = match db::missing_feature(settings.url.expose_secret()) {
                None => "set it to postgres://… or sqlite:path/to/file.db".to_owned(),
                Some(feature) => format!(
                    "add the feature `{feature}` to `omnistack` in Cargo.toml, or set DATABASE_URL to another database"
                ),
            };
            registry.report_problem(format!("`DATABASE_URL`: {error}"), fix);
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

/// Returns a problem if routes are for signed-in callers, but no module authenticates callers. Their first module is
/// named.
fn routes_without_authenticator(registry: &Registry) -> Option<Problem> {
    let mut routes = registry.routes.iter();
    let routes = routes.find(|routes| routes.mount.access_level() != AccessLevel::Public)?;
    // A module with problems may have left it out.
    let is_reported = registry.added.contains(&"auth") && registry.problems.iter().any(|other| other.module == "auth");
    if registry.provides::<Authenticator>() || is_reported {
        return None;
    }
    let prefix = routes.mount.prefix();
    Some(Problem {
        module: routes.module,
        what: format!("mounts routes for signed-in callers at {prefix}, but no module authenticates callers"),
        fix: "add a module that provides `Authenticator`: `.with(Auth::from_env())`, of the feature `auth`, or \
              `.with(DevIdentity::default())` while developing"
            .into(),
    })
}

impl fmt::Debug for AppBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let modules: Vec<_> = self.modules.iter().map(|module| module.name()).collect();
        f.debug_struct("AppBuilder").field("modules", &modules).finish_non_exhaustive()
    }
}
