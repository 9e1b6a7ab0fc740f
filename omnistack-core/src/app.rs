//! The app: modules assembled into one server.
//!
//! An [`AppBuilder`] takes modules, asks each what it contributes ([`Registry`]), and wires the answers together: routes
//! under their mounts with the guards that come with them, layers by [`Slot`], migrations, health checks, background
//! services. [`AppBuilder::run`] is the whole program: a command line with `serve`, `migrate`, `openapi`, `routes`, `config` and
//! `doctor`.
//!
//! ```no_run
//! use omnistack_core::app::{App, Api, Module, Mount, Registry};
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

mod api;
mod banner;
mod builder;
mod cli;
mod commands;
mod connections;
mod core_routes;
mod ctx;
mod docs;
mod edge;
mod host;
mod limit;
mod mount;
mod openapi;
mod output;
mod problem;
mod refusal;
mod registry;
mod routing;
mod serve;
mod services;
mod signal;
mod unread;
mod wired;

pub use api::Api;
pub use builder::AppBuilder;
pub use ctx::{Ctx, Missing};
pub use edge::Edge;
pub use limit::RateLimit;
pub use mount::{Audience, Mount};
pub use problem::{BuildError, Problem};
pub use registry::{Registry, Slot};
pub use routing::RouteInfo;
pub use serve::{Server, ServerSettings};

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::{
    config::{Config, Environment},
    db::{Db, DbSettings, Error as DbError, MigrationState, Migrations},
    events::Dispatcher,
    health::Health,
    http::HttpSettings,
    identity::TenantId,
    jobs::Runner,
    relay::Relay,
};
use banner::Banner;
use services::Service;

/// Any error.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Asks background work to end.
pub type Shutdown = CancellationToken;

/// A part of an app: what a crate of ours, or the team's own code, adds to it.
#[async_trait]
pub trait Module: Send + Sync + 'static {
    /// Short, unique, stable: it names the migration table, tags the routes and prefixes metrics and logs.
    fn name(&self) -> &'static str;

    /// Says what the module contributes. Data only, no I/O: `openapi`, `routes` and `config` run it without a database.
    fn register(&self, registry: &mut Registry);

    /// The only place for I/O at boot: after migrations, before the listener opens.
    ///
    /// # Errors
    /// Keeps the app from starting.
    async fn start(&self, ctx: &Ctx) -> Result<(), BoxError> {
        let _ = ctx;
        Ok(())
    }
}

/// An app, wired and ready to start.
pub struct App {
    modules: Vec<Box<dyn Module>>,
    ctx: Ctx,
    config: Config,
    db: Db,
    db_settings: DbSettings,
    http: HttpSettings,
    health: Health,
    edge: Edge,
    title: String,
    version: String,
    openapi: Bytes,
    routes: Vec<RouteInfo>,
    migrations: Vec<(&'static str, Migrations)>,
    services: Vec<Service>,
    runner: Runner,
    jobs_in_serve: bool,
    dispatcher: Dispatcher,
    events_in_serve: bool,
    relay: Option<Relay>,
    banner: Banner,
}

impl App {
    /// An app with settings from `.env`, `omnistack.toml` and the environment.
    pub fn from_env() -> AppBuilder {
        AppBuilder::new(Config::from_env())
    }

    /// An app with exactly these settings: for tests.
    pub fn builder(config: Config) -> AppBuilder {
        AppBuilder::new(config)
    }

    /// The whole app as a tower service: the default stack around every route. Cheap to clone.
    pub fn service(&self) -> Edge {
        self.edge.clone()
    }

    /// The whole app as an axum router, to mount in another.
    pub fn router(&self) -> axum::Router {
        axum::Router::new().fallback_service(self.service())
    }

    /// The API's description, OpenAPI 3.1: the JSON that `/openapi.json` answers.
    pub fn openapi(&self) -> &[u8] {
        &self.openapi
    }

    /// Every route, by path.
    pub fn routes(&self) -> &[RouteInfo] {
        &self.routes
    }

    /// The app's database.
    pub fn db(&self) -> &Db {
        &self.db
    }

    /// What modules provided.
    pub fn ctx(&self) -> &Ctx {
        &self.ctx
    }

    /// Its settings.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Where it runs.
    pub fn environment(&self) -> Environment {
        self.config.environment()
    }

    /// Runs what is missing of every module's migrations; returns what ran as `(module, name)`.
    pub async fn migrate(&self) -> Result<Vec<(&'static str, &'static str)>, DbError> {
        self.prepare_database().await?;
        let mut ran = Vec::new();
        for (module, migrations) in &self.migrations {
            ran.extend(self.db.migrate(module, migrations).await?.into_iter().map(|name| (*module, name)));
        }
        Ok(ran)
    }

