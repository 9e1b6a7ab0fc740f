//! The metrics of all crates: one table of names, units, help texts and labels.
//!
//! A crate emits a metric by its constant, through the `metrics` facade: [`Metric::counter`], [`Metric::gauge`] and
//! [`Metric::histogram`] return handles. Keep handles that are used often, because getting one is a lookup by name and
//! labels. Until a recorder is installed, handles do nothing; the module of the feature `observability` installs one.
//!
//! ```
//! use omnistack_core::metrics;
//!
//! let refused = metrics::RATE_LIMIT_HITS.counter(["sign-in"]);
//! refused.increment(1);
//! ```
//!
//! Values of labels come from a small, fixed set: route patterns, job names, error kinds. An id of a user, a tenant or
//! a key is no label, because each value is another time series.

mod http;
mod table;

pub use http::HttpMetrics;
pub(crate) use http::{RequestInProgress, known_method};
pub use table::*;

use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, SharedString};

/// Kind of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// A number that only grows until the process ends.
    Counter,
    /// A number that grows and shrinks.
    Gauge,
    /// A distribution of values, counted in buckets.
    Histogram,
}

impl MetricKind {
    /// Returns the name in the Prometheus text format, such as `counter`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A metric: its name, kind, unit, help text and labels.
#[derive(Debug)]
#[non_exhaustive]
pub struct Metric {
    /// The name in Prometheus, such as `http_requests_total`.
    pub name: &'static str,
    /// Kind of the metric.
    pub kind: MetricKind,
    /// The unit, such as `s`, `By` or `{request}`, in the notation of OpenTelemetry (UCUM).
    pub unit: &'static str,
    /// The help text.
    pub help: &'static str,
    /// The names of the labels.
    pub labels: &'static [&'static str],
    /// The name in OpenTelemetry's semantic conventions 1.44, if they have one for what this metric measures.
    pub otel: Option<&'static str>,
    /// The part of OmniStack that emits it: a feature of the crate `omnistack`, or `core` or `jobs` for what every app
    /// has.
    pub feature: &'static str,
    /// The upper bounds of a histogram's buckets, in [`unit`](Self::unit)s. Empty for other metrics.
    pub buckets: &'static [f64],
}

impl Metric {
    /// Returns the counter with these values of the labels, in the order of [`labels`](Self::labels).
    pub fn counter<const N: usize>(&'static self, values: [impl Into<SharedString>; N]) -> Counter {
        let key = self.key(values);
        metrics::with_recorder(|recorder| recorder.register_counter(&key, &METADATA))
    }

    /// Returns the gauge with these values of the labels, in the order of [`labels`](Self::labels).
    pub fn gauge(&'static self, values: impl IntoIterator<Item: Into<SharedString>>) -> Gauge {
        let key = self.key(values);
        metrics::with_recorder(|recorder| recorder.register_gauge(&key, &METADATA))
    }

    /// Returns the histogram with these values of the labels, in the order of [`labels`](Self::labels).
    pub fn histogram<const N: usize>(&'static self, values: [impl Into<SharedString>; N]) -> Histogram {
        let key = self.key(values);
        metrics::with_recorder(|recorder| recorder.register_histogram(&key, &METADATA))
    }

    fn key(&'static self, values: impl IntoIterator<Item: Into<SharedString>>) -> Key {
        let labels: Vec<_> = self.labels.iter().zip(values).map(|(name, value)| Label::new(*name, value)).collect();
        debug_assert_eq!(labels.len(), self.labels.len(), "`{}` has the labels {:?}", self.name, self.labels);
        Key::from_parts(self.name, labels)
    }
}

/// The values of the labels of a metric that has none.
pub const NO_LABELS: [&str; 0] = [];

static METADATA: Metadata<'static> = Metadata::new("omnistack", Level::INFO, None);
