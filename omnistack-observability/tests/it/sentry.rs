//! Tests of reports to Sentry: the stack of a panic, and a Sentry that does not respond.

#![cfg(feature = "sentry")]
#![cfg(test)]

use omnistack_core::{
    ShutdownToken,
    http::Error,
    identity::AccessLevel,
    module::{Api, Module, Mount, Registry},
};
use omnistack_testkit::mock_server::{MockResponse, MockServer};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use utoipa_axum::routes;

use super::{
    faults::{ExportLog, send_requests},
    *,
};

const ENVELOPES: &str = "/api/7/envelope/";

/// Number of reports that wait at most.
const MAX_WAITING: usize = 256;

/// A module with routes that fail.
struct Fragile;

impl Module for Fragile {
    fn name(&self) -> &'static str {
        "fragile"
    }

    fn register(&self, registry: &mut Registry) {
        let api = Api::new().routes(routes!(give_way)).routes(routes!(burst));
        registry.routes(Mount::root("/fragile", AccessLevel::Public), api, |_| Ok(()));
    }
}

#[utoipa::path(get, path = "/fail", operation_id = "give_way", responses((status = 204)))]
async fn give_way() -> Result<http::StatusCode, Error> {
    Err(Error::internal("the order is lost"))
}

#[utoipa::path(get, path = "/panic", operation_id = "burst", responses((status = 204)))]
async fn burst() -> http::StatusCode {
    panic!("on purpose")
}

/// Starts an app that reports errors, and its background services.
async fn start_reporting(sentry: &MockServer) -> (TestClient, ShutdownToken, JoinHandle<()>) {
    let dsn = format!("{}/7", sentry.url().replace("http://", "http://key@"));
    let app =
        start(TestDatabase::sqlite(), |app| app.with(Fragile).set("SENTRY_DSN", dsn).set("ERRORS_ENABLED", "false"))
            .await;
    let (client, shutdown) = (app.anonymous(), ShutdownToken::new());
    let running = tokio::spawn({
        let shutdown = shutdown.clone();
        async move {
            app.app().run_workers(shutdown).await;
        }
    });
    (client, shutdown, running)
}

/// Returns the report in the body of a request.
fn event(body: &[u8]) -> Value {
    serde_json::from_slice(body.split(|byte| *byte == b'\n').nth(2).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_is_reported_with_its_stack() {
    let sentry = MockServer::start().await;
    sentry.expect("POST", ENVELOPES).times(2).reply(MockResponse::json(200, "{}"));
    let (client, shutdown, running) = start_reporting(&sentry).await;
    send_requests(&client, "/fragile/fail", 500, 1).await;
    send_requests(&client, "/fragile/panic", 500, 1).await;
    let requests = sentry.wait_for_requests(2).await;
    shutdown.cancel();
    running.await.unwrap();

    let causes = event(&requests[0].body)["exception"]["values"].clone();
    assert_eq!(causes[0]["value"], "the order is lost", "{causes}");
    assert_eq!(causes[0]["stacktrace"], Value::Null);
    let causes = event(&requests[1].body)["exception"]["values"].clone();
    assert_eq!(causes[0]["value"], "panicked: on purpose", "{causes}");
    let frames = causes[0]["stacktrace"]["frames"].as_array().unwrap();
    let innermost = frames.last().unwrap();
    assert_eq!((&innermost["function"], &innermost["in_app"]), (&json!("burst"), &json!(true)), "{innermost}");
    assert!(innermost["module"].as_str().unwrap().ends_with("sentry"), "{innermost}");
    // A program that is built without debug information has no files and lines.
    if let Some(file) = innermost["filename"].as_str() {
        assert!(file.ends_with("sentry.rs") && innermost["lineno"].as_u64() > Some(0), "{innermost}");
    }
    // The test's own thread calls the app, outside of the handler.
    assert!(frames.iter().any(|frame| frame["in_app"] == false), "{causes}");
    assert_eq!(causes.as_array().unwrap().iter().filter(|cause| !cause["stacktrace"].is_null()).count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sentry_that_never_responds_delays_no_request_and_fills_no_memory() {
    let log = ExportLog::install();
    let sentry = MockServer::start().await;
    sentry.expect("POST", ENVELOPES).reply(MockResponse::hang());
    sentry.expect("POST", ENVELOPES).reply(MockResponse::status(503));
    sentry.expect("POST", ENVELOPES).times(..).reply(MockResponse::json(200, "{}"));
    let (client, shutdown, running) = start_reporting(&sentry).await;
    send_requests(&client, "/fragile/fail", 500, 1).await;
    sentry.wait_for_requests(1).await;
    send_requests(&client, "/fragile/fail", 500, MAX_WAITING + 50).await;
    log.expect_one_outage("reports of errors").await;
    // The first report was sent three times, and those beyond the limit were dropped.
    let expected = 3 + MAX_WAITING;
    sentry.wait_for_requests(expected).await;
    shutdown.cancel();
    running.await.unwrap();
    let requests = sentry.requests();
    assert_eq!(requests.len(), expected);
    assert_eq!(event(&requests[0].body)["event_id"], event(&requests[2].body)["event_id"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_reports_are_sent_at_shutdown() {
    let sentry = MockServer::start().await;
    sentry.expect("POST", ENVELOPES).times(20).reply(MockResponse::json(200, "{}"));
    let (client, shutdown, running) = start_reporting(&sentry).await;
    send_requests(&client, "/fragile/fail", 500, 20).await;
    sentry.wait_for_requests(1).await;
    shutdown.cancel();
    running.await.unwrap();
    assert_eq!(sentry.requests().len(), 20);
}
