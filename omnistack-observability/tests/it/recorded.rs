//! Tests of the metrics that are recorded.

use async_trait::async_trait;
use axum::body::{Body, Bytes};
use futures_util::stream;
use omnistack_core::{
    http::Error,
    identity::AccessLevel,
    jobs::{Job, JobContext, JobError},
    module::{Api, Module, Mount, Registry},
};
use omnistack_testkit::on_each_database;
use serde::{Deserialize, Serialize};
use tower::ServiceExt as _;
use utoipa_axum::routes;

use super::*;

/// A module with a route for each way in which a request ends.
struct Probe;

impl Module for Probe {
    fn name(&self) -> &'static str {
        "probe"
    }

    fn register(&self, registry: &mut Registry) {
        let api = Api::new().routes(routes!(answer)).routes(routes!(fail)).routes(routes!(panic)).routes(routes!(flow));
        registry.routes(Mount::root("/probe", AccessLevel::Public), api, |_| Ok(()));
        registry.job::<Count>(|_| Ok(()));
    }
}

#[utoipa::path(get, path = "/things/{id}", operation_id = "answer", params(("id" = String, Path)), responses((status = 204)))]
async fn answer() -> http::StatusCode {
    http::StatusCode::NO_CONTENT
}

#[utoipa::path(get, path = "/fail", operation_id = "fail", responses((status = 204)))]
async fn fail() -> Result<http::StatusCode, Error> {
    Err(Error::conflict("NO", "no"))
}

#[utoipa::path(get, path = "/panic", operation_id = "panic", responses((status = 204)))]
async fn panic() -> http::StatusCode {
    panic!("on purpose")
}

#[utoipa::path(get, path = "/flow", operation_id = "flow", responses((status = 200, body = String)))]
async fn flow() -> Body {
    Body::from_stream(stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"a")), Ok(Bytes::from_static(b"b"))]))
}

#[derive(Serialize, Deserialize)]
struct Count {
    succeeds: bool,
}

#[async_trait]
impl Job for Count {
    const NAME: &'static str = "probe.count";
    type State = ();

    async fn run(self, (): &(), _: &JobContext) -> Result<(), JobError> {
        if self.succeeds { Ok(()) } else { Err(JobError::fatal("no")) }
    }
}

