//! The worker: leases jobs, runs them, and stores their results.
//!
//! One task does all of it. At most one database call of each kind is in progress at a time, so that claims and
//! acknowledgements form batches: the busier the worker, the larger they are.

mod attempt;
mod builder;
mod polling;
mod stalled_leases;
mod worker;

use std::{sync::Arc, time::Duration};

use super::{
    CronInfo, CronSpec, JobHandler, JobId, JobSettings, Jobs, Queue, listen::listen, service::Handlers,
    store::StalledLease,
};
use crate::{
    BoxError, ShutdownToken,
    clock::Timestamp,
    db::{Error, OutboxRelay},
    error_event::ErrorReporter,
    http::Rate,
    realtime::RealtimePublisher,
};
pub(crate) use attempt::error_text;
use attempt::{ends_to_tell, tell_ends};
pub use builder::RunnerBuilder;
pub(crate) use polling::{Outage, is_due};
use worker::{MAX_BATCH, Worker};

/// The channel on which the statement that inserts jobs announces their queues.
const CHANNEL: &str = "omnistack_jobs";

/// The runner of an app's jobs. [`App`](crate::app::App) has one; a separate program may run another.
#[derive(Clone)]
pub struct Runner {
    jobs: Jobs,
    handlers: Arc<Handlers>,
    names: Arc<str>,
    lanes: Arc<[ServedQueue]>,
    crons: Arc<[CronSpec]>,
    settings: Arc<JobSettings>,
    relay: Option<OutboxRelay>,
    reporter: Option<ErrorReporter>,
    realtime: RealtimePublisher,
}

/// A queue this worker serves, with its limits.
#[derive(Clone, Debug)]
struct ServedQueue {
    queue: String,
    concurrency: usize,
    rate: Option<Rate>,
}

impl Runner {
    pub(crate) fn new(
        jobs: Jobs,
        handlers: Vec<JobHandler>,
        queues: &[Queue],
        crons: Vec<CronSpec>,
        settings: JobSettings,
    ) -> Self {
        let mut names: Vec<_> = handlers.iter().map(|handler| handler.name).collect();
        names.sort_unstable();
        let mut lanes: Vec<String> = handlers.iter().map(|handler| handler.queue.to_owned()).collect();
        lanes.extend(queues.iter().map(|queue| queue.name.clone()));
        lanes.push("default".into());
        lanes.sort_unstable();
        lanes.dedup();
        let lane = |queue: String| {
            let known = queues.iter().find(|known| known.name == queue);
            let concurrency = known.and_then(|known| known.concurrency).unwrap_or(settings.concurrency);
            let concurrency = usize::try_from(concurrency).unwrap_or(usize::MAX).max(1);
            ServedQueue { queue, concurrency, rate: known.and_then(|known| known.rate) }
        };
        Self {
            jobs,
            names: serde_json::to_string(&names).unwrap_or_default().into(),
            handlers: Arc::new(handlers.into_iter().map(|handler| (handler.name, handler)).collect()),
            lanes: lanes.into_iter().map(lane).collect(),
            crons: crons.into(),
            settings: Arc::new(settings),
            relay: None,
            reporter: None,
            realtime: RealtimePublisher::disabled(),
        }
    }

    /// Sets the relay that moves jobs from tenant databases to the queue.
    pub(crate) fn relayed_by(mut self, relay: Option<OutboxRelay>) -> Self {
        self.relay = relay;
        self
    }

    /// Sets the reporter of errors.
    pub(crate) fn reporting_to(mut self, reporter: Option<ErrorReporter>) -> Self {
        self.reporter = reporter;
        self
    }

    /// Sets the publisher of progress to connected clients.
    pub(crate) fn publishing_to(mut self, realtime: Option<RealtimePublisher>) -> Self {
        self.realtime = realtime.unwrap_or(self.realtime);
        self
    }

    /// Runs jobs until shutdown. Then running jobs have `JOBS_DRAIN` to finish. The remaining ones are released
    /// for other workers, and their attempts are not counted.
    ///
    /// # Errors
    /// None: while the database is unavailable, the runner waits.
    pub async fn run(&self, shutdown: ShutdownToken) -> Result<(), BoxError> {
        if self.handlers.is_empty() && self.crons.is_empty() {
            shutdown.cancelled().await;
            return Ok(());
        }
        let ended = ShutdownToken::new();
        let _ended = ended.clone().drop_guard();
        tokio::spawn(listen(self.jobs.store.db.clone(), CHANNEL, Arc::clone(&self.jobs.wake), ended));
        Worker::new(self).run(shutdown).await;
        Ok(())
    }

    /// Takes over jobs with expired leases, judged by the clock alone, and runs all due jobs and the jobs they
    /// enqueue until none is due. Ignores schedules: see [`run_crons_since`](Self::run_crons_since). Returns the number of attempts. For tests and one-off
    /// commands.
    ///
    /// # Errors
    /// The errors of the database.
    pub async fn run_until_idle(&self) -> Result<usize, Error> {
        let mut attempts = 0;
        let silent = self.jobs.store.stalled_leases(Duration::ZERO).await?;
        self.rescue(&silent).await?;
        loop {
            if let Some(relay) = &self.relay {
                relay.sweep().await?;
            }
            self.jobs.store.promote().await?;
            let mut worker = Worker::new(self);
            for lane in 0..self.lanes.len() {
                let jobs = worker.claim(lane, self.lanes[lane].concurrency.min(MAX_BATCH)).await?;
                worker.start(lane, jobs);
            }
            let mut finished = Vec::new();
            while let Some(job) = worker.next_end().await {
                finished.extend(job);
            }
            if finished.is_empty() {
                return Ok(attempts);
            }
            attempts += finished.len();
            let lost = self.jobs.store.finish(&finished).await?;
            tell_ends(ends_to_tell(&finished, &lost)).await;
        }
    }

    /// Enqueues the job of each schedule that was due after a moment and until now, and then runs what is due, like
    /// [`run_until_idle`](Self::run_until_idle). A schedule that was due several times enqueues one job, as it does after
    /// a pause of all workers. Returns the number of attempts.
    ///
    /// # Errors
    /// The errors of the database.
    pub async fn run_crons_since(&self, moment: Timestamp) -> Result<usize, Error> {
        for cron in self.crons.iter() {
            cron.tick(&self.jobs, moment).await?;
        }
        self.run_until_idle().await
    }

    /// Returns the schedules.
    pub fn crons(&self) -> Vec<CronInfo> {
        let now = self.jobs.store.clock.now();
        self.crons.iter().map(|cron| cron.info(now)).collect()
    }

    /// Takes over jobs whose leases were stalled at the last check and still are.
    async fn rescue(&self, silent: &[StalledLease]) -> Result<usize, Error> {
        self.jobs.store.rescue(silent, |name, attempt, id| self.wait(name, attempt, id)).await
    }

    fn wait(&self, name: &str, attempt: u32, id: JobId) -> Duration {
        let handler = self.handlers.get(name);
        handler.map_or(Duration::from_secs(60), |handler| handler.wait(attempt, id))
    }
}

impl std::fmt::Debug for Runner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runner").field("jobs", &self.names).field("queues", &self.lanes).finish_non_exhaustive()
    }
}
