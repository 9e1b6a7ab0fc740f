//! The settings of traces.

use std::collections::HashMap;

use http::{HeaderName, HeaderValue};
use omnistack_core::{
    BoxError, ExposeSecret as _, SecretString, config::SettingValue, module::Registry, trace::Propagators,
};
use reqwest::Url;

omnistack_core::settings! {
    /// Traces.
    pub struct TraceSettings {
        /// Whether spans are recorded and exported. `OTEL_EXPORTER=none` turns them off too.
        pub enabled: bool = "OTEL_ENABLED", default "true";
        /// The destination of spans: `otlp`, `zipkin`, `console` (the log, for development) or `none`.
        pub exporter: TraceExporter = "OTEL_EXPORTER", default "none";
        /// The name of the service in traces. Default: the app's name.
        pub service_name: Option<String> = "OTEL_SERVICE_NAME";
        /// The base URL of the collector that receives OTLP. Spans are posted to `v1/traces` under it.
        pub otlp_endpoint: String = "OTEL_EXPORTER_OTLP_ENDPOINT", default "http://localhost:4318";
        /// The protocol of OTLP: `http/protobuf`, or `grpc` with the feature `otlp-grpc` of `omnistack`.
        pub otlp_protocol: OtlpProtocol = "OTEL_EXPORTER_OTLP_PROTOCOL", default "http/protobuf";
        /// Headers of requests to the collector, as in `authorization=Bearer abc,x-team=7`.
        pub otlp_headers: Option<SecretString> = "OTEL_EXPORTER_OTLP_HEADERS";
        /// The URL to which spans are posted as Zipkin v2 JSON.
        pub zipkin_endpoint: String = "OTEL_EXPORTER_ZIPKIN_ENDPOINT", default "http://localhost:9411/api/v2/spans";
        /// Share of the traces that are recorded, from 0 to 1. It applies to traces that begin in this app; a request
        /// that arrives in a trace follows the decision of its caller.
        pub ratio: SamplingRatio = "OTEL_TRACES_SAMPLER_ARG", default "1";
        /// The headers that are read from requests and sent with calls to other services: `tracecontext`
        /// (`traceparent` and `tracestate`), `baggage`, or `none`. It applies whether spans are recorded or not.
        pub propagators: Propagators = "OTEL_PROPAGATORS", default "tracecontext,baggage";
    }
}

impl TraceSettings {
    /// Returns whether spans are recorded.
    pub(crate) fn is_on(&self) -> bool {
        self.enabled && self.exporter != TraceExporter::None
    }

    /// Reports receivers and headers with which nothing could be exported. `metrics` says whether metrics are sent by
    /// OTLP.
    pub(crate) fn report_problems(&self, registry: &mut Registry, metrics: bool) {
        let otlp = metrics || (self.is_on() && self.exporter == TraceExporter::Otlp);
        let zipkin = self.is_on() && self.exporter == TraceExporter::Zipkin;
        for (is_used, name, url) in [
            (otlp, "OTEL_EXPORTER_OTLP_ENDPOINT", &self.otlp_endpoint),
            (zipkin, "OTEL_EXPORTER_ZIPKIN_ENDPOINT", &self.zipkin_endpoint),
        ] {
            let is_url = || url.parse::<Url>().is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
            if is_used && !is_url() {
                let fix = format!("set {name} to a URL such as http://localhost:4318, or unset it");
                registry.report_problem(format!("{name} is not a URL that begins with http:// or https://"), fix);
            }
        }
        if otlp && let Err(error) = self.headers() {
            registry.report_problem(error.to_string(), "correct OTEL_EXPORTER_OTLP_HEADERS, or unset it");
        }
    }

    /// Reads the headers of requests to the collector: `name=value`, separated by commas, with percent-encoded values.
    pub(crate) fn headers(&self) -> Result<HashMap<String, String>, BoxError> {
        let Some(text) = &self.otlp_headers else { return Ok(HashMap::new()) };
        let header = |header: &str| {
            let (name, value) = header.split_once('=')?;
            let value = percent_encoding::percent_decode_str(value.trim()).decode_utf8().ok()?;
            let is_valid = HeaderName::try_from(name.trim()).is_ok() && HeaderValue::from_str(&value).is_ok();
            is_valid.then(|| (name.trim().to_owned(), value.into_owned()))
        };
        let headers: Option<_> = text.expose_secret().split(',').map(header).collect();
        headers.ok_or_else(|| "OTEL_EXPORTER_OTLP_HEADERS: expected `name=value`, separated by commas".into())
    }
}

/// The destination of spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraceExporter {
    /// To a collector, by the OpenTelemetry protocol.
    Otlp,
    /// To Zipkin, or a collector that speaks its protocol.
    Zipkin,
    /// To the log.
    Console,
    /// Nowhere: spans are not recorded.
    None,
}

impl SettingValue for TraceExporter {
    const EXPECTED: &'static str = "otlp, zipkin, console or none";

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "otlp" => Ok(Self::Otlp),
            "zipkin" => Ok(Self::Zipkin),
            "console" => Ok(Self::Console),
            "none" => Ok(Self::None),
            _ => Err(format!("`{text}` is no exporter: use otlp, zipkin, console or none")),
        }
    }
}

/// The protocol of OTLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OtlpProtocol {
    /// Protocol buffers over HTTP.
    HttpProtobuf,
    /// gRPC.
    #[cfg(feature = "grpc")]
    Grpc,
}

impl SettingValue for OtlpProtocol {
    const EXPECTED: &'static str = "http/protobuf or grpc";

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "http/protobuf" => Ok(Self::HttpProtobuf),
            #[cfg(feature = "grpc")]
            "grpc" => Ok(Self::Grpc),
            #[cfg(not(feature = "grpc"))]
            "grpc" => {
                Err("`grpc` needs the feature `otlp-grpc`: add it to `omnistack` in Cargo.toml, or use http/protobuf"
                    .into())
            }
            _ => Err(format!("`{text}` is no protocol: use http/protobuf or grpc")),
        }
    }
}

/// A share of traces, from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SamplingRatio(pub f64);

impl SettingValue for SamplingRatio {
    const EXPECTED: &'static str = "a number from 0 to 1";

    fn parse(text: &str) -> Result<Self, String> {
        let ratio = text.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
        ratio.map(Self).ok_or_else(|| format!("`{text}` is not a number from 0 to 1"))
    }
}
