//! Tests against receivers of traces, metrics and errors that others have made. `cargo xtask test --peers` runs them: they
//! need `TEST_PEERS_PYTHON`, a Python with rotel, opentelemetry-proto, py_zipkin and Bugsink.

#![cfg(test)]

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

use super::{
    traces::{PARENT, start_shop},
    *,
};

/// A receiver, which prints what it receives as lines of JSON.
struct Peer {
    lines: Lines<BufReader<ChildStdout>>,
    process: Child,
    /// The first line.
    start: Value,
}

impl Peer {
    async fn start(kind: &str) -> Self {
        #[expect(clippy::disallowed_methods, reason = "a setting of the test, not of the app")]
        let python =
            std::env::var("TEST_PEERS_PYTHON").expect("set TEST_PEERS_PYTHON, as `cargo xtask test --peers` does");
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../xtask/peers/telemetry.py");
        let mut process = Command::new(python)
            .args([script, kind])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut peer = Self { lines, process, start: Value::Null };
        // The log of a receiver may begin before it listens.
        while peer.start["http"].is_null() && peer.start["dsn"].is_null() {
            peer.start = peer.next().await.expect("the receiver has ended");
        }
        peer
    }

    fn address(&self, name: &str) -> &str {
        self.start[name].as_str().unwrap()
    }

    async fn next(&mut self) -> Option<Value> {
        let line = self.lines.next_line().await.unwrap()?;
        Some(serde_json::from_str(&line).unwrap())
    }

    /// Ends the receiver and returns all lines that it has printed.
    async fn end(mut self) -> Vec<Value> {
        drop(self.process.stdin.take());
        let mut all = Vec::new();
        while let Some(line) = self.next().await {
            all.push(line);
        }
        all
    }
}

/// Sends a request whose job calls the receiver, and exports the spans.
async fn order(app: &TestApp) {
    app.anonymous().post("/api/v1/public/orders/7", ()).header("traceparent", PARENT).await.expect(204);
    assert_eq!(app.run_jobs().await, 1);
    app.app().stop().await;
}

/// Returns the spans that were received in one way, as paths of kind and name from the first span of the app.
fn paths(lines: &[Value], via: &str) -> Vec<String> {
    let batches = lines.iter().filter(|line| line["via"] == via);
    let spans: Vec<_> = batches.flat_map(|line| line["spans"].as_array().cloned().unwrap_or_default()).collect();
    let name =
        |span: &Value| format!("{} {}", span["kind"].as_str().unwrap_or("INTERNAL"), span["name"].as_str().unwrap());
    let id = |span: &Value, key: &str| span.get(key).and_then(Value::as_str).map(str::to_owned);
    let (own, parent) = if via == "zipkin" { ("id", "parentId") } else { ("id", "parent") };
    let mut paths: Vec<_> = spans
        .iter()
        .map(|span| {
            let (mut path, mut of) = (name(span), span);
            while let Some(found) = spans.iter().find(|other| id(other, own) == id(of, parent)) {
                path = format!("{} > {path}", name(found));
                of = found;
            }
            path.replace("SPAN_KIND_", "")
        })
        .collect();
    paths.sort_unstable();
    paths
}

/// Asserts that the spans are one trace with the right kinds and parents.
fn assert_trace(paths: &[String]) {
    let server = "SERVER POST /api/v1/public/orders/{id}";
    for expected in [
        server.to_owned(),
        format!("{server} > INTERNAL price"),
        format!("{server} > PRODUCER send shop.ship > CLIENT INSERT omni_jobs"),
        format!("{server} > PRODUCER send shop.ship > CONSUMER process shop.ship > CLIENT POST"),
    ] {
        assert!(paths.contains(&expected), "{expected} is missing: {paths:#?}");
    }
}

