//! The app: modules assembled into one server.
//!
//! An [`AppBuilder`] takes modules and asks each what it contributes ([`Registry`](crate::module::Registry)): routes under their mounts with
//! the matching guards, layers by [`Slot`](crate::module::Slot), migrations, health checks, background services. It builds one [`App`]
//! from all of it. [`AppBuilder::run`] is the whole program: a command line with `serve`, `worker`, `migrate`,
//! `openapi`, `routes`, `config`, `health`, `audit`, `jobs`, `backup`, `restore`, `maintenance`, `seed` and `doctor`. Without
//! the feature `cli`, it has no commands `audit`, `backup`, `health`, `jobs`, `maintenance`, `restore`, `seed` and
//! `webhooks`, no help, and only the options `--list` and `--allow-lock` of `migrate`. `backup` and `restore` need the
//! feature `backup` too.
//!
//! ```no_run
//! use omnistack_core::{app::App, module::{Api, Module, Mount, Registry}};
//! use utoipa_axum::routes;
//!
//! struct Hello;
//!
//! impl Module for Hello {
//!     fn name(&self) -> &'static str {
//!         "hello"
//!     }
//!
//!     fn register(&self, registry: &mut Registry) {
//!         registry.routes(Mount::public("/hello"), Api::new().routes(routes!(hello)), |_| Ok(()));
//!     }
//! }
//!
//! /// Says hello.
//! #[utoipa::path(get, path = "/", responses((status = 200, body = String)))]
//! async fn hello() -> &'static str {
//!     "hello"
//! }
//!
//! #[tokio::main]
//! async fn main() -> omnistack_core::Result<()> {
//!     App::from_env().with(Hello).run().await
//! }
//! ```

mod beside;
mod builder;
#[cfg(feature = "cli")]
mod cli;
mod commands;
mod connections;
mod connections_budget;
mod core_routes;
mod defaults;
mod dev_identity;
mod disk;
mod docs;
mod host;
#[cfg(feature = "cli")]
mod indent;
mod mail_jobs;
mod malformed_request;
mod middleware_stack;
mod migrations;
mod output;
mod own_routes;
#[cfg(not(feature = "cli"))]
mod plain_cli;
mod resolve;
mod routing;
mod serve;
mod signal;
mod unread;

pub use builder::AppBuilder;
pub use dev_identity::{DevIdentity, DevIdentitySettings};
pub use middleware_stack::AppService;
pub use own_routes::OwnRoutes;
pub use serve::{Server, ServerSettings};

use std::{fmt, sync::Arc, time::Duration};

use crate::{
    BoxError, ShutdownToken,
    config::{Config, Environment},
    db::{
        Db, DbSettings, Error as DbError, MigrateOptions, MigrationState, Migrations, OutboxRelay, PlannedMigration,
        UnprotectedTable, unprotected_tables,
    },
    events::Dispatcher,
    health::Health,
    http::HttpSettings,
    identity::TenantId,
    jobs::Runner,
    module::{BackgroundService, Banner, Context, Module, OpenApiDocument, OpenApiPart, RouteInfo, spawn},
};

/// Time that all modules together have to stop.
const MAX_STOP_TIME: Duration = Duration::from_secs(5);

