//! Measures the job queue on both databases: `cargo xtask bench jobs`.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark prints its results")]
#![expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use omnistack_core::{
    ShutdownToken,
    app::App,
    jobs::{Job, JobContext, JobError, JobFilter, JobState, Jobs, Queue},
    module::{Module, Registry},
};
use omnistack_testkit::TestDatabase;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

/// Counts jobs and notifies when all have run.
#[derive(Clone, Default)]
struct Counter {
    left: Arc<AtomicUsize>,
    none: Arc<Notify>,
    /// The start of the last job.
    began: Arc<std::sync::Mutex<Option<Instant>>>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Nothing;

#[async_trait]
impl Job for Nothing {
    const NAME: &'static str = "nothing";
    type State = Counter;

    async fn run(self, counter: &Counter, _: &JobContext) -> Result<(), JobError> {
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
        let postgres = TestDatabase::postgres();
        println!("Handlers that do nothing, all acknowledgements stored, the database on the same cores. A queue of 2,000 places,");
        println!("50,000 jobs per run, best of {RUNS}, the second and third row in turn. SQLite waits for the disk; PostgreSQL {}.\n", durability(&postgres).await);
        println!("| | PostgreSQL | SQLite | target |\n|---|---:|---:|---:|");
        let (postgres, bound) = measure(postgres, TestDatabase::postgres()).await;
        let (sqlite, _) = measure(TestDatabase::sqlite(), TestDatabase::sqlite()).await;
        for (((what, target), postgres), sqlite) in ROWS.iter().zip(&postgres).zip(&sqlite) {
            println!("| {what} | {postgres} | {sqlite} | {target} |");
        }
        if let Some(bound) = bound {
            println!("\n{bound}");
        }
        println!("\n<!-- end jobs -->");
        println!("<!-- begin jobs-peers -->\n\n### Other job queues\n");
        println!("The same load on the same PostgreSQL, one process each: handlers that do nothing, all acknowledgements stored, with");
        println!("the settings that their documentation recommends for throughput.\n");
        println!("| | run and acknowledged, jobs/s | enqueued in one batch, jobs/s |\n|---|---:|---:|");
        println!("| OmniStack | {} | {} |", postgres[1], postgres[0]);
        println!("<!-- end jobs-peers -->");
    });
}

const ROWS: [(&str, &str); 5] = [
    ("enqueued in one batch, jobs/s", "50,000"),
    ("run and acknowledged, jobs/s", "10,000"),
    ("the same with 1,000,000 finished and 1,000,000 scheduled jobs, jobs/s", "within 10 %"),
    ("from enqueued to begun when idle, median", "5 ms"),
    ("CPU of an idle worker", "1 % of a core"),
];

const JOBS: usize = 50_000;
const RUNS: usize = 5;

/// Describes whether PostgreSQL's commits survive a power failure, by its settings. The server of `TEST_DATABASE_URL`
/// has its own settings.
async fn durability(database: &TestDatabase) -> &'static str {
    let off = "select 'off' in (current_setting('fsync'), current_setting('synchronous_commit'))";
    let (off,): (bool,) = database.open_db().query(off).fetch_one().await.unwrap();
    if off { "**does not**, by its own settings, so its figures are too high" } else { "does too" }
}

/// Starts an app on a database. Returns it with its queue and the counter of its handlers.
async fn start(database: &TestDatabase) -> (App, Jobs, Counter) {
    let counter = Counter::default();
    let app = App::builder(database.config()).set("DATABASE_SYNCHRONOUS", "full").with(Bench(counter.clone()));
    let app = app.build().unwrap();
    app.migrate().await.unwrap();
    app.start().await.unwrap();
    let jobs = app.context().get().unwrap();
    (app, jobs, counter)
}

