//! Schedules of jobs.

use std::{str::FromStr as _, sync::Arc};

use jiff::tz::TimeZone;

use super::{Job, Jobs, NewJob, store::JobStore};
use crate::{clock::Timestamp, db};

/// The name of the default time zone.
const UTC: &str = "UTC";

/// Treatment of ticks at which no worker was running.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MissedTickBehavior {
    /// Missed ticks are skipped.
    #[default]
    Skip,
    /// A worker makes up for the last missed tick, once, when it starts.
    CatchUp,
}

/// A schedule that enqueues a job at each tick, once for all replicas together.
#[doc(alias = "schedule")]
#[derive(Debug)]
#[must_use]
pub struct Cron {
    pattern: String,
    zone: String,
    missed: MissedTickBehavior,
    name: &'static str,
    draft: Result<JobFactory, serde_json::Error>,
}

/// The function that creates the job of a tick.
#[derive(Clone)]
struct JobFactory(Arc<dyn Fn() -> NewJob + Send + Sync>);

impl std::fmt::Debug for JobFactory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Make")
    }
}

impl Cron {
    /// Creates a schedule in UTC. The pattern has minute, hour, day of month, month and day of week
    /// (`0 3 * * *`); with six fields, the first one is seconds.
    pub fn new<J: Job + Clone>(pattern: impl Into<String>, job: J) -> Self {
        let draft = serde_json::to_string(&job).map(|_| JobFactory(Arc::new(move || NewJob::new(job.clone()))));
        Self { pattern: pattern.into(), zone: UTC.into(), missed: MissedTickBehavior::default(), name: J::NAME, draft }
    }

    /// Sets the time zone, e.g. `Europe/Berlin`. A pattern with one minute and one hour is due once a day: if
    /// daylight saving skips that time, at the moment of the change; if it repeats that time, only the first
    /// time. Any other pattern, such as `*/30 * * * *` or `15,45 2 * * *`, follows the clock: it is not due in a
    /// skipped hour, and due twice in a repeated one.
    pub fn time_zone(mut self, zone: impl Into<String>) -> Self {
        self.zone = zone.into();
        self
    }

    /// Sets what happens to missed ticks.
    pub fn missed_ticks(mut self, missed: MissedTickBehavior) -> Self {
        self.missed = missed;
        self
    }

    /// Parses the pattern and the time zone. Fails with a message if either is invalid.
    pub(crate) fn compile(self) -> Result<CronSpec, String> {
        let pattern = croner::Cron::from_str(&self.pattern);
        let pattern = pattern.map_err(|error| format!("cron `{}` of `{}`: {error}", self.pattern, self.name))?;
        // Most schedules are in UTC, and don't need the database of time zones, which takes long to open.
        let zone = if self.zone == UTC { Ok(TimeZone::UTC) } else { TimeZone::get(&self.zone) };
        let zone = zone.map_err(|_| format!("cron of `{}`: the time zone `{}` is unknown", self.name, self.zone))?;
        let JobFactory(make) = self.draft.map_err(|error| format!("cron of `{}`: {error}", self.name))?;
        let id = format!("{} {} {}", self.name, self.pattern, self.zone);
        Ok(CronSpec { id, name: self.name, pattern, zone, missed: self.missed, make })
    }
}

/// A schedule, for lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CronInfo {
    /// Name of the job.
    pub name: &'static str,
    /// Cron pattern.
    pub pattern: String,
    /// Time zone.
    pub time_zone: String,
    /// Time of the next tick; `None` if there is none.
    pub next: Option<Timestamp>,
}

/// A schedule with parsed pattern and time zone.
#[derive(Clone)]
pub(crate) struct CronSpec {
    /// Identifies the schedule across replicas.
    pub(crate) id: String,
    name: &'static str,
    pattern: croner::Cron,
    zone: TimeZone,
    missed: MissedTickBehavior,
    make: Arc<dyn Fn() -> NewJob + Send + Sync>,
}

impl CronSpec {
    pub(super) fn info(&self, now: Timestamp) -> CronInfo {
        let zone = self.zone.iana_name().unwrap_or(UTC).to_owned();
        CronInfo { name: self.name, pattern: self.pattern.as_str().to_owned(), time_zone: zone, next: self.after(now) }
    }

    /// Returns the first tick after a moment, or `None` if there is none.
    pub(super) fn after(&self, moment: Timestamp) -> Option<Timestamp> {
        let next = self.pattern.find_next_occurrence(&moment.to_jiff().to_zoned(self.zone.clone()), false).ok()?;
        Some(Timestamp::from_micros(next.timestamp().as_microsecond()))
    }

    /// Returns the moment after which ticks are due at start: now, or with [`MissedTickBehavior::RunOnce`] the last tick
    /// claimed by any replica (for a new schedule, the time it was first stored).
    pub(super) async fn begin(&self, store: &JobStore) -> Result<Timestamp, db::Error> {
        let now = store.clock.now();
        Ok(match self.missed {
            MissedTickBehavior::Skip => now,
            MissedTickBehavior::CatchUp => Timestamp::from_micros(store.last_tick(&self.id).await?).min(now),
        })
    }

    /// Enqueues the job of the last tick between a moment and now, unless another replica has. Returns the moment
    /// to continue from.
    pub(super) async fn tick(&self, jobs: &Jobs, since: Timestamp) -> Result<Timestamp, db::Error> {
        let now = jobs.store.clock.now().to_jiff().to_zoned(self.zone.clone());
        let Ok(due) = self.pattern.find_previous_occurrence(&now, true) else { return Ok(since) };
        let due = Timestamp::from_micros(due.timestamp().as_microsecond());
        if due <= since {
            return Ok(since);
        }
        let mut tx = jobs.store.db.begin().await?;
        if JobStore::claim_tick(&mut tx, &self.id, due.as_micros()).await? {
            match jobs.enqueue_in(&mut tx, (self.make)()).await {
                Ok(_) => tx.commit().await?,
                Err(super::EnqueueError::Database(error)) => return Err(error),
                Err(error) => tracing::error!(target: "omnistack::jobs", cron = self.id, %error,
                    "the job of a tick could not be enqueued"),
            }
        }
        Ok(due)
    }
}

impl std::fmt::Debug for CronSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CronSpec").field("id", &self.id).finish_non_exhaustive()
    }
}
