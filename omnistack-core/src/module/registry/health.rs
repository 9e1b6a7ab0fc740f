//! Registration of health checks.

use super::Registry;
use crate::{
    BoxError,
    context::{Context, MissingDependency},
    health::HealthCheck,
};

impl Registry {
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

    fn check(
        &mut self,
        name: &'static str,
        wire: impl FnOnce(&Context) -> Result<HealthCheck, MissingDependency> + Send + 'static,
    ) -> &mut Self {
        self.checks.push((name, self.module, Box::new(wire)));
        self
    }
}
