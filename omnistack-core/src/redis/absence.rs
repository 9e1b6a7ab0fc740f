//! That something is away, said once.

use std::{
    sync::{
        Mutex, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::sleep;

use crate::clock::Clock;

/// Between two looks at whether it is back: first, and at most.
const LOOKS: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));
/// Away again so soon after it was back, it is looked after more slowly, up to this.
const UNSTEADY: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(5));

/// Whether it is away, so that nobody waits for it but the one task that looks.
pub(super) struct Absence {
    clock: Clock,
    away: AtomicBool,
    times: Mutex<Times>,
}

struct Times {
    went: Duration,
    came: Option<Duration>,
    look: Duration,
}

impl Absence {
    pub(super) fn new(clock: Clock) -> Self {
        let times = Mutex::new(Times { went: Duration::ZERO, came: None, look: LOOKS.0 });
        Self { clock, away: AtomicBool::new(false), times }
    }

    pub(super) fn is_away(&self) -> bool {
        self.away.load(Ordering::Relaxed)
    }

    /// It is away from now on; tells the first to say so after how long to look for it.
    pub(super) fn begin(&self) -> Option<Duration> {
        if self.away.swap(true, Ordering::SeqCst) {
            return None;
        }
        let now = self.clock.elapsed();
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        let unsteady = times.came.is_some_and(|came| now.saturating_sub(came) < UNSTEADY.0);
        times.look = if unsteady { (times.look * 2).min(UNSTEADY.1) } else { LOOKS.0 };
        times.went = now;
        Some(times.look)
    }

    /// It is back; tells how long it was away.
    pub(super) fn end(&self) -> Duration {
        let now = self.clock.elapsed();
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        times.came = Some(now);
        let lasted = now.saturating_sub(times.went);
        drop(times);
        self.away.store(false, Ordering::SeqCst);
        lasted
    }
}

/// Looks, less and less often, until it is back or nobody wants it any more.
pub(super) async fn look<T>(of: Weak<T>, mut pause: Duration, is_back: impl AsyncFn(&T) -> bool) {
    loop {
        sleep(pause).await;
        pause = (pause * 2).min(LOOKS.1.max(pause));
        let Some(of) = of.upgrade() else { return };
        if is_back(&of).await {
            return;
        }
    }
}
