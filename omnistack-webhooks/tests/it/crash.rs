//! Tests of processes that are killed by SIGKILL: after each of their statements in turn while they receive, process,
//! publish or deliver a webhook, and [under load](server).
//!
//! The parent acts as the provider and as another replica would.

#![cfg(test)]

mod server;

use std::{collections::BTreeSet, time::Duration};

use axum::body::Body;
use omnistack_core::{
    ShutdownToken,
    app::App,
    db::{QueryEvent, QueryObserver},
    http::StatusCode,
    identity::TenantId,
    webhook::{WebhookEvent as _, WebhookPublisher},
};
use omnistack_testkit::{
    TestApp, TestDatabase,
    crash::{CrashChild, CrashCommand},
    mock_server::MockResponse,
    on_each_database,
};
use omnistack_webhooks::Webhooks;
use serde_json::{Value, json};
use tower::ServiceExt as _;
use uuid::Uuid;

use crate::{
    delivery::{OrderPaid, Orders, create_endpoint, deliver, publish, receiver, states, work_until},
    inbox::{PUBLIC, Probe, app, send, signature},
};

/// The variables by which a child gets the id of its event, and its tenant.
const EVENT: &str = "WEBHOOK_CRASH_EVENT";
const TENANT: &str = "WEBHOOK_CRASH_TENANT";

/// The line that a child prints after a response with 2xx.
const ANSWERED: &str = "the request was answered";

/// Longer than the leases of events, endpoints and deliveries.
const AFTER_THE_LEASES: Duration = Duration::from_secs(600);

/// The beginning of the statement by which a worker ends its work for an endpoint.
const RELEASE: &str = "update omni_webhook_endpoints set lease_until = $3";

/// A query observer that begins the shutdown when the work for an endpoint has ended.
struct ShutDownAfterRelease(ShutdownToken);

impl QueryObserver for ShutDownAfterRelease {
    fn observe(&self, event: QueryEvent<'_>) {
        if event.sql.starts_with(RELEASE) {
            self.0.cancel();
        }
    }
}

/// Returns the app of a child process, which is killed after one of the statements that count, as its environment says.
/// Returns `None` if this is not a child.
fn child(counts: fn(&str) -> bool) -> Option<(CrashChild, App)> {
    let child = CrashChild::from_env()?;
    let builder = child
        .builder()
        .set("WEBHOOKS_ALLOW_PRIVATE_ADDRESSES", "true")
        // So that no search for deliveries is counted while one is being sent.
        .set("WEBHOOKS_POLL", "1m");
    let app = builder.with(Webhooks::from_env()).with(Probe::default()).with(Orders).build().unwrap();
    child.kill_after_statement(app.db(), counts);
    Some((child, app))
}

/// Returns whether a statement is one of the delivery of messages.
fn is_of_delivery(sql: &str) -> bool {
    let tables = ["omni_webhook_endpoints", "omni_webhook_deliveries", "omni_webhook_attempts"];
    tables.iter().any(|table| sql.contains(table))
}

fn event(id: &str) -> Value {
    json!({ "id": id, "type": "invoice.paid", "object": id })
}

#[tokio::test]
#[ignore = "a child process of other tests"]
async fn child_that_receives() {
    let Some((child, app)) = child(|_| true) else { return };
    let body = event(&child.variable(EVENT)).to_string();
    let request = http::Request::post(PUBLIC)
        .header("content-type", "application/json")
        .header("x-probe-signature", signature(child.now().as_seconds(), body.as_bytes()))
        .body(Body::from(body))
        .unwrap();
    let response = app.service().oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    println!("{ANSWERED}");
}

#[tokio::test]
#[ignore = "a child process of other tests"]
async fn child_that_processes() {
    let Some((_, app)) = child(|_| true) else { return };
    assert_eq!(app.dispatcher().run_until_idle().await.unwrap(), 1);
}

