//! The system clock. No other module of xtask reads it.

use std::time::{Duration, Instant};

/// A stopwatch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts measuring.
    #[expect(clippy::disallowed_methods, reason = "a command line tool measures real time")]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// Returns the time since the start.
    pub(crate) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

/// Waits 50 ms between two probes of a program that is starting.
#[expect(clippy::disallowed_methods, reason = "xtask has no async runtime that this could block")]
pub(crate) fn pause_between_probes() {
    std::thread::sleep(Duration::from_millis(50));
}

/// Waits until this long after the start of the watch.
#[expect(clippy::disallowed_methods, reason = "there is no executor here to block")]
pub(crate) fn wait_until(watch: Stopwatch, after: Duration) {
    std::thread::sleep(after.saturating_sub(watch.elapsed()));
}
