//! The time limit of a whole call.

use std::time::Duration;

use omnistack_core::clock::Clock;

use crate::error::{LlmError, LlmErrorKind, TimeoutPhase};

/// The time at which a call ends, whatever it does then.
#[derive(Clone, Debug)]
pub(super) struct CallDeadline {
    clock: Clock,
    started: Duration,
    total: Duration,
}

impl CallDeadline {
    pub(super) fn new(clock: Clock, total: Duration) -> Self {
        let started = clock.elapsed();
        Self { clock, started, total }
    }

    /// Returns the time since the start of the call.
    pub(super) fn elapsed(&self) -> Duration {
        self.clock.elapsed().saturating_sub(self.started)
    }

    /// Returns the time that is left.
    pub(super) fn remaining(&self) -> Duration {
        self.total.saturating_sub(self.elapsed())
    }

    /// Runs a future for as long as time is left. The error names the actor that took too long.
    pub(super) async fn limit<T>(&self, actor: &str, future: impl Future<Output = T>) -> Result<T, LlmError> {
        let left = self.remaining();
        let limited = async { if left.is_zero() { None } else { tokio::time::timeout(left, future).await.ok() } };
        limited.await.ok_or_else(|| {
            let kind = LlmErrorKind::Timeout(TimeoutPhase::Total);
            LlmError::new(kind, actor.to_owned(), "the call took longer than its time limit")
        })
    }
}
