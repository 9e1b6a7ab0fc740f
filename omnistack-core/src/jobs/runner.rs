//! The worker: leases jobs, runs them, stores how they ended.
//!
//! One task does all of it. Of each kind of conversation with the database at most one is under way, so that claims and
//! acknowledgements gather into batches by themselves: the busier the worker, the larger they are.

mod attempt;
mod wake;

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::{FutureExt as _, future::BoxFuture};
use tokio::{
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep_until},
};
use uuid::Uuid;

use super::{
    CronInfo, CronSpec, Handler, JobId, JobSettings, Jobs, Queue,
    listen::listen,
    service::Handlers,
    store::{Claim, Claimed, Finished, Lost, Outcome, Store},
};
use crate::{
    app::{BoxError, Shutdown},
    db::Error,
    http::Rate,
};
use attempt::attempt;
pub(crate) use attempt::storable;
use wake::Upkeep;
pub(crate) use wake::{Trouble, is_due};

/// Where the statement that inserts jobs announces their queues.
const CHANNEL: &str = "omnistack_jobs";

/// Jobs one claim leases, and one acknowledgement stores, at most.
const BATCH: usize = 1000;

/// Runs the jobs of an app. [`App`](crate::app::App) has one; a program of its own may run another.
#[derive(Clone)]
pub struct Runner {
    jobs: Jobs,
    handlers: Arc<Handlers>,
    names: Arc<str>,
    lanes: Arc<[Lane]>,
    crons: Arc<[CronSpec]>,
    settings: Arc<JobSettings>,
}

/// A queue this worker serves.
#[derive(Clone, Debug)]
struct Lane {
    queue: String,
    concurrency: usize,
    rate: Option<Rate>,
}

