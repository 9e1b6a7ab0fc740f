//! Export of spans as [Zipkin v2 JSON](https://zipkin.io/zipkin-api/#/default/post_spans).

use std::{collections::BTreeMap, time::SystemTime};

use axum::body::Bytes;
use http::{Request, Uri, header};
use omnistack_core::BoxError;
use opentelemetry::{
    Key, KeyValue,
    trace::{SpanId, SpanKind, Status},
};
use opentelemetry_http::HttpClient as _;
use opentelemetry_sdk::{
    Resource,
    error::{OTelSdkError, OTelSdkResult},
    trace::SpanData,
};
use serde::Serialize;

use super::http::ExportClient;

/// An exporter that posts spans to Zipkin.
#[derive(Debug)]
pub(super) struct Zipkin {
    client: ExportClient,
    endpoint: Uri,
    service: String,
}

impl Zipkin {
    pub(super) fn new(endpoint: &str, client: ExportClient) -> Result<Self, BoxError> {
        let endpoint = endpoint.parse().map_err(|error| format!("OTEL_EXPORTER_ZIPKIN_ENDPOINT: {error}"))?;
        Ok(Self { client, endpoint, service: String::new() })
    }

    pub(super) fn set_resource(&mut self, resource: &Resource) {
        self.service =
            resource.get(&Key::from_static_str("service.name")).map(|name| name.to_string()).unwrap_or_default();
    }

    pub(super) async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let failed = |error: BoxError| OTelSdkError::InternalFailure(error.to_string());
        let spans: Vec<_> = batch.iter().map(|span| ZipkinSpan::new(span, &self.service)).collect();
        let body = serde_json::to_vec(&spans).map_err(|error| failed(error.into()))?;
        let request = Request::post(self.endpoint.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .body(Bytes::from(body))
            .map_err(|error| failed(error.into()))?;
        let response = self.client.send_bytes(request).await.map_err(failed)?;
        if response.status().is_success() {
            return Ok(());
        }
        Err(failed(format!("Zipkin responded with {}", response.status()).into()))
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ZipkinSpan<'a> {
    trace_id: String,
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    name: &'a str,
    /// Microseconds since 1970.
    timestamp: u128,
    /// In microseconds, at least one.
    duration: u128,
    local_endpoint: Endpoint<'a>,
    annotations: Vec<Annotation<'a>>,
    tags: BTreeMap<&'a str, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Endpoint<'a> {
    service_name: &'a str,
}

#[derive(Serialize)]
struct Annotation<'a> {
    timestamp: u128,
    value: &'a str,
}

impl<'a> ZipkinSpan<'a> {
    fn new(span: &'a SpanData, service: &'a str) -> Self {
        let mut tags: BTreeMap<_, _> = span.attributes.iter().map(tag).collect();
        if let Status::Error { description } = &span.status {
            tags.insert("otel.status_code", "ERROR".into());
            let error = tags.get("error.type").cloned().unwrap_or_else(|| description.to_string());
            tags.insert("error", error);
        }
        Self {
            trace_id: span.span_context.trace_id().to_string(),
            id: span.span_context.span_id().to_string(),
            parent_id: (span.parent_span_id != SpanId::INVALID).then(|| span.parent_span_id.to_string()),
            kind: match span.span_kind {
                SpanKind::Server => Some("SERVER"),
                SpanKind::Client => Some("CLIENT"),
                SpanKind::Producer => Some("PRODUCER"),
                SpanKind::Consumer => Some("CONSUMER"),
                SpanKind::Internal => None,
            },
            name: &span.name,
            timestamp: micros(span.start_time),
            duration: micros(span.end_time).saturating_sub(micros(span.start_time)).max(1),
            local_endpoint: Endpoint { service_name: service },
            annotations: span
                .events
                .iter()
                .map(|event| Annotation { timestamp: micros(event.timestamp), value: &event.name })
                .collect(),
            tags,
        }
    }
}

fn tag(pair: &KeyValue) -> (&str, String) {
    (pair.key.as_str(), pair.value.to_string())
}

fn micros(time: SystemTime) -> u128 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_micros()
}
