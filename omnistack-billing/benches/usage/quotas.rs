//! Hard limits of a tenant, asked by many tasks at once.

use std::time::{Duration, Instant};

use omnistack_billing::{Ledger, Quotas};
use omnistack_core::{clock::Clock, identity::TenantId, usage::UsageEvent};
use omnistack_testkit::{TestApp, TestDatabase};
use tokio::task::JoinSet;

use crate::{
    HIGHLY_LIMITED_METER, LIMIT_UNITS, LIMITED_METER, Latencies, grouped, micros, new_tenants, start,
    with_background_services,
};

/// Number of tasks that use a limit at once.
const TASKS: usize = 64;
/// Duration of the run that measures `consume`.
pub(crate) const CONSUME_TIME: Duration = Duration::from_secs(10);
/// Number of reservations of a run.
const RESERVATIONS: usize = 3_200;

/// The handles that the tasks use.
#[derive(Clone)]
struct TenantQuota {
    quotas: Quotas,
    clock: Clock,
    tenant: TenantId,
}

/// Measures quotas on PostgreSQL, and prints the rows.
pub(crate) async fn measure() {
    let app = start(TestDatabase::postgres()).await;
    let quotas: Quotas = app.app().context().get().unwrap();
    let quota = TenantQuota { quotas, clock: Clock::system(), tenant: new_tenants(1)[0] };
    println!("| what | measured | target |\n|---|---:|---:|");
    with_background_services(&app, async {
        consume(&quota).await;
        consume_all(&app, &quota).await;
        for (tasks, label) in [(1, "one task".to_owned()), (TASKS, format!("{TASKS} tasks at once"))] {
            let durations = reserve(&quota, tasks).await;
            for (name, quantile) in [("median", 0.5), ("p99", 0.99)] {
                let duration = micros(durations.quantile(quantile));
                println!("| `Quotas::reserve` and `release`, {label}, {name} | {duration} | |");
            }
        }
    })
    .await;
}

/// Measures `consume` with a limit that is not reached.
async fn consume(quota: &TenantQuota) {
    let (end, mut tasks) = (Instant::now() + CONSUME_TIME, JoinSet::new());
    for _ in 0..TASKS {
        tasks.spawn(quota.clone().consume_until(end));
    }
    let durations = Latencies::new(tasks.join_all().await.concat());
    let rate = durations.0.len() as f64 / CONSUME_TIME.as_secs_f64();
    let [median, p99] = [0.5, 0.99].map(|quantile| micros(durations.quantile(quantile)));
    println!("| `Quotas::consume` of 1 by {TASKS} tasks at once, checks/s | {rate:.0} | |");
    println!("| the same, median | {median} | |");
    println!("| the same, p99 | {p99} | 300 µs |");
}

/// Consumes until the limit refuses more, and compares what the ledger has then with the limit.
async fn consume_all(app: &TestApp, quota: &TenantQuota) {
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        tasks.spawn(quota.clone().consume_until_refused());
    }
    let allowed: i64 = tasks.join_all().await.into_iter().sum();
    let ledger: Ledger = app.app().context().get().unwrap();
    ledger.flush().await.unwrap();
    let used = used(app, quota.tenant).await;
    assert_eq!(used, allowed, "the ledger has what was allowed");
    let limit = grouped(usize::try_from(LIMIT_UNITS).unwrap());
    println!("| a limit of {limit}, consumed by {TASKS} tasks until it refuses them: used | {used} | {LIMIT_UNITS} |");
    println!("| used beyond the limit | {} | 0 |", (used - LIMIT_UNITS).max(0));
}

/// Returns what the ledger has counted of the limited meter.
async fn used(app: &TestApp, tenant: TenantId) -> i64 {
    let sql = "select cast(coalesce(sum(sum), 0) as bigint) from omni_usage_windows
        where tenant_id = $1 and environment = 'live' and meter = $2 and grain = 'period'";
    let db = app.db().app_database();
    let mut tx = db.tenant(tenant).begin_read().await.unwrap();
    let (used,): (i64,) = tx.query(sql).bind(tenant).bind(LIMITED_METER).fetch_one().await.unwrap();
    tx.commit().await.unwrap();
    used
}

/// Measures reservations that are released at once, by this number of tasks.
async fn reserve(quota: &TenantQuota, tasks: usize) -> Latencies {
    let mut running = JoinSet::new();
    for _ in 0..tasks {
        running.spawn(quota.clone().reserve_times(RESERVATIONS / tasks));
    }
    Latencies::new(running.join_all().await.concat())
}

impl TenantQuota {
    fn event(&self, meter: &'static str) -> UsageEvent {
        UsageEvent::new(self.tenant, meter, 1, self.clock.now())
    }

    /// Consumes until `end`. Returns the duration of each call.
    async fn consume_until(self, end: Instant) -> Vec<Duration> {
        let mut durations = Vec::new();
        while Instant::now() < end {
            let event = self.event(HIGHLY_LIMITED_METER);
            let began = Instant::now();
            self.quotas.consume(event).await.unwrap();
            durations.push(began.elapsed());
            // A request waits for I/O as well. Without that, the other tasks would not run.
            tokio::task::yield_now().await;
        }
        durations
    }

    /// Consumes until the limit refuses more. Returns what it has allowed.
    async fn consume_until_refused(self) -> i64 {
        let mut allowed = 0;
        loop {
            if let Err(error) = self.quotas.consume(self.event(LIMITED_METER)).await {
                assert_eq!(error.code(), "PLAN_LIMIT_REACHED", "{error:?}");
                return allowed;
            }
            allowed += 1;
            tokio::task::yield_now().await;
        }
    }

    /// Reserves and releases so many times. Returns the duration of each pair.
    async fn reserve_times(self, count: usize) -> Vec<Duration> {
        let mut durations = Vec::new();
        for _ in 0..count {
            let began = Instant::now();
            let reservation = self.quotas.reserve(self.tenant, HIGHLY_LIMITED_METER, 1).await.unwrap();
            reservation.release().await.unwrap();
            durations.push(began.elapsed());
        }
        durations
    }
}
