//! What a module contributes.

mod headers;
mod work;

use std::{
    any::{TypeId, type_name},
    collections::BTreeSet,
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
use utoipa::openapi::{RefOr, Schema, path::Parameter, security::SecurityScheme};

use super::{
    Api, Audience, BoxError, Ctx, Missing, Mount, Problem,
    banner::Banner,
    builder::AppSettings,
    openapi::Description,
    routing::{self, RouteInfo},
    services::Service as Background,
};
use crate::{
    clock::Clock,
    config::{Config, Environment, PublicUrl, Section},
    db::Migrations,
    events::Handler as EventHandler,
    health::Check,
    identity::{Require, RequireLayer},
    jobs::{CronSpec, Handler, JobService, Queue},
};

/// Where a layer sits. Slots order layers; the order of `.with(…)` calls never matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Slot {
    /// Around everything, unmatched paths included.
    Edge,
    /// Around a matched route's guard: the caller is not known yet.
    Identity,
    /// Within the guard: the caller and the tenant are known.
    Tenant,
    /// Closest to the handler.
    Route,
}

/// Makes a value once what it needs is there, and says who did.
pub(super) type Provide = Box<dyn Fn(&mut Ctx) -> Result<(), Missing> + Send>;
type WireRoutes = Box<dyn FnOnce(&Ctx) -> Result<Vec<(String, MethodRouter)>, Missing> + Send>;
type WireLayer = Box<dyn FnOnce(&Ctx) -> Result<Applied, Missing> + Send>;
type WireHandler = Box<dyn FnOnce(&Ctx) -> Result<Handler, Missing> + Send>;
type WireJobLayer = Box<dyn FnOnce(&Ctx) -> Result<JobLayer, Missing> + Send>;
type WireSubscriber = Box<dyn FnOnce(&Ctx) -> Result<EventHandler, Missing> + Send>;
type WireService = Box<dyn FnOnce(&Ctx) -> Result<Background, Missing> + Send>;

pub(super) struct Routes {
    pub(super) module: &'static str,
    pub(super) mount: Mount,
    pub(super) infos: Vec<RouteInfo>,
    pub(super) wire: WireRoutes,
}

/// A layer, ready to be put around one route or around the whole router.
pub(super) struct Applied {
    pub(super) route: Arc<dyn Fn(MethodRouter) -> MethodRouter + Send + Sync>,
    pub(super) router: Arc<dyn Fn(Router) -> Router + Send + Sync>,
}

/// Puts a layer around every job's handler.
pub(super) type JobLayer = Box<dyn Fn(JobService) -> JobService + Send>;

