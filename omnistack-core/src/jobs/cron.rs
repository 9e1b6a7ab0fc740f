//! Jobs by the clock.

use std::{str::FromStr as _, sync::Arc};

use jiff::tz::TimeZone;

use super::{Draft, Job, Jobs, store::Store};
use crate::{clock::Timestamp, db};

/// What happens with a tick nobody was there for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Missed {
    /// Nothing: the next one is in time.
    #[default]
    Skip,
    /// The last of those missed is made up for, once, when a worker is there again.
    RunOnce,
}

/// A job enqueued by a cron pattern: once a tick, however many replicas there are.
#[derive(Debug)]
#[must_use]
pub struct Cron {
    pattern: String,
    zone: String,
    missed: Missed,
    name: &'static str,
    draft: Result<Make, serde_json::Error>,
}

/// Makes the tick's job anew.
#[derive(Clone)]
struct Make(Arc<dyn Fn() -> Draft + Send + Sync>);

impl std::fmt::Debug for Make {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Make")
    }
}

impl Cron {
    /// Minute, hour, day of month, month, day of week (`0 3 * * *`), and seconds before them if there are six; in UTC.
    pub fn new<J: Job + Clone>(pattern: impl Into<String>, job: J) -> Self {
        let draft = serde_json::to_string(&job).map(|_| Make(Arc::new(move || Draft::new(job.clone()))));
        Self { pattern: pattern.into(), zone: "UTC".into(), missed: Missed::default(), name: J::NAME, draft }
    }

    /// By the clocks of a place, e.g. `Europe/Berlin`. One minute of one hour is a time of day, which comes once a day: at the
    /// moment of the change when the clocks skip it, and the first time when they repeat it. Any other pattern, `*/30 * * * *`
    /// or `15,45 2 * * *`, takes the hours as they pass: none of one that is skipped, and those of one that is repeated twice.
    pub fn zone(mut self, zone: impl Into<String>) -> Self {
        self.zone = zone.into();
        self
    }

    /// What happens with missed ticks.
    pub fn missed(mut self, missed: Missed) -> Self {
        self.missed = missed;
        self
    }

    /// Ready to tick, or what is wrong with it.
    pub(crate) fn compile(self) -> Result<CronSpec, String> {
        let pattern = croner::Cron::from_str(&self.pattern);
        let pattern = pattern.map_err(|error| format!("cron `{}` of `{}`: {error}", self.pattern, self.name))?;
        let zone = TimeZone::get(&self.zone);
        let zone = zone.map_err(|_| format!("cron of `{}`: there is no time zone `{}`", self.name, self.zone))?;
        let Make(make) = self.draft.map_err(|error| format!("cron of `{}`: {error}", self.name))?;
        let id = format!("{} {} {}", self.name, self.pattern, self.zone);
        Ok(CronSpec { id, name: self.name, pattern, zone, missed: self.missed, make })
    }
}

/// A cron, as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CronInfo {
    /// The name of its job.
    pub name: &'static str,
    /// When it ticks.
    pub pattern: String,
    /// By the clocks of which place.
    pub zone: String,
    /// Its next tick; none if there is no more.
    pub next: Option<Timestamp>,
}

/// A cron that ticks.
#[derive(Clone)]
pub(crate) struct CronSpec {
    /// What replicas know it by.
    pub(crate) id: String,
    name: &'static str,
    pattern: croner::Cron,
    zone: TimeZone,
    missed: Missed,
    make: Arc<dyn Fn() -> Draft + Send + Sync>,
}

impl CronSpec {
    pub(super) fn info(&self, now: Timestamp) -> CronInfo {
        let zone = self.zone.iana_name().unwrap_or("UTC").to_owned();
        CronInfo { name: self.name, pattern: self.pattern.as_str().to_owned(), zone, next: self.after(now) }
    }

    /// The first tick after a moment; none if there is no more.
    pub(super) fn after(&self, moment: Timestamp) -> Option<Timestamp> {
        let next = self.pattern.find_next_occurrence(&moment.to_jiff().to_zoned(self.zone.clone()), false).ok()?;
        Some(Timestamp::from_micros(next.timestamp().as_microsecond()))
    }

    /// Where to count from at start: now, or the last tick anybody claimed, or when the cron was first seen.
    pub(super) async fn begin(&self, store: &Store) -> Result<Timestamp, db::Error> {
        let now = store.clock.now();
        Ok(match self.missed {
            Missed::Skip => now,
            Missed::RunOnce => Timestamp::from_micros(store.last_tick(&self.id).await?).min(now),
        })
    }

    /// Enqueues the job of the last tick between a moment and now, unless another replica has. Returns where to go on.
    pub(super) async fn tick(&self, jobs: &Jobs, since: Timestamp) -> Result<Timestamp, db::Error> {
        let now = jobs.store.clock.now().to_jiff().to_zoned(self.zone.clone());
        let Ok(due) = self.pattern.find_previous_occurrence(&now, true) else { return Ok(since) };
        let due = Timestamp::from_micros(due.timestamp().as_microsecond());
        if due <= since {
            return Ok(since);
        }
        let mut tx = jobs.store.db.begin().await?;
        if Store::claim_tick(&mut tx, &self.id, due.as_micros()).await? {
            match jobs.enqueue_in(&mut tx, (self.make)()).await {
                Ok(_) => tx.commit().await?,
                Err(super::EnqueueError::Database(error)) => return Err(error),
                Err(error) => tracing::error!(target: "omnistack::jobs", cron = self.id, %error, "a tick was lost"),
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
