//! The contract between an app and its modules.
//!
//! A [`Module`] contributes to an app: routes under their [`Mount`]s, layers by [`Slot`], migrations, jobs, event
//! subscribers, health checks, background services and values for other modules. It registers them with the
//! [`Registry`], as data and closures; nothing runs until the app is built. While the app is built, the closures get a
//! [`Context`] with the values that core and the other modules provide.
//!
//! The chapter *Writing a module* of the book is the guide.

mod agent_operation;
mod api;
mod background_service;
mod banner;
mod declared_table;
mod mount;
mod open_routes;
mod openapi;
mod problem;
mod providing_module;
mod rate_limit;
mod registry;
mod route_changes;
mod route_info;

pub use agent_operation::{AGENT_TOOL_EXTENSION, AgentOperation};
pub use api::Api;
pub use mount::Mount;
pub use open_routes::RoutesWithoutPlanLimits;
pub use problem::{BuildError, Problem};
pub use rate_limit::MountRateLimit;
pub use registry::{Registry, Slot};
pub use route_info::RouteInfo;

pub use crate::{
    context::{Context, ContextValues, MissingDependency},
    identity::AccessLevel,
};

pub(crate) use background_service::{BackgroundService, spawn};
pub(crate) use banner::Banner;
pub(crate) use declared_table::DeclaredTable;
pub(crate) use mount::IdempotencyPolicy;
pub(crate) use openapi::{OpenApiDocument, OpenApiPart};
pub(crate) use registry::{MissingValues, RequiredRoute, ResolvedLayer};
pub(crate) use route_changes::{
    ANY_METHOD, PATTERN_FIX, RouteChange, RouteChanges, RouteFate, RouteMoves, RoutePattern,
};

use std::sync::Arc;

use async_trait::async_trait;

use crate::{BoxError, config::Config, log::SubscriberLayer};

/// A part of an app: what a library crate, or the app's own code, adds to it.
#[async_trait]
pub trait Module: Send + Sync + 'static {
    /// Returns the module's name. It must be short, unique and stable: it names the migration table, tags the routes
    /// and prefixes metrics and logs.
    fn name(&self) -> &'static str;

    /// Registers what the module contributes. It must do no I/O: the commands `openapi`, `routes` and `config` call
    /// it without a database.
    fn register(&self, registry: &mut Registry);

    /// Starts the module, after the migrations and before the listener opens. This is the only place for I/O at
    /// startup.
    ///
    /// # Errors
    /// An error keeps the app from starting.
    async fn start(&self, ctx: &Context) -> Result<(), BoxError> {
        let _ = ctx;
        Ok(())
    }

    /// Stops the module, after the last request, job and background service has ended, or the grace period is over.
    /// All modules together have five seconds.
    async fn stop(&self, ctx: &Context) {
        let _ = ctx;
    }

    /// Returns a layer for the `tracing` subscriber that [`AppBuilder::run`](crate::app::AppBuilder::run) installs. It
    /// is called before [`register`](Self::register).
    fn subscriber_layer(&self, config: &Config) -> Option<SubscriberLayer> {
        let _ = config;
        None
    }
}

/// Forwards to the shared module, so that a module can be kept and added to an app.
#[async_trait]
impl<M: Module> Module for Arc<M> {
    fn name(&self) -> &'static str {
        self.as_ref().name()
    }

    fn register(&self, registry: &mut Registry) {
        self.as_ref().register(registry);
    }

    async fn start(&self, ctx: &Context) -> Result<(), BoxError> {
        self.as_ref().start(ctx).await
    }

    async fn stop(&self, ctx: &Context) {
        self.as_ref().stop(ctx).await;
    }

    fn subscriber_layer(&self, config: &Config) -> Option<SubscriberLayer> {
        self.as_ref().subscriber_layer(config)
    }
}
