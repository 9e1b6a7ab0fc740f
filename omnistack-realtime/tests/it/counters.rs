//! Tests of usage and of the dashboard's numbers as messages to clients, and of messages to clients as usage.

#![cfg(test)]

use std::time::Duration;

use omnistack_billing::{Billing, Meter};
use omnistack_core::{
    ShutdownToken,
    dashboard::Count,
    metrics::USERS,
    module::{Module, Registry},
    realtime::{RealtimeChannel, RealtimePublisher},
};
use omnistack_observability::{CountNumbers, Observability};
use omnistack_realtime::{ChannelRule, Channels, Realtime};
use omnistack_testkit::{TestApp, TestClient, TestDatabase, on_each_database};
use serde_json::{Value, json};
use tokio::time::{interval, timeout};

use crate::live::LiveClient;

const CHANNEL: &str = "usage:live";
const CURRENT_USAGE: &str = "/api/v1/app/usage/current-period";
/// Longest time until usage is stored.
const USAGE_TIMEOUT: Duration = Duration::from_secs(20);
/// Time between two requests for the usage.
const USAGE_INTERVAL: Duration = Duration::from_millis(100);

/// A module that counts twelve users.
struct TwelveUsers;

impl Module for TwelveUsers {
    fn name(&self) -> &'static str {
        "twelve-users"
    }

    fn register(&self, registry: &mut Registry) {
        registry.count(|_| Ok(|| async { Ok(vec![Count::new(&USERS, [], 12)]) }));
    }
}

/// Starts an app that counts pages, and tells those who may read the usage.
async fn metered(database: TestDatabase) -> TestApp {
    let usage = ChannelRule::new("usage:{environment}").subscribe(|caller, _| caller.can("usage:read")).latest_value();
    let billing = Billing::from_env().meter(Meter::sum("pages", "pages").reported_by_tenants());
    let realtime = Realtime::from_env().channels(Channels::new().rule(usage));
    TestApp::start(database, |app| app.with(billing).with(realtime).set("USAGE_COUNT_REQUESTS", "false")).await
}

/// Reports a page, with an id of its own.
async fn report_page(client: &TestClient, environment: &str, id: u64) {
    let event = json!({ "id": format!("page-{id}"), "meter": "pages", "quantity": 1 });
    let body = json!({ "environment": environment, "events": [event] });
    client.post("/api/v1/app/usage/events", body).await.expect(200);
}

/// Returns the pages in a message.
fn pages(message: &Value) -> u64 {
    used(message, "pages")
}

/// Returns the usage of a meter, or 0 if the response does not have it.
fn used(usage: &Value, name: &str) -> u64 {
    let meters = usage["meters"].as_array().unwrap();
    let meter = meters.iter().find(|meter| meter["meter"] == name);
    meter.map_or(0, |meter| meter["used"].as_u64().unwrap())
}

/// Does work while the background services of the app run.
async fn with_workers(app: &TestApp, work: impl Future<Output = ()>) {
    let shutdown = ShutdownToken::new();
    let work = async {
        work.await;
        shutdown.cancel();
    };
    tokio::join!(app.app().run_workers(shutdown.clone()), work);
}

