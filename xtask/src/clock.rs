//! The machine's clock: the one place that reads it.

use std::time::{Duration, Instant};

/// Measures how long something took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts measuring.
    #[expect(clippy::disallowed_methods, reason = "a command line tool measures real time")]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// The time since the start.
    pub(crate) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

/// Waits between two looks at something that is starting.
#[expect(clippy::disallowed_methods, reason = "there is no executor here to block")]
pub(crate) fn pause() {
    std::thread::sleep(Duration::from_millis(50));
}

/// Waits until this long after the start of the watch.
#[expect(clippy::disallowed_methods, reason = "there is no executor here to block")]
pub(crate) fn wait_until(watch: Stopwatch, after: Duration) {
    std::thread::sleep(after.saturating_sub(watch.elapsed()));
}
