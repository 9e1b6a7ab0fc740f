//! Tests of the traces that a collector receives.

#![cfg(test)]

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use axum::{Router, body::Bytes, extract::State, routing::post};
use http::HeaderMap;
use omnistack_core::{
    config::Config,
    db::Db,
    http::{Error, client::Client},
    jobs::{Job, JobContext, JobError, Jobs},
    log,
    module::{Api, Module, Mount, Registry},
};
use omnistack_testkit::on_each_database;
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::any_value::Value,
    trace::v1::{Span, span::SpanKind},
};
use prost::Message as _;
use serde::{Deserialize, Serialize};
use utoipa_axum::routes;

use super::*;

pub(super) const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const UNSAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

/// A collector, and a service that the app calls.
#[derive(Clone, Default)]
struct Collector {
    exports: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
    /// The headers `traceparent` that the service received.
    calls: Arc<Mutex<Vec<String>>>,
}

impl Collector {
    /// Starts the collector and returns its address.
    async fn start() -> (Self, String) {
        let collector = Self::default();
        let router =
            Router::new().route("/v1/traces", post(receive)).route("/ship", post(call)).with_state(collector.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (collector, address)
    }

    fn spans(&self) -> Vec<Span> {
        let exports = self.exports.lock().unwrap();
        let resources = exports.iter().flat_map(|export| &export.resource_spans);
        resources.flat_map(|resource| &resource.scope_spans).flat_map(|scope| scope.spans.clone()).collect()
    }

    fn calls(&self) -> Vec<String> {
        self.calls.lock().unwrap().clone()
    }
}

async fn receive(State(collector): State<Collector>, body: Bytes) {
    collector.exports.lock().unwrap().push(ExportTraceServiceRequest::decode(body).unwrap());
}

async fn call(State(collector): State<Collector>, headers: HeaderMap) {
    collector.calls.lock().unwrap().push(headers["traceparent"].to_str().unwrap().to_owned());
}

/// A module whose route enqueues a job, which calls a service.
struct Shop {
    service: String,
}

impl Module for Shop {
    fn name(&self) -> &'static str {
        "shop"
    }

    fn register(&self, registry: &mut Registry) {
        let service = self.service.clone();
        registry.require::<Client>();
        registry
            .routes(Mount::public("/orders"), Api::new().routes(routes!(order)), |ctx| Ok((ctx.get()?, ctx.get()?)));
        registry.job::<Ship>(move |ctx| Ok((ctx.get()?, service)));
    }
}

#[utoipa::path(post, path = "/{id}", operation_id = "order", params(("id" = u32, Path)), responses((status = 204)))]
async fn order(State((db, jobs)): State<(Db, Jobs)>) -> Result<http::StatusCode, Error> {
    price().await;
    let mut tx = db.begin().await?;
    jobs.enqueue_in(&mut tx, Ship {}).await.map_err(Error::internal)?;
    tx.commit().await?;
    Ok(http::StatusCode::NO_CONTENT)
}

#[tracing::instrument]
async fn price() {}

#[derive(Serialize, Deserialize)]
struct Ship {}

#[async_trait]
impl Job for Ship {
    const NAME: &'static str = "shop.ship";
    type State = (Client, String);

    async fn run(self, (client, service): &(Client, String), _: &JobContext) -> Result<(), JobError> {
        client.post(format!("{service}/ship?key=secret")).send().await?.error_for_status()?;
        Ok(())
    }
}

/// A span as text: its kind, its name, and the names of its ancestors.
fn path(spans: &[Span], span: &Span) -> String {
    let name = format!("{:?} {}", span.kind(), span.name);
    match spans.iter().find(|other| other.span_id == span.parent_span_id) {
        Some(parent) => format!("{} > {name}", path(spans, parent)),
        None => name,
    }
}

fn attribute(span: &Span, key: &str) -> Option<String> {
    let found = span.attributes.iter().find(|attribute| attribute.key == key)?;
    Some(match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        other => format!("{other:?}"),
    })
}