on_each_database! {
    async fn usage_reaches_its_tenant_and_changes_are_joined(database: TestDatabase) {
        const PAGES: u64 = 20;
        let app = metered(database).await;
        let server = app.listen_with_defaults().await;
        let (ann, bob) = (app.user(), app.user());
        with_workers(&app, async {
            let mut live = LiveClient::subscribed(server.address, &ann, CHANNEL).await;
            let mut of_other_tenant = LiveClient::subscribed(server.address, &bob, CHANNEL).await;
            // Test data is in a channel of its own.
            report_page(&ann, "test", 0).await;
            for id in 1..=PAGES {
                report_page(&ann, "live", id).await;
            }
            let mut messages = Vec::new();
            while messages.last() != Some(&PAGES) {
                messages.push(pages(&live.message(CHANNEL).await));
            }
            assert!(messages.is_sorted() && messages.len() < 20, "{messages:?}");
            assert_eq!(of_other_tenant.waiting_messages().await, Vec::<Value>::new());

            let shown = ann.get(CURRENT_USAGE).await.expect(200).json();
            assert_eq!(pages(&shown), PAGES);
            // The newest message is kept for those who come later.
            let mut late = LiveClient::subscribed(server.address, &ann, CHANNEL).await;
            let history = late.command("history", json!({ "channel": CHANNEL, "limit": 1 })).await;
            let newest = &history["history"]["publications"][0]["data"];
            assert_eq!((&newest["plan"], &newest["environment"]), (&shown["plan"], &json!("live")));
            assert_eq!(pages(newest), PAGES);
        })
        .await;
    }

    async fn messages_to_clients_are_usage_of_their_tenant(database: TestDatabase) {
        let realtime = Realtime::from_env().channels(Channels::new().allow("room:{id}", |_, _| true));
        let app = TestApp::start(database, |app| app.with(Billing::from_env()).with(realtime)).await;
        let server = app.listen_with_defaults().await;
        let (ann, bob) = (app.user(), app.user());
        let room = RealtimeChannel::of_tenant(ann.identity().unwrap().tenant.unwrap(), "room:1").unwrap();
        let publisher: RealtimePublisher = app.app().context().get().unwrap();
        with_workers(&app, async {
            let mut live = LiveClient::subscribed(server.address, &ann, "room:1").await;
            let _of_other_tenant = LiveClient::subscribed(server.address, &bob, "room:1").await;
            for number in 1..=3 {
                publisher.publish(room.clone(), &number).await.unwrap();
                assert_eq!(live.message("room:1").await, number);
            }
            // The messages are counted when the connection ends, and stored a moment later.
            drop(live);
            let counted = async {
                let mut requests = interval(USAGE_INTERVAL);
                loop {
                    requests.tick().await;
                    let shown = ann.get(CURRENT_USAGE).await.expect(200).json();
                    if used(&shown, "websocket_messages") == 3 {
                        break;
                    }
                }
            };
            timeout(USAGE_TIMEOUT, counted).await.expect("the messages are counted");
            let shown = bob.get(CURRENT_USAGE).await.expect(200).json();
            assert_eq!(used(&shown, "websocket_messages"), 0);
        })
        .await;
    }

    async fn the_numbers_of_the_dashboard_reach_operators_only(database: TestDatabase) {
        let app = TestApp::start(database, |app| {
            app.with(Observability::from_env()).with(TwelveUsers).with(Realtime::from_env())
        })
        .await;
        let server = app.listen_with_defaults().await;
        let operator = app.operator();
        let mut live = LiveClient::subscribed(server.address, &operator, "operators").await;
        let mut of_user = LiveClient::connect(server.address, &app.user()).await;
        let refused = of_user.command("subscribe", json!({ "channel": "operators" })).await;
        assert_eq!(refused["error"]["code"], 103, "{refused}");

        app.jobs().enqueue(CountNumbers {}).await.unwrap();
        app.run_jobs().await;
        let message = live.message("operators").await;
        let stats = operator.get("/api/v1/admin/dashboard/stats").await.expect(200).json();
        assert_eq!((&message["type"], &message["data"]["users"]), (&json!("dashboard.counted"), &json!(12.0)));
        assert_eq!(message["data"], stats);
        assert_eq!(of_user.waiting_messages().await, Vec::<Value>::new());
    }
}

/// Returns the value of a series in the Prometheus text format.
async fn metric(app: &TestApp, series: &str) -> f64 {
    let text = app.operator().get("/metrics").await.expect(200).text();
    let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    value.map_or(0.0, |value| value.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_and_messages_are_metrics() {
    let app =
        TestApp::start(TestDatabase::sqlite(), |app| app.with(Observability::from_env()).with(Realtime::from_env()))
            .await;
    let server = app.listen_with_defaults().await;
    let series = ["websocket_connections", "websocket_messages_total{direction=\"in\"}"];
    let mut before = Vec::new();
    for series in series {
        before.push(metric(&app, series).await);
    }
    let mut client = LiveClient::subscribed(server.address, &app.user(), "broadcast").await;
    client.command("history", json!({ "channel": "broadcast" })).await;
    // A connect, a subscribe and a history command.
    for (series, (before, more)) in series.into_iter().zip(before.into_iter().zip([1.0, 3.0])) {
        let now = metric(&app, series).await;
        assert!((now - before - more).abs() < f64::EPSILON, "{series}: {before} and then {now}");
    }
    assert!(metric(&app, "websocket_messages_total{direction=\"out\"}").await >= 3.0);
}
