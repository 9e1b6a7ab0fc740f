//! Export of metrics by OTLP: the recorded metrics under the names of OpenTelemetry's semantic conventions.

use std::{collections::BTreeMap, time::Duration};

use omnistack_core::{
    BoxError, ShutdownToken,
    clock::{Clock, Timestamp},
    http::{client::Client, header},
    metrics::{ALL_METRICS, Metric},
    module::Registry,
};
use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value},
    metrics::v1::{
        AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric as OtlpMetric, NumberDataPoint,
        ResourceMetrics, ScopeMetrics, Sum, metric::Data, number_data_point,
    },
    resource::v1::Resource,
};
use prost::Message as _;

use crate::{
    outage::ExportOutage,
    routes::MetricsSource,
    text::{Sample, Series},
    traces::{Service, TraceSettings},
};

omnistack_core::settings! {
    /// Export of metrics by OTLP.
    pub struct MetricsExportSettings {
        /// Whether metrics are sent by OTLP to `OTEL_EXPORTER_OTLP_ENDPOINT`, beside `/metrics`.
        pub otlp: bool = "METRICS_OTLP", default "false";
        /// Interval at which metrics are sent.
        pub interval: Duration = "METRICS_OTLP_INTERVAL", default "1m", range "1s"..="1h";
    }
}

/// Registers the service that sends metrics, if the settings say so. Returns whether they do.
pub(crate) fn register(registry: &mut Registry, source: &MetricsSource, service: &Service) -> bool {
    let Some(settings) = registry.config::<MetricsExportSettings>().filter(|settings| settings.otlp) else {
        return false;
    };
    let Some(traces) = registry.config::<TraceSettings>() else { return true };
    let (source, service, clock) = (source.clone(), service.clone(), registry.clock());
    registry.require::<Client>();
    registry.background_service("metrics export", move |ctx| {
        let exporter = MetricsExporter {
            client: ctx.get()?,
            url: format!("{}/v1/metrics", traces.otlp_endpoint.trim_end_matches('/')),
            headers: traces.headers().unwrap_or_default().into_iter().collect(),
            source,
            resource: resource(traces.service_name.as_ref().unwrap_or(&service.name), &service),
            started: clock.now(),
            clock,
        };
        Ok(move |shutdown| {
            let exporter = exporter.clone();
            async move { exporter.run(settings.interval, shutdown).await }
        })
    });
    true
}

#[derive(Clone)]
struct MetricsExporter {
    client: Client,
    url: String,
    headers: Vec<(String, String)>,
    source: MetricsSource,
    resource: Resource,
    started: Timestamp,
    clock: Clock,
}

impl MetricsExporter {
    /// Sends the metrics at each interval, and a last time at shutdown. The beginning and the end of an outage of the
    /// collector are logged once each.
    async fn run(&self, interval: Duration, shutdown: ShutdownToken) -> Result<(), BoxError> {
        let outage = ExportOutage::of("metrics");
        loop {
            let ended = tokio::time::timeout(interval, shutdown.cancelled()).await.is_ok();
            outage.observe(&self.send().await);
            if ended {
                return Ok(());
            }
        }
    }

    async fn send(&self) -> Result<(), String> {
        let series = Series::parse(&self.source.render());
        let metrics = series.iter().filter_map(|series| self.metric(series)).collect();
        let scope = InstrumentationScope { name: "omnistack".into(), ..Default::default() };
        let request = ExportMetricsServiceRequest {
            resource_metrics: vec![ResourceMetrics {
                resource: Some(self.resource.clone()),
                scope_metrics: vec![ScopeMetrics { scope: Some(scope), metrics, ..Default::default() }],
                ..Default::default()
            }],
        };
        let mut post = self.client.post(&self.url).header(header::CONTENT_TYPE, "application/x-protobuf");
        for (name, value) in &self.headers {
            post = post.header(name, value);
        }
        let post = post.timeout(Duration::from_secs(5)).body(request.encode_to_vec());
        let response = post.send().await.map_err(|error| error.without_url().to_string())?;
        if response.status().is_success() {
            Ok(())
        } else {
            Err(format!("the collector responded with {}", response.status()))
        }
    }

