//! Measures the ledger of usage, its summary, entitlements and quotas: `cargo xtask bench usage`. With `BENCH_LARGE=1`,
//! it also measures the ledger among ten and a hundred million events, which takes most of an hour.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark prints its results")]
#![expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]

mod usage {
    pub(crate) mod history;
    pub(crate) mod in_memory;
    pub(crate) mod ingest;
    pub(crate) mod quotas;
    pub(crate) mod summary;
}

use std::time::Duration;

use omnistack_billing::{Billing, PlanCatalogue, PlanDefinition};
use omnistack_core::{
    ShutdownToken, clock::Clock, config::Config, db::Dialect, id::Id, identity::TenantId, usage::meters,
};
use omnistack_testkit::{TestApp, TestDatabase};

use usage::{
    history, in_memory,
    ingest::{self, IngestRates},
    quotas, summary,
};

/// Numbers of tenants of the runs without earlier usage.
const TENANTS: [usize; 3] = [10, 100, 1_000];
/// Number of tenants with a year of usage.
const TENANTS_WITH_USAGE: usize = 1_000;
/// Numbers of stored events before the runs with earlier usage.
const EVENTS_BEFORE: [usize; 2] = [100_000, 1_000_000];
/// Numbers of stored events before the runs that take long. The last one needs about 40 GB of disk.
const EVENTS_BEFORE_LARGE_RUNS: [usize; 2] = [10_000_000, 100_000_000];

/// The meters of events.
const METERS: [&str; 5] =
    [meters::API_REQUESTS, meters::AI_REQUESTS, meters::AI_TOKENS, meters::FILE_UPLOADS, meters::EMAIL_SENT];

/// A feature of every tenant, the last of its plan.
const FEATURE: &str = "sso";
/// A meter with a limit that a run reaches.
const LIMITED_METER: &str = meters::RUNS;
/// The limit of [`LIMITED_METER`].
const LIMIT_UNITS: i64 = 100_000;
/// A meter with a limit that no run reaches.
const HIGHLY_LIMITED_METER: &str = meters::AI_FIXES;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        println!("<!-- begin usage -->\n\n### Usage\n");
        println!("The clients, the app and the database on the same cores; commits wait for the disk.\n");
        Box::pin(ledger()).await;
        println!("\nThe checks and counters of a request, in this process, least of {} runs.\n", in_memory::RUNS);
        in_memory::measure().await;
        println!("\nQuotas on PostgreSQL: limits of one tenant. Consumed for {} s.\n", quotas::CONSUME_TIME.as_secs());
        Box::pin(quotas::measure()).await;
        println!("\n<!-- end usage -->");
    });
}

/// Measures the ledger and the summary on both databases.
async fn ledger() {
    let is_large = Config::from_env().get("BENCH_LARGE").is_some_and(|(value, _)| value == "1");
    let large_runs = EVENTS_BEFORE_LARGE_RUNS.into_iter().filter(|_| is_large);
    let events_before: Vec<usize> = EVENTS_BEFORE.into_iter().chain(large_runs).collect();
    let sqlite = Box::pin(DatabaseResults::measure(Dialect::Sqlite, &events_before)).await;
    let postgres = Box::pin(DatabaseResults::measure(Dialect::Postgres, &events_before)).await;

    println!(
        "Ingested: two clients, each sends its next batch of {} events of a random tenant after the response; {} batches",
        ingest::BATCH_EVENTS,
        ingest::BATCHES
    );
    println!(
        "a run, best of {}. Five meters, ten categories, times of use within the last hour, random ids. The background",
        ingest::RUNS
    );
    println!("services of the app run, too.\n");
    println!("| events/s | SQLite | PostgreSQL | target |\n|---|---:|---:|---:|");
    let alone = TENANTS.iter().map(|count| format!("{} tenants", grouped(*count)));
    let tenants = grouped(TENANTS_WITH_USAGE);
    let among = events_before
        .iter()
        .map(|events| format!("{tenants} tenants with a year of sums, {} events stored before", grouped(*events)));
    for ((label, sqlite), postgres) in alone.chain(among).zip(&sqlite.ingest).zip(&postgres.ingest) {
        println!("| {label} | {:.0} | {:.0} | 50,000 and 20,000 |", sqlite.new, postgres.new);
        println!("| the same events again | {:.0} | {:.0} | no slower |", sqlite.duplicates, postgres.duplicates);
    }

    println!(
        "\nRead: `GET {}`, {} requests one after another, each of another of {tenants} tenants with 365 days of five",
        summary::PATH,
        summary::REQUESTS
    );
    println!("meters; the whole middleware stack without a socket.\n");
    println!("| summary of a year | SQLite | PostgreSQL | target |\n|---|---:|---:|---:|");
    for ((events, sqlite), (_, postgres)) in sqlite.summaries.iter().zip(&postgres.summaries) {
        for (name, quantile, target) in [("median", 0.5, ""), ("p99", 0.99, "20 ms")] {
            let [sqlite, postgres] = [sqlite, postgres].map(|durations| millis(durations.quantile(quantile)));
            println!("| among {} stored events, {name} | {sqlite} | {postgres} | {target} |", grouped(*events));
        }
    }
}

