//! Tests of reports.

#![cfg(test)]

mod access;
mod breakdown;
mod days;
mod limits;
mod months;
mod operators;
mod summary;
mod totals;

use std::sync::atomic::{AtomicUsize, Ordering};

use omnistack_billing::{Aggregation, Billing, Meter, PlanCatalogue, PlanDefinition};
use omnistack_core::{
    BoxError,
    identity::TenantId,
    module::{Module, Registry},
};
use omnistack_testkit::{TestApp, TestClient, TestDatabase};
use serde::Serialize;
use serde_json::{Value, json};

pub(crate) const USAGE: &str = "/api/v1/app/usage";
pub(crate) const ADMIN: &str = "/api/v1/admin/usage";
pub(crate) const BILLING_USAGE: &str = "/api/v1/app/billing/usage";

/// A module with a limited resource, of which every tenant has two.
struct Shop;

impl Module for Shop {
    fn name(&self) -> &'static str {
        "shop"
    }

    fn register(&self, registry: &mut Registry) {
        registry.limited_resource("projects", |_| Ok(|_| async { Ok::<u64, BoxError>(2) }));
    }
}

fn billing() -> Billing {
    let free = PlanDefinition::new("free", "Free")
        .limit("api_requests", 1_000)
        .limit("hours", 10)
        .limit("storage_bytes", 500)
        .limit("projects", 3)
        .limit("runs", 0)
        .limit("pages", 5)
        .soft_limit("pages")
        .unlimited("ai_tokens");
    let meters = [
        Meter::sum("pages", "pages").describe("Pages that were analysed."),
        Meter::sum("hours", "hours").decimals(2),
        Meter::new("logins", "logins", Aggregation::Count),
        Meter::new("peak", "connections", Aggregation::Max),
        Meter::new("level", "percent", Aggregation::Last),
        Meter::new("active_users", "users", Aggregation::UniqueUsers),
        Meter::new("models", "models", Aggregation::UniqueCategories),
        Meter::sum("runs", "runs"),
        Meter::sum("ai_tokens", "tokens"),
        Meter::sum("storage_bytes", "bytes").lifetime(),
    ];
    let billing = Billing::from_env().plans(PlanCatalogue::new([free]).default_plan("free"));
    meters.into_iter().fold(billing, |billing, meter| billing.meter(meter.reported_by_tenants()))
}

/// Starts an app whose clock shows a time.
pub(crate) async fn start(database: TestDatabase, now: &str) -> TestApp {
    let app = TestApp::start(database, |app| app.with(billing()).with(Shop).set("USAGE_COUNT_REQUESTS", "false")).await;
    app.clock().set(now.parse().unwrap());
    app
}

pub(crate) fn tenant_of(client: &TestClient) -> TenantId {
    client.identity().unwrap().tenant.unwrap()
}

/// Creates an event with an id of its own.
pub(crate) fn event(meter: &str, at: &str, quantity: impl Serialize) -> Value {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let id = NEXT.fetch_add(1, Ordering::Relaxed).to_string();
    json!({ "id": id, "meter": meter, "at": at, "quantity": quantity })
}

/// Creates an event of a category.
pub(crate) fn event_of(meter: &str, at: &str, quantity: impl Serialize, category: &str) -> Value {
    let mut event = event(meter, at, quantity);
    event["category"] = category.into();
    event
}

/// Adds a field to an event.
pub(crate) fn with(mut event: Value, field: &str, value: impl Serialize) -> Value {
    event[field] = json!(value);
    event
}

/// Reports events, all of which are stored, and returns the number of late ones.
pub(crate) async fn report(client: &TestClient, events: &[Value]) -> usize {
    report_in(client, "live", events).await
}

/// Reports events of an environment.
pub(crate) async fn report_in(client: &TestClient, environment: &str, events: &[Value]) -> usize {
    let body = json!({ "environment": environment, "events": events });
    let answer = client.post(format!("{USAGE}/events"), body).await.expect(200).json();
    let count = |status: &str| answer["counts"][status].as_u64().map_or(0, |count| usize::try_from(count).unwrap());
    assert_eq!(count("accepted") + count("late"), events.len(), "{answer}");
    count("late")
}

/// Enters events of any time in the past.
pub(crate) async fn backfill(app: &TestApp, tenant: TenantId, events: &[Value]) {
    for events in events.chunks(1_000) {
        let body = json!({ "tenant": tenant, "events": events });
        let answer = app.operator().post(format!("{ADMIN}/backfill"), body).await.expect(200).json();
        assert_eq!(answer["counts"], json!({ "accepted": events.len() }), "{answer}");
    }
}

pub(crate) async fn get(client: &TestClient, path: impl AsRef<str>) -> Value {
    client.get(path).await.expect(200).json()
}

/// Returns the item of a list that is about a meter.
pub(crate) fn of_meter<'a>(report: &'a Value, meter: &str) -> &'a Value {
    let meters = report["meters"].as_array().unwrap();
    meters.iter().find(|item| item["meter"] == meter).unwrap_or_else(|| panic!("no {meter} in {report}"))
}

/// Returns the names of the meters in a report.
pub(crate) fn meters_of(report: &Value) -> Vec<&str> {
    report["meters"].as_array().unwrap().iter().map(|item| item["meter"].as_str().unwrap()).collect()
}