    /// Runs what is missing of every module's migrations in a tenant's own database, and returns how many there were. Opening it
    /// does so as well; this is for all of them at a time of one's own choosing.
    ///
    /// # Errors
    /// Tenants share the app's database; else the database's.
    pub async fn migrate_tenant(&self, tenant: TenantId) -> Result<usize, DbError> {
        match self.db.tenant_databases() {
            Some(databases) => databases.migrate(tenant).await,
            None => {
                Err(DbError::configuration("tenants share the database of the app: TENANT_DATABASE_URL is not set"))
            }
        }
    }

    /// Carries what waits in tenants' own databases to the app's, and what waits there for tenants, and removes the databases of
    /// tenants that are gone. An app does so by itself while it serves or works; this is for tests and one-off commands.
    ///
    /// # Errors
    /// The app's database's; a tenant's that is away is passed over.
    pub async fn carry(&self) -> Result<(), DbError> {
        match &self.relay {
            Some(relay) => relay.sweep().await,
            None => Ok(()),
        }
    }

    /// Which migrations the database has.
    pub async fn migration_states(&self) -> Result<Vec<MigrationState>, DbError> {
        self.prepare_database().await?;
        let mut states = Vec::new();
        for (module, migrations) in &self.migrations {
            states.extend(self.db.migration_states(module, migrations).await?);
        }
        Ok(states)
    }

    /// Starts every module. Migrations have run before.
    ///
    /// # Errors
    /// The first module that failed, by name.
    pub async fn start(&self) -> Result<(), BoxError> {
        for module in &self.modules {
            module
                .start(&self.ctx)
                .await
                .map_err(|error| format!("module `{}` did not start: {error}", module.name()))?;
        }
        Ok(())
    }

    /// How its settings want connections treated.
    pub fn server_settings(&self) -> ServerSettings {
        ServerSettings { header_timeout: self.http.header_timeout, grace: self.http.shutdown_grace }
    }

    /// Serves HTTP and runs the background services until told to end; returns how many connections were cut. Requests
    /// end first, since they may still need what runs in the background; both have one grace.
    pub async fn serve(&self, server: Server, shutdown: Shutdown) -> usize {
        let grace = self.http.shutdown_grace;
        let mut services = self.background(self.jobs_in_serve, self.events_in_serve, &shutdown);
        let over = Shutdown::new();
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
            tracing::warn!(target: "omnistack", connections = cut, ?grace, "ended with requests still open");
        }
        let ended = async { while services.join_next().await.is_some() {} };
        if over.run_until_cancelled(ended).await.is_none() {
            tracing::warn!(target: "omnistack", ?grace, "ended with background work still running");
        }
        cut
    }

    /// Runs jobs, delivers events and runs the background services, without HTTP, until told to end.
    pub async fn work(&self, shutdown: Shutdown) {
        let mut services = self.background(true, true, &shutdown);
        shutdown.cancelled().await;
        let ended = async { while services.join_next().await.is_some() {} };
        if tokio::time::timeout(self.http.shutdown_grace, ended).await.is_err() {
            tracing::warn!(target: "omnistack", grace = ?self.http.shutdown_grace, "ended with background work still running");
        }
    }

    /// What runs the app's jobs, for tests and programs of their own.
    pub fn runner(&self) -> &Runner {
        &self.runner
    }

    /// What delivers the app's events, for tests and programs of their own.
    pub fn dispatcher(&self) -> &Dispatcher {
        &self.dispatcher
    }

    fn background(&self, jobs: bool, events: bool, shutdown: &Shutdown) -> tokio::task::JoinSet<()> {
        let runner = self.runner.clone();
        let work = Service::new("jobs", move |shutdown| {
            let runner = runner.clone();
            async move { runner.run(shutdown).await }
        });
        let dispatcher = self.dispatcher.clone();
        let deliver = Service::new("events", move |shutdown| {
            let dispatcher = dispatcher.clone();
            async move { dispatcher.run(shutdown).await }
        });
        let carry = self.relay.clone().map(|relay| {
            Service::new("tenant-databases", move |shutdown| {
                let relay = relay.clone();
                async move { relay.run(shutdown).await }
            })
        });
        let ours = carry.into_iter().chain(jobs.then_some(work)).chain(events.then_some(deliver));
        let services: Vec<_> = self.services.iter().cloned().chain(ours).collect();
        services::spawn(&services, shutdown)
    }

    /// Makes the folder of a SQLite file and asks the database for an answer.
    async fn prepare_database(&self) -> Result<(), DbError> {
        if let Some(folder) = self.db_settings.sqlite_folder() {
            tokio::fs::create_dir_all(&folder).await.map_err(|error| {
                DbError::configuration(format!("can't make the folder {} of DATABASE_URL: {error}", folder.display()))
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

/// Shares a module between the app and whoever else holds it.
#[async_trait]
impl<M: Module> Module for Arc<M> {
    fn name(&self) -> &'static str {
        self.as_ref().name()
    }

    fn register(&self, registry: &mut Registry) {
        self.as_ref().register(registry);
    }

    async fn start(&self, ctx: &Ctx) -> Result<(), BoxError> {
        self.as_ref().start(ctx).await
    }
}
