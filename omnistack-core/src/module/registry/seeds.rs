//! Registration of seeds.

use super::Registry;
use crate::{
    BoxError,
    context::{Context, MissingDependency},
    seed::Seeds,
};

impl Registry {
    /// Adds a seed, which the command `seed` runs in development: see [`seed`](crate::seed). A seed that runs again must
    /// change nothing. Seeds run in the order in which the modules were added.
    pub fn seed<S, F>(
        &mut self,
        name: &'static str,
        seed: impl FnOnce(&Context) -> Result<S, MissingDependency> + Send + 'static,
    ) -> &mut Self
    where
        S: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        self.contribute(move |ctx| {
            ctx.get::<Seeds>()?.add(name, seed(ctx)?);
            Ok(())
        })
    }
}
