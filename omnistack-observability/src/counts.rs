//! The numbers of the app that one replica counts once a minute.
//!
//! A job counts what the modules contribute to the [`Dashboard`] and stores it. Every process reads the stored numbers
//! and sets its gauges, so that all replicas report the same, whichever of them has counted.

mod stats;

use std::{
    collections::HashSet,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use omnistack_core::{
    BoxError, ShutdownToken,
    clock::{Clock, Timestamp},
    dashboard::Dashboard,
    db::{Db, Error},
    jobs::{Cron, Job, JobContext, JobError},
    metrics::{ALL_METRICS, Metric},
    module::Registry,
    realtime::{RealtimeChannel, RealtimePublisher},
};
use serde::{Deserialize, Serialize};

pub(crate) use self::stats::{DashboardNumber, DashboardStats};

/// Interval at which a process reads the stored numbers.
const READ_INTERVAL: Duration = Duration::from_secs(20);
/// Number of past days whose daily numbers are counted again, because a day ends at different times on different clocks.
const RECOUNTED_DAYS: u64 = 2;
/// Number of days whose daily numbers are kept.
const KEPT_DAYS: u64 = 400;
const DAY: Duration = Duration::from_hours(24);
/// The type of the messages to operators.
const DASHBOARD_MESSAGE: &str = "dashboard.counted";

/// Registers the job that counts, and the service that sets the gauges.
pub(crate) fn register(registry: &mut Registry) {
    registry
        .provide_from(|ctx| {
            Ok(Counts {
                db: ctx.get::<Db>()?.app_database(),
                clock: ctx.get()?,
                dashboard: ctx.get()?,
                realtime: ctx.get()?,
                set: Arc::default(),
            })
        })
        .job::<CountNumbers>(|ctx| ctx.get())
        .cron(Cron::new("* * * * *", CountNumbers {}))
        .background_service("counted metrics", |ctx| {
            let counts: Counts = ctx.get()?;
            Ok(move |shutdown: ShutdownToken| {
                let counts = counts.clone();
                async move {
                    loop {
                        counts.set_gauges().await?;
                        if tokio::time::timeout(READ_INTERVAL, shutdown.cancelled()).await.is_ok() {
                            return Ok(());
                        }
                    }
                }
            })
        });
}

/// The numbers of an app that are counted and stored: the state of [`CountNumbers`]. Cheap to clone.
#[derive(Clone)]
pub struct Counts {
    db: Db,
    clock: Clock,
    dashboard: Dashboard,
    realtime: RealtimePublisher,
    /// The gauges that were set, by name and labels.
    set: Arc<Mutex<HashSet<(String, String)>>>,
}

/// A message in the channel of operators.
#[derive(Serialize)]
struct DashboardMessage {
    r#type: &'static str,
    data: DashboardStats,
}

/// A stored number.
pub(crate) struct StoredCount {
    pub(crate) metric: String,
    /// The values of the labels, as a JSON array.
    labels: String,
    pub(crate) value: f64,
    pub(crate) counted_at: Timestamp,
}

impl StoredCount {
    pub(crate) fn definition(&self) -> Option<&'static Metric> {
        ALL_METRICS.iter().copied().find(|metric| metric.name == self.metric)
    }

    pub(crate) fn labels(&self) -> Vec<String> {
        serde_json::from_str(&self.labels).unwrap_or_default()
    }
}

impl Counts {
    /// Counts all numbers and stores them in place of the earlier ones.
    async fn count(&self) -> Result<(), BoxError> {
        let counts = self.dashboard.count().await;
        let now = self.clock.now();
        let mut tx = self.db.begin().await?;
        tx.query("delete from omni_counts").execute().await?;
        for count in counts {
            let labels = serde_json::to_string(&count.labels)?;
            let insert = "insert into omni_counts (metric, labels, value, counted_at) values ($1, $2, $3, $4)
                on conflict (metric, labels) do update set value = excluded.value";
            tx.query(insert).bind(count.metric.name).bind(labels).bind(count.value).bind(now).execute().await?;
        }
        tx.commit().await?;
        for name in self.dashboard.daily_names() {
            self.count_by_day(name, now).await?;
        }
        Ok(())
    }

