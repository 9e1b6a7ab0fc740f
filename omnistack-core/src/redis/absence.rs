//! Tracking of outages.

use std::{
    sync::{
        Mutex, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::sleep;

use crate::clock::Clock;

/// First and longest delay between two checks for the end of an outage.
const CHECK_DELAYS: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));
/// If an outage begins within the first duration after the previous one ended, its checks begin with a longer
/// delay, up to the second duration.
const UNSTABLE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(5));

/// State of an outage. While it lasts, no caller waits for the service; one task checks whether it is available
/// again.
pub(super) struct Availability {
    clock: Clock,
    away: AtomicBool,
    times: Mutex<OutageTimes>,
}

struct OutageTimes {
    went: Duration,
    came: Option<Duration>,
    look: Duration,
}

impl Availability {
    pub(super) fn new(clock: Clock) -> Self {
        let times = Mutex::new(OutageTimes { went: Duration::ZERO, came: None, look: CHECK_DELAYS.0 });
        Self { clock, away: AtomicBool::new(false), times }
    }

    pub(super) fn is_unavailable(&self) -> bool {
        self.away.load(Ordering::Relaxed)
    }

    /// Begins an outage. Returns the delay before the first check, or `None` if the outage had begun already.
    pub(super) fn begin_outage(&self) -> Option<Duration> {
        if self.away.swap(true, Ordering::SeqCst) {
            return None;
        }
        let now = self.clock.elapsed();
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        let unsteady = times.came.is_some_and(|came| now.saturating_sub(came) < UNSTABLE.0);
        times.look = if unsteady { (times.look * 2).min(UNSTABLE.1) } else { CHECK_DELAYS.0 };
        times.went = now;
        Some(times.look)
    }

    /// Ends the outage and returns its duration.
    pub(super) fn end_outage(&self) -> Duration {
        let now = self.clock.elapsed();
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        times.came = Some(now);
        let lasted = now.saturating_sub(times.went);
        drop(times);
        self.away.store(false, Ordering::SeqCst);
        lasted
    }
}

/// Checks with growing delays, until the service is available again or `of` is dropped.
pub(super) async fn check_until_available<T>(of: Weak<T>, mut pause: Duration, is_back: impl AsyncFn(&T) -> bool) {
    loop {
        sleep(pause).await;
        pause = (pause * 2).min(CHECK_DELAYS.1.max(pause));
        let Some(of) = of.upgrade() else { return };
        if is_back(&of).await {
            return;
        }
    }
}
