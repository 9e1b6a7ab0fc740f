//! The CPU time that observing a request costs, beside two crates for the same, the memory of requests with unknown paths,
//! and the time to record errors: `cargo xtask bench observability`.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark prints its results")]

use std::{convert::Infallible, fs, future::ready, time::Duration};

use axum::{Router, body::Body, extract::Request, response::Response, routing::get};
use cpu_time::ThreadTime;
use http_body_util::BodyExt as _;
use metrics_exporter_prometheus::PrometheusHandle;
use omnistack_core::{
    app::App,
    clock::Clock,
    config::{Config, SettingValue as _},
    error_event::{ErrorEvent, ErrorObserver as _, ErrorOrigin},
    http::layer::{ObserveLayer, RequestIdLayer},
    log::{self, LogLevel},
    metrics::HttpMetrics,
    trace,
};
use omnistack_observability::{ErrorRecorder, Observability};
use opentelemetry_sdk::{
    error::OTelSdkResult,
    trace::{BatchSpanProcessor, Sampler, SdkTracerProvider, SpanData, SpanExporter},
};
use tower::{Layer as _, Service, ServiceExt as _, util::BoxCloneSyncService};
use tracing_subscriber::{filter::filter_fn, layer::Layer, registry::LookupSpan};

const REQUESTS: u32 = 20_000;
const RUNS: usize = 15;
/// Number of requests with different paths that match no route.
const UNKNOWN_PATHS: u32 = 1_000_000;
const ERRORS: u32 = 10_000;

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

/// A way of observing requests. All are measured in turn, so that a slow moment of the machine hits each of them.
struct Variant {
    name: &'static str,
    /// Sets what is global to the process: the tracer and the log level.
    prepare: fn(),
    service: BoxCloneSyncService<Request, Response, Infallible>,
    request: fn() -> Request,
}

impl Variant {
    fn new<S>(name: &'static str, prepare: fn(), service: S, request: fn() -> Request) -> Self
    where
        S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + Sync + 'static,
        S::Future: Send,
    {
        Self { name, prepare, service: BoxCloneSyncService::new(service), request }
    }
}

fn traces(sampler: Sampler) {
    opentelemetry::global::set_tracer_provider(provider(sampler));
    trace::enable();
}

fn set_log(level: &str) {
    assert!(log::set_level(LogLevel::parse(level).unwrap()));
}

fn all_off() {
    trace::disable();
    set_log("off");
}

async fn run() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).unwrap();
    let config = Config::from_pairs([("LOG_FORMAT", "json"), ("LOG_LEVEL", "off")]);
    let nowhere = fs::OpenOptions::new().write(true).open("/dev/null").unwrap();
    let _log = log::install_to(&config, nowhere, vec![Box::new(bridge())]);

    let clock = Clock::system();
    let observe = || ObserveLayer::new(clock.clone());
    let measured = observe().metrics(HttpMetrics::default()).layer(bare());
    let peer = bare().layer(axum_tracing_opentelemetry::middleware::OtelAxumLayer::default());
    let mut variants = [
        Variant::new("bare axum handler", all_off, bare(), request),
        Variant::new("observed, metrics, traces and log off", all_off, observe().layer(bare()), request),
        Variant::new("metrics", all_off, measured.clone(), request),
        Variant::new("axum-prometheus", all_off, bare().layer(axum_prometheus::PrometheusMetricLayer::new()), request),
        Variant::new("metrics, a trace that is not sampled", || traces(Sampler::AlwaysOff), measured.clone(), request),
        Variant::new("metrics, a span exported in batches", || traces(Sampler::AlwaysOn), measured.clone(), request),
        Variant::new(
            "axum-tracing-opentelemetry, the same without metrics",
            || traces(Sampler::AlwaysOn),
            peer,
            request,
        ),
        Variant::new(
            "metrics, and a JSON line",
            || {
                all_off();
                set_log("info");
            },
            measured.clone(),
            request,
        ),
        Variant::new(
            "metrics, a span, and a JSON line with their ids",
            || {
                traces(Sampler::AlwaysOn);
                set_log("info");
            },
            RequestIdLayer::new(clock.clone()).layer(measured),
            request,
        ),
    ]
    .map(|variant| (variant, f64::MAX));
    for _ in 0..RUNS {
        for (variant, least) in &mut variants {
            all_off();
            (variant.prepare)();
            *least = least.min(measure(variant).await);
            handle.run_upkeep();
        }
    }

    println!("\n### Observing a request\n");
    println!("Thread CPU clock, {REQUESTS} requests a run, least of {RUNS} runs of each in turn.\n");
    println!("| what | µs a request | over bare axum |\n|---|---:|---:|");
    let least_bare = variants[0].1;
    for (variant, least) in &variants {
        println!("| {} | {least:.2} | {:+.2} |", variant.name, least - least_bare);
    }

    all_off();
    unknown_paths(observe().metrics(HttpMetrics::default()).layer(bare()), &handle).await;
    errors(&clock).await;
}

