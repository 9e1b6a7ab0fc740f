//! Random parts of delays.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};

/// Jitter: the random part of a delay that is waited, between 0 and 1. Clients that fail at the same time then
/// do not retry at the same time.
#[derive(Clone)]
pub struct Jitter(Arc<dyn Fn() -> f64 + Send + Sync>);

impl Jitter {
    /// Creates a jitter with a uniform distribution ("full jitter"). This is the default of
    /// [`Retry`](super::Retry).
    pub fn full() -> Self {
        Self::from_fn(rand::random)
    }

    /// Creates a jitter with a reproducible sequence, for tests. Clones share the sequence.
    pub fn seeded(seed: u64) -> Self {
        let random = Mutex::new(SmallRng::seed_from_u64(seed));
        Self::from_fn(move || random.lock().unwrap_or_else(PoisonError::into_inner).random())
    }

    /// Creates a jitter that waits the whole delay.
    pub fn none() -> Self {
        Self::from_fn(|| 1.0)
    }

    /// Creates a jitter from a function. Values outside of 0 to 1 are clamped.
    pub fn from_fn(share: impl Fn() -> f64 + Send + Sync + 'static) -> Self {
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
