//! Tests of several workers on one database.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use omnistack_core::{
    ShutdownToken,
    app::App,
    clock::{MockClock, Timestamp},
    http::Rate,
    jobs::{Cron, Job, JobContext, JobError, JobFilter, JobState, Jobs, NewJob, Queue},
    module::{Module, Registry},
};
use omnistack_testkit::{TestDatabase, on_each_database};
use serde::{Deserialize, Serialize};
use tokio::{sync::Notify, task::JoinHandle, time::timeout};

/// A job that signals its start and waits to be released.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct GatedJob {
    pub(super) fail: bool,
}

#[derive(Clone, Default)]
pub(super) struct Gate {
    pub(super) begun: Arc<Notify>,
    pub(super) leave: Arc<Notify>,
    pub(super) times: Arc<AtomicUsize>,
    /// Whether the final progress report of each job was accepted.
    heard: Arc<Mutex<Vec<bool>>>,
}

#[async_trait]
impl Job for GatedJob {
    const NAME: &'static str = "held";
    type State = Gate;

    async fn run(self, gate: &Gate, ctx: &JobContext) -> Result<(), JobError> {
        gate.times.fetch_add(1, Ordering::SeqCst);
        gate.begun.notify_one();
        gate.leave.notified().await;
        let held = ctx.progress(50, "half").await;
        gate.heard.lock().unwrap().push(held);
        if self.fail { Err(JobError::retry("told to fail")) } else { Ok(()) }
    }
}

#[derive(Clone, Default)]
pub(super) struct GatedJobs {
    pub(super) gate: Gate,
    cron: bool,
}

impl Module for GatedJobs {
    fn name(&self) -> &'static str {
        "holding"
    }

    fn register(&self, registry: &mut Registry) {
        let gate = self.gate.clone();
        let rate = Rate::new(5, Duration::from_secs(10));
        registry.job::<GatedJob>(move |_| Ok(gate)).queue(Queue::new("rated").rate(rate));
        if self.cron {
            registry.cron(Cron::new("*/10 * * * *", GatedJob { fail: false }));
        }
    }
}

pub(super) const NOON: &str = "2030-01-01T12:00:00Z";

/// Starts one of several apps on a database, with a shared clock.
pub(super) async fn replica(
    database: &TestDatabase,
    clock: &MockClock,
    holding: &GatedJobs,
    settings: &[(&str, &str)],
) -> App {
    let builder = App::builder(database.config()).clock(clock.clock()).with(holding.clone());
    let app = settings.iter().fold(builder, |app, (name, value)| app.set(*name, *value)).build().unwrap();
    app.migrate().await.unwrap();
    app
}

pub(crate) fn work(app: &App) -> (ShutdownToken, JoinHandle<()>) {
    let (runner, shutdown) = (app.runner().clone(), ShutdownToken::new());
    let asked = shutdown.clone();
    (shutdown, tokio::spawn(async move { runner.run(asked).await.unwrap() }))
}

pub(crate) async fn soon<T>(what: &str, done: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(20), done).await.unwrap_or_else(|_| panic!("{what} did not come"))
}

pub(crate) async fn end((shutdown, worker): (ShutdownToken, JoinHandle<()>)) {
    shutdown.cancel();
    soon("the end of the worker", worker).await.unwrap();
}

