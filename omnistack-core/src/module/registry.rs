//! The registry of what a module contributes.

mod dashboard;
mod description;
mod headers;
#[cfg(feature = "http-client")]
mod http_client;
mod limits;
mod values;

use std::{
    any::{Any, TypeId},
    collections::{BTreeSet, HashMap},
    convert::Infallible,
    sync::Arc,
};

use axum::{
    Router,
    extract::Request,
    response::IntoResponse,
    routing::{MethodRouter, Route},
};
use tower::{Layer, Service};
use utoipa::openapi::{RefOr, Schema};

use super::{
    Api, BackgroundService, Banner, Context, DeclaredTable, MissingDependency, Mount, Problem, RouteInfo,
    openapi::OpenApiBuilder, route_info::route_infos,
};
use crate::{
    BoxError, ShutdownToken,
    clock::Clock,
    config::{AppSettings, Config, Environment, PublicUrl, SettingsSection},
    db::{Migrations, OutboxReceiver},
    health::HealthCheck,
    identity::{AccessLevel, Require, RequireLayer},
};

/// Position of a layer in the stack. Slots order layers; the order of the `.with(…)` calls has no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Slot {
    /// Outermost: around all requests, including those that match no route.
    Outermost,
    /// Outside the guard of a matched route: the caller is not known yet.
    Identity,
    /// Inside the guard: the caller and the tenant are known.
    Tenant,
    /// Innermost: next to the handler.
    Route,
}

/// Creates a value from other provided values, or returns what is missing.
pub(crate) type ProvideFn = Box<dyn Fn(&mut Context) -> Result<(), MissingDependency> + Send>;
type WireRoutes = Box<dyn FnOnce(&Context) -> Result<Vec<(String, MethodRouter)>, MissingDependency> + Send>;
type WireLayer = Box<dyn FnOnce(&Context) -> Result<ResolvedLayer, MissingDependency> + Send>;
/// Adds what a module contributes to a value that core provides, such as the dashboard.
type Contribute = Box<dyn FnOnce(&Context) -> Result<(), MissingDependency> + Send>;
/// Completes the registration of a module.
type Completion = Box<dyn FnOnce(&mut Registry) + Send>;
type WireService = Box<dyn FnOnce(&Context) -> Result<BackgroundService, MissingDependency> + Send>;

pub(crate) struct ModuleRoutes {
    pub(crate) module: &'static str,
    pub(crate) mount: Mount,
    pub(crate) infos: Vec<RouteInfo>,
    pub(crate) wire: WireRoutes,
}

/// A layer that can be put around one route or around the whole router.
pub(crate) struct ResolvedLayer {
    pub(crate) route: Arc<dyn Fn(MethodRouter) -> MethodRouter + Send + Sync>,
    pub(crate) router: Arc<dyn Fn(Router) -> Router + Send + Sync>,
}