/// The measured values of a database.
struct DatabaseResults {
    /// The rates for each number of tenants, and then for each number of events before.
    ingest: Vec<IngestRates>,
    /// The durations of summaries for each number of events before, with the number of events that were stored then.
    summaries: Vec<(usize, Latencies)>,
}

impl DatabaseResults {
    async fn measure(dialect: Dialect, events_before: &[usize]) -> Self {
        let (mut ingest, mut summaries) = (Vec::new(), Vec::new());
        for count in TENANTS {
            let app = start(database(dialect)).await;
            ingest.push(ingest::measure(&app, &new_tenants(count)).await);
        }
        let app = start(database(dialect)).await;
        let tenants = new_tenants(TENANTS_WITH_USAGE);
        let db = app.db().app_database();
        let now = Clock::system().now();
        history::add_year(&db, &tenants, now).await;
        let mut stored = 0;
        for before in events_before {
            history::add_events(&db, &tenants, before - stored, now).await;
            ingest.push(ingest::measure(&app, &tenants).await);
            stored = before + ingest::NEW_EVENTS;
            summaries.push((stored, summary::measure(&app, &tenants).await));
        }
        Self { ingest, summaries }
    }
}

fn database(dialect: Dialect) -> TestDatabase {
    match dialect {
        Dialect::Postgres => TestDatabase::postgres(),
        Dialect::Sqlite => TestDatabase::sqlite(),
    }
}

async fn start(database: TestDatabase) -> TestApp {
    let plan = PlanDefinition::new("team", "Team")
        .feature("api")
        .feature("audit_log")
        .feature("export")
        .feature("webhooks")
        .feature(FEATURE)
        .limit(LIMITED_METER, LIMIT_UNITS)
        .limit(HIGHLY_LIMITED_METER, 1_000_000_000_000);
    let billing = Billing::from_env().plans(PlanCatalogue::new([plan]).default_plan("team"));
    TestApp::start(database, |app| app.clock(Clock::system()).set("DATABASE_SYNCHRONOUS", "full").with(billing)).await
}

/// Runs the app's background services until `work` has completed. Returns its result.
async fn with_background_services<T>(app: &TestApp, work: impl Future<Output = T>) -> T {
    tokio::select! {
        () = app.app().run_workers(ShutdownToken::new()) => unreachable!("nothing stops the services"),
        value = work => value,
    }
}

fn new_tenants(count: usize) -> Vec<TenantId> {
    let now = Clock::system().now();
    (0..count).map(|_| Id::new(now)).collect()
}

/// Durations, the shortest first.
struct Latencies(Vec<Duration>);

impl Latencies {
    fn new(mut durations: Vec<Duration>) -> Self {
        durations.sort_unstable();
        Self(durations)
    }

    fn quantile(&self, quantile: f64) -> Duration {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index is small and positive")]
        let index = (quantile * self.0.len() as f64) as usize;
        self.0.get(index.min(self.0.len().saturating_sub(1))).copied().unwrap_or_default()
    }
}

fn millis(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1e3)
}

fn micros(duration: Duration) -> String {
    format!("{:.1} µs", duration.as_secs_f64() * 1e6)
}

/// Returns a number with commas between thousands.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().map(|group| str::from_utf8(group).unwrap()).collect();
    groups.join(",")
}
