//! The numbers of an app that are counted in the database: users, sessions, waiting jobs.
//!
//! A module contributes numbers with [`Registry::count`](crate::module::Registry::count), and daily numbers with
//! [`Registry::count_by_day`](crate::module::Registry::count_by_day). The module of the feature `observability` counts
//! them once a minute, on one replica, stores them, and shows them as metrics and to operators; so neither the metrics
//! nor a dashboard waits for a count. Without that module, nothing is counted.
//!
//! ```
//! use omnistack_core::{
//!     dashboard::Count,
//!     db::Db,
//!     metrics,
//!     module::{Module, Registry},
//! };
//!
//! struct Shop;
//!
//! impl Module for Shop {
//!     fn name(&self) -> &'static str {
//!         "shop"
//!     }
//!
//!     fn register(&self, registry: &mut Registry) {
//!         registry.count(|ctx| {
//!             let db = ctx.get::<Db>()?;
//!             Ok(move || {
//!                 let db = db.clone();
//!                 async move {
//!                     let (plans,): (i64,) = db.query("select count(*) from subscriptions").fetch_one().await?;
//!                     Ok(vec![Count::new(&metrics::ACTIVE_SUBSCRIPTIONS, ["pro"], plans)])
//!                 }
//!             })
//!         });
//!     }
//! }
//! ```

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use crate::{BoxError, clock::Timestamp, metrics::Metric};
use futures_util::{FutureExt as _, future::BoxFuture};

/// A number: the value of a gauge with these labels.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Count {
    /// The gauge.
    pub metric: &'static Metric,
    /// The values of the gauge's labels.
    pub labels: Vec<String>,
    /// The number.
    pub value: f64,
}

impl Count {
    /// Creates the value of a gauge.
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a 64-bit float, exact up to 2^53")]
    pub fn new<const N: usize>(metric: &'static Metric, labels: [&str; N], value: i64) -> Self {
        debug_assert_eq!(N, metric.labels.len(), "`{}` has the labels {:?}", metric.name, metric.labels);
        Self { metric, labels: labels.map(str::to_owned).into(), value: value as f64 }
    }
}

/// A number of a day.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DayCount {
    /// The day in UTC, as `2030-01-31`.
    pub day: String,
    /// The number.
    pub count: i64,
}

impl DayCount {
    /// Creates the number of a day.
    pub const fn new(day: String, count: i64) -> Self {
        Self { day, count }
    }
}

type CountFn = Arc<dyn Fn() -> BoxFuture<'static, Result<Vec<Count>, BoxError>> + Send + Sync>;
type DailyFn = Arc<dyn Fn(Timestamp) -> BoxFuture<'static, Result<Vec<DayCount>, BoxError>> + Send + Sync>;

/// The numbers that the modules count. It is in the [`Context`](crate::module::Context) of every app. Cheap to clone.
#[derive(Clone, Default)]
pub struct Dashboard(Arc<Mutex<Sources>>);

#[derive(Default)]
struct Sources {
    counts: Vec<CountFn>,
    daily: Vec<(&'static str, DailyFn)>,
}

impl Dashboard {
    /// Counts all numbers. A source that fails is logged and left out.
    pub async fn count(&self) -> Vec<Count> {
        let sources = self.sources(|sources| sources.counts.clone());
        let mut all = Vec::new();
        for source in sources {
            match source().await {
                Ok(counts) => all.extend(counts),
                Err(error) => {
                    tracing::warn!(target: "omnistack::metrics", %error, "a number of the app could not be counted");
                }
            }
        }
        all
    }

    /// Returns the names of the daily numbers, such as `users`.
    pub fn daily_names(&self) -> Vec<&'static str> {
        self.sources(|sources| sources.daily.iter().map(|(name, _)| *name).collect())
    }

    /// Counts a daily number for each day since `from` that has one. `from` is the start of a day in UTC.
    ///
    /// # Errors
    /// Returns the error of the source. Returns an error if there is no daily number of this name.
    pub async fn count_by_day(&self, name: &str, from: Timestamp) -> Result<Vec<DayCount>, BoxError> {
        let source = self.sources(|sources| sources.daily.iter().find(|(other, _)| *other == name).cloned());
        let (_, source) = source.ok_or_else(|| format!("no module counts `{name}` by day"))?;
        source(from).await
    }

    fn sources<T>(&self, read: impl FnOnce(&Sources) -> T) -> T {
        read(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn add<C, F>(&self, count: C)
    where
        C: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = Result<Vec<Count>, BoxError>> + Send + 'static,
    {
        let source: CountFn = Arc::new(move || count().boxed());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).counts.push(source);
    }

    pub(crate) fn add_daily<C, F>(&self, name: &'static str, count: C)
    where
        C: Fn(Timestamp) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Vec<DayCount>, BoxError>> + Send + 'static,
    {
        let source: DailyFn = Arc::new(move |from| count(from).boxed());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).daily.push((name, source));
    }
}

impl fmt::Debug for Dashboard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dashboard").field("daily", &self.daily_names()).finish_non_exhaustive()
    }
}