impl Runner {
    pub(crate) fn new(
        jobs: Jobs,
        handlers: Vec<Handler>,
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
            Lane { queue, concurrency, rate: known.and_then(|known| known.rate) }
        };
        Self {
            jobs,
            names: serde_json::to_string(&names).unwrap_or_default().into(),
            handlers: Arc::new(handlers.into_iter().map(|handler| (handler.name, handler)).collect()),
            lanes: lanes.into_iter().map(lane).collect(),
            crons: crons.into(),
            settings: Arc::new(settings),
        }
    }

    /// Runs jobs until told to end, then lets those that run finish within `JOBS_DRAIN` and gives back the others, their
    /// attempts not counted.
    ///
    /// # Errors
    /// None that time might mend: a database that is away is waited for.
    pub async fn run(&self, shutdown: Shutdown) -> Result<(), BoxError> {
        if self.handlers.is_empty() && self.crons.is_empty() {
            shutdown.cancelled().await;
            return Ok(());
        }
        let ended = Shutdown::new();
        let _ended = ended.clone().drop_guard();
        tokio::spawn(listen(self.jobs.store.db.clone(), CHANNEL, Arc::clone(&self.jobs.wake), ended));
        Worker::new(self).run(shutdown).await;
        Ok(())
    }

    /// Takes over what silent workers had, and runs what is due, and what that enqueues, until nothing is; crons are left
    /// out. For tests and one-off commands: returns how many attempts were made.
    ///
    /// # Errors
    /// The database's.
    pub async fn run_until_idle(&self) -> Result<usize, Error> {
        let mut attempts = 0;
        self.jobs.store.rescue(|name, attempt, id| self.wait(name, attempt, id)).await?;
        loop {
            self.jobs.store.promote().await?;
            let mut worker = Worker::new(self);
            for lane in 0..self.lanes.len() {
                let jobs = worker.claim(lane, self.lanes[lane].concurrency.min(BATCH)).await?;
                worker.start(lane, jobs);
            }
            let mut finished = Vec::new();
            while let Some(job) = worker.running.join_next().await {
                finished.extend(job.ok());
            }
            if finished.is_empty() {
                return Ok(attempts);
            }
            attempts += finished.len();
            self.jobs.store.finish(&finished).await?;
        }
    }

    /// What is enqueued by the clock.
    pub fn crons(&self) -> Vec<CronInfo> {
        let now = self.jobs.store.clock.now();
        self.crons.iter().map(|cron| cron.info(now)).collect()
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

/// A job this worker runs.
struct Running {
    lease: i32,
    lane: usize,
    task: AbortHandle,
    claimed: Released,
}

/// What is needed to give a job back.
#[derive(Clone, Copy)]
struct Released {
    attempt: i32,
    run_at: i64,
    batch: Option<super::BatchId>,
}

/// A finished conversation with the database.
enum Said {
    Claimed(usize, usize, Result<Vec<Claimed>, Error>),
    Stored(Vec<Finished>, Result<Lost, Error>),
    Beaten(Vec<JobId>, Result<Vec<(JobId, bool)>, Error>),
    Kept(Result<Upkeep, Error>),
}

type Saying = Option<BoxFuture<'static, Said>>;

/// One run of the worker.
struct Worker {
    runner: Runner,
    id: Uuid,
    running: JoinSet<Finished>,
    known: HashMap<Uuid, Running>,
    /// By lane: jobs running, and whether there may be more to claim.
    load: Vec<usize>,
    wanted: Vec<bool>,
    /// By lane: whether the last claim got all it asked for.
    backlog: Vec<bool>,
    finished: Vec<Finished>,
    /// Something among those finished can't be stored, and is looked for.
    one_by_one: bool,
    upkeep: Upkeep,
    trouble: Trouble,
    ending: bool,
}

impl Worker {
    fn new(runner: &Runner) -> Self {
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

    fn store(&self) -> &Store {
        &self.runner.jobs.store
    }

    async fn run(mut self, shutdown: Shutdown) {
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
                    // What it knows of the next time is of no use when it failed.
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

    /// The next claim worth making: for a lane that may have jobs and room for one; with a backlog, for a fair number, so that
    /// claims stay large, and at each poll for as many as there is room.
    fn next_claim(&mut self) -> Saying {
        let lanes = &self.runner.lanes;
        let room = |lane: usize| lanes[lane].concurrency.saturating_sub(self.load[lane]);
        let worth = |lane: &usize| {
            let enough = if self.backlog[*lane] { lanes[*lane].concurrency.min(BATCH).div_ceil(4) } else { 1 };
            self.wanted[*lane] && room(*lane) >= enough
        };
        let lane = (0..lanes.len()).find(worth)?;
        let limit = room(lane).min(BATCH);
        self.wanted[lane] = false;
        let claim = self.claim(lane, limit);
        Some(async move { Said::Claimed(lane, limit, claim.await) }.boxed())
    }

    fn claim(&self, lane: usize, limit: usize) -> impl Future<Output = Result<Vec<Claimed>, Error>> + Send + 'static {
        let (runner, worker) = (self.runner.clone(), self.id);
        async move {
            let Lane { queue, rate, .. } = &runner.lanes[lane];
            let claim = Claim { queue, names: &runner.names, worker, limit, lease: runner.settings.lease, rate: *rate };
            runner.jobs.store.claim(&claim).await
        }
    }

    /// What is to be written next: leases to be lengthened, or ends of attempts.
    fn next_store(&mut self, beat: &mut Instant) -> Saying {
        let store = self.store().clone();
        let lease = self.runner.settings.lease;
        if *beat <= Instant::now() {
            *beat = Instant::now() + lease / 3;
            let held: Vec<_> = self.known.iter().map(|(id, job)| (JobId::from_uuid(*id), job.lease)).collect();
            if !held.is_empty() {
                let ids = held.iter().map(|(id, _)| *id).collect();
                return Some(async move { Said::Beaten(ids, store.heartbeat(&held, lease).await) }.boxed());
            }
        }
        if self.finished.is_empty() {
            self.one_by_one = false;
            return None;
        }
        let most = if self.one_by_one { 1 } else { BATCH };
        let rest = self.finished.split_off(self.finished.len().min(most));
        let batch = std::mem::replace(&mut self.finished, rest);
        Some(
            async move {
                let stored = store.finish(&batch).await;
                Said::Stored(batch, stored)
            }
            .boxed(),
        )
    }

    /// Promotes, rescues, forgets and ticks.
    fn keep(&self) -> BoxFuture<'static, Said> {
        let (runner, upkeep) = (self.runner.clone(), self.upkeep.clone());
        async move { Said::Kept(upkeep.keep(&runner).await) }.boxed()
    }

    fn hear(&mut self, said: Said) {
        let trouble = match said {
            Said::Claimed(lane, limit, Ok(jobs)) => {
                self.backlog[lane] = jobs.len() == limit;
                self.wanted[lane] |= self.backlog[lane];
                self.start(lane, jobs);
                None
            }
            Said::Claimed(lane, _, Err(error)) => {
                self.wanted[lane] = true;
                Some(error)
            }
            Said::Stored(_, Ok(lost)) => {
                for job in lost {
                    tracing::warn!(target: "omnistack::jobs", %job, "ended after its lease was another's; not stored");
                }
                None
            }
            Said::Stored(batch, Err(error)) if !error.is_retryable() && batch.len() == 1 => {
                // Its lease will end, and another attempt may end in a way that can be stored.
                tracing::error!(target: "omnistack::jobs", job = %batch[0].id, %error, "the end of an attempt can't be stored");
                None
            }
            Said::Stored(batch, Err(error)) => {
                self.one_by_one = !error.is_retryable();
                self.finished.splice(0..0, batch);
                Some(error)
            }
            Said::Beaten(asked, Ok(held)) => {
                self.stop_lost(&asked, &held);
                None
            }
            Said::Kept(Ok(upkeep)) => {
                // Whatever came due.
                self.wanted.fill(true);
                self.upkeep = upkeep;
                None
            }
            Said::Beaten(_, Err(error)) | Said::Kept(Err(error)) => Some(error),
        };
        match trouble {
            Some(error) => {
                if self.trouble.begin() {
                    tracing::error!(target: "omnistack::jobs", %error, "the worker can't reach its database; going on when it is back");
                }
            }
            None => {
                if self.trouble.end() {
                    tracing::info!(target: "omnistack::jobs", "the worker's database is back");
                }
            }
        }
    }

    fn start(&mut self, lane: usize, jobs: Vec<Claimed>) {
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

    /// An attempt has ended; without a word if it was stopped, by whoever keeps its books then.
    fn ended(&mut self, job: Option<Finished>) {
        let Some(job) = job else { return };
        if let Some(running) = self.known.remove(&job.id.uuid()) {
            self.load[running.lane] -= 1;
            self.finished.push(job);
        }
    }

    /// Stops jobs that are cancelled, and those whose lease is another's.
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

    /// Stops everything and gives it back to other workers.
    fn give_back_all(&mut self) {
        for (id, running) in std::mem::take(&mut self.known) {
            running.task.abort();
            self.load[running.lane] -= 1;
            self.finished.push(running.claimed.release(JobId::from_uuid(id), running.lease));
        }
        if !self.finished.is_empty() {
            tracing::warn!(target: "omnistack::jobs", jobs = self.finished.len(), "given back, since the app ends");
        }
    }
}

impl Released {
    /// Due as it was, its attempt not counted.
    fn release(self, id: JobId, lease: i32) -> Finished {
        let outcome = Outcome::Snooze { at: self.run_at };
        Finished { id, lease, attempt: self.attempt, batch: self.batch, outcome }
    }
}

/// The end of a conversation, if one is under way.
async fn on(saying: &mut Saying) -> Said {
    match saying {
        Some(saying) => saying.await,
        None => std::future::pending().await,
    }
}
