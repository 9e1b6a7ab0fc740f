//! Tests of quotas.

#![cfg(test)]

mod allowances;
mod crash;
mod invariant;
mod plans;
mod replicas;
mod reservations;
mod thresholds;

use std::time::Duration;

use omnistack_billing::{
    Aggregation, Billing, Ledger, Meter, PlanCatalogue, PlanDefinition, QuotaStatus, Quotas, Reservation,
};
use omnistack_core::{
    app::{App, AppBuilder, DevIdentity},
    clock::Clock,
    http::Method,
    identity::TenantId,
    usage::{DataEnvironment, Decimal, UsageEvent, meters},
};
use omnistack_testkit::{TestApp, TestDatabase};
use serde_json::json;
use tokio::time::timeout;

pub(crate) const RUNS: &str = meters::RUNS;
/// The limit of runs in the plan `free`.
pub(crate) const RUNS_OF_FREE: i64 = 100;
/// The limit of tokens in the plan `free`.
pub(crate) const TOKENS_OF_FREE: i64 = 1_000;

/// The module, with plans that have a hard limit, a soft limit, a lifetime limit, a limit with decimals, a limit of
/// events, and no limit.
fn billing() -> Billing {
    let free = PlanDefinition::new("free", "Free")
        .limit(RUNS, RUNS_OF_FREE)
        .limit(meters::AI_TOKENS, TOKENS_OF_FREE)
        .limit(meters::AI_FIXES, 10)
        .soft_limit(meters::AI_FIXES)
        .limit(meters::STORAGE_BYTES, 500)
        .limit("hours", 10)
        .limit("logins", 5);
    let small = PlanDefinition::new("small", "Small").limit(RUNS, 40);
    let pro = PlanDefinition::new("pro", "Pro").limit(RUNS, 10_000);
    Billing::from_env()
        .plans(PlanCatalogue::new([free, small, pro]).default_plan("free"))
        .meter(Meter::sum("hours", "hours").decimals(2))
        .meter(Meter::new("logins", "logins", Aggregation::Count))
        .meter(Meter::new("peak", "connections", Aggregation::Max))
}

fn with_billing(app: AppBuilder) -> AppBuilder {
    app.with(billing()).set("USAGE_COUNT_REQUESTS", "false")
}

pub(crate) async fn start(database: TestDatabase) -> TestApp {
    TestApp::start(database, with_billing).await
}

/// Starts a second app on the same database, with the same clock.
async fn second_app(app: &TestApp) -> App {
    let builder = App::builder(app.database().config()).clock(app.clock().clock()).with(DevIdentity::default());
    let other = with_billing(builder).set("DEV_TOKEN", "dev_moon").build().unwrap();
    other.start().await.unwrap();
    other
}

/// The quotas and the ledger of one process.
#[derive(Clone)]
pub(crate) struct Process {
    pub(crate) quotas: Quotas,
    pub(crate) ledger: Ledger,
    clock: Clock,
}

impl Process {
    pub(crate) fn of(app: &App) -> Self {
        let context = app.context();
        Self { quotas: context.get().unwrap(), ledger: context.get().unwrap(), clock: context.get().unwrap() }
    }

    pub(crate) fn event(&self, tenant: TenantId, meter: &'static str, quantity: impl Into<Decimal>) -> UsageEvent {
        UsageEvent::new(tenant, meter, quantity, self.clock.now())
    }

    /// Consumes an amount. Returns `false` if the limit refuses it.
    pub(crate) async fn consume(&self, tenant: TenantId, meter: &'static str, quantity: impl Into<Decimal>) -> bool {
        match self.quotas.consume(self.event(tenant, meter, quantity)).await {
            Ok(()) => true,
            Err(error) => {
                assert_eq!((error.status().as_u16(), error.code()), (402, "PLAN_LIMIT_REACHED"), "{error:?}");
                false
            }
        }
    }

