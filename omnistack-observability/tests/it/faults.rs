//! Tests of receivers of traces and metrics that are slow, away or confused, and of many errors at once.

#![cfg(test)]

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use omnistack_core::{
    ShutdownToken,
    config::Config,
    error_event::{ErrorEvent, ErrorObserver as _, ErrorOrigin},
    log,
};
use omnistack_observability::ErrorRecorder;
use omnistack_testkit::{
    mock_server::{MockResponse, MockServer},
    on_each_database,
};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use tokio::{sync::Notify, time::timeout};

use super::*;

/// The number of spans that are exported at once, and the number that wait at most: the defaults of OpenTelemetry.
const SPANS_PER_BATCH: usize = 512;
const MAX_WAITING_SPANS: usize = 2_048;

/// The log lines about exports of this process.
#[derive(Clone, Default)]
pub(super) struct ExportLog(Arc<ExportLogState>);

#[derive(Default)]
struct ExportLogState {
    text: Mutex<String>,
    more: Notify,
}

impl ExportLog {
    pub(super) fn install() -> Self {
        let log = Self::default();
        let config = Config::from_pairs([("LOG_LEVEL", "off,omnistack::export=info"), ("LOG_FORMAT", "json")]);
        std::mem::forget(log::install_to(&config, log.clone(), Vec::new()));
        log
    }

    fn count(&self, message: &str) -> usize {
        self.0.text.lock().unwrap().lines().filter(|line| line.contains(message)).count()
    }

    /// Waits for a line with a message.
    async fn wait_for(&self, message: &str) {
        let heard = async {
            loop {
                let more = self.0.more.notified();
                if self.count(message) > 0 {
                    return;
                }
                more.await;
            }
        };
        let heard = timeout(Duration::from_secs(60), heard).await;
        assert!(heard.is_ok(), "`{message}` is missing: {}", self.0.text.lock().unwrap());
    }

    /// Waits for the line at the end of an outage, and asserts that there is one line at its beginning and one at its
    /// end.
    pub(super) async fn expect_one_outage(&self, what: &str) {
        let (began, ended) = (format!("{what} can't be exported"), format!("{what} are exported again"));
        self.wait_for(&ended).await;
        assert_eq!((self.count(&began), self.count(&ended)), (1, 1), "{}", self.0.text.lock().unwrap());
    }
}

impl io::Write for ExportLog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.text.lock().unwrap().push_str(&String::from_utf8_lossy(bytes));
        self.0.more.notify_waiters();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Sends requests, which must not wait for an export. Exports have timeouts of five seconds and more.
pub(super) async fn send_requests(client: &TestClient, path: &str, status: u16, number: usize) {
    for _ in 0..number {
        let sent = timeout(Duration::from_secs(4), client.get(path)).await;
        sent.expect("a request waits for an export").expect(status);
    }
}