/// An app, built and ready to start.
pub struct App {
    modules: Vec<Box<dyn Module>>,
    ctx: Context,
    config: Config,
    db: Db,
    db_settings: DbSettings,
    http: HttpSettings,
    health: Health,
    edge: AppService,
    /// Keeps the routes that modules call through [`OwnRoutes`].
    _own_routes: Arc<own_routes::PublishedRoutes>,
    title: String,
    version: String,
    openapi: Arc<OpenApiDocument>,
    routes: Arc<[RouteInfo]>,
    migrations: Vec<(&'static str, Migrations)>,
    /// Tables that row-level security need not protect.
    unprotected: Vec<&'static str>,
    /// The tables of tenants that are declared with their schema.
    tables_in_schemas: Vec<&'static str>,
    services: Vec<BackgroundService>,
    runner: Runner,
    jobs_in_serve: bool,
    dispatcher: Dispatcher,
    events_in_serve: bool,
    relay: Option<OutboxRelay>,
    banner: Banner,
    doctor_lines: Vec<(&'static str, String)>,
}

impl App {
    /// Creates a builder with settings from `.env`, `omnistack.toml` and the environment.
    pub fn from_env() -> AppBuilder {
        AppBuilder::new(Config::from_env())
    }

    /// Creates a builder with exactly these settings, for tests.
    pub fn builder(config: Config) -> AppBuilder {
        AppBuilder::new(config)
    }

    /// Returns the whole app as a tower service: the default layer stack around all routes. Cheap to clone.
    pub fn service(&self) -> AppService {
        self.edge.clone()
    }

    /// Returns the routes of the app as an axum router, each within the app's middleware stack, to stand beside the
    /// routes of another app: `existing.merge(app.router())`, or `existing.nest("/platform", app.router())`. The
    /// fallback of the other app answers all other paths, and its `/` stays its own. So does a path under `/api` without a
    /// version, which [`service`](Self::service) serves in the version that a header names. To serve the app alone, use
    /// [`service`](Self::service); to put the other app inside the stack, use [`AppBuilder::fallback`].
    ///
    /// ```
    /// use axum::{Router, routing::get};
    /// # use axum::{body::Body, http::{Request, StatusCode}};
    /// # use omnistack_core::{app::App, config::Config};
    /// # use tower::ServiceExt as _;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let app = App::builder(Config::from_pairs([("DATABASE_URL", "sqlite::memory:")])).build()?;
    /// let shop = Router::new().route("/", get(|| async { "the shop" })).fallback(|| async { "no such page" });
    /// let both = shop.merge(app.router());
    /// # for (path, status) in [("/", 200), ("/health", 200), ("/nowhere", 200)] {
    /// #     let response = both.clone().oneshot(Request::get(path).body(Body::empty())?).await?;
    /// #     assert_eq!(response.status(), StatusCode::from_u16(status)?);
    /// # }
    /// # Ok(())
    /// # }
    /// ```
    pub fn router(&self) -> axum::Router {
        beside::router(&self.edge, &self.routes)
    }

    /// Returns the OpenAPI 3.1 document, as the JSON that `/openapi.json` serves.
    pub fn openapi(&self) -> &[u8] {
        self.openapi.json()
    }

    /// Returns a part of the OpenAPI document, as the JSON that `/openapi/{part}.json` serves: `v1` has the routes of one
    /// version, `app.v1` those of one access level.
    ///
    /// ```
    /// # use omnistack_core::{app::App, config::Config};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> omnistack_core::Result<()> {
    /// # let config = Config::from_pairs([("DATABASE_URL", "sqlite::memory:")]);
    /// let app = App::builder(config).build()?;
    /// assert!(String::from_utf8(app.openapi_part("public.v1")?)?.contains("/api/v1/public/health"));
    /// assert!(app.openapi_part("guests.v1").is_err());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Fails if the app has no such part.
    pub fn openapi_part(&self, part: &str) -> Result<Vec<u8>, BoxError> {
        let parsed: OpenApiPart = part.parse()?;
        let known = OpenApiPart::list(&self.routes);
        if !known.contains(&parsed) {
            let known: Vec<_> = known.iter().map(ToString::to_string).collect();
            return Err(format!("the OpenAPI document has no part `{part}`; its parts are {}", known.join(", ")).into());
        }
        Ok(parsed.of(self.openapi(), &self.routes)?)
    }

    /// Returns every route, sorted by path.
    pub fn routes(&self) -> &[RouteInfo] {
        &self.routes
    }

    /// Returns the app's database.
    pub fn db(&self) -> &Db {
        &self.db
    }

    /// Returns the values that modules provide.
    pub fn context(&self) -> &Context {
        &self.ctx
    }

    /// Returns the app's settings.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Returns the environment in which the app runs.
    pub fn environment(&self) -> Environment {
        self.config.environment()
    }

    /// Runs the pending migrations of every module. Returns those that ran, as `(module, name)`. If several processes do so
    /// at once, the first runs them all, and the others wait for it.
    ///
    /// # Errors
    /// Fails if the database can't be reached or a migration fails. The error names the migration and its module.
    pub async fn migrate(&self) -> Result<Vec<(&'static str, &'static str)>, DbError> {
        self.migrate_with(&MigrateOptions::new()).await
    }

    /// Runs pending migrations as [`migrate`](Self::migrate) does, as far as the options say.
    ///
    /// # Errors
    /// Those of [`migrate`](Self::migrate); fails too if the options name a migration that does not exist, or refuse the
    /// locks of a migration.
    pub async fn migrate_with(&self, options: &MigrateOptions) -> Result<Vec<(&'static str, &'static str)>, DbError> {
        self.prepare_database().await?;
        self.db.migrate_all(&self.migrations, options).await
    }

    /// Returns what [`migrate_with`](Self::migrate_with) would do: the SQL, what it locks, and how to roll it back. Only
    /// reads.
    ///
    /// # Errors
    /// Fails if the database can't be reached, or if the options name a migration that does not exist.
    pub async fn plan_migrations(&self, options: &MigrateOptions) -> Result<Vec<PlannedMigration>, DbError> {
        self.prepare_database().await?;
        self.db.plan_migrations(&self.migrations, options).await
    }

    /// Returns the migrations of every module, with the name of the module.
    pub fn migrations(&self) -> &[(&'static str, Migrations)] {
        &self.migrations
    }

    /// Runs the pending migrations of every module in a tenant database, and returns how many ran. They also run when
    /// the database is opened; this method runs them at a time that the caller chooses.
    ///
    /// # Errors
    /// Fails if tenants share the app's database, if the tenant database can't be reached, or if a migration fails.
    pub async fn migrate_tenant(&self, tenant: TenantId) -> Result<usize, DbError> {
        match self.db.tenant_databases() {
            Some(databases) => databases.migrate(tenant).await,
            None => Err(DbError::configuration(
                "tenants share the app's database: set TENANT_DATABASE_URL to give each tenant a database",
            )),
        }
    }

    /// Relays outbox rows between the tenant databases and the app's database, in both directions, and deletes the
    /// databases of deleted tenants. `serve` and `work` do so in the background; this method is for tests and one-off
    /// commands.
    ///
    /// # Errors
    /// Fails if the app's database fails. A tenant database that is unavailable is skipped.
    pub async fn relay_tenant_outboxes(&self) -> Result<(), DbError> {
        match &self.relay {
            Some(relay) => relay.sweep().await,
            None => Ok(()),
        }
    }

    /// Returns the state of every migration: applied or missing.
    ///
    /// # Errors
    /// Fails if the database can't be reached.
    pub async fn migration_states(&self) -> Result<Vec<MigrationState>, DbError> {
        self.prepare_database().await?;
        let mut states = Vec::new();
        for (module, migrations) in &self.migrations {
            states.extend(self.db.migration_states(module, migrations).await?);
        }
        Ok(states)
    }

    /// Returns the tables on PostgreSQL with a column `tenant_id` that row-level security does not protect, each with the
    /// SQL that protects it, except those that modules
    /// [declare](crate::module::Registry::unprotected_tables). Returns none on SQLite and with tenant databases.
    ///
    /// # Errors
    /// Fails if the database can't be reached.
    pub async fn unprotected_tables(&self) -> Result<Vec<UnprotectedTable>, DbError> {
        unprotected_tables(&self.db, &self.tables_in_schemas, &self.unprotected).await
    }

    /// Starts every module. The migrations must have run.
    ///
    /// # Errors
    /// Fails with the error of the first module that did not start, and its name.
    pub async fn start(&self) -> Result<(), BoxError> {
        for module in &self.modules {
            module
                .start(&self.ctx)
                .await
                .map_err(|error| format!("module `{}` did not start: {error}", module.name()))?;
        }
        Ok(())
    }

    /// Returns the settings for connections.
    pub fn server_settings(&self) -> ServerSettings {
        ServerSettings { header_timeout: self.http.header_timeout, grace: self.http.shutdown_grace }
    }

    /// Serves HTTP and runs the background services until shutdown. Returns how many connections were closed with
    /// open requests. Requests finish first, since they may still need the background services; both share one grace
    /// period.
    pub async fn serve(&self, server: Server, shutdown: ShutdownToken) -> usize {
        let grace = self.http.shutdown_grace;
        let mut services = self.spawn_background_services(self.jobs_in_serve, self.events_in_serve, &shutdown);
        let over = ShutdownToken::new();
        tokio::spawn({
            let (asked, over) = (shutdown.clone(), over.clone());
            async move {
                asked.cancelled().await;
                tokio::time::sleep(grace).await;
                over.cancel();
            }
        });
        let cut = server.run(self.service(), shutdown).await;
        if cut > 0 {
            tracing::warn!(target: "omnistack", connections = cut, ?grace, "stopped with open requests");
        }
        let ended = async { while services.join_next().await.is_some() {} };
        if over.run_until_cancelled(ended).await.is_none() {
            tracing::warn!(target: "omnistack", ?grace, "stopped with running background work");
        }
        self.stop().await;
        cut
    }

    /// Runs jobs, delivers events and runs the background services, without HTTP, until shutdown.
    pub async fn run_workers(&self, shutdown: ShutdownToken) {
        let mut services = self.spawn_background_services(true, true, &shutdown);
        shutdown.cancelled().await;
        let ended = async { while services.join_next().await.is_some() {} };
        if tokio::time::timeout(self.http.shutdown_grace, ended).await.is_err() {
            tracing::warn!(target: "omnistack", grace = ?self.http.shutdown_grace, "stopped with running background work");
        }
        self.stop().await;
    }

    /// Stops all modules. [`serve`](Self::serve) and [`run_workers`](Self::run_workers) do it at their end.
    pub async fn stop(&self) {
        let stopped = async {
            for module in &self.modules {
                module.stop(&self.ctx).await;
            }
        };
        if tokio::time::timeout(MAX_STOP_TIME, stopped).await.is_err() {
            tracing::warn!(target: "omnistack", limit = ?MAX_STOP_TIME, "stopped before all modules had stopped");
        }
    }

    /// Returns the job runner, for tests and custom programs.
    pub fn runner(&self) -> &Runner {
        &self.runner
    }

    /// Returns the event dispatcher, for tests and custom programs.
    pub fn dispatcher(&self) -> &Dispatcher {
        &self.dispatcher
    }

    fn spawn_background_services(
        &self,
        jobs: bool,
        events: bool,
        shutdown: &ShutdownToken,
    ) -> tokio::task::JoinSet<()> {
        let runner = self.runner.clone();
        let work = BackgroundService::new("jobs", move |shutdown| {
            let runner = runner.clone();
            async move { runner.run(shutdown).await }
        });
        let dispatcher = self.dispatcher.clone();
        let deliver = BackgroundService::new("events", move |shutdown| {
            let dispatcher = dispatcher.clone();
            async move { dispatcher.run(shutdown).await }
        });
        let carry = self.relay.clone().map(|relay| {
            BackgroundService::new("tenant-databases", move |shutdown| {
                let relay = relay.clone();
                async move { relay.run(shutdown).await }
            })
        });
        let ours = carry.into_iter().chain(jobs.then_some(work)).chain(events.then_some(deliver));
        let services: Vec<_> = self.services.iter().cloned().chain(ours).collect();
        spawn(&services, shutdown)
    }

    /// Creates the directory of a SQLite file and pings the database.
    async fn prepare_database(&self) -> Result<(), DbError> {
        if let Some(folder) = self.db_settings.sqlite_folder() {
            tokio::fs::create_dir_all(&folder).await.map_err(|error| {
                DbError::configuration(format!(
                    "can't create the directory {} of DATABASE_URL: {error}",
                    folder.display()
                ))
            })?;
        }
        self.db.ping().await.map(drop)
    }
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let modules: Vec<_> = self.modules.iter().map(|module| module.name()).collect();
        f.debug_struct("App").field("modules", &modules).finish_non_exhaustive()
    }
}
