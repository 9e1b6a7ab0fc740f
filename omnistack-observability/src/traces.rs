//! Traces: the settings, the SDK, and the bridge from `tracing`.
//!
//! The spans of core and the feature crates are recorded by [`omnistack_core::trace`]; this room installs the SDK that
//! samples and exports them. Spans of `tracing`, such as those of `#[tracing::instrument]`, are spans of the trace too.

mod exporter;
#[cfg(feature = "grpc")]
mod grpc;
mod http;
mod settings;
mod zipkin;

pub use settings::{OtlpProtocol, SamplingRatio, TraceExporter, TraceSettings};

use std::time::Duration;

use omnistack_core::{BoxError, http::client::Client, log::SubscriberLayer, trace};
use opentelemetry::{
    Context, KeyValue,
    global::{self, BoxedSpan},
    trace::{SpanBuilder, Tracer},
};
use opentelemetry_sdk::{
    Resource,
    trace::{BatchSpanProcessor, Sampler, SdkTracerProvider},
};
use tracing::{Level, Metadata};
use tracing_subscriber::{Layer as _, filter::filter_fn};

/// Time for the export of the last spans at shutdown.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(4);

/// The app that sends spans.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) environment: String,
}

/// Installs the SDK of OpenTelemetry and enables spans. Returns the provider, to be [flushed](flush) at shutdown.
pub(crate) fn install(
    settings: &TraceSettings,
    service: &Service,
    client: Client,
) -> Result<SdkTracerProvider, BoxError> {
    let name = settings.service_name.clone().unwrap_or_else(|| service.name.clone());
    let resource = Resource::builder()
        .with_service_name(name)
        .with_attributes([
            KeyValue::new("service.version", service.version.clone()),
            KeyValue::new("deployment.environment.name", service.environment.clone()),
        ])
        .build();
    let provider = SdkTracerProvider::builder()
        .with_resource(resource)
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(settings.ratio.0))))
        .with_span_processor(BatchSpanProcessor::builder(exporter::TraceSender::new(settings, client)?).build())
        .build();
    global::set_tracer_provider(provider.clone());
    trace::enable();
    Ok(provider)
}

/// Exports the last spans. It does not block the runtime, on which the exporter depends.
pub(crate) async fn flush(provider: SdkTracerProvider) {
    let ended = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(FLUSH_TIMEOUT)).await;
    if let Ok(Err(error)) = ended {
        tracing::warn!(target: "omnistack::trace", %error, "the last spans were not exported");
    }
}

/// Returns the layer that makes spans of `tracing` spans of the trace.
pub(crate) fn subscriber_layer() -> SubscriberLayer {
    let layer = tracing_opentelemetry::layer()
        .with_tracer(InstalledTracer)
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false);
    Box::new(layer.with_filter(filter_fn(is_bridged)))
}

/// Returns whether a span of `tracing` becomes one of the trace. The spans of OmniStack's log lines do not, since the
/// same operations are spans already; nor do those of the crates that export spans, which would never end.
fn is_bridged(metadata: &Metadata<'_>) -> bool {
    const EXCLUDED: &[&str] =
        &["omnistack", "h2", "hyper", "hyper_util", "opentelemetry", "reqwest", "rustls", "tonic", "tower"];
    let root = metadata.target().split("::").next().unwrap_or_default();
    let excluded = EXCLUDED.contains(&root) || root.starts_with("opentelemetry_");
    (metadata.is_span() || *metadata.level() == Level::ERROR) && *metadata.level() <= Level::INFO && !excluded
}

/// The tracer that [`install`] has installed, for a layer that is made before.
struct InstalledTracer;

impl Tracer for InstalledTracer {
    type Span = BoxedSpan;

    fn build_with_context(&self, builder: SpanBuilder, parent: &Context) -> BoxedSpan {
        match trace::tracer() {
            Some(tracer) => tracer.build_with_context(builder, parent),
            None => global::tracer("omnistack").build_with_context(builder, parent),
        }
    }
}
