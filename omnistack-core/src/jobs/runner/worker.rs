//! One run of the worker: its running jobs and its shutdown.

mod talk;

use std::{collections::HashMap, sync::Arc};

use tokio::{
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep_until},
};
use uuid::Uuid;

use super::{
    Runner,
    attempt::attempt,
    wake::{Trouble, Upkeep},
};
use crate::{
    app::Shutdown,
    jobs::{
        BatchId, JobId,
        store::{Claimed, Finished, Outcome},
    },
};
pub(super) use talk::MAX_BATCH;
use talk::{Saying, on};

/// One run of the worker.
pub(super) struct Worker {
    runner: Runner,
    id: Uuid,
    running: JoinSet<Finished>,
    known: HashMap<Uuid, Running>,
    /// For each queue: the number of running jobs, and whether there may be more to claim.
    load: Vec<usize>,
    wanted: Vec<bool>,
    /// For each queue: whether the last claim returned as many jobs as requested.
    backlog: Vec<bool>,
    finished: Vec<Finished>,
    /// Whether results are stored one by one, to find the one that can't be stored.
    one_by_one: bool,
    upkeep: Upkeep,
    trouble: Trouble,
    ending: bool,
}

impl Worker {
    pub(super) fn new(runner: &Runner) -> Self {
        let lanes = runner.lanes.len();
        Self {
            runner: runner.clone(),
            id: crate::id::Id::<Self>::new(runner.jobs.store.clock.now()).uuid(),
            running: JoinSet::new(),
            known: HashMap::new(),
            load: vec![0; lanes],
            wanted: vec![true; lanes],
            backlog: vec![false; lanes],
            finished: Vec::new(),
            one_by_one: false,
            upkeep: Upkeep::default(),
            trouble: Trouble::default(),
            ending: false,
        }
    }

    pub(super) async fn run(mut self, shutdown: Shutdown) {
        let settings = Arc::clone(&self.runner.settings);
        let wake = Arc::clone(&self.runner.jobs.wake);
        let (mut claiming, mut storing, mut keeping): (Saying, Saying, Saying) = (None, None, None);
        let (mut poll, mut beat) = (Instant::now(), Instant::now() + settings.lease / 3);
        let mut drained: Option<Instant> = None;
        loop {
            if claiming.is_none() && !self.ending && !self.trouble.holds() {
                claiming = self.next_claim();
            }
            if storing.is_none() && !self.trouble.holds() {
                storing = self.next_store(&mut beat);
            }
            if self.ending
                && claiming.is_none()
                && storing.is_none()
                && self.running.is_empty()
                && self.finished.is_empty()
            {
                return;
            }
            tokio::select! {
                said = on(&mut claiming) => { claiming = None; self.hear(said); }
                said = on(&mut storing) => { storing = None; self.hear(said); }
                said = on(&mut keeping) => {
                    keeping = None;
                    self.hear(said);
                    // After a failure, the next due time is not known.
                    let wait = if self.trouble.holds() { settings.poll } else { self.upkeep.wait(settings.poll) };
                    poll = Instant::now() + wait;
                }
                Some(job) = self.running.join_next() => {
                    self.ended(job.ok());
                    while let Some(job) = self.running.try_join_next() {
                        self.ended(job.ok());
                    }
                }
                () = wake.notified(), if !self.ending => self.wanted.fill(true),
                () = sleep_until(poll), if keeping.is_none() && !self.ending => {
                    self.wanted.fill(true);
                    self.backlog.fill(false);
                    keeping = Some(self.keep());
                }
                () = sleep_until(beat), if storing.is_none() && !self.trouble.holds() => {}
                () = self.trouble.over(), if self.trouble.holds() => {}
                () = shutdown.cancelled(), if !self.ending => {
                    self.ending = true;
                    drained = Some(Instant::now() + settings.drain);
                }
                () = sleep_until(drained.unwrap_or(poll)), if drained.is_some() => {
                    drained = None;
                    self.give_back_all();
                }
            }
        }
    }

    pub(super) fn start(&mut self, lane: usize, jobs: Vec<Claimed>) {
        for job in jobs {
            let (id, lease) = (job.id, job.lease);
            let claimed = Released { attempt: job.attempt, run_at: job.run_at, batch: job.batch };
            let Some(handler) = self.runner.handlers.get(job.name.as_str()).filter(|_| !self.ending) else {
                self.finished.push(claimed.release(id, lease));
                continue;
            };
            let task = self.running.spawn(attempt(handler.clone(), job, self.runner.jobs.store.clone()));
            self.load[lane] += 1;
            self.known.insert(id.uuid(), Running { lease, lane, task, claimed });
        }
    }

    /// Waits for the next attempt to end and returns its result. Returns `None` if nothing runs.
    pub(super) async fn next_end(&mut self) -> Option<Option<Finished>> {
        self.running.join_next().await.map(Result::ok)
    }

    /// Records the result of an attempt. A job that was stopped has none; it is recorded by the method that
    /// stopped it.
    fn ended(&mut self, job: Option<Finished>) {
        let Some(job) = job else { return };
        if let Some(running) = self.known.remove(&job.id.uuid()) {
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
            let Some(running) = self.known.remove(&id.uuid()) else { continue };
            running.task.abort();
            self.load[running.lane] -= 1;
            if cancel == Some(true) {
                let Running { lease, claimed: Released { attempt, batch, .. }, .. } = running;
                self.finished.push(Finished { id: *id, lease, attempt, batch, outcome: Outcome::Cancelled });
            }
        }
    }

    /// Stops all running jobs and releases them for other workers.
    fn give_back_all(&mut self) {
        for (id, running) in std::mem::take(&mut self.known) {
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
struct Running {
    lease: i32,
    lane: usize,
    task: AbortHandle,
    claimed: Released,
}

/// The data needed to release a job.
#[derive(Clone, Copy)]
struct Released {
    attempt: i32,
    run_at: i64,
    batch: Option<BatchId>,
}

impl Released {
    /// Releases the job with its due time unchanged and its attempt not counted.
    fn release(self, id: JobId, lease: i32) -> Finished {
        let outcome = Outcome::Snooze { at: self.run_at };
        Finished { id, lease, attempt: self.attempt, batch: self.batch, outcome }
    }
}