#[tokio::test]
#[ignore = "a child process of other tests"]
async fn child_that_publishes() {
    let Some((child, app)) = child(|_| true) else { return };
    let tenant: TenantId = child.variable(TENANT).parse().unwrap();
    let publisher: WebhookPublisher = app.context().get().unwrap();
    let mut tx = app.db().tenant(tenant).begin().await.unwrap();
    let insert = tx.query("insert into probe_rows (event_id) values ($1)").bind(child.variable(EVENT));
    insert.execute().await.unwrap();
    publisher.publish_in(&mut tx, &OrderPaid::example()).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a child process of other tests"]
async fn child_that_delivers() {
    let Some((_, app)) = child(is_of_delivery) else { return };
    let shutdown = ShutdownToken::new();
    app.db().observe(ShutDownAfterRelease(shutdown.clone()));
    expect_soon("the end of the work", app.run_workers(shutdown)).await;
}

/// Returns the command that runs a child.
fn command(app: &TestApp, child: &str, statement: usize) -> CrashCommand {
    CrashCommand::new(app, &format!("crash::{child}"), statement)
}

async fn expect_soon<T>(what: &str, done: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(90), done).await.unwrap_or_else(|_| panic!("{what} did not come"))
}

/// Returns the status of each stored webhook with this id of its event, and the number of attempts.
async fn stored(app: &TestApp, event: &str) -> Vec<(String, i64)> {
    let mut tx = app.db().app_database().all_tenants().begin_read().await.unwrap();
    let sql = "select status, attempts from omni_webhooks where event_id = $1";
    tx.query(sql).bind(event.to_owned()).fetch_all().await.unwrap()
}

/// Returns the number of rows of a handler or a publisher about an event.
async fn rows_of(app: &TestApp, event: &str) -> i64 {
    let sql = "select count(*) from probe_rows where event_id = $1";
    app.db().query(sql).bind(event.to_owned()).fetch_one::<(i64,)>().await.unwrap().0
}

/// Returns the numbers of messages and of deliveries.
async fn published(app: &TestApp) -> (i64, i64) {
    let mut tx = app.db().app_database().all_tenants().begin_read().await.unwrap();
    let sql = "select (select count(*) from omni_webhook_messages), (select count(*) from omni_webhook_deliveries)";
    tx.query(sql).fetch_one().await.unwrap()
}

