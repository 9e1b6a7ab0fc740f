//! From modules to an app, or to everything that keeps them from being one.

use std::{any::TypeId, fmt};

use tower::Layer as _;

use super::{
    App, Ctx, Edge, Module, Registry,
    banner::Banner,
    core_routes, edge,
    problem::{BuildError, Problem},
    registry::Slot,
    routing,
    wired::Wired,
};
use crate::{
    audit::{AuditLog, AuditStore},
    cache::{Cache, CacheSettings},
    clock::Clock,
    config::{Config, Environment, PublicUrl},
    crypto::KeyRing,
    db::{Db, DbSettings, TenantDatabaseSettings},
    events::{Dispatcher, EventSettings, Events},
    health::Health,
    http::{
        HttpSettings, RateLimits, VersionPolicy,
        layer::{RouteLayer, RouteLimits, no_such_route},
    },
    identity::{Authenticator, Entitlements, KnownPermissions},
    jobs::{JobSettings, Jobs, Runner},
    pubsub::Publisher,
    relay::Relay,
    usage::UsageSink,
};

/// Takes modules and settings; [`build`](Self::build) or [`run`](Self::run) makes the app of them.
#[must_use]
pub struct AppBuilder {
    modules: Vec<Box<dyn Module>>,
    config: Config,
    clock: Clock,
    db: Option<Db>,
    title: String,
    version: String,
    policies: Vec<VersionPolicy>,
    replaced: Vec<Replace>,
}

type Replace = Box<dyn FnOnce(&mut Ctx) + Send>;