async fn start_traced(collector: &MockServer) -> TestApp {
    start(TestDatabase::sqlite(), |app| {
        app.set("OTEL_EXPORTER", "otlp")
            .set("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url())
            .set("HTTP_RATE_LIMIT", "off")
    })
    .await
}

/// Returns the number of spans that the collector has received, beginning with a request.
fn received_spans(collector: &MockServer, first_request: usize) -> usize {
    let spans = |body| {
        let export = ExportTraceServiceRequest::decode(body).unwrap();
        let resources = export.resource_spans.into_iter();
        resources.flat_map(|resource| resource.scope_spans).map(|scope| scope.spans.len()).sum::<usize>()
    };
    collector.requests().into_iter().skip(first_request).map(|request| spans(request.body)).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_never_responds_delays_no_request_and_fills_no_memory() {
    let log = ExportLog::install();
    let collector = MockServer::start().await;
    collector.expect("POST", "/v1/traces").times(2).reply(MockResponse::hang());
    collector.expect("POST", "/v1/traces").times(..).reply(MockResponse::status(200));
    let app = start_traced(&collector).await;
    let client = app.anonymous();
    send_requests(&client, "/nothing", 404, SPANS_PER_BATCH).await;
    collector.wait_for_requests(1).await;
    send_requests(&client, "/nothing", 404, MAX_WAITING_SPANS + 2 * SPANS_PER_BATCH).await;
    log.expect_one_outage("spans").await;
    app.app().stop().await;
    let received = received_spans(&collector, 2);
    assert!((1..=MAX_WAITING_SPANS).contains(&received), "{received}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_failures_of_a_collector_are_one_outage() {
    let log = ExportLog::install();
    let collector = MockServer::start().await;
    let failures = [
        MockResponse::status(500),
        MockResponse::reset(),
        MockResponse::content(200, "application/x-protobuf", "half of it").cut_after(4),
        MockResponse::raw("nonsense\r\n\r\n"),
        MockResponse::content(404, "text/html", "<h1>no collector</h1>"),
    ];
    let rounds = failures.len() + 1;
    for failure in failures {
        collector.expect("POST", "/v1/traces").reply(failure);
    }
    // The collector has the spans, whatever its response contains.
    collector.expect("POST", "/v1/traces").times(..).reply(MockResponse::json(200, "\u{0}junk"));
    let app = start_traced(&collector).await;
    let client = app.anonymous();
    for round in 1..=rounds {
        send_requests(&client, "/nothing", 404, SPANS_PER_BATCH).await;
        collector.wait_for_requests(round).await;
    }
    log.expect_one_outage("spans").await;
    app.app().stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_are_exported_again_after_an_outage() {
    let log = ExportLog::install();
    let collector = MockServer::start().await;
    collector.expect("POST", "/v1/metrics").times(2).reply(MockResponse::status(503));
    collector.expect("POST", "/v1/metrics").times(..).reply(MockResponse::status(200));
    let url = collector.url().to_owned();
    let app = start(TestDatabase::sqlite(), |app| {
        app.set("METRICS_OTLP", "true").set("METRICS_OTLP_INTERVAL", "1s").set("OTEL_EXPORTER_OTLP_ENDPOINT", url)
    })
    .await;
    let client = app.anonymous();
    let shutdown = ShutdownToken::new();
    let running = tokio::spawn({
        let shutdown = shutdown.clone();
        async move { app.app().run_workers(shutdown).await }
    });
    send_requests(&client, "/health", 200, 100).await;
    log.expect_one_outage("metrics").await;
    shutdown.cancel();
    running.await.unwrap();
}

on_each_database! {
    async fn ten_thousand_errors_in_one_flush_leave_few_samples(database: TestDatabase) {
        let app = start(database, |app| app).await;
        let recorder: ErrorRecorder = app.app().context().get().unwrap();
        let at = app.clock().clock().now();
        let tasks = (0..4_usize).map(|task| {
            let recorder = recorder.clone();
            tokio::spawn(async move {
                for number in 0..2_500 {
                    // A hundred groups.
                    let message = format!("the {} is lost", "x".repeat(1 + (number + task) % 100));
                    let origin = ErrorOrigin::Job { name: "ship", last: false };
                    recorder.observe(&ErrorEvent::new(at, origin, "JOB_FAILED", &message));
                }
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await.unwrap();
        }
        recorder.flush().await.unwrap();
        let rows = async |statement: &'static str| -> (i64, i64) {
            app.db().query(statement).fetch_one().await.unwrap()
        };
        let groups = rows("select count(*), cast(sum(errors) as bigint) from omni_error_groups").await;
        assert_eq!(groups, (100, 10_000));
        let counts = rows("select count(*), cast(sum(errors) as bigint) from omni_error_counts").await;
        assert_eq!(counts, (100, 10_000));
        let (samples, groups) = rows("select count(*), count(distinct group_id) from omni_error_samples").await;
        // Each task may exceed the limit of 200 samples by one.
        assert!((1..=204).contains(&samples) && groups >= samples / 3, "{samples} samples of {groups} groups");
    }
}
