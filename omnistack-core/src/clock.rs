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
            Source::Mock { now, began } => {
                Duration::from_micros(u64::try_from(now.load(Ordering::SeqCst) - began).unwrap_or(0))
            }
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
pub struct MockClock(Clock, Arc<AtomicI64>);

impl MockClock {
    /// Creates a clock that is stopped at `start`.
    pub fn at(start: Timestamp) -> Self {
        let now = Arc::new(AtomicI64::new(start.as_micros()));
        Self(Clock(Source::Mock { now: Arc::clone(&now), began: start.as_micros() }), now)
    }

    /// Returns the clock to pass to the code under test.
    pub fn clock(&self) -> Clock {
        self.0.clone()
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        self.1.fetch_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX), Ordering::SeqCst);
    }

    /// Sets the wall time, forward or backward.
    pub fn set(&self, now: Timestamp) {
        self.1.store(now.as_micros(), Ordering::SeqCst);
    }
}