/// Collects what a module contributes. All of it is data or closures: nothing runs until the app is wired.
///
/// ```
/// use omnistack_core::{app::{Api, Module, Mount, Registry}, db::Db};
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
    pub(super) module: &'static str,
    pub(super) config: Config,
    pub(super) clock: Clock,
    pub(super) title: String,
    pub(crate) ctx: Ctx,
    pub(super) routes: Vec<Routes>,
    pub(super) description: Description,
    /// Those that some route asks for.
    pub(super) permissions: BTreeSet<String>,
    pub(super) headers: headers::DeclaredHeaders,
    pub(super) layers: Vec<(Slot, &'static str, WireLayer)>,
    pub(super) migrations: Vec<(&'static str, Migrations)>,
    pub(super) checks: Vec<(&'static str, &'static str, Box<dyn FnOnce(&Ctx) -> Result<Check, Missing> + Send>)>,
    pub(super) services: Vec<(&'static str, WireService)>,
    pub(super) handlers: Vec<(&'static str, &'static str, WireHandler)>,
    pub(super) job_layers: Vec<(&'static str, WireJobLayer)>,
    pub(super) queues: Vec<Queue>,
    pub(super) subscribers: Vec<(&'static str, &'static str, WireSubscriber)>,
    pub(super) crons: Vec<CronSpec>,
    pub(super) providers: Vec<(TypeId, &'static str)>,
    pub(super) provided_later: Vec<(&'static str, Provide)>,
    /// What is missing without each, and what to do about it.
    pub(super) requirements: Vec<(TypeId, Problem)>,
    pub(super) banner: Banner,
    pub(super) problems: Vec<Problem>,
}

impl Registry {
    pub(super) fn new(config: Config, clock: Clock, title: String) -> Self {
        Self {
            module: "core",
            config,
            clock,
            title,
            ctx: Ctx::default(),
            routes: Vec::new(),
            description: Description::new(),
            permissions: BTreeSet::new(),
            headers: headers::DeclaredHeaders::default(),
            layers: Vec::new(),
            migrations: Vec::new(),
            checks: Vec::new(),
            services: Vec::new(),
            handlers: Vec::new(),
            job_layers: Vec::new(),
            queues: Vec::new(),
            subscribers: Vec::new(),
            crons: Vec::new(),
            providers: Vec::new(),
            provided_later: Vec::new(),
            requirements: Vec::new(),
            banner: Banner::default(),
            problems: Vec::new(),
        }
    }

    /// Makes permissions known that handlers ask for themselves: those of mounts and guarded routes are known already.
    pub fn permissions(&mut self, asked: impl IntoIterator<Item = impl Into<String>>) -> &mut Self {
        self.permissions.extend(asked.into_iter().map(Into::into));
        self
    }

    /// Mounts routes. Their state is made once, while wiring, from what others provide.
    pub fn routes<S: Clone + Send + Sync + 'static>(
        &mut self,
        mount: Mount,
        api: Api<S>,
        state: impl FnOnce(&Ctx) -> Result<S, Missing> + Send + 'static,
    ) -> &mut Self {
        let (mut at, mut infos) = (Vec::with_capacity(api.routes.len()), Vec::new());
        let mut routers = Vec::with_capacity(api.routes.len());
        let mut permissions = Vec::new();
        #[cfg(feature = "flags")]
        let mut flags = Vec::with_capacity(api.routes.len());
        for (described, router, require) in api.routes {
            permissions.extend(require.as_ref().and_then(Require::asked).map(str::to_owned));
            #[cfg(feature = "flags")]
            flags.push(require.as_ref().and_then(Require::asked_flag));
            routers.push(match require {
                Some(require) if require.asks_of_caller() => router.layer(RequireLayer::new(require, self.clock())),
                _ => router,
            });
            at.push(described.paths.keys().map(|path| mount.join(path)).collect::<Vec<_>>());
            infos.extend(routing::infos(self.module, &mount, &described));
            for (id, [one, other]) in self.description.add(self.module, &mount, described) {
                let what = format!("describes {one} as the operation `{id}`, as {other} is");
                self.problem(what, "name one by `operation_id = \"verb_resource\"`, or use `Mount::operation_prefix`");
            }
        }
        permissions.extend(mount.resource.iter().flat_map(|on| [format!("{on}:read"), format!("{on}:write")]));
        self.permissions.extend(permissions);
        let (hidden, hidden_routers): (Vec<_>, Vec<_>) =
            api.hidden.into_iter().map(|(path, router)| (mount.join(&path), router)).unzip();
        infos.extend(hidden.iter().map(|path| RouteInfo::new(self.module, &mount, path.clone(), "ANY")));
        at.extend(hidden.into_iter().map(|path| vec![path]));
        let known: Vec<String> = at.concat();
        let wire: WireRoutes = Box::new(move |ctx| {
            let state = state(ctx)?;
            #[cfg(feature = "flags")]
            let routers = crate::flags::behind(routers, flags, ctx)?;
            let routers = routers.into_iter().chain(hidden_routers).map(|router| router.with_state(state.clone()));
            let routes = at.into_iter().zip(routers);
            // The last path gets the router itself: most have one.
            let each = |(paths, router): (Vec<String>, _)| {
                let routers = std::iter::repeat_n(router, paths.len());
                paths.into_iter().zip(routers)
            };
            Ok(routes.flat_map(each).collect())
        });
        self.costs(&mount, &known);
        if mount.in_person && matches!(mount.audience(), Audience::Public | Audience::Machine) {
            let what = format!("{} is for users in person, and its audience is `{}`", mount.prefix(), mount.audience());
            self.problem(what, "mount it with `Mount::app` or `Mount::admin`");
        }
        self.routes.push(Routes { module: self.module, mount, infos, wire });
        self.schemas(api.schemas);
        self
    }

    /// Adds schemas to the description.
    fn schemas(&mut self, schemas: Vec<(String, RefOr<Schema>)>) {
        for (name, other) in self.description.add_schemas(self.module, schemas) {
            let what = format!("calls a schema `{name}`, as module `{other}` calls a different one");
            self.problem(what, "give it a name of its own: `#[schema(as = …)]`");
        }
    }

    /// Describes a way by which callers say who they are, beside `Authorization: Bearer`: a header or a cookie.
    pub fn security_scheme(&mut self, name: &'static str, scheme: SecurityScheme) -> &mut Self {
        self.description.add_security_scheme(name, scheme);
        self
    }

    /// Describes a header or a query parameter that each route of signed-in callers heeds.
    pub fn caller_parameter(&mut self, name: &'static str, parameter: Parameter) -> &mut Self {
        self.description.add_parameter(name, parameter);
        self
    }

    /// Finds costs of a rate that mean nothing.
    fn costs(&mut self, mount: &Mount, routes: &[String]) {
        let Some(limit) = &mount.rate_limit else { return };
        for (path, cost) in limit.costs(|path| mount.join(path)) {
            if !routes.contains(&path) {
                self.problem(format!("gives {path} a cost, and mounts no such route"), "name a path of the same `Api`");
            } else if cost > limit.rate.largest() {
                let what = format!("{path} costs {cost} of a rate of {}: it could never be called", limit.rate);
                self.problem(what, "lower the cost, or raise the burst");
            }
        }
    }

    /// Puts a tower layer around every route.
    pub fn layer<L>(&mut self, slot: Slot, layer: impl FnOnce(&Ctx) -> Result<L, Missing> + Send + 'static) -> &mut Self
    where
        L: Layer<Route> + Clone + Send + Sync + 'static,
        L::Service: Service<Request, Error = Infallible> + Clone + Send + Sync + 'static,
        <L::Service as Service<Request>>::Response: IntoResponse + 'static,
        <L::Service as Service<Request>>::Future: Send + 'static,
    {
        let wire: WireLayer = Box::new(move |ctx| {
            let layer = layer(ctx)?;
            let same = layer.clone();
            Ok(Applied {
                route: Arc::new(move |router| router.layer(layer.clone())),
                router: Arc::new(move |router| router.layer(same.clone())),
            })
        });
        self.layers.push((slot, self.module, wire));
        self
    }

    /// Adds the module's schema changes: `registry.migrations(migrations!["0001_projects"])`.
    pub fn migrations(&mut self, migrations: Migrations) -> &mut Self {
        let mut last = 0;
        for migration in migrations {
            let version = crate::db::migration_version(migration.name);
            if version <= last {
                self.problem(
                    format!("migration `{}` does not follow number {last}", migration.name),
                    "begin each name with a number larger than the one before: `0002_archive`",
                );
            }
            last = last.max(version);
        }
        self.migrations.push((self.module, migrations));
        self
    }

    /// Adds a check to `/health/ready`: something the app can't serve without.
    pub fn health<C, F>(
        &mut self,
        name: &'static str,
        check: impl FnOnce(&Ctx) -> Result<C, Missing> + Send + 'static,
    ) -> &mut Self
    where
        C: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        self.check(name, move |ctx| check(ctx).map(|check| Check::new(name, check)))
    }

    /// As [`health`](Self::health), of something the app serves without, less well: the answer says `degraded`, and is
    /// 200 all the same.
    pub fn health_optional<C, F>(
        &mut self,
        name: &'static str,
        check: impl FnOnce(&Ctx) -> Result<C, Missing> + Send + 'static,
    ) -> &mut Self
    where
        C: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        self.check(name, move |ctx| check(ctx).map(|check| Check::new(name, check).optional()))
    }

    fn check(
        &mut self,
        name: &'static str,
        wire: impl FnOnce(&Ctx) -> Result<Check, Missing> + Send + 'static,
    ) -> &mut Self {
        self.checks.push((name, self.module, Box::new(wire)));
        self
    }

    /// Offers a value to every module's wiring.
    pub fn provide<T: Clone + Send + Sync + 'static>(&mut self, value: T) -> &mut Self {
        self.claim::<T>();
        self.ctx.insert(value);
        self
    }

    /// As [`provide`](Self::provide), of a value made from what core and other modules provide, whichever of them
    /// registers first.
    pub fn provide_with<T: Clone + Send + Sync + 'static>(
        &mut self,
        value: impl Fn(&Ctx) -> Result<T, Missing> + Send + 'static,
    ) -> &mut Self {
        self.claim::<T>();
        let provide: Provide = Box::new(move |ctx| {
            // It may have been replaced by a test's.
            if !ctx.has(TypeId::of::<T>()) {
                let value = value(ctx)?;
                ctx.insert(value);
            }
            Ok(())
        });
        self.provided_later.push((self.module, provide));
        self
    }

    /// Notes that the module provides a `T`, which only one may.
    fn claim<T: 'static>(&mut self) {
        let id = TypeId::of::<T>();
        if let Some((_, other)) = self.providers.iter().find(|(provided, _)| *provided == id) {
            let what = format!("provides `{}`, as module `{other}` does", type_name::<T>());
            self.problem(what, format!("remove one of the modules `{other}` and `{}`", self.module));
        }
        self.providers.push((id, self.module));
    }

    /// Makes what is [provided with](Self::provide_with) something else, in whatever order it takes.
    pub(super) fn provide_later(&mut self) {
        let mut waiting = std::mem::take(&mut self.provided_later);
        loop {
            let before = waiting.len();
            let mut missing = Vec::new();
            waiting.retain(|(module, provide)| match provide(&mut self.ctx) {
                Ok(()) => false,
                Err(what) => {
                    missing.push((*module, what));
                    true
                }
            });
            if waiting.is_empty() || waiting.len() == before {
                // Without a database or keys their settings are among the problems already.
                if self.problems.is_empty() {
                    self.problems.extend(missing.into_iter().map(|(module, what)| Problem::missing(module, what)));
                }
                return;
            }
        }
    }

    /// What stands in when no module provides a value of this type: core's embedded defaults.
    pub(super) fn default<T: Clone + Send + Sync + 'static>(&mut self, value: T) -> &mut Self {
        if !self.ctx.has(TypeId::of::<T>()) {
            self.ctx.insert(value);
        }
        self
    }

    /// Whether some module can't do without a `T`.
    pub(crate) fn requires<T: 'static>(&self) -> bool {
        self.requirements.iter().any(|(id, _)| *id == TypeId::of::<T>())
    }

    /// Makes it a problem of the build when no module provides a `T`.
    pub fn require<T: 'static>(&mut self) -> &mut Self {
        let name = type_name::<T>();
        let fix = format!("add the module that provides `{name}`, or provide one with `registry.provide(…)`");
        self.require_or::<T>(format!("needs `{name}`, which no module provides"), fix)
    }

    /// As [`require`](Self::require), in the module's own words: what is wrong without a `T`, and what to do about it.
    pub fn require_or<T: 'static>(&mut self, what: impl Into<String>, fix: impl Into<String>) -> &mut Self {
        let problem = Problem { module: self.module, what: what.into(), fix: fix.into() };
        self.requirements.push((TypeId::of::<T>(), problem));
        self
    }

    /// Reads the module's settings; `None` after noting what is wrong with them, when the app won't be built.
    pub fn config<S: Section>(&mut self) -> Option<S> {
        self.config
            .section()
            .map_err(|problems| {
                let module = self.module;
                self.problems.extend(problems.into_iter().map(|problem| Problem::setting(module, &problem)));
            })
            .ok()
    }

    /// Where the app runs.
    pub fn environment(&self) -> Environment {
        self.config.environment()
    }

    /// Where users reach the app; it is in the [`Ctx`] as well.
    pub fn public_url(&self) -> PublicUrl {
        // That it is none was told when the app's own settings were read.
        self.config.section::<AppSettings>().map(|app| app.public_url).unwrap_or_default()
    }

    /// Makes it a problem in production that users can't reach the app over TLS at [`public_url`](Self::public_url): `what`
    /// would lead nowhere.
    ///
    /// ```
    /// # use omnistack_core::app::Registry;
    /// # fn register(registry: &mut Registry) {
    /// registry.require_public_url("links in mails");
    /// # }
    /// ```
    pub fn require_public_url(&mut self, what: &str) -> &mut Self {
        if self.environment().is_production() && !self.public_url().is_https() {
            let what = format!("{what} need the address users reach the app at: `PUBLIC_URL`");
            self.problem(what, "set it to that address, over TLS, e.g. PUBLIC_URL=https://app.example.com");
        }
        self
    }

    /// What the app is called: as [`AppBuilder::named`](super::AppBuilder::named) says.
    pub fn app_name(&self) -> &str {
        &self.title
    }

    /// The app's clock.
    pub fn clock(&self) -> Clock {
        self.clock.clone()
    }

    /// Keeps the app from being built: what is wrong, and what to do about it.
    pub fn problem(&mut self, what: impl Into<String>, fix: impl Into<String>) -> &mut Self {
        self.problems.push(Problem { module: self.module, what: what.into(), fix: fix.into() });
        self
    }

    /// Adds a line to what `serve` prints at start.
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
