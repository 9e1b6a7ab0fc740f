//! Retry budget: the share of calls that may be retries.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// Tokens that a retry takes. A call adds this number multiplied by the share.
const TOKENS_PER_RETRY: u64 = 1_000;

/// Retry budget: a token bucket that limits retries to a small share of the calls, so that retries do not make
/// an outage worse.
///
/// Each call adds a part of a retry, and each retry takes one. While the bucket is empty, calls get one attempt
/// only. Clones share the bucket: use one for every [`Retry`](super::Retry) of the same service.
#[derive(Clone)]
pub struct RetryBudget(Arc<Bucket>);

struct Bucket {
    left: AtomicU64,
    capacity: u64,
    share: u64,
}

impl RetryBudget {
    /// Creates a full budget with a capacity of `retries`, to which each call adds `share` of a retry: 0.1 is
    /// one retry for every ten calls. The share is between 0 and 1, in thousandths.
    pub fn new(retries: u32, share: f64) -> Self {
        let capacity = u64::from(retries) * TOKENS_PER_RETRY;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 1000; NaN is 0")]
        let share = (share.clamp(0.0, 1.0) * TOKENS_PER_RETRY as f64).round() as u64;
        Self(Arc::new(Bucket { left: AtomicU64::new(capacity), capacity, share }))
    }

    /// Returns the number of retries that are left.
    pub fn left(&self) -> u64 {
        self.0.left.load(Ordering::Relaxed) / TOKENS_PER_RETRY
    }

    pub(super) fn deposit(&self) {
        let Bucket { left, capacity, share } = &*self.0;
        // A full bucket is not written, so that calls on several cores do not contend for it.
        let _ = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
            (left < *capacity).then(|| (left + share).min(*capacity))
        });
    }

    pub(super) fn withdraw(&self) -> bool {
        let left = &self.0.left;
        left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(TOKENS_PER_RETRY)).is_ok()
    }
}

/// 50 retries at once, then one for every five calls.
impl Default for RetryBudget {
    fn default() -> Self {
        Self::new(50, 0.2)
    }
}

impl fmt::Debug for RetryBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budget").field("left", &self.left()).finish_non_exhaustive()
    }
}
