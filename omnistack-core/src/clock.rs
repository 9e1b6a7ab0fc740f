//! The clock, passed to everything that needs the time.
//!
//! Everything that needs the time takes a [`Clock`]. Tests pass the clock of a [`MockClock`] and move it:
//!
//! ```
//! use omnistack_core::clock::{MockClock, Timestamp};
//! use std::time::Duration;
//!
//! let mock = MockClock::at("2030-01-01T00:00:00Z".parse().unwrap());
//! let clock = mock.clock();
//! mock.advance(Duration::from_secs(90));
//! assert_eq!(clock.now().to_string(), "2030-01-01T00:01:30Z");
//! ```

mod timestamp;

pub use timestamp::Timestamp;

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::Notify;

/// The app's clock: wall time for what is stored and shown, and monotonic time for durations.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System {
        started: Instant,
    },
    /// Microseconds since 1970-01-01T00:00:00Z, set by the test, and the value at the start.
    Mock {
        now: Arc<AtomicI64>,
        began: i64,
        moved: Arc<Notify>,
    },
}

impl Clock {
    /// Returns the system clock.
    #[expect(clippy::disallowed_methods, reason = "the only place that reads the system clock")]
    pub fn system() -> Self {
        Self(Source::System { started: Instant::now() })
    }

    /// Returns the wall time, in whole microseconds.
    #[expect(clippy::disallowed_methods, reason = "the only place that reads the system clock")]
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System { .. } => jiff::Timestamp::now().into(),
            Source::Mock { now, .. } => Timestamp::from_micros(now.load(Ordering::SeqCst)),
        }
    }

    /// Returns the time since the clock was created. It never goes backwards, whatever happens to the wall time.
    pub fn elapsed(&self) -> Duration {
        match &self.0 {
            Source::System { started } => started.elapsed(),
            Source::Mock { now, began, .. } => {
                Duration::from_micros(u64::try_from(now.load(Ordering::SeqCst) - began).unwrap_or(0))
            }
        }
    }

    /// Waits until a test has moved the clock of a [`MockClock`] since it showed this [`elapsed`](Self::elapsed) time.
    /// With the system clock it waits for ever. A task that works at an interval waits for either, so that a test which
    /// moves the clock does not wait for the interval.
    pub async fn moved_since(&self, elapsed: Duration) {
        let Source::Mock { moved, .. } = &self.0 else { return std::future::pending().await };
        let mut next = std::pin::pin!(moved.notified());
        loop {
            // Before the look at the time, so that no move in between is missed.
            next.as_mut().enable();
            if self.elapsed() != elapsed {
                return;
            }
            next.as_mut().await;
            next.set(moved.notified());
        }
    }

    /// Returns the time if this is the clock of a [`MockClock`]: systems with their own clock, such as Redis, must
    /// then be sent the time.
    #[cfg(feature = "redis")]
    pub fn mock_time(&self) -> Option<Timestamp> {
        matches!(self.0, Source::Mock { .. }).then(|| self.now())
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

/// A clock for tests that moves only when the test moves it.
#[derive(Clone, Debug)]
pub struct MockClock {
    clock: Clock,
    now: Arc<AtomicI64>,
    moved: Arc<Notify>,
}

impl MockClock {
    /// Creates a clock that is stopped at `start`.
    pub fn at(start: Timestamp) -> Self {
        let (now, moved) = (Arc::new(AtomicI64::new(start.as_micros())), Arc::new(Notify::new()));
        let source = Source::Mock { now: Arc::clone(&now), began: start.as_micros(), moved: Arc::clone(&moved) };
        Self { clock: Clock(source), now, moved }
    }

    /// Returns the clock to pass to the code under test.
    pub fn clock(&self) -> Clock {
        self.clock.clone()
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        self.now.fetch_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX), Ordering::SeqCst);
        self.moved.notify_waiters();
    }

    /// Sets the wall time, forward or backward.
    pub fn set(&self, now: Timestamp) {
        self.now.store(now.as_micros(), Ordering::SeqCst);
        self.moved.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_move_of_the_clock_is_noticed_before_and_during_the_wait() {
        let mock = MockClock::at(Timestamp::from_micros(0));
        let clock = mock.clock();
        let seen = clock.elapsed();
        let mut waiting = Box::pin(clock.moved_since(seen));
        assert_eq!(waiting.as_mut().now_or_never(), None);
        mock.advance(Duration::from_secs(1));
        waiting.await;
        clock.moved_since(seen).await;
        assert_eq!(clock.moved_since(clock.elapsed()).now_or_never(), None);
        assert_eq!(Clock::system().moved_since(Duration::ZERO).now_or_never(), None);
    }
}
