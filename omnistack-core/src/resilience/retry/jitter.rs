//! Chance in delays.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};

/// Which share of a delay is waited, between 0 and 1. Callers that fail together then don't come back together.
#[derive(Clone)]
pub struct Jitter(Arc<dyn Fn() -> f64 + Send + Sync>);

impl Jitter {
    /// Any share alike ("full jitter"). What a [`Retry`](super::Retry) does unless told otherwise.
    pub fn full() -> Self {
        Self::by(rand::random)
    }

    /// The same shares in the same order, for tests. Clones draw from one sequence.
    pub fn seeded(seed: u64) -> Self {
        let random = Mutex::new(SmallRng::seed_from_u64(seed));
        Self::by(move || random.lock().unwrap_or_else(PoisonError::into_inner).random())
    }

    /// The whole delay, without chance.
    pub fn none() -> Self {
        Self::by(|| 1.0)
    }

    /// As this says. What is not between 0 and 1 is brought there.
    pub fn by(share: impl Fn() -> f64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(share))
    }

    pub(super) fn share(&self) -> f64 {
        let share = (self.0)();
        if share.is_nan() { 1.0 } else { share.clamp(0.0, 1.0) }
    }
}

impl Default for Jitter {
    fn default() -> Self {
        Self::full()
    }
}

impl fmt::Debug for Jitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Jitter")
    }
}