    fn metric(&self, series: &Series) -> Option<OtlpMetric> {
        let known = ALL_METRICS.iter().copied().find(|metric| metric.name == series.name);
        let samples = || series.samples.iter();
        let data = match series.kind.as_str() {
            "counter" => Data::Sum(Sum {
                data_points: samples().map(|sample| self.point(known, sample)).collect(),
                aggregation_temporality: AggregationTemporality::Cumulative.into(),
                is_monotonic: true,
            }),
            "gauge" => Data::Gauge(Gauge { data_points: samples().map(|sample| self.point(known, sample)).collect() }),
            "histogram" => Data::Histogram(Histogram {
                data_points: self.histogram(known, series),
                aggregation_temporality: AggregationTemporality::Cumulative.into(),
            }),
            _ => return None,
        };
        Some(OtlpMetric {
            name: otlp_name(known, &series.name),
            description: series.help.clone(),
            unit: known.map(|metric| metric.unit).unwrap_or_default().into(),
            data: Some(data),
            ..Default::default()
        })
    }

    fn point(&self, metric: Option<&Metric>, sample: &Sample) -> NumberDataPoint {
        NumberDataPoint {
            attributes: attributes(metric, &sample.labels),
            start_time_unix_nano: nanos(self.started),
            time_unix_nano: nanos(self.clock.now()),
            value: Some(number_data_point::Value::AsDouble(sample.value)),
            ..Default::default()
        }
    }

    /// Returns a point for each set of labels, from the series `_bucket`, `_sum` and `_count`.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts are written as floats")]
    fn histogram(&self, metric: Option<&Metric>, series: &Series) -> Vec<HistogramDataPoint> {
        let mut points = BTreeMap::<Vec<(String, String)>, HistogramDataPoint>::new();
        for sample in &series.samples {
            let mut labels = sample.labels.clone();
            let bound = labels.iter().position(|(name, _)| name == "le").map(|index| labels.remove(index).1);
            let point = points.entry(labels.clone()).or_insert_with(|| HistogramDataPoint {
                attributes: attributes(metric, &labels),
                start_time_unix_nano: nanos(self.started),
                time_unix_nano: nanos(self.clock.now()),
                ..Default::default()
            });
            let count = sample.value as u64;
            match (sample.suffix.as_str(), bound) {
                ("_sum", _) => point.sum = Some(sample.value),
                ("_count", _) => point.count = count,
                ("_bucket", Some(bound)) => {
                    // Prometheus counts all values up to the bound; OTLP those since the bound before.
                    let before: u64 = point.bucket_counts.iter().sum();
                    point.bucket_counts.push(count.saturating_sub(before));
                    point.explicit_bounds.extend(bound.parse().ok().filter(|bound: &f64| bound.is_finite()));
                }
                _ => {}
            }
        }
        points.into_values().collect()
    }
}

/// Returns the name by the semantic conventions, or the name in Prometheus without the suffixes that a collector adds.
fn otlp_name(metric: Option<&Metric>, name: &str) -> String {
    match metric.and_then(|metric| metric.otel) {
        Some(otel) => otel.into(),
        None => {
            let name = name.strip_suffix("_total").unwrap_or(name);
            name.strip_suffix("_seconds").or_else(|| name.strip_suffix("_bytes")).unwrap_or(name).into()
        }
    }
}

/// Returns the labels under the names of the semantic conventions.
fn attributes(metric: Option<&Metric>, labels: &[(String, String)]) -> Vec<KeyValue> {
    const HTTP: &[(&str, &str)] =
        &[("method", "http.request.method"), ("path", "http.route"), ("status", "http.response.status_code")];
    const DB: &[(&str, &str)] = &[("operation", "db.operation.name"), ("state", "db.client.connection.state")];
    const MESSAGING: &[(&str, &str)] = &[("job", "messaging.destination.name")];
    let name = metric.map(|metric| metric.name).unwrap_or_default();
    let names = match name {
        _ if name.starts_with("http_") => HTTP,
        _ if name.starts_with("db_") => DB,
        _ if name.starts_with("background_job") => MESSAGING,
        _ => &[],
    };
    let attribute = |(label, value): &(String, String)| {
        let key = names.iter().find(|(own, _)| own == label).map_or(label.as_str(), |(_, otel)| otel);
        pair(key, value)
    };
    labels.iter().map(attribute).collect()
}

fn pair(key: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(Value::StringValue(value.into())) };
    KeyValue { key: key.into(), value: Some(value), ..Default::default() }
}

fn resource(name: &str, service: &Service) -> Resource {
    let attributes = vec![
        pair("service.name", name),
        pair("service.version", &service.version),
        pair("deployment.environment.name", &service.environment),
    ];
    Resource { attributes, ..Default::default() }
}

fn nanos(at: Timestamp) -> u64 {
    u64::try_from(at.as_micros()).unwrap_or_default().saturating_mul(1000)
}