/// Waits until a filter finds this many jobs. The test's timeout limits the wait.
pub(crate) async fn wait_for_jobs(what: &str, jobs: &Jobs, filter: JobFilter, count: usize) {
    let look = async {
        while jobs.list(&filter, None, 100).await.unwrap().len() != count {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    soon(what, look).await;
}

pub(super) fn clock() -> MockClock {
    MockClock::at(NOON.parse::<Timestamp>().unwrap())
}

on_each_database! {
    async fn a_worker_frozen_past_its_lease_cannot_acknowledge(database: TestDatabase) {
        let clock = clock();
        let (frozen, other) = (GatedJobs::default(), GatedJobs::default());
        let first = replica(&database, &clock, &frozen, &[]).await;
        let second = replica(&database, &clock, &other, &[]).await;
        let jobs = first.context().get::<Jobs>().unwrap();
        let id = jobs.enqueue(GatedJob { fail: true }).await.unwrap().id;
        // The worker leases the job and then only waits for it.
        let runner = first.runner().clone();
        let worker = tokio::spawn(async move { runner.run_until_idle().await.unwrap() });
        soon("the first attempt", frozen.gate.begun.notified()).await;
        // Its lease expires without a heartbeat. Another worker takes the job over and finishes it.
        clock.advance(Duration::from_secs(31));
        assert_eq!(second.runner().run_until_idle().await.unwrap(), 0, "its attempt counts, so it is tried again later");
        clock.advance(Duration::from_secs(5));
        other.gate.leave.notify_one();
        let elsewhere = second.context().get::<Jobs>().unwrap();
        let replaced = elsewhere.enqueue(NewJob::new(GatedJob { fail: true }).queue("elsewhere")).await.unwrap().id;
        first.db().query("update omni_jobs set payload = '{\"fail\":false}' where id = $1").bind(id).execute().await.unwrap();
        assert_eq!(second.runner().run_until_idle().await.unwrap(), 1);
        assert_eq!(jobs.get(id).await.unwrap().unwrap().0.state, JobState::Done);
        // The first worker continues, and its failure report for a job that is no longer its own is ignored.
        frozen.gate.leave.notify_one();
        assert_eq!(soon("its end", worker).await.unwrap(), 1);
        let (job, failures) = jobs.get(id).await.unwrap().unwrap();
        assert_eq!((job.state, job.attempt), (JobState::Done, 2));
        assert_eq!(failures.len(), 1);
        assert!(failures[0].error.contains("froze past its lease"), "{}", failures[0].error);
        assert_eq!(*other.gate.heard.lock().unwrap(), [true]);
        assert_eq!(*frozen.gate.heard.lock().unwrap(), [false], "it may as well give up");
        assert_eq!(job.progress, Some(50));
        assert_eq!(jobs.get(replaced).await.unwrap().unwrap().0.state, JobState::Ready, "no worker serves that queue");
    }

    async fn a_cron_ticks_once_for_all(database: TestDatabase) {
        let clock = clock();
        let holding = GatedJobs { cron: true, ..GatedJobs::default() };
        let fast = [("JOBS_POLL", "5ms")];
        let mut workers = Vec::new();
        let mut apps = Vec::new();
        for _ in 0..3 {
            let app = replica(&database, &clock, &holding, &fast).await;
            workers.push(work(&app));
            apps.push(app);
        }
        let jobs = apps[0].context().get::<Jobs>().unwrap();
        for tick in 1..=4 {
            clock.advance(Duration::from_secs(600));
            soon("the tick", holding.gate.begun.notified()).await;
            holding.gate.leave.notify_one();
            wait_for_jobs("the tick's end", &jobs, JobFilter::default().state(JobState::Done), tick).await;
        }
        // Three ticks at once: the first two, missed by all workers, are skipped, and the last one runs once.
        clock.advance(Duration::from_secs(1800));
        soon("the last tick", holding.gate.begun.notified()).await;
        holding.gate.leave.notify_one();
        for worker in workers {
            end(worker).await;
        }
        assert_eq!(holding.gate.times.load(Ordering::SeqCst), 5);
    }

    async fn a_queues_rate_is_kept_by_all_together(database: TestDatabase) {
        let clock = clock();
        let holding = GatedJobs::default();
        let (first, second) =
            (replica(&database, &clock, &holding, &[]).await, replica(&database, &clock, &holding, &[]).await);
        let jobs = first.context().get::<Jobs>().unwrap();
        jobs.enqueue_all((0..20).map(|_| NewJob::new(GatedJob { fail: false }).queue("rated"))).await.unwrap();
        let mut ran = 0;
        for expected in [5, 10, 11] {
            let leave = {
                let leave = Arc::clone(&holding.gate.leave);
                tokio::spawn(async move { loop { leave.notify_waiters(); tokio::task::yield_now().await } })
            };
            let (one, other) = tokio::join!(first.runner().run_until_idle(), second.runner().run_until_idle());
            leave.abort();
            ran += one.unwrap() + other.unwrap();
            assert_eq!(ran, expected);
            clock.advance(if expected == 10 { Duration::from_secs(2) } else { Duration::from_secs(10) });
        }
    }

    async fn what_a_drain_cuts_short_is_given_back_uncounted(database: TestDatabase) {
        let clock = clock();
        let holding = GatedJobs::default();
        let app = replica(&database, &clock, &holding, &[("JOBS_DRAIN", "20ms")]).await;
        let jobs = app.context().get::<Jobs>().unwrap();
        let id = jobs.enqueue(GatedJob { fail: false }).await.unwrap().id;
        let worker = work(&app);
        soon("the attempt", holding.gate.begun.notified()).await;
        assert_eq!(jobs.get(id).await.unwrap().unwrap().0.attempt, 1);
        end(worker).await;
        let (job, failures) = jobs.get(id).await.unwrap().unwrap();
        // The job is due at once, and the worker's last poll may have made it ready already.
        assert!(matches!(job.state, JobState::Scheduled | JobState::Ready), "{}", job.state);
        assert_eq!((job.attempt, failures.len()), (0, 0));
        holding.gate.leave.notify_one();
        assert_eq!(app.runner().run_until_idle().await.unwrap(), 1);
    }

    async fn a_running_job_can_be_cancelled(database: TestDatabase) {
        let clock = clock();
        let holding = GatedJobs::default();
        let app = replica(&database, &clock, &holding, &[("JOBS_LEASE", "30ms")]).await;
        let jobs = app.context().get::<Jobs>().unwrap();
        let id = jobs.enqueue(GatedJob { fail: false }).await.unwrap().id;
        let worker = work(&app);
        soon("the attempt", holding.gate.begun.notified()).await;
        assert_eq!(jobs.cancel(&JobFilter::id(id)).await.unwrap(), 1);
        wait_for_jobs("its end", &jobs, JobFilter::default().state(JobState::Cancelled), 1).await;
        end(worker).await;
    }

    async fn a_worker_hears_of_jobs_enqueued_elsewhere(database: TestDatabase) {
        let clock = clock();
        let holding = GatedJobs::default();
        // On SQLite other processes can't notify a worker, so it polls.
        let poll = if database.url().starts_with("sqlite") { "5ms" } else { "1h" };
        let app = replica(&database, &clock, &holding, &[("JOBS_POLL", poll)]).await;
        let elsewhere = replica(&database, &clock, &holding, &[]).await;
        let worker = work(&app);
        for _ in 0..3 {
            elsewhere.context().get::<Jobs>().unwrap().enqueue(GatedJob { fail: false }).await.unwrap();
            soon("the attempt", holding.gate.begun.notified()).await;
            holding.gate.leave.notify_one();
        }
        end(worker).await;
    }
}