#[tokio::test]
#[ignore = "a peer: `cargo xtask test --peers`"]
async fn opentelemetry_proto_reads_a_trace_over_http() {
    let peer = Peer::start("otlp").await;
    let collector = peer.address("http").to_owned();
    let settings = [
        ("OTEL_EXPORTER", "otlp"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.as_str()),
        ("OTEL_SERVICE_NAME", "shop"),
        ("METRICS_OTLP", "true"),
        ("METRICS_OTLP_INTERVAL", "1s"),
    ];
    let app = start_shop(TestDatabase::sqlite(), &settings, &collector).await;
    order(&app).await;
    let lines = peer.end().await;
    assert_trace(&paths(&lines, "http"));
    let spans: Vec<_> = lines.iter().flat_map(|line| line["spans"].as_array().cloned().unwrap_or_default()).collect();
    assert!(
        spans.iter().all(|span| span["trace"] == PARENT[3..35] && span["service"] == "shop" && span["ended"] == true)
    );
    let server = spans.iter().find(|span| span["kind"] == "SPAN_KIND_SERVER").unwrap();
    assert_eq!(server["parent"], PARENT[36..52]);
    assert_eq!(server["attributes"]["http.response.status_code"], "204");
    let call = lines.iter().find(|line| line["via"] == "call").unwrap();
    let client = spans.iter().find(|span| span["name"] == "POST").unwrap();
    let expected = format!("{}-{}-01", &PARENT[..35], client["id"].as_str().unwrap());
    assert_eq!(call["traceparent"], expected);
}

