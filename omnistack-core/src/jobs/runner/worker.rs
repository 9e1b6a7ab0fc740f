//! One run of the worker: its running jobs and its shutdown.

mod database;

use std::{collections::HashMap, sync::Arc};

use tokio::{
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep_until},
};
use uuid::Uuid;

use super::{
    Runner,
    attempt::attempt,
    polling::{Maintenance, Outage},
};
use crate::{
    ShutdownToken,
    jobs::{
        BatchId, JobId,
        progress_feed::ProgressFeed,
        store::{AttemptResult, FinishedAttempt, LeasedJob},
    },
};
pub(super) use database::MAX_BATCH;
use database::{DbCall, wait_for};

/// One run of the worker.
pub(super) struct Worker {
    runner: Runner,
    id: Uuid,
    running: JoinSet<FinishedAttempt>,
    running_by_id: HashMap<Uuid, RunningJob>,
    /// The number of running jobs of each queue.
    load: Vec<usize>,
    /// Whether each queue may have more jobs to claim.
    may_have_jobs: Vec<bool>,
    /// Whether the last claim of each queue returned as many jobs as requested.
    backlog: Vec<bool>,
    finished: Vec<FinishedAttempt>,
    /// The messages to clients about stored results.
    telling: JoinSet<()>,
    /// Whether results are stored one by one, to find the one that can't be stored.
    one_by_one: bool,
    upkeep: Maintenance,
    outage: Outage,
    shutting_down: bool,
}

impl Worker {
    pub(super) fn new(runner: &Runner) -> Self {
        let lanes = runner.lanes.len();
        Self {
            runner: runner.clone(),
            id: crate::id::Id::<Self>::new(runner.jobs.store.clock.now()).uuid(),
            running: JoinSet::new(),
            running_by_id: HashMap::new(),
            load: vec![0; lanes],
            may_have_jobs: vec![true; lanes],
            backlog: vec![false; lanes],
            finished: Vec::new(),
            telling: JoinSet::new(),
            one_by_one: false,
            upkeep: Maintenance::default(),
            outage: Outage::default(),
            shutting_down: false,
        }
    }

    pub(super) async fn run(mut self, shutdown: ShutdownToken) {
        let settings = Arc::clone(&self.runner.settings);
        let wake = Arc::clone(&self.runner.jobs.wake);
        let (mut claiming, mut storing, mut keeping): (DbCall, DbCall, DbCall) = (None, None, None);
        let (mut poll, mut beat) = (Instant::now(), Instant::now() + settings.lease / 3);
        let mut drained: Option<Instant> = None;
        loop {
            if claiming.is_none() && !self.shutting_down && !self.outage.is_paused() {
                claiming = self.next_claim();
            }
            if storing.is_none() && !self.outage.is_paused() {
                storing = self.next_store(&mut beat);
            }
            if self.shutting_down
                && claiming.is_none()
                && storing.is_none()
                && self.running.is_empty()
                && self.finished.is_empty()
                && self.telling.is_empty()
            {
                return;
            }
            tokio::select! {
                said = wait_for(&mut claiming) => { claiming = None; self.handle_result(said); }
                said = wait_for(&mut storing) => { storing = None; self.handle_result(said); }
                said = wait_for(&mut keeping) => {
                    keeping = None;
                    self.handle_result(said);
                    // After a failure, the next due time is not known.
                    let wait = if self.outage.is_paused() { settings.poll } else { self.upkeep.wait(settings.poll) };
                    poll = Instant::now() + wait;
                }
                Some(job) = self.running.join_next() => {
                    self.record_result(job.ok());
                    while let Some(job) = self.running.try_join_next() {
                        self.record_result(job.ok());
                    }
                }
                Some(_) = self.telling.join_next() => {}
                () = wake.notified(), if !self.shutting_down => self.may_have_jobs.fill(true),
                () = sleep_until(poll), if keeping.is_none() && !self.shutting_down => {
                    self.may_have_jobs.fill(true);
                    self.backlog.fill(false);
                    keeping = Some(self.maintain());
                }
                () = sleep_until(beat), if storing.is_none() && !self.outage.is_paused() => {}
                () = self.outage.pause_over(), if self.outage.is_paused() => {}
                () = shutdown.cancelled(), if !self.shutting_down => {
                    self.shutting_down = true;
                    drained = Some(Instant::now() + settings.drain);
                }
                () = sleep_until(drained.unwrap_or(poll)), if drained.is_some() => {
                    drained = None;
                    self.release_all();
                    // The results are stored. Clients that can't be told don't hold up the end of the process.
                    self.telling.abort_all();
                }
            }
        }
    }

