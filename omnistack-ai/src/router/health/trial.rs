//! The trial of a model after failures.

use super::ProviderHealth;

/// The right of one call to find out whether a model answers again. If it is dropped before the call has a result, another
/// call gets the trial: a call that is routed may never be sent.
#[derive(Debug)]
pub(in crate::router) struct HealthTrial {
    health: ProviderHealth,
    /// The provider and the model.
    key: (String, String),
    number: u64,
}

impl HealthTrial {
    pub(super) fn new(health: ProviderHealth, key: (String, String), number: u64) -> Self {
        Self { health, key, number }
    }
}

impl Drop for HealthTrial {
    fn drop(&mut self) {
        self.health.give_back_trial(&self.key, self.number);
    }
}
