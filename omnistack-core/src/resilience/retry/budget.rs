//! How much of the load may be retries.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// A call puts in this much at a share of 1, and a retry takes this much out.
const RETRY: u64 = 1_000;

/// A token bucket that keeps retries a small share of calls, so that an outage is not made worse by those who wait for its
/// end.
///
/// Each call puts in a share of a retry, each retry takes one out, and when the bucket is empty calls get one attempt. Clones
/// share the bucket: give one to every [`Retry`](super::Retry) of the same peer.
#[derive(Clone)]
pub struct Budget(Arc<Bucket>);

struct Bucket {
    left: AtomicU64,
    capacity: u64,
    share: u64,
}

impl Budget {
    /// Full: so many retries at once, and from then on this share of calls. 0.1 is one retry for every ten calls. The share
    /// is between 0 and 1, in thousandths.
    pub fn new(retries: u32, share: f64) -> Self {
        let capacity = u64::from(retries) * RETRY;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 1000; NaN is 0")]
        let share = (share.clamp(0.0, 1.0) * RETRY as f64).round() as u64;
        Self(Arc::new(Bucket { left: AtomicU64::new(capacity), capacity, share }))
    }

    /// How many retries are in it now.
    pub fn left(&self) -> u64 {
        self.0.left.load(Ordering::Relaxed) / RETRY
    }

    pub(super) fn put(&self) {
        let Bucket { left, capacity, share } = &*self.0;
        // A full bucket is left alone, so that calls on several cores do not write to it in turn.
        let _ = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
            (left < *capacity).then(|| (left + share).min(*capacity))
        });
    }

    pub(super) fn take(&self) -> bool {
        let left = &self.0.left;
        left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(RETRY)).is_ok()
    }
}

/// 50 at once, then one for every five calls.
impl Default for Budget {
    fn default() -> Self {
        Self::new(50, 0.2)
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budget").field("left", &self.left()).finish_non_exhaustive()
    }
}