#[tokio::test]
#[ignore = "a peer: `cargo xtask test --peers`"]
async fn opentelemetry_proto_reads_a_trace_over_grpc() {
    let peer = Peer::start("otlp").await;
    let (service, collector) = (peer.address("http").to_owned(), peer.address("grpc").to_owned());
    let settings = [
        ("OTEL_EXPORTER", "otlp"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.as_str()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
    ];
    let app = start_shop(TestDatabase::sqlite(), &settings, &service).await;
    order(&app).await;
    assert_trace(&paths(&peer.end().await, "grpc"));
}

#[tokio::test]
#[ignore = "a peer: `cargo xtask test --peers`"]
async fn py_zipkin_reads_a_trace() {
    let peer = Peer::start("otlp").await;
    let service = peer.address("http").to_owned();
    let endpoint = format!("{service}/api/v2/spans");
    let settings = [("OTEL_EXPORTER", "zipkin"), ("OTEL_EXPORTER_ZIPKIN_ENDPOINT", endpoint.as_str())];
    let app = start_shop(TestDatabase::sqlite(), &settings, &service).await;
    order(&app).await;
    assert_trace(&paths(&peer.end().await, "zipkin"));
}

#[tokio::test]
#[ignore = "a peer: `cargo xtask test --peers`"]
async fn rotel_receives_traces_over_http_and_grpc() {
    for protocol in ["http/protobuf", "grpc"] {
        let receiver = Peer::start("otlp").await;
        let service = receiver.address("http").to_owned();
        let peer = Peer::start("rotel").await;
        let collector = peer.address(if protocol == "grpc" { "grpc" } else { "http" }).to_owned();
        let settings = [
            ("OTEL_EXPORTER", "otlp"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.as_str()),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
        ];
        let app = start_shop(TestDatabase::sqlite(), &settings, &service).await;
        order(&app).await;
        let log: Vec<_> = peer.end().await.iter().map(|line| line["log"].to_string()).collect();
        let found = |text: &str| log.iter().any(|line| line.contains(text));
        assert!(found(&PARENT[3..35]) && found("process shop.ship"), "{protocol}: {log:#?}");
    }
}

#[tokio::test]
#[ignore = "a peer: `cargo xtask test --peers`"]
async fn opentelemetry_proto_reads_metrics() {
    let mut peer = Peer::start("otlp").await;
    let collector = peer.address("http").to_owned();
    let app = start(TestDatabase::sqlite(), |app| {
        app.set("METRICS_OTLP", "true").set("METRICS_OTLP_INTERVAL", "1s").set("OTEL_EXPORTER_OTLP_ENDPOINT", collector)
    })
    .await;
    app.anonymous().get("/health").await.expect(200);
    let shutdown = omnistack_core::ShutdownToken::new();
    let running = tokio::spawn({
        let shutdown = shutdown.clone();
        async move { app.app().run_workers(shutdown).await }
    });
    let metrics = loop {
        let line = peer.next().await.unwrap();
        if let Some(metrics) = line["metrics"].as_array() {
            break metrics.clone();
        }
    };
    shutdown.cancel();
    running.await.unwrap();
    let metric = |name: &str| metrics.iter().find(|metric| metric["name"] == name).cloned().unwrap_or_default();
    let duration = metric("http.server.request.duration");
    assert_eq!((&duration["unit"], &duration["kind"]), (&json!("s"), &json!("histogram")));
    let expected = json!({ "http.request.method": "GET", "http.route": "/health" });
    let point = duration["points"].as_array().unwrap().iter().find(|point| point["attributes"] == expected).unwrap();
    assert_eq!((&point["count"], point["explicitBounds"].as_array().unwrap().len()), (&json!("1"), 14));
    assert_eq!(point["bucketCounts"].as_array().unwrap().len(), 15);
    assert_eq!(metric("http_requests")["kind"], "sum");
    assert_eq!(metric("process.memory.usage")["kind"], "gauge");
}

#[cfg(feature = "sentry")]
#[tokio::test]
#[ignore = "a peer: `cargo xtask test --peers`"]
async fn bugsink_groups_errors() {
    use omnistack_core::{
        http::Error,
        identity::AccessLevel,
        module::{Api, Module, Mount, Registry},
    };
    use utoipa_axum::routes;

    struct Broken;

    impl Module for Broken {
        fn name(&self) -> &'static str {
            "broken"
        }

        fn register(&self, registry: &mut Registry) {
            let api = Api::new().routes(routes!(fail)).routes(routes!(panic));
            registry.routes(Mount::root("/broken", AccessLevel::Public), api, |_| Ok(()));
        }
    }

    #[utoipa::path(get, path = "/fail/{id}", operation_id = "fail", params(("id" = u32, Path)), responses((status = 204)))]
    async fn fail(axum::extract::Path(id): axum::extract::Path<u32>) -> Result<http::StatusCode, Error> {
        Err(Error::internal(format!("order {id} was lost at postgres://app:hunter2@db/app")))
    }

    #[utoipa::path(get, path = "/panic", operation_id = "panic", responses((status = 204)))]
    async fn panic() -> http::StatusCode {
        panic!("on purpose")
    }

    let mut peer = Peer::start("bugsink").await;
    let dsn = peer.address("dsn").to_owned();
    let app = start(TestDatabase::sqlite(), |app| app.with(Broken).set("SENTRY_DSN", dsn)).await;
    for id in 0..3 {
        app.anonymous().get(format!("/broken/fail/{id}")).header("traceparent", PARENT).await.expect(500);
    }
    app.anonymous().get("/broken/panic").await.expect(500);
    let shutdown = omnistack_core::ShutdownToken::new();
    let running = tokio::spawn({
        let shutdown = shutdown.clone();
        async move { app.app().run_workers(shutdown).await }
    });
    // The peer responds when Bugsink has stored four events, or after three minutes.
    peer.process.stdin.as_mut().unwrap().write_all(b"issues 4\n").await.unwrap();
    let issues = peer.next().await.unwrap()["issues"].as_array().unwrap().clone();
    shutdown.cancel();
    running.await.unwrap();
    let text = json!(issues).to_string();
    assert_eq!(issues.iter().filter_map(|issue| issue["events"].as_u64()).sum::<u64>(), 4, "{text}");
    assert!(!text.contains("hunter2") && text.contains("[redacted]"), "{text}");
    let events: Vec<&Value> = issues.iter().flat_map(|issue| issue["data"].as_array().unwrap()).collect();
    let lost = *events.iter().find(|event| event["level"] != "fatal").unwrap();
    assert_eq!(lost["contexts"]["trace"]["trace_id"], PARENT[3..35]);
    assert_eq!(lost["tags"]["origin"], "request");
    assert!(issues.iter().any(|issue| issue["title"].as_str().unwrap().contains("INTERNAL_ERROR")), "{text}");
    let panicked = *events.iter().find(|event| event["level"] == "fatal").unwrap();
    let causes = panicked["exception"]["values"].as_array().unwrap();
    let frames = causes.iter().find_map(|cause| cause["stacktrace"]["frames"].as_array()).unwrap();
    let innermost = frames.iter().rfind(|frame| frame["in_app"] == true).unwrap();
    assert_eq!(innermost["function"], "panic", "{innermost}");
    assert_eq!(peer.end().await, [] as [Value; 0]);
}