on_each_database! {
    async fn requests_are_counted_by_method_route_and_status(database: TestDatabase) {
        let app = start(database, |app| app.with(Probe)).await;
        let client = app.anonymous();
        for id in 0..3 {
            client.get(format!("/probe/things/{id}")).await.expect(204);
        }
        client.get("/probe/fail").await.expect(409);
        client.get("/probe/panic").await.expect(500);
        assert_eq!(client.get("/probe/flow").await.expect(200).text(), "ab");
        client.request("BREW".parse().unwrap(), "/probe/fail").await.expect(405);
        for path in 0..50 {
            client.get(format!("/wp-admin/{path}")).await.expect(404);
        }

        let metrics = Metrics::read(&client).await;
        for (method, path, status, count) in [
            ("GET", "/probe/things/{id}", "204", 3.0),
            ("GET", "/probe/fail", "409", 1.0),
            ("GET", "/probe/panic", "500", 1.0),
            ("GET", "/probe/flow", "200", 1.0),
            ("_OTHER", "/probe/fail", "405", 1.0),
            ("GET", "unmatched", "404", 50.0),
        ] {
            let labels = [("method", method), ("path", path), ("status", status)];
            assert_eq!(metrics.value("http_requests_total", &labels), Some(count), "{labels:?}");
            assert_eq!(metrics.value("http_request_duration_seconds", &labels[..2]), Some(count), "{labels:?}");
        }
        // Only the request for the metrics is in progress.
        assert_eq!(metrics.value("http_requests_in_progress", &[]), Some(1.0));
        assert_eq!(metrics.series("http_requests_total"), 6);
    }

    async fn a_client_that_leaves_is_in_progress_no_longer(database: TestDatabase) {
        let app = start(database, |app| app.with(Probe)).await;
        let client = app.anonymous();
        let unread = app.app().service().oneshot(http::Request::get("/probe/flow").body(Body::empty()).unwrap()).await;
        assert_eq!(Metrics::read(&client).await.value("http_requests_in_progress", &[]), Some(2.0));
        drop(unread);
        client.get("/probe/flow").await.expect(200);
        assert_eq!(Metrics::read(&client).await.value("http_requests_in_progress", &[]), Some(1.0));
    }

    async fn statements_jobs_limits_and_the_process_are_measured(database: TestDatabase) {
        let app = start(database, |app| app.with(Probe).set("HTTP_RATE_LIMIT", "5/hour")).await;
        let jobs = app.jobs();
        for succeeds in [true, true, false] {
            jobs.enqueue(Count { succeeds }).await.unwrap();
        }
        app.run_jobs().await;
        app.db().query("select * from no_such_table").execute().await.unwrap_err();
        let client = app.anonymous();
        for _ in 0..3 {
            client.get("/probe/fail").await.expect(409);
        }
        let metrics = Metrics::read(&client).await;
        let job = |status| metrics.value("background_jobs_total", &[("job", "probe.count"), ("status", status)]);
        assert_eq!((job("done"), job("dead"), job("retry")), (Some(2.0), Some(1.0), None));
        assert_eq!(metrics.value("background_job_duration_seconds", &[("job", "probe.count")]), Some(3.0));
        assert!(metrics.value("db_queries_total", &[("operation", "SELECT")]) >= Some(1.0));
        assert!(metrics.value("db_query_duration_seconds", &[("operation", "INSERT")]) >= Some(1.0));
        assert_eq!(metrics.value("db_errors_total", &[("kind", "schema")]), Some(1.0));
        assert!(metrics.value("db_pool_connections", &[("state", "idle")]).is_some());
        assert_eq!(metrics.value("rate_limit_hits_total", &[("limit", "app")]), Some(0.0));
        assert!(metrics.value("process_memory_bytes", &[]) > Some(1e6));
        assert!(metrics.value("process_threads", &[]) >= Some(1.0));
        assert!(metrics.value("process_open_fds", &[]) >= Some(1.0));
        assert!(metrics.value("process_cpu_seconds_total", &[]).is_some());
        assert_eq!(metrics.value("system_info", &[("os", std::env::consts::OS)]), Some(1.0));

        client.get("/probe/fail").await.expect(409);
        client.get("/probe/fail").await.expect_error(429, "RATE_LIMIT_EXCEEDED");
        app.clock().advance(std::time::Duration::from_secs(3600));
        let metrics = Metrics::read(&client).await;
        assert_eq!(metrics.value("rate_limit_hits_total", &[("limit", "app")]), Some(1.0));
        assert_eq!(metrics.value("app_uptime_seconds", &[]), Some(3600.0));
    }
}

#[tokio::test]
async fn unknown_paths_and_methods_add_no_series() {
    const REQUESTS: u32 = 20_000;

    let app = start(TestDatabase::sqlite(), |app| app.set("HTTP_RATE_LIMIT", "off")).await;
    let (client, service) = (app.anonymous(), app.app().service());
    let send = async |method: &str, path: String| {
        let request = http::Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        let Ok(response) = service.clone().oneshot(request).await;
        assert_eq!(response.status(), 404);
    };
    send("GET", "/unknown".into()).await;
    send("BREW", "/unknown".into()).await;
    // A scrape adds its own series.
    Metrics::read(&client).await;
    let series = Metrics::read(&client).await.0.lines().count();
    for number in 0..REQUESTS {
        let method = if number % 100 == 0 { format!("BREW{number}") } else { "GET".to_owned() };
        send(&method, format!("/unknown/{number}?query={number}")).await;
    }
    let metrics = Metrics::read(&client).await;
    assert_eq!(metrics.0.lines().count(), series, "{}", metrics.0);
    let value = |method| metrics.value("http_requests_total", &[("method", method), ("path", "unmatched")]);
    let (known, unknown) = (f64::from(REQUESTS / 100 * 99 + 1), f64::from(REQUESTS / 100 + 1));
    assert_eq!((value("GET"), value("_OTHER")), (Some(known), Some(unknown)));
}