/// Returns a cell for each row, and what limits the second row where this can be measured.
async fn measure(empty: TestDatabase, crowded: TestDatabase) -> (Vec<String>, Option<String>) {
    let (app, jobs, counter) = start(&empty).await;
    let beside = start(&crowded).await;
    fill(&beside.0).await;
    let (mut enqueued, mut alone, mut among) = (0.0_f64, 0.0_f64, 0.0_f64);
    for _ in 0..RUNS {
        let (into, through) = burn_down(&app, &jobs, &counter).await;
        enqueued = enqueued.max(into);
        alone = alone.max(through);
        among = among.max(burn_down(&beside.0, &beside.1, &beside.2).await.1);
    }
    let mut rows = vec![format!("{enqueued:.0}"), format!("{alone:.0}")];
    rows.push(format!("{among:.0} ({:+.0} %)", 100.0 * (among / alone - 1.0)));
    let bound = bound(&app, &jobs, &counter).await;
    jobs.delete(&JobFilter::default().state(JobState::Done)).await.unwrap();

    let shutdown = ShutdownToken::new();
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
    (rows, bound)
}

/// Enqueues and then runs jobs. Returns both rates in jobs per second, the second until the last acknowledgement is
/// stored.
async fn burn_down(app: &App, jobs: &Jobs, counter: &Counter) -> (f64, f64) {
    counter.left.store(JOBS, Ordering::Relaxed);
    let before = Instant::now();
    let mut tx = app.db().begin().await.unwrap();
    jobs.enqueue_all_in(&mut tx, (0..JOBS).map(|_| Nothing)).await.unwrap();
    tx.commit().await.unwrap();
    let into = JOBS as f64 / before.elapsed().as_secs_f64();
    (into, run_all(app, jobs, counter).await)
}

/// Runs the enqueued jobs. Returns the rate in jobs per second until the last acknowledgement is stored.
async fn run_all(app: &App, jobs: &Jobs, counter: &Counter) -> f64 {
    let shutdown = ShutdownToken::new();
    let runner = app.runner().clone();
    let before = Instant::now();
    let worker = tokio::spawn({
        let shutdown = shutdown.clone();
        async move { runner.run(shutdown).await }
    });
    counter.none.notified().await;
    // Returns when all acknowledgements are stored.
    shutdown.cancel();
    worker.await.unwrap().unwrap();
    let through = JOBS as f64 / before.elapsed().as_secs_f64();
    assert!(jobs.list(&JobFilter::default().state(JobState::Running), None, 1).await.unwrap().is_empty());
    through
}

/// Measures one more run and describes where its time went. Other users of the server are included.
async fn bound(app: &App, jobs: &Jobs, counter: &Counter) -> Option<String> {
    app.db().postgres()?;
    counter.left.store(JOBS, Ordering::Relaxed);
    jobs.enqueue_all((0..JOBS).map(|_| Nothing)).await.unwrap();
    let before = Usage::now(app).await?;
    let machine = machine();
    let (own, began) = (cpu_time::ProcessTime::now(), Instant::now());
    run_all(app, jobs, counter).await;
    let (wall, own) = (began.elapsed().as_secs_f64(), own.elapsed().as_secs_f64());
    let server = Usage::processes(app).await;
    let server =
        server.iter().map(|(pid, ticks)| ticks - before.processes.get(pid).unwrap_or(&0)).sum::<u64>() as f64 / 100.0;
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
    let others = (self::machine() - machine) / (wall * cores) - (own + server) / (wall * cores);
    // Server processes report their statistics only after they have been idle for a while.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let after = Usage::now(app).await?;
    let (commits, bytes, flushes) =
        (after.commits - before.commits, after.wal_bytes - before.wal_bytes, after.flushes - before.flushes);
    let busy = (own + server) / (wall * cores);
    let verdict = if others > 0.1 {
        format!(
            "Other processes used {:.0} % of the cores, so this run can't tell what limits a dedicated machine.",
            100.0 * others
        )
    } else if busy > 0.75 {
        format!(
            "So the processors are the limit, and {:.0} % of their time is PostgreSQL's.",
            100.0 * server / (own + server)
        )
    } else {
        format!(
            "So waiting for {} is the limit: the worker sends one claim and one acknowledgement at a time.",
            if flushes > 0 { "the disk and for responses" } else { "responses" }
        )
    };
    Some(format!(
        "What limits the second row on PostgreSQL: a run of {wall:.2} s took {own:.2} s of CPU in the worker's process and \
         {server:.2} s in PostgreSQL's, {:.0} % of the time of {cores} cores. It had {commits} transactions, {:.0} jobs each, and \
         {:.0} MiB of WAL, {:.0} bytes per job, in {flushes} flushes. {verdict}",
        100.0 * busy,
        JOBS as f64 / commits as f64,
        bytes as f64 / f64::from(1 << 20),
        bytes as f64 / JOBS as f64,
    ))
}

