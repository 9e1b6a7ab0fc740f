//! The job queue on both databases: `cargo xtask bench jobs`.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a program for the terminal, run by hand")]
#![expect(clippy::disallowed_methods, reason = "a benchmark asks the machine")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use omnistack_core::{
    app::{App, Module, Registry, Shutdown},
    jobs::{Job, JobCtx, JobError, JobFilter, JobState, Jobs, Queue},
};
use omnistack_testkit::TestDatabase;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

/// Counts, and says when all have run.
#[derive(Clone, Default)]
struct Counter {
    left: Arc<AtomicUsize>,
    none: Arc<Notify>,
    /// Of the last one: when it began.
    began: Arc<std::sync::Mutex<Option<Instant>>>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Nothing;

#[async_trait]
impl Job for Nothing {
    const NAME: &'static str = "nothing";
    type State = Counter;

    async fn run(self, counter: &Counter, _: &JobCtx) -> Result<(), JobError> {
        if counter.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            *counter.began.lock().unwrap() = Some(Instant::now());
            counter.none.notify_one();
        }
        Ok(())
    }
}

struct Bench(Counter);

impl Module for Bench {
    fn name(&self) -> &'static str {
        "bench"
    }

    fn register(&self, registry: &mut Registry) {
        let counter = self.0.clone();
        registry.job::<Nothing>(move |_| Ok(counter)).queue(Queue::new("default").concurrency(2000));
    }
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        println!("<!-- begin jobs -->\n\n### Jobs\n");
        println!("Handlers that do nothing, every acknowledgement stored and on disk, the database on the same cores. A queue of 2,000");
        println!("places, 50,000 jobs a run, best of three.\n");
        println!("| | PostgreSQL | SQLite | target |\n|---|---:|---:|---:|");
        let postgres = measure(TestDatabase::postgres().await).await;
        let sqlite = measure(TestDatabase::sqlite()).await;
        for (((what, target), postgres), sqlite) in ROWS.iter().zip(postgres).zip(sqlite) {
            println!("| {what} | {postgres} | {sqlite} | {target} |");
        }
        println!("\n<!-- end jobs -->");
    });
}

const ROWS: [(&str, &str); 5] = [
    ("enqueued in one batch, jobs/s", "50,000"),
    ("run and acknowledged, jobs/s", "10,000"),
    ("the same beside 1,000,000 finished and 1,000,000 scheduled jobs, jobs/s", "within 10 %"),
    ("from enqueued to begun when idle, median", "5 ms"),
    ("CPU of an idle worker", "1 % of a core"),
];

const JOBS: usize = 50_000;

async fn measure(database: TestDatabase) -> Vec<String> {
    let counter = Counter::default();
    let app = App::builder(database.config()).with(Bench(counter.clone())).build().unwrap();
    app.migrate().await.unwrap();
    app.start().await.unwrap();
    let jobs = app.ctx().get::<Jobs>().unwrap();
    let mut rows = Vec::new();

    let (mut enqueued, mut empty) = (0.0_f64, 0.0_f64);
    for _ in 0..3 {
        let (into, through) = burn_down(&app, &jobs, &counter).await;
        enqueued = enqueued.max(into);
        empty = empty.max(through);
    }
    rows.push(format!("{enqueued:.0}"));
    rows.push(format!("{empty:.0}"));

    fill(&app).await;
    let mut full = 0.0_f64;
    for _ in 0..3 {
        full = full.max(burn_down(&app, &jobs, &counter).await.1);
    }
    rows.push(format!("{full:.0} ({:+.0} %)", 100.0 * (full / empty - 1.0)));
    jobs.discard(&JobFilter::default().state(JobState::Done)).await.unwrap();

    let shutdown = Shutdown::new();
    let runner = app.runner().clone();
    let worker = tokio::spawn({
        let shutdown = shutdown.clone();
        async move { runner.run(shutdown).await }
    });
    let mut waits = Vec::new();
    for _ in 0..200 {
        tokio::time::sleep(Duration::from_millis(7)).await;
        counter.left.store(1, Ordering::Relaxed);
        let before = Instant::now();
        jobs.enqueue(Nothing).await.unwrap();
        counter.none.notified().await;
        waits.push(counter.began.lock().unwrap().unwrap() - before);
    }
    waits.sort_unstable();
    rows.push(format!("{:.1?}", waits[waits.len() / 2]));

    let before = cpu_time::ProcessTime::now();
    tokio::time::sleep(Duration::from_secs(10)).await;
    rows.push(format!("{:.2} %", before.elapsed().as_secs_f64() * 10.0));
    shutdown.cancel();
    worker.await.unwrap().unwrap();
    rows
}

/// Enqueues many jobs, then runs them; both in jobs a second, the second until the last acknowledgement is stored.
async fn burn_down(app: &App, jobs: &Jobs, counter: &Counter) -> (f64, f64) {
    counter.left.store(JOBS, Ordering::Relaxed);
    let before = Instant::now();
    let mut tx = app.db().begin().await.unwrap();
    jobs.enqueue_all_in(&mut tx, (0..JOBS).map(|_| Nothing)).await.unwrap();
    tx.commit().await.unwrap();
    let into = JOBS as f64 / before.elapsed().as_secs_f64();

    let shutdown = Shutdown::new();
    let runner = app.runner().clone();
    let before = Instant::now();
    let worker = tokio::spawn({
        let shutdown = shutdown.clone();
        async move { runner.run(shutdown).await }
    });
    counter.none.notified().await;
    // Ends when everything is stored.
    shutdown.cancel();
    worker.await.unwrap().unwrap();
    let through = JOBS as f64 / before.elapsed().as_secs_f64();
    assert!(jobs.list(&JobFilter::default().state(JobState::Running), None, 1).await.unwrap().is_empty());
    (into, through)
}

/// A million jobs that are done and a million that are not due for a year.
async fn fill(app: &App) {
    let sql = omnistack_core::db::Sql {
        postgres: "insert into jobs (id, name, queue, payload, state, rank, run_at, max_attempts, created_at, finished_at)
            select gen_random_uuid(), 'nothing', 'default', 'null', case when n % 2 = 0 then 'done' else 'scheduled' end,
            $1 + n, $1 + n, 10, $2, case when n % 2 = 0 then $2 end from generate_series(1, 2000000) as n",
        sqlite: "with recursive n(n) as (select 1 union all select n + 1 from n where n < 2000000)
            insert into jobs (id, name, queue, payload, state, rank, run_at, max_attempts, created_at, finished_at)
            select randomblob(16), 'nothing', 'default', 'null', case when n % 2 = 0 then 'done' else 'scheduled' end,
            $1 + n, $1 + n, 10, $2, case when n % 2 = 0 then $2 end from n",
    };
    let now = omnistack_core::clock::Clock::system().now().as_micros();
    let mut tx = app.db().begin().await.unwrap();
    if app.db().dialect() == omnistack_core::db::Dialect::Postgres {
        tx.query("set local statement_timeout = 0").execute().await.unwrap();
    }
    tx.query(sql).bind(now + 365 * 86_400_000_000).bind(now).execute().await.unwrap();
    tx.commit().await.unwrap();
    if app.db().dialect() == omnistack_core::db::Dialect::Postgres {
        let pool = app.db().postgres().unwrap();
        sqlx::query("set statement_timeout = 0").execute(pool).await.unwrap();
        sqlx::query("vacuum analyze jobs").execute(pool).await.unwrap();
    } else {
        app.db().query("pragma wal_checkpoint(truncate)").execute().await.unwrap();
    }
}
