//! Registration of numbers that are counted in the database.

use super::Registry;
use crate::{
    BoxError,
    clock::Timestamp,
    context::{Context, MissingDependency},
    dashboard::{Count, Dashboard, DayCount},
};

impl Registry {
    /// Adds numbers of the app, which are counted once a minute: see [`dashboard`](crate::dashboard).
    pub fn count<C, F>(
        &mut self,
        count: impl FnOnce(&Context) -> Result<C, MissingDependency> + Send + 'static,
    ) -> &mut Self
    where
        C: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = Result<Vec<Count>, BoxError>> + Send + 'static,
    {
        self.contribute(move |ctx| {
            ctx.get::<Dashboard>()?.add(count(ctx)?);
            Ok(())
        })
    }

    /// Adds a number of each day, such as new users: see [`dashboard`](crate::dashboard). `count` is called with the
    /// start of the first day, in UTC.
    pub fn count_by_day<C, F>(
        &mut self,
        name: &'static str,
        count: impl FnOnce(&Context) -> Result<C, MissingDependency> + Send + 'static,
    ) -> &mut Self
    where
        C: Fn(Timestamp) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Vec<DayCount>, BoxError>> + Send + 'static,
    {
        self.contribute(move |ctx| {
            ctx.get::<Dashboard>()?.add_daily(name, count(ctx)?);
            Ok(())
        })
    }

    /// Calls a function once all values are provided.
    pub(super) fn contribute(
        &mut self,
        add: impl FnOnce(&Context) -> Result<(), MissingDependency> + Send + 'static,
    ) -> &mut Self {
        self.contributors.push((self.module, Box::new(add)));
        self
    }
}