crate::section! {
    /// The app.
    pub(super) struct AppSettings {
        /// Where the app runs. In production development secrets are refused, migrations are not run at start and logs
        /// are JSON.
        pub(super) environment: Environment = "APP_ENV", default "development";
        /// Where users reach the app: what links in mails and to files begin with, and the issuer of access tokens. It has no path. What needs it in production asks for one that begins with `https://`.
        pub(super) public_url: PublicUrl = "PUBLIC_URL", default "http://127.0.0.1:8080";
    }
}

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

    /// Adds a module. The order in which modules are added never matters.
    pub fn with(mut self, module: impl Module) -> Self {
        self.modules.push(Box::new(module));
        self
    }

    /// The name and version in the API's description and at start: `.named(env!("CARGO_PKG_NAME"),
    /// env!("CARGO_PKG_VERSION"))`.
    pub fn named(mut self, title: impl Into<String>, version: impl Into<String>) -> Self {
        self.title = title.into();
        self.version = version.into();
        self
    }

    /// Deprecates a version of the API.
    pub fn version(mut self, policy: VersionPolicy) -> Self {
        self.policies.push(policy);
        self
    }

    /// Takes the time from this clock.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Uses this database, whatever `DATABASE_URL` says.
    pub fn db(mut self, db: Db) -> Self {
        self.db = Some(db);
        self
    }

    /// Uses this value in place of whatever modules provide of its type: for tests.
    pub fn replace<T: Clone + Send + Sync + 'static>(mut self, value: T) -> Self {
        self.replaced.push(Box::new(move |ctx| ctx.insert(value)));
        self
    }

    /// Sets one setting, above every other source.
    pub fn set(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.config = self.config.with(name, value);
        self
    }

    /// Runs the app as its command line says; `serve` when it says nothing.
    ///
    /// # Errors
    /// What kept it from running, printed in full by returning it from `main`.
    pub async fn run(self) -> crate::Result<()> {
        super::cli::run(self).await
    }

    /// Wires the app. No I/O; must be called within a Tokio runtime.
    ///
    /// # Errors
    /// Every problem there is, each with the line that fixes it.
    pub fn build(self) -> Result<App, BuildError> {
        let mut registry = Registry::new(self.config, self.clock, self.title.clone());
        // Read for their problems: their values are needed before there is an app.
        _ = (registry.config::<AppSettings>().map(|app| app.environment), registry.config::<crate::log::LogSettings>());
        registry.ctx.insert(registry.public_url());
        let (db_settings, http) = (registry.config::<DbSettings>(), registry.config::<HttpSettings>());
        let (jobs, events) = (registry.config::<JobSettings>(), registry.config::<EventSettings>());
        let tenants = registry.config::<TenantDatabaseSettings>();
        let db = self.db.or_else(|| open(db_settings.as_ref()?, &mut registry));
        let db = db.map(|db| match (&db_settings, &tenants) {
            (Some(own), Some(tenants)) => apart(db, own, tenants, &mut registry),
            _ => db,
        });
        let health = Health::new(registry.clock());
        registry.ctx.insert(registry.clock.clone());
        registry.ctx.insert(registry.config.clone());
        registry.ctx.insert(health.clone());
        if let (Some(settings), Some(db)) = (&db_settings, &db) {
            registry.ctx.insert(db.clone());
            registry.ctx.insert(Jobs::new(db.clone(), registry.clock()));
            registry.ctx.insert(Events::new(db.clone(), registry.clock()));
            core_routes::register(&mut registry, db, settings);
            crate::http::idempotency::register(&mut registry, db);
            crate::audit::register(&mut registry);
        }
        let cache_settings = registry.config::<CacheSettings>();
        let shared = shared(&mut registry);
        for (index, module) in self.modules.iter().enumerate() {
            registry.module = module.name();
            if self.modules[..index].iter().any(|other| other.name() == module.name()) {
                registry.problem("was added twice", format!("remove one `.with(…)` of module `{}`", module.name()));
                continue;
            }
            module.register(&mut registry);
        }
        registry.module = "core";
        for replace in self.replaced {
            replace(&mut registry.ctx);
        }
        if registry.requires::<KeyRing>() && !registry.ctx.has(TypeId::of::<KeyRing>()) {
            crate::crypto::register(&mut registry);
        }
        let clock = registry.clock();
        if let Some(db) = &db {
            registry.default(AuditStore::new(db.clone(), registry.clock()));
        }
        let (cache, publisher, mut limits) = shared.unwrap_or_else(|| {
            let size = cache_settings.map_or(0, |settings| settings.size.as_u64());
            let limits = RateLimits::in_process(registry.clock());
            (Cache::in_process(size, registry.clock()), Publisher::default(), limits)
        });
        if let Some(http) = &http {
            limits = limits.legacy_fields(http.rate_limit_legacy);
        }
        #[cfg(feature = "http-client")]
        crate::http::client::register(&mut registry);
        let mailer = crate::email::register(&mut registry).unwrap_or_default();
        registry
            .default(cache)
            .default(Entitlements::default())
            .default(UsageSink::default())
            .default(AuditLog::stored(clock.clone()))
            .default(mailer)
            .default(publisher)
            .default(limits);
        registry.provide_later();
        // For operators, where anybody can be one.
        if registry.ctx.get::<Authenticator>().is_ok() && registry.ctx.get::<Jobs>().is_ok() {
            crate::jobs::http::register(&mut registry);
            crate::events::http::register(&mut registry);
        }
        registry.ctx.insert(KnownPermissions(registry.permissions.iter().cloned().collect()));
        unmet(&mut registry);
        for problem in registry.config.problems() {
            registry.problems.push(Problem::setting("core", &problem));
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
        // Without an address of its own the app answers where its description was got from.
        let public_url = Some(registry.public_url()).filter(|url| *url != PublicUrl::default());
        let server = public_url.as_ref().map_or("/", PublicUrl::as_str);
        let openapi = description.document(&self.title, &self.version, server);
        let versions = description.versions();
        drop(description);
        let wired = Wired::new(&mut registry);
        let (Some(wired), true) = (wired, registry.problems.is_empty()) else {
            return Err(BuildError(registry.problems));
        };
        for check in wired.checks {
            health.add(check);
        }
        let elsewhere = RouteLimits { body: http.body_limit.as_u64(), timeout: Some(http.timeout) };
        let limits = routing::limits(&wired.routes, elsewhere);
        let keys = registry.ctx.get().ok().map(|layer| routing::Keys::new(layer, &routes, &limits));
        let limits = match RouteLayer::new(limits, elsewhere) {
            Ok(limits) => limits,
            Err(error) => {
                registry.problem(format!("routes clash: {error}"), "mount one of them elsewhere");
                return Err(BuildError(registry.problems));
            }
        };
        let router = routing::router(wired.routes, &wired.layers, keys.as_ref(), &registry.clock, &registry.ctx);
        let router = core_routes::documents(router, &openapi, &versions, &self.title, &routes);
        let router = router.fallback(no_such_route);
        let router = wired
            .layers
            .iter()
            .filter(|(slot, _)| *slot == Slot::Edge)
            .fold(router, |router, (_, layer)| (layer.router)(router));
        let edge: Edge = edge::around(limits.layer(router), &http, &registry, versions, &self.policies);
        let jobs_in_serve = jobs.serve;
        let queue = registry.ctx.get::<Jobs>().unwrap_or_else(|_| Jobs::new(db.clone(), registry.clock()));
        let events_in_serve = events.serve;
        let told = registry.ctx.get::<Events>().unwrap_or_else(|_| Events::new(db.clone(), registry.clock()));
        let dispatcher = Dispatcher::new(told.clone(), wired.subscribers, events);
        if let Some(databases) = db.tenant_databases() {
            databases.know(&registry.migrations);
        }
        let relay = Relay::new(&db, registry.clock(), queue.clone(), told);
        let dispatcher = dispatcher.relayed_by(relay.clone());
        let runner =
            Runner::new(queue, wired.handlers, &registry.queues, registry.crons, jobs).relayed_by(relay.clone());
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
        })
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    pub(super) fn title(&self) -> (&str, &str) {
        (&self.title, &self.version)
    }
}

