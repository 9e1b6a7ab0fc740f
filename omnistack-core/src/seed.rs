//! Seeds: rows that an app needs in development, such as a user with some projects. The command `seed` creates them.
//!
//! ```
//! use omnistack_core::{db::Db, module::Registry};
//!
//! fn register(registry: &mut Registry) {
//!     registry.seed("planets", |ctx| {
//!         let db = ctx.get::<Db>()?;
//!         Ok(move || {
//!             let db = db.clone();
//!             async move {
//!                 // A seed that runs again changes nothing.
//!                 let sql = "insert into planets (name) values ($1) on conflict do nothing";
//!                 db.query(sql).bind("Mars").execute().await?;
//!                 Ok(())
//!             }
//!         })
//!     });
//! }
//! ```

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::future::BoxFuture;

use crate::BoxError;

type RunSeed = Arc<dyn Fn() -> BoxFuture<'static, Result<(), BoxError>> + Send + Sync>;

/// The seeds that modules have registered, in the order of the modules. It is in the
/// [`Context`](crate::module::Context) of every app. Cheap to clone.
#[derive(Clone, Default)]
pub struct Seeds(Arc<Mutex<Vec<(&'static str, RunSeed)>>>);

impl Seeds {
    /// Adds a seed, after those that were added before.
    pub(crate) fn add<F>(&self, name: &'static str, seed: impl Fn() -> F + Send + Sync + 'static)
    where
        F: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        let run: RunSeed = Arc::new(move || Box::pin(seed()));
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((name, run));
    }

    /// Returns the names of the seeds.
    pub fn names(&self) -> Vec<&'static str> {
        self.all().into_iter().map(|(name, _)| name).collect()
    }

    /// Runs the seed with this name.
    ///
    /// # Errors
    /// Fails if there is no such seed, and with its error.
    pub async fn run(&self, name: &str) -> Result<(), BoxError> {
        let seed = self.all().into_iter().find(|(known, _)| *known == name);
        let (_, run) = seed.ok_or_else(|| format!("there is no seed `{name}`; seeds: {}", self.names().join(", ")))?;
        Ok(run().await.map_err(|error| format!("the seed `{name}` failed: {error}"))?)
    }

    fn all(&self) -> Vec<(&'static str, RunSeed)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for Seeds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Seeds").field(&self.names()).finish()
    }
}
