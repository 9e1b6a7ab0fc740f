//! Queues of jobs and their limits.

use crate::http::Rate;

/// A queue and its limits. A queue that is not registered has the limits of the settings.
///
/// ```
/// use omnistack_core::{http::Rate, jobs::Queue};
///
/// // Four at once in each process; ten a second in all of them together.
/// let mail = Queue::new("mail").concurrency(4).rate(Rate::new(10, std::time::Duration::from_secs(1)));
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Queue {
    pub(crate) name: String,
    pub(super) concurrency: Option<u32>,
    pub(super) rate: Option<Rate>,
}

impl Queue {
    /// Creates a queue with the limits of the settings.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), concurrency: None, rate: None }
    }

    /// Sets the number of jobs each process runs at once; at least 1.
    pub fn concurrency(mut self, jobs: u32) -> Self {
        self.concurrency = Some(jobs.max(1));
        self
    }

    /// Limits how many jobs start in a period, in all replicas together. Always counted as a token bucket.
    pub fn rate(mut self, rate: Rate) -> Self {
        self.rate = Some(rate);
        self
    }
}
