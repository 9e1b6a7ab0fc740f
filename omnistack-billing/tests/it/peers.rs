//! A test of the ledger against DuckDB, which adds up what the app was sent by the rules of the book. `cargo xtask test
//! --peers` runs it: it needs `TEST_PEERS_PYTHON`, a Python with duckdb.

#![cfg(test)]

mod answers;
mod requests;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{Debug, Write as _},
    fs,
    path::{Path, PathBuf},
};

use http::Method;
use omnistack_core::{
    clock::Timestamp,
    identity::{TenantId, UserId},
};
use omnistack_testkit::{TestApp, TestClient, TestDatabase};
use rand::Rng as _;
use serde::Deserialize;
use tokio::process::Command;

use self::{
    answers::{DescribedMeter, TenantSums},
    requests::RandomRequests,
};
use crate::{
    ledger::{EVENTS, start, tenant_of},
    reports::{USAGE, get},
};

const TENANTS: usize = 5;
const ENVIRONMENTS: [&str; 2] = ["live", "test"];

/// The numbers of a window: those of a row of the app, and those of DuckDB.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, omnistack_core::db::FromRow)]
struct WindowSums {
    tenant_id: TenantId,
    environment: String,
    meter: String,
    grain: String,
    start: Timestamp,
    sum: i64,
    events: i64,
    max: i64,
    last: i64,
    uniques: i64,
}

/// Late usage.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, omnistack_core::db::FromRow)]
struct LateSums {
    tenant_id: TenantId,
    environment: String,
    meter: String,
    billed_in: Timestamp,
    used_in: Timestamp,
    sum: i64,
    events: i64,
}

/// The usage of a category and a user in a day or month.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, omnistack_core::db::FromRow)]
struct DimensionSums {
    tenant_id: TenantId,
    environment: String,
    meter: String,
    grain: String,
    start: Timestamp,
    category: String,
    user_id: UserId,
    sum: i64,
    events: i64,
    max: i64,
}

/// The number of events with a status.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
struct StatusCount {
    status: String,
    events: i64,
}

/// All sums of DuckDB.
#[derive(Debug, Deserialize)]
struct UsageSums {
    statuses: Vec<StatusCount>,
    windows: Vec<WindowSums>,
    late: Vec<LateSums>,
    dimensions: Vec<DimensionSums>,
}

/// A temporary folder with what the app was sent. It stays if the test fails.
struct InputFolder(PathBuf);

impl InputFolder {
    fn create() -> Self {
        let folder = std::env::temp_dir().join(format!("omnistack-usage-{}", uuid::Uuid::new_v4()));
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }
}

impl Drop for InputFolder {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("what the app was sent is in {}", self.0.display());
        } else {
            _ = fs::remove_dir_all(&self.0);
        }
    }
}

/// Reports random usage. Returns a line of JSON for each request, with its body as it was sent, and the number of
/// events by status.
async fn report_usage(app: &TestApp, clients: &[TestClient], seed: u64) -> (String, Vec<StatusCount>) {
    let mut random = RandomRequests::new(seed);
    let mut lines = String::new();
    let mut counts: BTreeMap<String, i64> = BTreeMap::new();
    for (number, now) in random.times().into_iter().enumerate() {
        let (client, environment) = random.place();
        let body = random.body(client, environment, now);
        let tenant = tenant_of(&clients[client]);
        let head = format!(r#""request":{number},"tenant_id":"{tenant}","received_at":"{now}""#);
        writeln!(lines, r#"{{{head},"body":{body}}}"#).unwrap();
        app.clock().set(now);
        let request = clients[client].request(Method::POST, EVENTS).header("content-type", "application/json");
        let answer = request.body(body).await.expect(200).json();
        for (status, count) in answer["counts"].as_object().unwrap() {
            *counts.entry(status.clone()).or_default() += count.as_i64().unwrap();
        }
    }
    (lines, counts.into_iter().map(|(status, events)| StatusCount { status, events }).collect())
}

/// Returns the sums of DuckDB.
async fn add_up(folder: &Path) -> UsageSums {
    #[expect(clippy::disallowed_methods, reason = "a setting of the test, not of the app")]
    let python = std::env::var("TEST_PEERS_PYTHON").expect("set TEST_PEERS_PYTHON, as `cargo xtask test --peers` does");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../xtask/peers/usage/oracle.py");
    let output = Command::new(python).arg(script).arg(folder).output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Compares the rows of the app with those of DuckDB, and shows only those that differ.
fn assert_same<T: Debug + Ord>(what: &str, found: &[T], expected: &[T]) {
    let (app, duckdb): (BTreeSet<&T>, BTreeSet<&T>) = (found.iter().collect(), expected.iter().collect());
    let only_app: Vec<_> = app.difference(&duckdb).take(5).collect();
    let only_duckdb: Vec<_> = duckdb.difference(&app).take(5).collect();
    let is_same = only_app.is_empty() && only_duckdb.is_empty() && found.len() == expected.len();
    assert!(is_same, "{what}: the app has {only_app:#?}, DuckDB has {only_duckdb:#?}");
}

/// Compares the rows that the app has stored.
async fn check_rows(app: &TestApp, sums: &UsageSums) {
    // The test has created all tenants of the database.
    let mut tx = app.db().app_database().all_tenants().begin_read().await.unwrap();
    let sql = "select tenant_id, environment, meter, grain, start, sum, events, max, last, uniques
        from omni_usage_windows";
    assert_same("windows", &tx.query(sql).fetch_all::<WindowSums>().await.unwrap(), &sums.windows);
    let sql = "select tenant_id, environment, meter, billed_in, used_in, sum, events from omni_usage_late";
    assert_same("late", &tx.query(sql).fetch_all::<LateSums>().await.unwrap(), &sums.late);
    let sql = "select tenant_id, environment, meter, grain, start, category, user_id, sum, events, max
        from omni_usage_dimensions";
    assert_same("dimensions", &tx.query(sql).fetch_all::<DimensionSums>().await.unwrap(), &sums.dimensions);
    tx.commit().await.unwrap();
}

async fn compare(database: TestDatabase) {
    let seed = rand::rng().next_u64();
    println!("seed {seed}");
    let app = start(database).await;
    let clients: Vec<TestClient> = (0..TENANTS).map(|_| app.user()).collect();
    let described = get(&clients[0], format!("{USAGE}/metrics")).await["meters"].clone();
    let folder = InputFolder::create();
    let (requests, statuses) = report_usage(&app, &clients, seed).await;
    fs::write(folder.0.join("requests.ndjson"), requests).unwrap();
    fs::write(folder.0.join("meters.json"), described.to_string()).unwrap();
    let sums = add_up(&folder.0).await;

    check_rows(&app, &sums).await;
    let meters: Vec<DescribedMeter> = serde_json::from_value(described).unwrap();
    let now = app.clock().clock().now();
    for client in &clients {
        for environment in ENVIRONMENTS {
            TenantSums::new(&sums, &meters, tenant_of(client), environment, now).check(client).await;
        }
    }
    assert_same("statuses", &statuses, &sums.statuses);
    // The events are many, and of all kinds.
    let sent: i64 = statuses.iter().map(|count| count.events).sum();
    assert!(sent >= 20_000 && statuses.len() == 6, "{statuses:?}");
    assert!(statuses.iter().all(|count| count.events >= 100), "{statuses:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a peer: `cargo xtask test --peers`"]
async fn duckdb_has_the_same_sums_as_sqlite() {
    compare(TestDatabase::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a peer: `cargo xtask test --peers`"]
async fn duckdb_has_the_same_sums_as_postgres() {
    compare(TestDatabase::postgres()).await;
}
