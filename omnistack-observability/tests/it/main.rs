//! Tests of the metrics: what is recorded, who may read it, and what a client can't do to it.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by a panic")]

mod access;
mod recorded;

use omnistack_core::app::AppBuilder;
use omnistack_observability::Observability;
use omnistack_testkit::{TestApp, TestClient, TestDatabase};
use prometheus_parse::{Scrape, Value};

async fn start(database: TestDatabase, more: impl FnOnce(AppBuilder) -> AppBuilder) -> TestApp {
    TestApp::start(database, |app| more(app.with(Observability::from_env()))).await
}

/// The metrics as an independent parser of the Prometheus text format reads them.
struct Metrics(Scrape);

impl Metrics {
    async fn read(client: &TestClient) -> Self {
        let text = client.get("/metrics").await.expect(200).text();
        Self(Scrape::parse(text.lines().map(|line| Ok(line.to_owned()))).unwrap())
    }

    /// Returns the value of the series with these labels. A histogram's value is the number of observations.
    fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let found = self.0.samples.iter().find(|sample| {
            sample.metric == name && labels.iter().all(|(label, value)| sample.labels.get(label) == Some(value))
        })?;
        match &found.value {
            Value::Counter(value) | Value::Gauge(value) | Value::Untyped(value) => Some(*value),
            Value::Histogram(buckets) => buckets.iter().map(|bucket| bucket.count).reduce(f64::max),
            Value::Summary(_) => None,
        }
    }

    /// Returns the number of series of a metric.
    fn series(&self, name: &str) -> usize {
        self.0.samples.iter().filter(|sample| sample.metric == name).count()
    }
}