/// Collects what a module contributes: data and closures. Nothing runs until the app is built.
///
/// ```
/// use omnistack_core::{module::{Api, Module, Mount, Registry}, db::Db};
///
/// struct Projects;
///
/// impl Module for Projects {
///     fn name(&self) -> &'static str {
///         "projects"
///     }
///
///     fn register(&self, registry: &mut Registry) {
///         registry
///             .require::<Db>()
///             .routes(Mount::app("/projects"), Api::<Db>::new(), |ctx| ctx.get::<Db>())
///             .health("projects", |_ctx| Ok(|| async { Ok(()) }));
///     }
/// }
/// ```
pub struct Registry {
    pub(crate) module: &'static str,
    pub(crate) config: Config,
    pub(crate) clock: Clock,
    pub(crate) title: String,
    version: String,
    pub(crate) ctx: Context,
    pub(crate) routes: Vec<ModuleRoutes>,
    pub(crate) description: OpenApiBuilder,
    /// Permissions that some route requires.
    pub(crate) permissions: BTreeSet<String>,
    /// Limited resources that some route requires the plan to allow one more of, and the modules of the routes.
    required_limits: Vec<(&'static str, String)>,
    pub(crate) headers: headers::DeclaredHeaders,
    pub(crate) layers: Vec<(Slot, &'static str, WireLayer)>,
    pub(crate) migrations: Vec<(&'static str, Migrations)>,
    tables: Vec<DeclaredTable>,
    pub(crate) checks:
        Vec<(&'static str, &'static str, Box<dyn FnOnce(&Context) -> Result<HealthCheck, MissingDependency> + Send>)>,
    pub(crate) contributors: Vec<(&'static str, Contribute)>,
    pub(crate) services: Vec<(&'static str, WireService)>,
    pub(crate) outbox_receivers: Vec<Arc<dyn OutboxReceiver>>,
    /// Contributions that other modules of this crate collect, by their type.
    contributions: HashMap<TypeId, Box<dyn Any + Send>>,
    pub(crate) completions: Vec<(&'static str, Completion)>,
    pub(crate) providers: Vec<(TypeId, &'static str)>,
    pub(crate) provided_later: Vec<(&'static str, ProvideFn)>,
    /// Required types, and the problem to report if one is missing.
    pub(crate) requirements: Vec<(TypeId, Problem)>,
    pub(crate) banner: Banner,
    pub(crate) problems: Vec<Problem>,
}

impl Registry {
    pub(crate) fn new(config: Config, clock: Clock, title: String, version: String) -> Self {
        Self {
            module: "core",
            config,
            clock,
            title,
            version,
            ctx: Context::default(),
            routes: Vec::new(),
            description: OpenApiBuilder::new(),
            permissions: BTreeSet::new(),
            required_limits: Vec::new(),
            headers: headers::DeclaredHeaders::default(),
            layers: Vec::new(),
            migrations: Vec::new(),
            tables: Vec::new(),
            checks: Vec::new(),
            contributors: Vec::new(),
            services: Vec::new(),
            outbox_receivers: Vec::new(),
            contributions: HashMap::new(),
            completions: Vec::new(),
            providers: Vec::new(),
            provided_later: Vec::new(),
            requirements: Vec::new(),
            banner: Banner::default(),
            problems: Vec::new(),
        }
    }

    /// Declares permissions that handlers check themselves. Permissions of mounts and guarded routes are declared
    /// automatically.
    pub fn permissions(&mut self, asked: impl IntoIterator<Item = impl Into<String>>) -> &mut Self {
        self.permissions.extend(asked.into_iter().map(Into::into));
        self
    }

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
            let state = state(ctx)?;
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
            let routers =
                routers.into_iter().zip(requirements).map(guarded).collect::<Result<Vec<_>, MissingDependency>>()?;
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

    /// Adds schemas to the OpenAPI document.
    fn add_schemas(&mut self, schemas: Vec<(String, RefOr<Schema>)>) {
        for (name, other) in self.description.add_schemas(self.module, schemas) {
            let what =
                format!("has a schema named `{name}`, which differs from the schema of that name of module `{other}`");
            self.report_problem(what, "give one of them another name: `#[schema(as = …)]`");
        }
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

    /// Puts a tower layer around every route.
    pub fn layer<L>(
        &mut self,
        slot: Slot,
        layer: impl FnOnce(&Context) -> Result<L, MissingDependency> + Send + 'static,
    ) -> &mut Self
    where
        L: Layer<Route> + Clone + Send + Sync + 'static,
        L::Service: Service<Request, Error = Infallible> + Clone + Send + Sync + 'static,
        <L::Service as Service<Request>>::Response: IntoResponse + 'static,
        <L::Service as Service<Request>>::Future: Send + 'static,
    {
        let wire: WireLayer = Box::new(move |ctx| {
            let layer = layer(ctx)?;
            let same = layer.clone();
            Ok(ResolvedLayer {
                route: Arc::new(move |router| router.layer(layer.clone())),
                router: Arc::new(move |router| router.layer(same.clone())),
            })
        });
        self.layers.push((slot, self.module, wire));
        self
    }

    /// Adds the module's migrations: `registry.migrations(migrations!["0001_projects"])`.
    pub fn migrations(&mut self, migrations: Migrations) -> &mut Self {
        self.shared_migrations(self.module, migrations)
    }

    /// Adds the migrations of tables that several modules use, with the history `history` instead of the module's own.
    /// If several modules add them, they run once.
    pub fn shared_migrations(&mut self, history: &'static str, migrations: Migrations) -> &mut Self {
        if let Some((_, known)) = self.migrations.iter().find(|(name, _)| *name == history) {
            if *known != migrations {
                self.report_problem(
                    format!("the migration history `{history}` exists already"),
                    "list all migrations of a module in one call, or rename the module",
                );
            }
            return self;
        }
        let mut last = 0;
        for migration in migrations {
            let version = crate::db::migration_version(migration.name);
            if version <= last {
                self.report_problem(
                    format!("migration `{}` must have a number larger than {last}", migration.name),
                    "begin each migration's name with a number larger than the previous one: `0002_archive`",
                );
            }
            last = last.max(version);
        }
        self.migrations.push((history, migrations));
        self
    }

    /// Declares tables whose rows belong to the tenant in their column `tenant_id`. When a tenant is permanently
    /// deleted, a job of core deletes the tenant's rows in these tables, in batches, rows that refer to others first.
    /// With tenant databases the tenant's database is dropped instead. Tables of resources that belong to tenants are
    /// declared by the mount of [`crud::routes`](crate::crud::routes).
    ///
    /// ```
    /// # use omnistack_core::module::Registry;
    /// # fn register(registry: &mut Registry) {
    /// registry.tenant_tables(["invoices", "invoice_lines"]);
    /// # }
    /// ```
    ///
    /// On SQLite the tables must not be `without rowid`.
    pub fn tenant_tables(&mut self, tables: impl IntoIterator<Item = &'static str>) -> &mut Self {
        let declare = |name| DeclaredTable { name, has_tenant: true, is_resource: false, purge_after: None };
        self.tables.extend(tables.into_iter().map(declare));
        self
    }

    /// Adds a required check to `/health/ready`: if it fails, the app is not ready.
    pub fn health<C, F>(
        &mut self,
        name: &'static str,
        check: impl FnOnce(&Context) -> Result<C, MissingDependency> + Send + 'static,
    ) -> &mut Self
    where
        C: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        self.check(name, move |ctx| check(ctx).map(|check| HealthCheck::new(name, check)))
    }

    /// Like [`health`](Self::health), for something that the app can serve without: if the check fails, the status is
    /// `degraded` and the response is still 200.
    pub fn health_optional<C, F>(
        &mut self,
        name: &'static str,
        check: impl FnOnce(&Context) -> Result<C, MissingDependency> + Send + 'static,
    ) -> &mut Self
    where
        C: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        self.check(name, move |ctx| check(ctx).map(|check| HealthCheck::new(name, check).optional()))
    }

    /// Adds a check of a provider to service health, which the module of the feature `observability` runs every five
    /// minutes. `/health/ready` does not run it, so it may call the provider over the network. Service health runs the
    /// checks of [`health`](Self::health) and [`health_optional`](Self::health_optional) too.
    ///
    /// ```
    /// # use omnistack_core::{email::Mailer, module::Registry};
    /// # fn register(registry: &mut Registry) {
    /// registry.service_check("email", |ctx| {
    ///     let mailer = ctx.get::<Mailer>()?;
    ///     Ok(move || {
    ///         let mailer = mailer.clone();
    ///         async move { Ok(mailer.check_connection().await?) }
    ///     })
    /// });
    /// # }
    /// ```
    pub fn service_check<C, F>(
        &mut self,
        name: &'static str,
        check: impl FnOnce(&Context) -> Result<C, MissingDependency> + Send + 'static,
    ) -> &mut Self
    where
        C: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        self.check(name, move |ctx| check(ctx).map(|check| HealthCheck::new(name, check).outside_readiness()))
    }

    /// Registers the receiver of the rows of one kind that transactions in tenant databases leave in their outbox.
    pub fn outbox_receiver(&mut self, receiver: impl OutboxReceiver) -> &mut Self {
        self.outbox_receivers.push(Arc::new(receiver));
        self
    }

    /// Adds a background service, which runs for as long as the app serves. It must end soon after `ShutdownToken` is
    /// cancelled. A service that fails or panics is restarted after a growing delay, from one second up to 30
    /// seconds.
    pub fn background_service<C, F>(
        &mut self,
        name: &'static str,
        service: impl FnOnce(&Context) -> Result<C, MissingDependency> + Send + 'static,
    ) -> &mut Self
    where
        C: Fn(ShutdownToken) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        let wire: WireService = Box::new(move |ctx| service(ctx).map(|service| BackgroundService::new(name, service)));
        self.services.push((self.module, wire));
        self
    }

    /// Calls `complete` after every module has registered, to register what depends on the others: a default for a
    /// value that no module provides, or routes for operators if the app has any.
    pub fn after_modules(&mut self, complete: impl FnOnce(&mut Self) + Send + 'static) -> &mut Self {
        self.completions.push((self.module, Box::new(complete)));
        self
    }

    /// Completes the registration of the modules. Core's own come last, since they fill what no other module provides.
    pub(crate) fn complete(&mut self) {
        let mut completions = std::mem::take(&mut self.completions);
        completions.sort_by_key(|(module, _)| *module == "core");
        for (module, complete) in completions {
            self.module = module;
            complete(self);
        }
        self.check_required_limits();
        self.module = "core";
    }

    /// Takes the tables that modules have declared.
    pub(crate) fn take_tables(&mut self) -> Vec<DeclaredTable> {
        std::mem::take(&mut self.tables)
    }

    /// Returns the name of the module that is registering.
    pub fn module_name(&self) -> &'static str {
        self.module
    }

    /// Returns the contributions of type `T`, which are empty at first.
    pub(crate) fn contributions<T: Default + Send + 'static>(&mut self) -> &mut T {
        let entry = self.contributions.entry(TypeId::of::<T>()).or_insert_with(|| Box::new(T::default()));
        #[expect(clippy::expect_used, reason = "the entry of a type holds a value of that type")]
        entry.downcast_mut().expect("the entry of a type holds a value of that type")
    }

    /// Takes the contributions of type `T`.
    pub(crate) fn take_contributions<T: Default + Send + 'static>(&mut self) -> T {
        std::mem::take(self.contributions())
    }

    fn check(
        &mut self,
        name: &'static str,
        wire: impl FnOnce(&Context) -> Result<HealthCheck, MissingDependency> + Send + 'static,
    ) -> &mut Self {
        self.checks.push((name, self.module, Box::new(wire)));
        self
    }

    /// Reads the module's settings. Returns `None` if they are invalid; the build then fails and reports the
    /// problems.
    pub fn config<S: SettingsSection>(&mut self) -> Option<S> {
        self.config
            .read_settings()
            .map_err(|problems| {
                let module = self.module;
                self.problems.extend(problems.into_iter().map(|problem| Problem::from_setting(module, &problem)));
            })
            .ok()
    }

    /// Returns the environment in which the app runs.
    pub fn environment(&self) -> Environment {
        self.config.environment()
    }

    /// Returns the address at which users reach the app. It is in the [`Context`] as well.
    pub fn public_url(&self) -> PublicUrl {
        // An invalid address was reported when the app's settings were read.
        self.config.read_settings::<AppSettings>().map(|app| app.public_url).unwrap_or_default()
    }

    /// Requires in production that [`public_url`](Self::public_url) begins with `https://`. `what` names what needs
    /// the address, for the message.
    ///
    /// ```
    /// # use omnistack_core::module::Registry;
    /// # fn register(registry: &mut Registry) {
    /// registry.require_public_url("links in mails");
    /// # }
    /// ```
    pub fn require_public_url(&mut self, what: &str) -> &mut Self {
        if self.environment().is_production() && !self.public_url().is_https() {
            let what = format!("{what} need the public address of the app: `PUBLIC_URL`");
            self.report_problem(
                what,
                "set it to an address that begins with https://, such as PUBLIC_URL=https://app.example.com",
            );
        }
        self
    }

    /// Returns the app's name, as set with [`AppBuilder::named`](crate::app::AppBuilder::named).
    pub fn app_name(&self) -> &str {
        &self.title
    }

    /// Returns the app's version, as set by [`AppBuilder::named`](crate::app::AppBuilder::named).
    pub fn app_version(&self) -> &str {
        &self.version
    }

    /// Returns the app's clock.
    pub fn clock(&self) -> Clock {
        self.clock.clone()
    }

    /// Reports a problem, which makes the build fail: what is wrong, and what to do.
    pub fn report_problem(&mut self, what: impl Into<String>, fix: impl Into<String>) -> &mut Self {
        self.problems.push(Problem { module: self.module, what: what.into(), fix: fix.into() });
        self
    }

    /// Adds a line to the text that `serve` prints at startup. It is left out while its text is empty.
    pub fn banner(&mut self, label: &'static str, text: impl Fn() -> String + Send + Sync + 'static) -> &mut Self {
        self.banner.line(label, text);
        self
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").field("module", &self.module).finish_non_exhaustive()
    }
}
