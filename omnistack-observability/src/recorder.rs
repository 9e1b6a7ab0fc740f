//! The process's recorder of metrics.

use std::{fmt, sync::OnceLock};

use metrics::Unit;
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use omnistack_core::metrics::{ALL_METRICS, Metric, MetricKind};

/// The recorder that this crate has installed. `None` if the program had installed another one before.
static RECORDER: OnceLock<Option<Recorder>> = OnceLock::new();

/// The metrics that were recorded.
#[derive(Clone)]
pub(crate) struct Recorder(PrometheusHandle);

impl Recorder {
    /// Installs the recorder, unless it is installed already. Returns `None` if the program has installed another one.
    pub(crate) fn install() -> Option<Self> {
        RECORDER
            .get_or_init(|| {
                let recorder = builder().ok()?.build_recorder();
                let handle = recorder.handle();
                metrics::set_global_recorder(recorder).ok()?;
                for metric in ALL_METRICS {
                    describe(metric);
                }
                Some(Self(handle))
            })
            .clone()
    }

    /// Returns all metrics in the Prometheus text format, version 0.0.4.
    pub(crate) fn render(&self) -> String {
        self.0.render()
    }

    /// Moves the recorded values of histograms into their buckets. Without it, memory grows until the metrics are read.
    pub(crate) fn run_upkeep(&self) {
        self.0.run_upkeep();
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").finish_non_exhaustive()
    }
}

/// Creates the builder with the buckets of each histogram; without buckets, a histogram is exposed as a summary.
fn builder() -> Result<PrometheusBuilder, BuildError> {
    let histograms = ALL_METRICS.iter().filter(|metric| metric.kind == MetricKind::Histogram);
    histograms.copied().try_fold(PrometheusBuilder::new(), |builder, metric| {
        builder.set_buckets_for_metric(Matcher::Full(metric.name.into()), metric.buckets)
    })
}

fn describe(metric: &'static Metric) {
    let unit = match metric.unit {
        "s" => Unit::Seconds,
        "By" => Unit::Bytes,
        _ => Unit::Count,
    };
    match metric.kind {
        MetricKind::Counter => metrics::describe_counter!(metric.name, unit, metric.help),
        MetricKind::Gauge => metrics::describe_gauge!(metric.name, unit, metric.help),
        MetricKind::Histogram => metrics::describe_histogram!(metric.name, unit, metric.help),
    }
}
