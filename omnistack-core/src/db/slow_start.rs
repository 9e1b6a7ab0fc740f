//! Slow start: after a start or an outage, few connections are used at once, and then more and more. Otherwise a new
//! server, whose caches are empty, gets all requests of all replicas at once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};

/// Part of the connections with which a slow start begins, as its denominator.
const FIRST_PART: u32 = 10;

/// The number of connections of a pool that are used at once. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct SlowStart(Arc<SlowStartState>);

#[derive(Debug)]
struct SlowStartState {
    permits: Arc<Semaphore>,
    /// All connections of the pool.
    all: u32,
    duration: Duration,
    acquire_timeout: Duration,
    /// Whether the next connection begins a slow start.
    is_due: AtomicBool,
}

impl SlowStart {
    /// Creates the limit of a pool, or `None` if `duration` is zero.
    pub(super) fn new(connections: u32, duration: Duration, acquire_timeout: Duration) -> Option<Self> {
        if duration.is_zero() {
            return None;
        }
        let all = usize::try_from(connections).unwrap_or(Semaphore::MAX_PERMITS);
        Some(Self(Arc::new(SlowStartState {
            permits: Arc::new(Semaphore::new(all)),
            all: connections,
            duration,
            acquire_timeout,
            is_due: AtomicBool::new(true),
        })))
    }

    /// Waits until another connection may be used.
    pub(super) async fn acquire(&self) -> sqlx::Result<OwnedSemaphorePermit> {
        let permit = Arc::clone(&self.0.permits).acquire_owned();
        match timeout(self.0.acquire_timeout, permit).await {
            Ok(permit) => permit.map_err(|_| sqlx::Error::PoolClosed),
            Err(_) => Err(sqlx::Error::PoolTimedOut),
        }
    }

    /// Notes whether a connection was available. The first one after an outage begins a slow start.
    pub(super) fn record(&self, is_available: bool) {
        if !is_available {
            self.0.is_due.store(true, Ordering::SeqCst);
        } else if self.0.is_due.swap(false, Ordering::SeqCst) {
            let first = (self.0.all / FIRST_PART).max(1);
            let held_back = usize::try_from(self.0.all - first).unwrap_or(0);
            // Those that are in use return as ever.
            let held_back = self.0.permits.forget_permits(held_back);
            let steps = u32::try_from(held_back).unwrap_or(u32::MAX).max(1);
            let state = Arc::clone(&self.0);
            tokio::spawn(async move {
                for _ in 0..held_back {
                    sleep(state.duration / steps).await;
                    state.permits.add_permits(1);
                }
            });
        }
    }

    /// Returns the number of connections that may be taken now.
    #[cfg(test)]
    fn available(&self) -> usize {
        self.0.permits.available_permits()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn connections_grow_from_a_tenth_to_all_after_each_outage() {
        assert!(SlowStart::new(20, Duration::ZERO, Duration::from_secs(1)).is_none());
        let start = SlowStart::new(20, Duration::from_secs(18), Duration::from_secs(5)).unwrap();
        for _ in 0..2 {
            start.record(true);
            assert_eq!(start.available(), 2);
            let taken = (start.acquire().await.unwrap(), start.acquire().await.unwrap());
            assert_eq!(start.available(), 0, "the third waits");
            drop(start.acquire().await.unwrap());
            drop(taken);
            drop(start.0.permits.acquire_many(20).await.unwrap());
            assert_eq!(start.available(), 20);
            start.record(true);
            assert_eq!(start.available(), 20, "nothing happened");
            start.record(false);
        }
    }
}
