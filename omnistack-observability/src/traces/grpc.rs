//! Export of spans by OTLP over gRPC.

use std::collections::HashMap;

use omnistack_core::BoxError;
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithTonicConfig as _};
use tonic::{
    metadata::{MetadataKey, MetadataMap},
    transport::ClientTlsConfig,
};

use super::http::EXPORT_TIMEOUT;

/// Creates an exporter. Must be called within a Tokio runtime, on which the connection runs.
pub(super) fn exporter(endpoint: &str, headers: HashMap<String, String>) -> Result<SpanExporter, BoxError> {
    let mut metadata = MetadataMap::new();
    for (name, value) in headers {
        metadata.insert(MetadataKey::from_bytes(name.to_ascii_lowercase().as_bytes())?, value.parse()?);
    }
    let builder = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .with_timeout(EXPORT_TIMEOUT)
        .with_metadata(metadata);
    let builder = if endpoint.starts_with("https:") {
        builder.with_tls_config(ClientTlsConfig::new().with_native_roots())
    } else {
        builder
    };
    Ok(builder.build()?)
}
