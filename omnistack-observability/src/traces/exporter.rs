//! The exporters of spans.

use std::time::Duration;

use omnistack_core::{BoxError, http::client::Client};
use opentelemetry::trace::Status;
use opentelemetry_otlp::{WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{SpanData, SpanExporter},
};

use super::{
    TraceExporter, TraceSettings,
    http::{EXPORT_TIMEOUT, ExportClient},
    settings::OtlpProtocol,
    zipkin::Zipkin,
};
use crate::outage::ExportOutage;

/// The exporter that the settings name. The beginning and the end of an outage of the collector are logged once each.
#[derive(Debug)]
pub(super) struct TraceSender {
    target: Target,
    outage: ExportOutage,
}

#[derive(Debug)]
enum Target {
    Otlp(opentelemetry_otlp::SpanExporter),
    Zipkin(Zipkin),
    Log,
}

impl TraceSender {
    pub(super) fn new(settings: &TraceSettings, client: Client) -> Result<Self, BoxError> {
        let target = match settings.exporter {
            TraceExporter::Otlp => Target::Otlp(otlp(settings, client)?),
            TraceExporter::Zipkin => Target::Zipkin(Zipkin::new(&settings.zipkin_endpoint, ExportClient::new(client))?),
            TraceExporter::Console | TraceExporter::None => Target::Log,
        };
        Ok(Self { target, outage: ExportOutage::of("spans") })
    }
}

fn otlp(settings: &TraceSettings, client: Client) -> Result<opentelemetry_otlp::SpanExporter, BoxError> {
    let base = settings.otlp_endpoint.trim_end_matches('/');
    let headers = settings.headers()?;
    Ok(match settings.otlp_protocol {
        OtlpProtocol::HttpProtobuf => opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_http_client(ExportClient::new(client))
            .with_endpoint(format!("{base}/v1/traces"))
            .with_timeout(EXPORT_TIMEOUT)
            .with_headers(headers)
            .build()?,
        #[cfg(feature = "grpc")]
        OtlpProtocol::Grpc => super::grpc::exporter(base, headers)?,
    })
}

impl SpanExporter for TraceSender {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let exported = match &self.target {
            Target::Otlp(otlp) => otlp.export(batch).await,
            Target::Zipkin(zipkin) => zipkin.export(batch).await,
            Target::Log => {
                batch.iter().for_each(log);
                Ok(())
            }
        };
        self.outage.observe(&exported);
        exported
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        match &self.target {
            Target::Otlp(otlp) => otlp.shutdown_with_timeout(timeout),
            Target::Zipkin(_) | Target::Log => Ok(()),
        }
    }

    fn set_resource(&mut self, resource: &Resource) {
        match &mut self.target {
            Target::Otlp(otlp) => otlp.set_resource(resource),
            Target::Zipkin(zipkin) => zipkin.set_resource(resource),
            Target::Log => {}
        }
    }
}

/// Logs a span.
fn log(span: &SpanData) {
    let elapsed = span.end_time.duration_since(span.start_time).unwrap_or_default();
    let attributes: Vec<_> = span.attributes.iter().map(|pair| format!("{}={}", pair.key, pair.value)).collect();
    tracing::info!(
        target: "omnistack::trace",
        trace = %span.span_context.trace_id(),
        span = %span.span_context.span_id(),
        parent = %span.parent_span_id,
        kind = ?span.span_kind,
        failed = matches!(span.status, Status::Error { .. }),
        ?elapsed,
        attributes = attributes.join(" "),
        "{}",
        span.name,
    );
}