    pub(super) fn start(&mut self, lane: usize, jobs: Vec<LeasedJob>) {
        for job in jobs {
            let (id, lease) = (job.id, job.lease);
            let claimed = ReleaseData { attempt: job.attempt, run_at: job.run_at, batch: job.batch };
            let Some(handler) = self.runner.handlers.get(job.name.as_str()).filter(|_| !self.shutting_down) else {
                self.finished.push(claimed.release(id, lease));
                continue;
            };
            let task = self.running.spawn(attempt(
                handler.clone(),
                job,
                self.runner.jobs.store.clone(),
                self.runner.reporter.clone(),
                self.runner.realtime.clone(),
            ));
            self.load[lane] += 1;
            self.running_by_id.insert(id.uuid(), RunningJob { lease, lane, task, claimed });
        }
    }

    /// Waits for the next attempt to end and returns its result. Returns `None` if nothing runs.
    pub(super) async fn next_end(&mut self) -> Option<Option<FinishedAttempt>> {
        self.running.join_next().await.map(Result::ok)
    }

    /// Records the result of an attempt. A job that was stopped has none; it is recorded by the method that
    /// stopped it.
    fn record_result(&mut self, job: Option<FinishedAttempt>) {
        let Some(job) = job else { return };
        if let Some(running) = self.running_by_id.remove(&job.id.uuid()) {
            self.load[running.lane] -= 1;
            self.finished.push(job);
        }
    }

    /// Stops jobs that were cancelled or taken over by another worker.
    fn stop_lost(&mut self, asked: &[JobId], held: &[(JobId, bool)]) {
        let held: HashMap<_, _> = held.iter().map(|(id, cancel)| (id.uuid(), *cancel)).collect();
        for id in asked {
            let cancel = held.get(&id.uuid()).copied();
            if cancel == Some(false) {
                continue;
            }
            let Some(running) = self.running_by_id.remove(&id.uuid()) else { continue };
            running.task.abort();
            self.load[running.lane] -= 1;
            if cancel == Some(true) {
                let RunningJob { lease, claimed: ReleaseData { attempt, batch, .. }, .. } = running;
                self.finished.push(FinishedAttempt {
                    id: *id,
                    lease,
                    attempt,
                    batch,
                    outcome: AttemptResult::Cancelled,
                    feed: ProgressFeed::default(),
                });
            }
        }
    }

    /// Stops all running jobs and releases them for other workers.
    fn release_all(&mut self) {
        for (id, running) in std::mem::take(&mut self.running_by_id) {
            running.task.abort();
            self.load[running.lane] -= 1;
            self.finished.push(running.claimed.release(JobId::from_uuid(id), running.lease));
        }
        if !self.finished.is_empty() {
            tracing::warn!(target: "omnistack::jobs", jobs = self.finished.len(),
                "released because the app is shutting down");
        }
    }
}

/// A job this worker runs.
struct RunningJob {
    lease: i32,
    lane: usize,
    task: AbortHandle,
    claimed: ReleaseData,
}

/// The data needed to release a job.
#[derive(Clone, Copy)]
struct ReleaseData {
    attempt: i32,
    run_at: i64,
    batch: Option<BatchId>,
}

impl ReleaseData {
    /// Releases the job with its due time unchanged and its attempt not counted.
    fn release(self, id: JobId, lease: i32) -> FinishedAttempt {
        let outcome = AttemptResult::Snooze { at: self.run_at };
        let Self { attempt, batch, .. } = self;
        FinishedAttempt { id, lease, attempt, batch, outcome, feed: ProgressFeed::default() }
    }
}