    /// Reserves an amount of the runs. Returns `None` if the limit refuses it.
    pub(crate) async fn reserve(&self, tenant: TenantId, amount: i64) -> Option<Reservation> {
        match self.quotas.reserve(tenant, RUNS, amount).await {
            Ok(reservation) => Some(reservation),
            Err(error) => {
                assert_eq!((error.status().as_u16(), error.code()), (402, "PLAN_LIMIT_REACHED"), "{error:?}");
                None
            }
        }
    }

    pub(crate) async fn status(&self, tenant: TenantId, meter: &str) -> QuotaStatus {
        self.quotas.status(tenant, DataEnvironment::Live, meter).await.unwrap()
    }

    /// Stores what is counted in memory.
    pub(crate) async fn flush(&self) {
        self.ledger.flush().await.unwrap();
    }

    pub(crate) async fn maintain(&self) {
        self.quotas.maintain_allowances().await.unwrap();
    }
}

pub(crate) fn new_tenant(app: &TestApp) -> TenantId {
    app.user().identity().unwrap().tenant.unwrap()
}

/// Returns what a tenant has used and reserved of a meter.
pub(crate) async fn use_of(process: &Process, tenant: TenantId, meter: &str) -> (String, String) {
    let QuotaStatus { used, reserved, .. } = process.status(tenant, meter).await;
    (used.to_string(), reserved.to_string())
}

/// Asserts what a tenant has used and reserved of a meter.
pub(crate) async fn expect_use(process: &Process, tenant: TenantId, meter: &str, used: &str, reserved: &str) {
    assert_eq!(use_of(process, tenant, meter).await, (used.to_owned(), reserved.to_owned()), "{meter}");
}

/// Settles a reservation in a transaction of its own.
pub(crate) async fn settle(app: &TestApp, reservation: Reservation, event: UsageEvent) {
    let mut tx = app.db().tenant(event.tenant).begin().await.unwrap();
    reservation.settle_in(&mut tx, event).await.unwrap();
    tx.commit().await.unwrap();
}

/// A window that limits apply to, with the units of its reservations.
#[derive(Debug, omnistack_core::db::FromRow)]
pub(crate) struct StoredWindow {
    pub(crate) meter: String,
    pub(crate) sum: i64,
    pub(crate) reserved: i64,
    pub(crate) held: i64,
    pub(crate) reservations: i64,
}

/// Returns the windows of a tenant that limits apply to, by meter and start.
pub(crate) async fn stored_windows(app: &TestApp, tenant: TenantId) -> Vec<StoredWindow> {
    let mut tx = app.db().app_database().tenant(tenant).begin_read().await.unwrap();
    let sql = "select w.meter, w.sum, w.reserved, cast(coalesce(sum(r.units), 0) as bigint) as held,
            count(r.id) as reservations
        from omni_usage_windows w left join omni_usage_reservations r on r.tenant_id = w.tenant_id
            and r.environment = w.environment and r.meter = w.meter and r.grain = w.grain and r.start = w.start
        where w.tenant_id = $1 and w.grain in ('period', 'total')
        group by w.meter, w.grain, w.start, w.sum, w.reserved order by w.meter, w.grain, w.start";
    tx.query(sql).bind(tenant).fetch_all().await.unwrap()
}

/// Waits until nothing is reserved: dropped reservations are released in the background.
pub(crate) async fn wait_for_release(app: &TestApp, tenant: TenantId) {
    let look = async {
        while stored_windows(app, tenant).await.iter().any(|window| window.reserved != 0) {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(20), look).await.expect("what was reserved is released");
}

/// Assigns a plan to a tenant, as an operator.
pub(crate) async fn assign(app: &TestApp, tenant: TenantId, plan: &str) {
    let path = format!("/api/v1/admin/billing/accounts/{tenant}/plan");
    app.operator().request(Method::PUT, path).json(json!({ "plan": plan })).await.expect(200);
}
