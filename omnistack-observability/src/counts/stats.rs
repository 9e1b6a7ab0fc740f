//! The numbers as operators see them.

use std::collections::BTreeMap;

use omnistack_core::{
    clock::Timestamp,
    http::Error,
    metrics::{ACTIVE_USERS, Metric, USERS},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Counts, StoredCount};

/// The numbers of an app.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DashboardStats {
    /// When the numbers were counted. `null` before the first count, a minute after the first start.
    #[schema(required)]
    counted_at: Option<Timestamp>,
    /// Number of users.
    users: f64,
    /// Number of users with a session that was used in the last day, week and 30 days: `1d`, `7d` and `30d`.
    active_users: BTreeMap<String, f64>,
    /// All numbers that the modules count.
    numbers: Vec<DashboardNumber>,
}

/// A number of an app.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DashboardNumber {
    /// The name of the gauge with this number.
    #[schema(examples("background_job_queue_size"))]
    metric: String,
    /// The description of the gauge.
    description: &'static str,
    /// The labels of the gauge.
    pub(crate) labels: BTreeMap<&'static str, String>,
    /// The number.
    pub(crate) value: f64,
}

impl DashboardNumber {
    /// Returns the number with its description. Returns `None` if a later release counts it.
    pub(crate) fn new(stored: &StoredCount) -> Option<Self> {
        let metric = stored.definition()?;
        let labels = metric.labels.iter().copied().zip(stored.labels()).collect();
        Some(Self { metric: stored.metric.clone(), description: metric.help, labels, value: stored.value })
    }

    pub(crate) fn is(&self, metric: &Metric) -> bool {
        self.metric == metric.name
    }
}

impl DashboardStats {
    /// Returns the stored numbers.
    pub(crate) async fn read(counts: &Counts) -> Result<Self, Error> {
        let stored = counts.stored().await?;
        let numbers: Vec<_> = stored.iter().filter_map(DashboardNumber::new).collect();
        let users = numbers.iter().find(|number| number.is(&USERS)).map_or(0.0, |number| number.value);
        let active = numbers.iter().filter(|number| number.is(&ACTIVE_USERS));
        let active_users =
            active.filter_map(|number| Some((number.labels.get("period")?.clone(), number.value))).collect();
        let counted_at = stored.iter().map(|count| count.counted_at).max();
        Ok(Self { counted_at, users, active_users, numbers })
    }
}