on_each_database! {
    async fn a_webhook_that_is_received_by_a_killed_process_counts_once(database: TestDatabase) {
        let app = app(database, &Probe::default(), |app| app).await;
        let mut deaths = 0;
        loop {
            let id = format!("evt_{deaths}");
            let end = command(&app, "child_that_receives", deaths + 1).env(EVENT, &id).run().await;
            let has_answered = end.stdout.contains(ANSWERED);
            if has_answered {
                assert_eq!(stored(&app, &id).await, [("received".to_owned(), 0)]);
            } else {
                // The provider has no response, so it sends the event again.
                let status = send(&app, event(&id)).await.expect(200).json()["status"].clone();
                assert!(status == "received" || status == "duplicate", "after {deaths}: {status}");
            }
            app.run_events().await;
            assert_eq!(stored(&app, &id).await, [("processed".to_owned(), 1)], "after {deaths}");
            assert_eq!(rows_of(&app, &id).await, 1, "after {deaths}");
            if !end.was_killed {
                assert!(has_answered);
                break;
            }
            deaths += 1;
        }
        assert!(deaths >= 4, "{deaths}");
    }

    async fn a_webhook_that_is_processed_by_a_killed_process_counts_once(database: TestDatabase) {
        let app = app(database, &Probe::default(), |app| app).await;
        let mut deaths = 0;
        loop {
            let id = format!("evt_{deaths}");
            send(&app, event(&id)).await.expect(200);
            let end = command(&app, "child_that_processes", deaths + 1).run().await;
            assert!(rows_of(&app, &id).await <= 1, "after {deaths}");
            app.clock().advance(AFTER_THE_LEASES);
            app.run_events().await;
            assert_eq!(stored(&app, &id).await, [("processed".to_owned(), 1)], "after {deaths}");
            assert_eq!(rows_of(&app, &id).await, 1, "after {deaths}");
            if !end.was_killed {
                break;
            }
            deaths += 1;
        }
        assert!(deaths >= 8, "{deaths}");
    }

    async fn a_killed_publisher_leaves_rows_and_messages_or_neither(database: TestDatabase) {
        let app = app(database, &Probe::default(), |app| {
            app.set("WEBHOOKS_ALLOW_PRIVATE_ADDRESSES", "true").with(Orders)
        })
        .await;
        let sink = receiver(MockResponse::status(200)).await;
        let owner = app.user();
        let tenant = owner.identity().unwrap().tenant.unwrap();
        let endpoint = create_endpoint(&owner, sink.url(), json!({})).await;
        let (mut deaths, mut expected) = (0, 0);
        loop {
            let id = format!("order_{deaths}");
            let command = command(&app, "child_that_publishes", deaths + 1);
            let end = command.env(EVENT, &id).env(TENANT, tenant).run().await;
            expected += rows_of(&app, &id).await;
            assert_eq!(published(&app).await, (expected, expected), "after {deaths}");
            if !end.was_killed {
                break;
            }
            deaths += 1;
        }
        // A process that is killed after its commit has published.
        assert!(deaths >= 5 && expected == 2, "{deaths} {expected}");
        let received = deliver(&app, &sink, 2).await;
        assert_eq!(received.len(), 2);
        assert_eq!(states(&app, &endpoint).await, ["delivered"; 2]);
    }

    async fn a_delivery_that_is_sent_and_not_recorded_is_sent_again_with_the_same_id(database: TestDatabase) {
        let app = app(database, &Probe::default(), |app| {
            let app = app.set("WEBHOOKS_ALLOW_PRIVATE_ADDRESSES", "true").set("WEBHOOKS_POLL", "10ms");
            app.with(Orders)
        })
        .await;
        let sink = receiver(MockResponse::status(200)).await;
        let owner = app.user();
        let endpoint = create_endpoint(&owner, sink.url(), json!({})).await;
        let (mut deaths, mut seen) = (0, BTreeSet::new());
        loop {
            publish(&app, &owner, 1).await;
            let end = command(&app, "child_that_delivers", deaths + 1).run().await;
            // Another process continues when the leases have ended.
            app.clock().advance(AFTER_THE_LEASES);
            let delivered = async {
                while states(&app, &endpoint).await.iter().any(|state| state != "delivered") {
                    tokio::task::yield_now().await;
                }
            };
            expect_soon("the delivery", Box::pin(work_until(&app, delivered))).await;
            let mut tx = app.db().app_database().all_tenants().begin_read().await.unwrap();
            let newest = "select message_id, attempts from omni_webhook_deliveries order by message_id desc limit 1";
            let (message, attempts): (Uuid, i64) = tx.query(newest).fetch_one().await.unwrap();
            let id = format!("msg_{}", message.simple());
            let requests = sink.requests();
            let requests = requests.iter().filter(|request| request.header("webhook-id") == Some(id.as_str())).count();
            assert!([(1, 1), (1, 2), (2, 2)].contains(&(requests, attempts)), "after {deaths}: {requests} {attempts}");
            seen.insert((requests, attempts));
            if !end.was_killed {
                assert_eq!((requests, attempts), (1, 1));
                break;
            }
            deaths += 1;
        }
        assert!(deaths >= 8, "{deaths}");
        assert!(seen.contains(&(2, 2)), "it was never killed between the request and the record: {seen:?}");
        let requests = sink.requests();
        let ids: BTreeSet<_> = requests.iter().filter_map(|request| request.header("webhook-id")).collect();
        assert_eq!(ids.len(), deaths + 1, "each message has one id");
    }
}
