//! The CPU time that observing a request costs, beside two crates for the same: `cargo xtask bench observability`.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark prints its results")]

use std::{convert::Infallible, future::ready};

use axum::{Router, body::Body, extract::Request, response::Response, routing::get};
use cpu_time::ThreadTime;
use http_body_util::BodyExt as _;
use omnistack_core::{
    clock::Clock,
    config::Config,
    http::layer::{ObserveLayer, RequestIdLayer},
    log,
    metrics::HttpMetrics,
    trace,
};
use opentelemetry_sdk::{
    error::OTelSdkResult,
    trace::{BatchSpanProcessor, Sampler, SdkTracerProvider, SpanData, SpanExporter},
};
use tower::{Layer as _, Service, ServiceExt as _};
use tracing_subscriber::layer::SubscriberExt as _;

const REQUESTS: u32 = 20_000;
const RUNS: usize = 15;
const SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// An exporter that drops what it gets.
#[derive(Debug)]
struct Nowhere;

impl SpanExporter for Nowhere {
    fn export(&self, _: Vec<SpanData>) -> impl Future<Output = OTelSdkResult> + Send {
        ready(Ok(()))
    }
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    println!("<!-- begin observability -->");
    runtime.block_on(run());
    println!("<!-- end observability -->");
}

/// Returns a router with only the handler.
fn bare() -> Router {
    Router::new().route("/hello", get(async || "hello"))
}

/// Returns a provider whose spans go nowhere, in batches.
fn provider(sampler: Sampler) -> SdkTracerProvider {
    let batch = BatchSpanProcessor::builder(Nowhere).build();
    SdkTracerProvider::builder().with_sampler(sampler).with_span_processor(batch).build()
}

async fn run() {
    let clock = Clock::system();
    let observe = || ObserveLayer::new(clock.clone());
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();

    println!("\n### Observing a request\n");
    println!("Thread CPU clock, {REQUESTS} requests a run, least of {RUNS} runs, over a bare axum handler.\n");
    println!("| what | µs a request | over bare axum |\n|---|---:|---:|");
    let bare_time = measure("bare axum handler", None, &bare(), request).await;
    let off = observe().layer(bare());
    measure("observed, metrics, traces and log off", Some(bare_time), &off, request).await;

    metrics::set_global_recorder(recorder).unwrap();
    let measured = observe().metrics(HttpMetrics::default()).layer(bare());
    measure("metrics on", Some(bare_time), &measured, request).await;
    handle.run_upkeep();
    let peer = bare().layer(axum_prometheus::PrometheusMetricLayer::new());
    measure("axum-prometheus", Some(bare_time), &peer, request).await;
    handle.run_upkeep();

    opentelemetry::global::set_tracer_provider(provider(Sampler::AlwaysOff));
    trace::enable();
    measure("metrics on, trace not sampled", Some(bare_time), &measured, request).await;
    opentelemetry::global::set_tracer_provider(provider(Sampler::AlwaysOn));
    trace::enable();
    measure("metrics on, a span exported in batches", Some(bare_time), &measured, request).await;
    measure("the same, the request arrives in a trace", Some(bare_time), &measured, traced).await;
    handle.run_upkeep();

    {
        let tracer = opentelemetry::global::tracer("axum-tracing-opentelemetry");
        let layer = tracing_opentelemetry::layer().with_tracer(tracer);
        let _subscriber = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
        let peer = bare().layer(axum_tracing_opentelemetry::middleware::OtelAxumLayer::default());
        measure("axum-tracing-opentelemetry, the same, without metrics", Some(bare_time), &peer, traced).await;
    }

    let config = Config::from_pairs([("LOG_FORMAT", "json")]);
    let nowhere = std::fs::OpenOptions::new().write(true).open("/dev/null").unwrap();
    let _log = log::install_to(&config, nowhere, Vec::new());
    let logged = RequestIdLayer::new(clock.clone()).layer(measured.clone());
    measure("the same, and a JSON line with the ids of trace and span", Some(bare_time), &logged, traced).await;
}

/// Prints the least time of a request of several runs, and returns it.
async fn measure<S>(name: &str, bare: Option<f64>, service: &S, request: fn() -> Request) -> f64
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone,
{
    let mut least = f64::MAX;
    for _ in 0..RUNS {
        let before = ThreadTime::now();
        for _ in 0..REQUESTS {
            let Ok(response) = service.clone().oneshot(request()).await;
            response.into_body().collect().await.unwrap();
        }
        least = least.min(before.elapsed().as_secs_f64() * 1e6 / f64::from(REQUESTS));
    }
    println!("| {name} | {least:.2} | {:+.2} |", least - bare.unwrap_or(least));
    least
}

fn request() -> Request {
    let request = Request::builder().uri("/hello").header("host", "localhost").header("user-agent", "bench");
    request.body(Body::empty()).unwrap()
}

fn traced() -> Request {
    let mut request = request();
    request.headers_mut().insert("traceparent", SAMPLED.parse().unwrap());
    request
}
