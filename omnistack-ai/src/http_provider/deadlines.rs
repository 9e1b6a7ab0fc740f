//! The time limits of a call.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::{chat::CallTimeouts, error::TimeoutPhase};

/// A time that no call reaches, for limits that are longer than a clock can count.
const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// The moments until which the parts of an answer may arrive.
#[derive(Clone, Copy, Debug)]
pub(super) struct CallDeadlines {
    first_byte: Instant,
    total: Instant,
    idle: Duration,
}

impl CallDeadlines {
    /// Starts the limits of a call now.
    pub(super) fn start(timeouts: &CallTimeouts) -> Self {
        let now = Instant::now();
        Self { first_byte: after(now, timeouts.first_byte), total: after(now, timeouts.total), idle: timeouts.idle }
    }

    /// Returns the time that is left of the whole call.
    pub(super) fn remaining(&self) -> Duration {
        self.total.saturating_duration_since(Instant::now())
    }

    /// Waits for a part of the answer. The idle limit starts anew with each wait. So the time between two reads of the
    /// stream by its consumer is not counted.
    ///
    /// # Errors
    /// Fails with the limit that has passed.
    pub(super) async fn wait<T>(
        &self,
        phase: TimeoutPhase,
        part: impl Future<Output = T> + Send,
    ) -> Result<T, TimeoutPhase> {
        let now = Instant::now();
        // A part that has arrived already would otherwise be accepted after the end.
        if now >= self.total {
            return Err(TimeoutPhase::Total);
        }
        let until = match phase {
            TimeoutPhase::FirstByte => self.first_byte,
            TimeoutPhase::Idle => after(now, self.idle),
            TimeoutPhase::Total => self.total,
        };
        let waited = timeout_at(until.min(self.total), part).await;
        waited.map_err(|_| if Instant::now() >= self.total { TimeoutPhase::Total } else { phase })
    }
}

fn after(now: Instant, time: Duration) -> Instant {
    now.checked_add(time.min(FAR)).unwrap_or(now)
}