    /// Counts the daily number of the last days; of all kept days if none is stored.
    async fn count_by_day(&self, name: &'static str, now: Timestamp) -> Result<(), BoxError> {
        let known = self.db.query("select count(*) from omni_daily_counts where name = $1").bind(name);
        let (known,): (i64,) = known.fetch_one().await?;
        let from = start_of_day(now) - DAY * u32::try_from(if known == 0 { KEPT_DAYS } else { RECOUNTED_DAYS })?;
        let days = self.dashboard.count_by_day(name, from).await?;
        let oldest = day(start_of_day(now) - DAY * u32::try_from(KEPT_DAYS)?);
        let mut tx = self.db.begin().await?;
        for counted in days {
            let upsert = "insert into omni_daily_counts (name, day, count) values ($1, $2, $3)
                on conflict (name, day) do update set count = excluded.count";
            tx.query(upsert).bind(name).bind(counted.day).bind(counted.count).execute().await?;
        }
        tx.query("delete from omni_daily_counts where name = $1 and day < $2")
            .bind(name)
            .bind(oldest)
            .execute()
            .await?;
        Ok(tx.commit().await?)
    }

    /// Tells the operators who are connected the numbers. An error is only logged: the numbers are stored, and the next
    /// count is told again.
    async fn tell_operators(&self) {
        let channel = RealtimeChannel::operators();
        if !self.realtime.has_channel(&channel) {
            return;
        }
        let told = async {
            let data = DashboardStats::read(self).await?;
            self.realtime.publish(channel, &DashboardMessage { r#type: DASHBOARD_MESSAGE, data }).await
        };
        if let Err(error) = told.await {
            tracing::debug!(target: "omnistack::metrics", %error, "the numbers could not be sent to operators");
        }
    }

    /// Returns the stored numbers.
    pub(crate) async fn stored(&self) -> Result<Vec<StoredCount>, Error> {
        let query = self.db.query("select metric, labels, value, counted_at from omni_counts order by metric, labels");
        let rows: Vec<(String, String, f64, Timestamp)> = query.fetch_all().await?;
        let stored = rows.into_iter();
        Ok(stored
            .map(|(metric, labels, value, counted_at)| StoredCount { metric, labels, value, counted_at })
            .collect())
    }

    /// Returns the stored daily numbers of the last `days` days, the oldest first. A day without a number has 0.
    pub(crate) async fn days(&self, name: &str, days: u32) -> Result<Vec<(String, i64)>, Error> {
        let today = start_of_day(self.clock.now());
        let first = today - DAY * (days - 1);
        let stored =
            self.db.query("select day, count from omni_daily_counts where name = $1 and day >= $2 order by day");
        let stored: Vec<(String, i64)> = stored.bind(name.to_owned()).bind(day(first)).fetch_all().await?;
        let mut stored = stored.into_iter().peekable();
        Ok((0..days)
            .map(|index| {
                let day = day(first + DAY * index);
                let count = stored.next_if(|(stored, _)| *stored == day).map_or(0, |(_, count)| count);
                (day, count)
            })
            .collect())
    }

    /// Sets the gauges to the stored numbers. A number that is no longer counted, such as that of a queue without
    /// jobs, is set to 0.
    pub(crate) async fn set_gauges(&self) -> Result<(), Error> {
        let stored = self.stored().await?;
        let mut set = self.set.lock().unwrap_or_else(PoisonError::into_inner);
        let mut now = HashSet::new();
        for count in &stored {
            if let Some(metric) = count.definition() {
                metric.gauge(count.labels()).set(count.value);
                now.insert((count.metric.clone(), count.labels.clone()));
            }
        }
        for (name, labels) in set.difference(&now) {
            if let Some(metric) = ALL_METRICS.iter().find(|metric| metric.name == name) {
                metric.gauge(serde_json::from_str::<Vec<String>>(labels).unwrap_or_default()).set(0.0);
            }
        }
        set.extend(now);
        Ok(())
    }
}

impl fmt::Debug for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counts").field("dashboard", &self.dashboard).finish_non_exhaustive()
    }
}

/// Returns the start of a day in UTC.
fn start_of_day(now: Timestamp) -> Timestamp {
    const DAY_MICROS: i64 = 24 * 60 * 60 * 1_000_000;
    Timestamp::from_micros(now.as_micros().div_euclid(DAY_MICROS) * DAY_MICROS)
}

/// Returns the day of a time in UTC, as `2030-01-31`.
fn day(at: Timestamp) -> String {
    at.to_string().chars().take("2030-01-31".len()).collect()
}

/// The job that counts the numbers of the app. It runs every minute, on one replica.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CountNumbers {}

#[async_trait]
impl Job for CountNumbers {
    const NAME: &'static str = "observability.count_numbers";
    const MAX_ATTEMPTS: u32 = 1;

    type State = Counts;

    async fn run(self, counts: &Counts, _: &JobContext) -> Result<(), JobError> {
        counts.count().await.map_err(JobError::retry)?;
        counts.set_gauges().await?;
        counts.tell_operators().await;
        Ok(())
    }
}