/// Sends requests with different paths that match no route.
async fn unknown_paths<S>(service: S, metrics: &PrometheusHandle)
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone,
{
    let send = async |number: u32| {
        let request = Request::builder().uri(format!("/unknown/{number}")).body(Body::empty()).unwrap();
        let Ok(response) = service.clone().oneshot(request).await;
        response.into_body().collect().await.unwrap();
    };
    let series = || metrics.render().lines().filter(|line| !line.starts_with('#')).count();
    for number in 0..REQUESTS {
        send(number).await;
    }
    metrics.run_upkeep();
    let before = (series(), anonymous_memory());
    for number in 0..UNKNOWN_PATHS {
        send(number).await;
        if number % REQUESTS == 0 {
            metrics.run_upkeep();
        }
    }
    metrics.run_upkeep();
    let after = (series(), anonymous_memory());

    println!("\n### Unknown paths\n");
    println!("| {UNKNOWN_PATHS} requests with different paths | before | after |\n|---|---:|---:|");
    println!("| time series | {} | {} |", before.0, after.0);
    println!("| anonymous memory, KiB | {} | {} |", before.1, after.1);
}

/// Returns the anonymous memory of the process in KiB, or 0 if the system does not report it.
fn anonymous_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Records errors in memory and stores them.
async fn errors(clock: &Clock) {
    // This benchmark has installed a recorder of metrics already.
    let settings = [("DATABASE_URL", "sqlite::memory:"), ("METRICS_ENABLED", "false")];
    let app = App::builder(Config::from_pairs(settings)).with(Observability::from_env()).build().unwrap();
    app.migrate().await.unwrap();
    app.start().await.unwrap();
    let recorder: ErrorRecorder = app.context().get().unwrap();
    let (mut record, mut store) = (Duration::MAX, Duration::MAX);
    for _ in 0..RUNS {
        let began = clock.elapsed();
        for number in 0..ERRORS {
            // A hundred groups, each in ten operations.
            let message = format!("the {} is lost", "x".repeat(1 + number as usize % 100));
            let route = format!("/orders/{}", number / 100 % 10);
            let origin = ErrorOrigin::Request { method: "GET", route: Some(&route), status: 500 };
            recorder.observe(&ErrorEvent::new(clock.now(), origin, "INTERNAL_ERROR", &message));
        }
        let recorded = clock.elapsed();
        recorder.flush().await.unwrap();
        record = record.min(recorded.saturating_sub(began));
        store = store.min(clock.elapsed().saturating_sub(recorded));
    }

    println!("\n### Recording errors\n");
    println!(
        "{ERRORS} errors of a hundred groups in ten operations, on SQLite in memory, least of {RUNS} runs. An error is \
         recorded in the request, and stored by a background service.\n"
    );
    println!("| step | ms | errors a second |\n|---|---:|---:|");
    for (step, took) in [("record", record), ("store", store), ("both", record + store)] {
        let seconds = took.as_secs_f64();
        println!("| {step} | {:.1} | {:.0} |", seconds * 1e3, f64::from(ERRORS) / seconds);
    }
}

/// Returns the bridge from `tracing` for axum-tracing-opentelemetry.
fn bridge<S>() -> impl Layer<S>
where
    S: tracing::Subscriber + for<'span> LookupSpan<'span>,
{
    let tracer = opentelemetry::global::tracer("axum-tracing-opentelemetry");
    let layer = tracing_opentelemetry::layer().with_tracer(tracer);
    layer.with_filter(filter_fn(|metadata| metadata.target() == "otel::tracing"))
}

/// Returns the microseconds of CPU that a request takes.
async fn measure(variant: &Variant) -> f64 {
    let before = ThreadTime::now();
    for _ in 0..REQUESTS {
        let Ok(response) = variant.service.clone().oneshot((variant.request)()).await;
        response.into_body().collect().await.unwrap();
    }
    before.elapsed().as_secs_f64() * 1e6 / f64::from(REQUESTS)
}

fn request() -> Request {
    let request = Request::builder().uri("/hello").header("host", "localhost").header("user-agent", "bench");
    request.body(Body::empty()).unwrap()
}
