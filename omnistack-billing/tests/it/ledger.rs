//! Tests of the ledger.

#![cfg(test)]

mod collations;
mod crash;
mod deletion;
mod late;
mod recording;
mod reporting;
mod sums;
mod unmatched;

use omnistack_billing::{Aggregation, Billing, Ledger, Meter};
use omnistack_core::{app::AppBuilder, clock::Timestamp, identity::TenantId};
use omnistack_testkit::{TestApp, TestClient, TestDatabase};
use serde_json::{Value, json};

pub(crate) const EVENTS: &str = "/api/v1/app/usage/events";

/// The meters of the tests. Tenants can report them.
pub(crate) fn billing() -> Billing {
    [
        Meter::sum("pages", "pages"),
        Meter::sum("hours", "hours").decimals(4),
        Meter::new("logins", "logins", Aggregation::Count),
        Meter::new("peak", "connections", Aggregation::Max),
        Meter::new("level", "percent", Aggregation::Last),
        Meter::new("active_users", "users", Aggregation::UniqueUsers),
        Meter::new("models", "models", Aggregation::UniqueCategories),
        Meter::sum("runs", "runs"),
        Meter::sum("storage_bytes", "bytes").lifetime(),
    ]
    .into_iter()
    .fold(Billing::from_env(), |billing, meter| billing.meter(meter.reported_by_tenants()))
}

pub(crate) async fn start(database: TestDatabase) -> TestApp {
    start_with(database, |app| app).await
}

pub(crate) async fn start_with(database: TestDatabase, with: impl FnOnce(AppBuilder) -> AppBuilder) -> TestApp {
    TestApp::start(database, |app| with(app.with(billing()).set("USAGE_COUNT_REQUESTS", "false"))).await
}

pub(crate) fn ledger(app: &TestApp) -> Ledger {
    app.app().context().get().unwrap()
}

pub(crate) fn tenant_of(client: &TestClient) -> TenantId {
    client.identity().unwrap().tenant.unwrap()
}

/// Reports events, and returns the status of each.
pub(crate) async fn report(client: &TestClient, events: Value) -> Vec<String> {
    let answer = client.post(EVENTS, json!({ "events": events })).await.expect(200).json();
    answer["events"].as_array().unwrap().iter().map(|event| event["status"].as_str().unwrap().to_owned()).collect()
}

/// The numbers of a window.
#[derive(Clone, Debug, PartialEq, Eq, omnistack_core::db::FromRow)]
pub(crate) struct Window {
    pub(crate) meter: String,
    pub(crate) start: Timestamp,
    pub(crate) sum: i64,
    pub(crate) events: i64,
    pub(crate) max: i64,
    pub(crate) last: i64,
    pub(crate) uniques: i64,
}

/// Returns the windows of a tenant, ordered by meter and start.
pub(crate) async fn windows(app: &TestApp, tenant: TenantId, grain: &str) -> Vec<Window> {
    let mut tx = app.db().app_database().tenant(tenant).begin_read().await.unwrap();
    let sql = "select meter, start, sum, events, max, last, uniques from omni_usage_windows
        where tenant_id = $1 and grain = $2 order by meter, start";
    tx.query(sql).bind(tenant).bind(grain.to_owned()).fetch_all().await.unwrap()
}

/// Returns the sum of a meter in the windows of a tenant.
pub(crate) async fn sum(app: &TestApp, tenant: TenantId, grain: &str, meter: &str) -> i64 {
    windows(app, tenant, grain).await.iter().filter(|window| window.meter == meter).map(|window| window.sum).sum()
}

/// Returns late usage of a tenant: meter, the starts of the periods in which it is billed and was used, and the sum.
pub(crate) async fn late_usage(app: &TestApp, tenant: TenantId) -> Vec<(String, String, String, i64)> {
    let mut tx = app.db().app_database().tenant(tenant).begin_read().await.unwrap();
    let sql = "select meter, billed_in, used_in, sum from omni_usage_late where tenant_id = $1
        order by meter, billed_in, used_in";
    let rows: Vec<(String, Timestamp, Timestamp, i64)> = tx.query(sql).bind(tenant).fetch_all().await.unwrap();
    rows.into_iter().map(|(meter, billed, used, sum)| (meter, billed.to_string(), used.to_string(), sum)).collect()
}