async fn start_traced(database: TestDatabase, collector: &str) -> TestApp {
    let settings = [("OTEL_EXPORTER", "otlp"), ("OTEL_EXPORTER_OTLP_ENDPOINT", collector)];
    start_shop(database, &settings, collector).await
}

/// Starts an app with these settings, whose job calls a service.
pub(super) async fn start_shop(database: TestDatabase, settings: &[(&str, &str)], service: &str) -> TestApp {
    let settings = settings.to_vec();
    let layer = Observability::from_env().subscriber_layer(&Config::from_pairs(settings.clone()));
    std::mem::forget(log::install_to(
        &Config::from_pairs([("LOG_LEVEL", "off")]),
        std::io::sink(),
        layer.into_iter().collect(),
    ));
    let service = service.to_owned();
    start(database, |app| {
        let app = app.with(Shop { service });
        settings.into_iter().fold(app, |app, (name, value)| app.set(name, value))
    })
    .await
}

on_each_database! {
    async fn a_request_its_job_and_the_call_of_the_job_are_one_trace(database: TestDatabase) {
        let (collector, address) = Collector::start().await;
        let app = start_traced(database, &address).await;
        app.anonymous().post("/api/v1/public/orders/7", ()).header("traceparent", PARENT).await.expect(204);
        assert_eq!(app.run_jobs().await, 1);
        app.app().stop().await;

        let spans = collector.spans();
        let mut paths: Vec<_> = spans.iter().map(|span| path(&spans, span)).collect();
        paths.sort_unstable();
        let server = "Server POST /api/v1/public/orders/{id}";
        let job = format!("{server} > Producer send shop.ship > Consumer process shop.ship");
        for expected in [
            server.to_owned(),
            format!("{server} > Internal price"),
            format!("{server} > Client BEGIN"),
            format!("{server} > Producer send shop.ship > Client INSERT omni_jobs"),
            format!("{server} > Client COMMIT"),
            job.clone(),
            format!("{job} > Client POST"),
        ] {
            assert!(paths.contains(&expected), "{expected} is missing: {paths:#?}");
        }
        assert!(spans.iter().all(|span| hex(&span.trace_id) == PARENT[3..35]), "{paths:#?}");

        let of_kind = |kind, name: &str| spans.iter().find(|span| span.kind() == kind && span.name == name).unwrap();
        let server = of_kind(SpanKind::Server, "POST /api/v1/public/orders/{id}");
        assert_eq!(hex(&server.parent_span_id), PARENT[36..52]);
        let expected = [
            ("http.request.method", "POST"),
            ("http.route", "/api/v1/public/orders/{id}"),
            ("url.path", "/api/v1/public/orders/7"),
            ("http.response.status_code", "204"),
        ];
        for (key, value) in expected {
            assert_eq!(attribute(server, key).as_deref(), Some(value), "{key}");
        }
        let client = of_kind(SpanKind::Client, "POST");
        assert_eq!(attribute(client, "url.full").unwrap(), format!("{address}/REDACTED"));
        let calls = collector.calls();
        assert_eq!(calls, [format!("00-{}-{}-01", hex(&client.trace_id), hex(&client.span_id))]);
        let insert = of_kind(SpanKind::Client, "INSERT omni_jobs");
        assert_eq!(attribute(insert, "db.collection.name").as_deref(), Some("omni_jobs"));
    }

    async fn an_unsampled_trace_is_propagated_but_not_exported(database: TestDatabase) {
        let (collector, address) = Collector::start().await;
        let app = start_traced(database, &address).await;
        app.anonymous().post("/api/v1/public/orders/7", ()).header("traceparent", UNSAMPLED).await.expect(204);
        assert_eq!(app.run_jobs().await, 1);
        app.app().stop().await;
        assert_eq!(collector.spans(), []);
        let calls = collector.calls();
        assert!(calls[0].starts_with(&PARENT[..35]) && calls[0].ends_with("-00"), "{calls:?}");
    }

    async fn without_a_collector_requests_are_served(database: TestDatabase) {
        let app = start_traced(database, "http://127.0.0.1:1").await;
        for _ in 0..5_000 {
            app.anonymous().get("/health").await.expect(200);
        }
        app.app().stop().await;
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}