/// Returns the seconds of CPU that all processes of this machine have used.
fn machine() -> f64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let ticks: Vec<f64> = stat.lines().next().unwrap_or("").split_whitespace().flat_map(str::parse).collect();
    // The fields are user, nice, system, idle, waiting for the disk, then interrupts.
    [0, 1, 2, 5, 6].iter().filter_map(|field| ticks.get(*field)).sum::<f64>() / 100.0
}

/// The resources that a PostgreSQL server on this machine has used so far.
struct Usage {
    /// The CPU time of each process, in hundredths of a second.
    processes: HashMap<i32, u64>,
    commits: i64,
    wal_bytes: i64,
    flushes: i64,
}

impl Usage {
    async fn now(app: &App) -> Option<Self> {
        let sql = "select (select xact_commit from pg_stat_database where datname = current_database()),
            pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint, (select wal_sync from pg_stat_wal)";
        let (commits, wal_bytes, flushes) = app.db().query(sql).fetch_one().await.ok()?;
        Some(Self { processes: Self::processes(app).await, commits, wal_bytes, flushes })
    }

    async fn processes(app: &App) -> HashMap<i32, u64> {
        let pids: Vec<(i32,)> = app.db().query("select pid from pg_stat_activity").fetch_all().await.unwrap();
        let ticks = |pid: i32| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            // After the name, which is in parentheses, the user time is the 12th field and the system time the 13th.
            let fields: Vec<u64> = stat.rsplit(')').next()?.split(' ').skip(12).take(2).flat_map(str::parse).collect();
            Some((pid, fields.iter().sum()))
        };
        pids.into_iter().filter_map(|(pid,)| ticks(pid)).collect()
    }
}

/// Inserts a million finished jobs and a million jobs that are due in a year.
async fn fill(app: &App) {
    let sql = omnistack_core::db::Sql {
        postgres: "insert into omni_jobs (id, name, queue, payload, state, rank, run_at, max_attempts, created_at, finished_at)
            select gen_random_uuid(), 'nothing', 'default', 'null', case when n % 2 = 0 then 'done' else 'scheduled' end,
            $1 + n, $1 + n, 10, $2, case when n % 2 = 0 then $2 end from generate_series(1, 2000000) as n",
        sqlite: "with recursive n(n) as (select 1 union all select n + 1 from n where n < 2000000)
            insert into omni_jobs (id, name, queue, payload, state, rank, run_at, max_attempts, created_at, finished_at)
            select randomblob(16), 'nothing', 'default', 'null', case when n % 2 = 0 then 'done' else 'scheduled' end,
            $1 + n, $1 + n, 10, $2, case when n % 2 = 0 then $2 end from n",
    };
    let now = omnistack_core::clock::Clock::system().now().as_micros();
    let mut tx = app.db().begin().await.unwrap();
    if app.db().dialect() == omnistack_core::db::Dialect::Postgres {
        tx.set_statement_timeout(Duration::ZERO).await.unwrap();
    }
    tx.query(sql).bind(now + 365 * 86_400_000_000).bind(now).execute().await.unwrap();
    tx.commit().await.unwrap();
    if app.db().dialect() == omnistack_core::db::Dialect::Postgres {
        let pool = app.db().postgres().unwrap();
        sqlx::query("set statement_timeout = 0").execute(pool).await.unwrap();
        sqlx::query("vacuum analyze omni_jobs").execute(pool).await.unwrap();
    } else {
        app.db().query("pragma wal_checkpoint(truncate)").execute().await.unwrap();
    }
}
