//! The registry of what a module contributes.

mod dashboard;
mod description;
mod headers;
mod health;
#[cfg(feature = "http-client")]
mod http_client;
mod limits;
mod missing;
mod routes;
mod seeds;
mod tables;
mod tenant_exports;
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

use super::{
    AgentOperation, BackgroundService, Banner, Context, DeclaredTable, MissingDependency, Mount, Problem, RouteChanges,
    RouteInfo, RoutePattern, openapi::OpenApiBuilder,
};
use crate::{
    BoxError, ShutdownToken,
    clock::Clock,
    config::{AppSettings, Config, ConfigProblem, Environment, PublicUrl, SettingsSection},
    db::{Migrations, OutboxReceiver},
    health::HealthCheck,
    http::HttpSettings,
};
pub(crate) use missing::MissingValues;
use missing::Requirement;

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

/// A route on which something of a module depends.
pub(crate) struct RequiredRoute {
    pub(crate) module: &'static str,
    pub(crate) pattern: RoutePattern,
    pub(crate) dependent: String,
    pub(crate) fix: String,
}

/// A value that is created from other provided values.
struct ProvidedLater {
    module: &'static str,
    /// Name of its type, as the compiler writes it.
    name: &'static str,
    provide: ProvideFn,
}

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

/// The collection of what a module contributes: data and closures. Nothing runs until the app is built.
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
    pub(crate) route_changes: RouteChanges,
    pub(crate) required_routes: Vec<RequiredRoute>,
    pub(crate) description: OpenApiBuilder,
    /// Operations that agents may call as tools.
    pub(crate) agent_operations: Vec<AgentOperation>,
    /// Permissions that some route requires.
    pub(crate) permissions: BTreeSet<String>,
    /// Limited resources that some route requires the plan to allow one more of, and the modules of the routes.
    required_limits: Vec<(&'static str, String)>,
    pub(crate) headers: headers::DeclaredHeaders,
    pub(crate) layers: Vec<(Slot, &'static str, WireLayer)>,
    pub(crate) migrations: Vec<(&'static str, Migrations)>,
    tables: Vec<DeclaredTable>,
    /// The tables of tenants that are declared with their schema.
    pub(crate) tables_in_schemas: Vec<&'static str>,
    /// Tables with a column `tenant_id` that row-level security need not protect.
    pub(crate) unprotected: Vec<&'static str>,
    pub(crate) checks:
        Vec<(&'static str, &'static str, Box<dyn FnOnce(&Context) -> Result<HealthCheck, MissingDependency> + Send>)>,
    pub(crate) contributors: Vec<(&'static str, Contribute)>,
    pub(crate) services: Vec<(&'static str, WireService)>,
    pub(crate) outbox_receivers: Vec<Arc<dyn OutboxReceiver>>,
    /// Contributions that other modules of this crate collect, by their type.
    contributions: HashMap<TypeId, Box<dyn Any + Send>>,
    pub(crate) completions: Vec<(&'static str, Completion)>,
    pub(crate) providers: Vec<(TypeId, &'static str)>,
    provided_later: Vec<ProvidedLater>,
    requirements: Vec<Requirement>,
    /// Names of the modules that the app adds.
    pub(crate) added: Vec<&'static str>,
    pub(crate) banner: Banner,
    /// Labels and texts that the command `doctor` prints.
    pub(crate) doctor_lines: Vec<(&'static str, String)>,
    pub(crate) problems: Vec<Problem>,
}

impl Registry {
    pub(crate) fn new(config: Config, clock: Clock, title: String, version: String) -> Self {
        // A test rarely asks for the document.
        let description = OpenApiBuilder::new(config.environment() == Environment::Test);
        Self {
            module: "core",
            config,
            clock,
            title,
            version,
            ctx: Context::default(),
            routes: Vec::new(),
            route_changes: RouteChanges::default(),
            required_routes: Vec::new(),
            description,
            agent_operations: Vec::new(),
            permissions: BTreeSet::new(),
            required_limits: Vec::new(),
            headers: headers::DeclaredHeaders::default(),
            layers: Vec::new(),
            migrations: Vec::new(),
            tables: Vec::new(),
            tables_in_schemas: Vec::new(),
            unprotected: Vec::new(),
            checks: Vec::new(),
            contributors: Vec::new(),
            services: Vec::new(),
            outbox_receivers: Vec::new(),
            contributions: HashMap::new(),
            completions: Vec::new(),
            providers: Vec::new(),
            provided_later: Vec::new(),
            requirements: Vec::new(),
            added: Vec::new(),
            banner: Banner::default(),
            doctor_lines: Vec::new(),
            problems: Vec::new(),
        }
    }

    /// Declares permissions that handlers check themselves. Permissions of mounts and guarded routes are declared
    /// automatically.
    pub fn permissions(&mut self, asked: impl IntoIterator<Item = impl Into<String>>) -> &mut Self {
        self.permissions.extend(asked.into_iter().map(Into::into));
        self
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

    /// Reads the module's settings. Returns `None` if they are invalid; the build then fails and reports the
    /// problems.
    pub fn config<S: SettingsSection>(&mut self) -> Option<S> {
        self.config.read_settings().map_err(|problems| self.report_settings(&problems)).ok()
    }

    /// Reports problems with settings.
    pub(crate) fn report_settings(&mut self, problems: &[ConfigProblem]) {
        self.problems.extend(problems.iter().map(|problem| Problem::from_setting(self.module, problem)));
    }

    /// Returns the environment in which the app runs.
    pub fn environment(&self) -> Environment {
        self.config.environment()
    }

    /// Returns the address at which users reach the app: `PUBLIC_URL`, or without it that of `HOST` and `PORT`. It is in
    /// the [`Context`] as well.
    pub fn public_url(&self) -> PublicUrl {
        // Invalid settings were reported when the app's settings were read.
        let stated = self.config.read_settings::<AppSettings>().ok().and_then(|app| app.public_url);
        let of_server = || {
            let http = self.config.read_settings::<HttpSettings>().ok()?;
            Some(PublicUrl::of_server(http.host, http.port))
        };
        stated.or_else(of_server).unwrap_or_default()
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

    /// Adds a line to the text that `serve` and `worker` print at startup. It is left out while its text is empty.
    pub fn banner(&mut self, label: &'static str, text: impl Fn() -> String + Send + Sync + 'static) -> &mut Self {
        self.banner.line(label, text);
        self
    }

    /// Adds a line to what the command `doctor` prints: how the module is set up. It must contain no data and no
    /// secrets.
    pub fn doctor_line(&mut self, label: &'static str, text: impl Into<String>) -> &mut Self {
        self.doctor_lines.push((label, text.into()));
        self
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").field("module", &self.module).finish_non_exhaustive()
    }
}
