//! Tests of metrics, traces, error analytics and service health.

mod access;
mod baggage;
mod clock_jumps;
mod counts;
mod errors;
mod faults;
mod peers;
mod recorded;
mod sentry;
mod services;
mod traces;

use omnistack_core::app::AppBuilder;
use omnistack_observability::Observability;
use omnistack_testkit::{TestApp, TestClient, TestDatabase};

async fn start(database: TestDatabase, more: impl FnOnce(AppBuilder) -> AppBuilder) -> TestApp {
    TestApp::start(database, |app| more(app.with(Observability::from_env()))).await
}

/// The metrics in the Prometheus text format.
struct Metrics(String);

impl Metrics {
    async fn read(client: &TestClient) -> Self {
        Self(client.get("/metrics").await.expect(200).text())
    }

    /// Returns the value of the series with these labels. A histogram's value is the number of observations.
    fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let is_histogram = self.0.contains(&format!("# TYPE {name} histogram\n"));
        let name = if is_histogram { format!("{name}_count") } else { name.to_owned() };
        let labels: Vec<_> = labels.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
        let found = self.lines(&name).find(|line| labels.iter().all(|label| line.contains(label)))?;
        found.rsplit(' ').next()?.parse().ok()
    }

    /// Returns the number of series of a metric.
    fn series(&self, name: &str) -> usize {
        self.lines(name).count()
    }

    fn lines(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.lines().filter(move |line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])))
    }
}
