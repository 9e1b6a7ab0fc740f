//! Measures our time in a payment: what the router, the ledger and the idempotency of requests add to the time of the
//! provider.
//! `cargo xtask bench payments`. With `BENCH_LARGE=1`, it also sends 10,000 requests a minute for ten minutes.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark prints its results")]
#![expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]

mod payments {
    pub(crate) mod stub;
}

use std::{sync::Arc, time::Duration};

use omnistack_core::{ShutdownToken, clock::Clock, config::Config, http::Method, id::Id, identity::Identity};
use omnistack_payments::Payments;
use omnistack_testkit::{TestApp, TestClient, TestDatabase};
use serde_json::json;
use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval},
};

use payments::stub::{PROVIDER_TIME, ProviderTimes, StubService};

/// The path of the measured requests.
const PATH: &str = "/v1/payments";
/// The requests before the measured ones.
const WARM_UP: usize = 200;
/// The measured requests a second, and their number.
const RATE: u32 = 100;
const REQUESTS: usize = 6_000;
/// The requests of the long run, and their number a minute.
const LONG_RUN_REQUESTS: usize = 100_000;
const LONG_RUN_PER_MINUTE: u32 = 10_000;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        println!("<!-- begin payments -->\n\n### Payments\n");
        println!("`POST {PATH}` with a provider that answers after {PROVIDER_TIME:?}, on PostgreSQL. The requests, the app and");
        println!("the database share two cores; commits wait for the disk. The time is that of the request without that of");
        println!("the provider: the whole middleware stack without a socket, the router, the ledger and idempotency.\n");
        println!("| requests | median | p95 | p99 | target |\n|---|---:|---:|---:|---:|");
        let bench = Bench::start().await;
        let background = bench.app.app().run_workers(ShutdownToken::new());
        let work = async {
            bench.run(WARM_UP, Duration::from_secs(1) / RATE).await;
            let times = bench.run(REQUESTS, Duration::from_secs(1) / RATE).await;
            print_row(&format!("{RATE} a second for {} s", REQUESTS / 100), &times, "p99 under 5 ms");
            if Config::from_env().get("BENCH_LARGE").is_some_and(|(value, _)| value == "1") {
                let times = bench.run(LONG_RUN_REQUESTS, Duration::from_secs(60) / LONG_RUN_PER_MINUTE).await;
                print_row("10,000 a minute for ten minutes", &times, "p95 under 500 ms");
            }
            bench.check_ledger().await;
        };
        tokio::select! {
            () = background => unreachable!("nothing stops the services"),
            () = work => {}
        }
        println!("\n<!-- end payments -->");
    });
}

fn print_row(label: &str, times: &[Duration], target: &str) {
    let [median, p95, p99] = [0.5, 0.95, 0.99].map(|share| millis(quantile(times, share)));
    println!("| {label} | {median} | {p95} | {p99} | {target} |");
}

fn quantile(sorted: &[Duration], share: f64) -> Duration {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index is small and positive")]
    let index = (share * sorted.len() as f64) as usize;
    sorted.get(index.min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
}

fn millis(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1e3)
}

/// An app with the stub, and a program whose tenant has an account there.
struct Bench {
    app: TestApp,
    program: Arc<TestClient>,
    times: ProviderTimes,
}

impl Bench {
    async fn start() -> Self {
        let times = ProviderTimes::default();
        let module = Payments::from_env().service(StubService::new(times.clone()));
        let app = TestApp::start(TestDatabase::postgres(), |app| {
            app.clock(Clock::system()).set("DATABASE_SYNCHRONOUS", "full").with(module)
        })
        .await;
        let owner = app.user();
        let credentials = json!({ "fields": { "api_key": "stub" } });
        let path = "/api/v1/app/services/stub/credentials/live";
        owner.request(Method::PUT, path).json(credentials).await.expect_ok();
        let caller = owner.identity().unwrap();
        let now = Clock::system().now();
        let program = Identity::user(caller.user).for_tenant(caller.tenant.unwrap());
        let program = program.with_permissions(caller.permissions.clone());
        let program = Arc::new(app.client_as(program.with_api_key(Id::new(now)).into_service_account()));
        Self { app, program, times }
    }

    /// Sends requests, each at its time whether or not the earlier ones have ended. Returns our times, the shortest
    /// first.
    async fn run(&self, requests: usize, every: Duration) -> Vec<Duration> {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut running = JoinSet::new();
        for _ in 0..requests {
            let due = ticks.tick().await;
            let (program, times) = (Arc::clone(&self.program), self.times.clone());
            running.spawn(async move {
                let key = format!("{:032x}", rand::random::<u128>());
                let body = json!({ "amount": 1000, "currency": "USD", "token": "card", "environment": "live" });
                let response = program.post(PATH, body).header("idempotency-key", key).await.expect(201).json();
                let took = Instant::now().duration_since(due);
                assert_eq!(response["status"], "succeeded");
                let reference = response["attempts"][0]["reference"].as_str().unwrap();
                took.saturating_sub(times.take(reference))
            });
        }
        let mut times = running.join_all().await;
        times.sort_unstable();
        times
    }

    /// Asserts that the ledger has exactly what was paid.
    async fn check_ledger(&self) {
        let mut tx = self.app.db().app_database().all_tenants().begin_read().await.unwrap();
        let sql = "select count(*), cast(sum(captured) as bigint) from omni_payments where status = 'succeeded'";
        let (payments, captured): (i64, i64) = tx.query(sql).fetch_one().await.unwrap();
        let sql =
            "select cast(sum(amount) as bigint), cast(sum(case when account = 'revenue' then amount else 0 end) as
            bigint) from omni_payment_entries";
        let (sum, revenue): (i64, i64) = tx.query(sql).fetch_one().await.unwrap();
        assert_eq!((captured, sum, revenue), (payments * 1_000, 0, payments * -1_000));
    }
}