fn open(settings: &DbSettings, registry: &mut Registry) -> Option<Db> {
    Db::open(settings, registry.clock())
        .map_err(|error| {
            registry.problem(format!("`DATABASE_URL`: {error}"), "set it to postgres://… or sqlite:path/to/file.db");
        })
        .ok()
}

/// With a database for each tenant, if the settings say so.
fn apart(db: Db, own: &DbSettings, settings: &TenantDatabaseSettings, registry: &mut Registry) -> Db {
    let shared = db.clone();
    db.with_tenant_databases(own, settings).unwrap_or_else(|error| {
        let fix = "set it to postgres://…/app_{tenant} or sqlite:data/tenants/{tenant}.db, or unset it";
        registry.problem(format!("`TENANT_DATABASE_URL`: {error}"), fix);
        shared
    })
}

/// The cache, the messages and the rates all replicas share, with `REDIS_URL`.
fn shared(registry: &mut Registry) -> Option<(Cache, Publisher, RateLimits)> {
    #[cfg(feature = "redis")]
    return crate::redis::register(registry);
    #[cfg(not(feature = "redis"))]
    {
        _ = registry;
        None
    }
}

fn unmet(registry: &mut Registry) {
    let guarded = registry.routes.iter().find(|routes| routes.mount.audience() != super::Audience::Public);
    if let Some(routes) = guarded.filter(|_| registry.ctx.get::<Authenticator>().is_err()) {
        registry.problems.push(Problem {
            module: routes.module,
            what: format!(
                "mounts routes for signed-in callers at {}, and no module signs anybody in",
                routes.mount.prefix()
            ),
            fix: "add a module that provides `Authenticator`: `.with(DevIdentity::default())` while developing".into(),
        });
    }
    for (id, problem) in std::mem::take(&mut registry.requirements) {
        // Without a database or keys their settings are among the problems already.
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
