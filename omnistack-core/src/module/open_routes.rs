//! The routes that stay open for a tenant at the limit of its plan.

use std::{collections::HashSet, sync::Arc};

/// The routes of mounts with [`Mount::without_plan_limits`](super::Mount::without_plan_limits). The app provides them
/// in its [`Context`](super::Context), for the layer that limits the requests of a tenant by its plan. Cheap to clone.
///
/// ```
/// use omnistack_core::{app::{App, DevIdentity}, config::Config};
/// use omnistack_core::module::{Api, Module, Mount, Registry, RoutesWithoutPlanLimits};
///
/// struct Invoices;
///
/// impl Module for Invoices {
///     fn name(&self) -> &'static str {
///         "invoices"
///     }
///
///     fn register(&self, registry: &mut Registry) {
///         let api = Api::<()>::new().hidden("/{id}", axum::routing::get(|| async { "an invoice" }));
///         registry.routes(Mount::app("/invoices").without_plan_limits(), api, |_| Ok(()));
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let config = Config::from_pairs([("DATABASE_URL", "sqlite::memory:"), ("DEV_TOKEN", "dev_moon")]);
/// let app = App::builder(config).with(DevIdentity::default()).with(Invoices).build()?;
/// let routes: RoutesWithoutPlanLimits = app.context().get()?;
/// assert!(routes.contains("/api/v1/app/invoices/{id}"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct RoutesWithoutPlanLimits {
    open: Arc<HashSet<String>>,
    uncounted: Arc<HashSet<String>>,
}

impl RoutesWithoutPlanLimits {
    pub(crate) fn new(open: impl IntoIterator<Item = String>, uncounted: impl IntoIterator<Item = String>) -> Self {
        Self { open: Arc::new(open.into_iter().collect()), uncounted: Arc::new(uncounted.into_iter().collect()) }
    }

    /// Returns whether a route is one of them. `path` is its full path with `{parameters}`, as axum's `MatchedPath` has
    /// it.
    pub fn contains(&self, path: &str) -> bool {
        self.open.contains(path)
    }

    /// Returns whether requests to a route are no usage of the tenant at all: see
    /// [`Mount::without_usage`](super::Mount::without_usage). `path` is the same as for [`contains`](Self::contains).
    pub fn is_uncounted(&self, path: &str) -> bool {
        self.uncounted.contains(path)
    }
}
