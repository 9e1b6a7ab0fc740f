//! Circuit breaker.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use tokio::time::sleep;

use crate::clock::Clock;

/// Delay before the first probe; it doubles for each further one.
const FIRST_PROBE_DELAY: Duration = Duration::from_millis(20);
/// Longest delay between two probes.
const MAX_PROBE_DELAY: Duration = Duration::from_millis(500);
/// Time after the breaker has closed in which opening again counts as a relapse.
const RELAPSE_PERIOD: Duration = Duration::from_secs(30);
/// Longest delay before the first probe after several relapses. It is doubled at each relapse.
const MAX_RELAPSE_DELAY: Duration = Duration::from_secs(5);

/// Circuit breaker: records that a service is unavailable, so that no caller waits for it.
///
/// The caller that notices an outage [opens](Self::open) the breaker. While it is [open](Self::is_open),
/// callers do without the service. One task probes the service in the background, 20 ms
/// after the opening and then in intervals that double up to 500 ms, and closes the breaker as soon as a probe
/// succeeds. No call of a user is ever a probe. If the breaker opens again within 30 seconds, the first probe is
/// made twice as late as the time before, at most after 5 seconds.
///
/// Clones share the state. When the last clone is dropped, the probes end.
///
/// ```
/// use omnistack_core::{clock::Clock, resilience::Breaker};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// // A probe is a cheap call: here of a service that does not respond.
/// let breaker = Breaker::new(Clock::system(), || async { false }, |lasted| println!("back after {lasted:?}"));
/// assert!(!breaker.is_open());
///
/// // A call has timed out.
/// assert!(breaker.open(), "the first caller that notices the outage");
/// assert!(!breaker.open());
/// assert!(breaker.is_open());
/// # }
/// ```
#[derive(Clone)]
pub struct Breaker(Arc<BreakerState>);

struct BreakerState {
    clock: Clock,
    open: AtomicBool,
    times: Mutex<BreakerTimes>,
    probe: Box<dyn Fn() -> BoxFuture<'static, bool> + Send + Sync>,
    on_close: Box<dyn Fn(Duration) + Send + Sync>,
}

struct BreakerTimes {
    opened: Duration,
    closed: Option<Duration>,
    first_delay: Duration,
}

impl Breaker {
    /// Creates a closed breaker.
    ///
    /// `probe` returns whether the service responds; it needs a time limit of its own. `on_close` is called with
    /// the duration of the outage each time the breaker closes, for the log and for metrics; it must not block.
    pub fn new<F>(
        clock: Clock,
        probe: impl Fn() -> F + Send + Sync + 'static,
        on_close: impl Fn(Duration) + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = bool> + Send + 'static,
    {
        let times = BreakerTimes { opened: Duration::ZERO, closed: None, first_delay: FIRST_PROBE_DELAY };
        Self(Arc::new(BreakerState {
            clock,
            open: AtomicBool::new(false),
            times: Mutex::new(times),
            probe: Box::new(move || Box::pin(probe())),
            on_close: Box::new(on_close),
        }))
    }

    /// Returns whether the service is considered unavailable.
    pub fn is_open(&self) -> bool {
        self.0.open.load(Ordering::Relaxed)
    }

    /// Opens the breaker until a probe succeeds. Returns `false` if it was open already, so that the caller logs
    /// each outage once.
    ///
    /// # Panics
    ///
    /// Panics outside of a Tokio runtime.
    pub fn open(&self) -> bool {
        if self.0.open.swap(true, Ordering::SeqCst) {
            return false;
        }
        let delay = self.0.begin_outage();
        tokio::spawn(probe_until_closed(Arc::downgrade(&self.0), delay));
        true
    }
}

impl BreakerState {
    /// Records the start of an outage. Returns the delay before the first probe.
    fn begin_outage(&self) -> Duration {
        let now = self.clock.elapsed();
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        let relapse = times.closed.is_some_and(|closed| now.saturating_sub(closed) < RELAPSE_PERIOD);
        times.first_delay = if relapse { (times.first_delay * 2).min(MAX_RELAPSE_DELAY) } else { FIRST_PROBE_DELAY };
        times.opened = now;
        times.first_delay
    }

    fn close(&self) {
        let now = self.clock.elapsed();
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        times.closed = Some(now);
        let lasted = now.saturating_sub(times.opened);
        drop(times);
        self.open.store(false, Ordering::SeqCst);
        (self.on_close)(lasted);
    }
}

/// Probes the service with growing delays, until a probe succeeds or the last clone of the breaker is dropped.
async fn probe_until_closed(state: Weak<BreakerState>, mut delay: Duration) {
    loop {
        sleep(delay).await;
        delay = (delay * 2).min(MAX_PROBE_DELAY.max(delay));
        let Some(probe) = state.upgrade().map(|state| (state.probe)()) else { return };
        if probe.await {
            if let Some(state) = state.upgrade() {
                state.close();
            }
            return;
        }
    }
}

impl fmt::Debug for Breaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Breaker").field("open", &self.is_open()).finish_non_exhaustive()
    }
}
