//! [`Gate`], at which a script waits.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;

/// The longest wait for a script to reach a gate.
const WAIT_TIMEOUT: Duration = Duration::from_secs(10);

/// A point of a script at which the server waits until the test lets it pass. Clones are the same gate. A gate can be
/// at several points, also of several scripts.
#[derive(Clone, Debug)]
pub struct Gate(Arc<watch::Sender<GateState>>);

#[derive(Clone, Copy, Debug, Default)]
struct GateState {
    is_open: bool,
    /// The number of waits that may pass.
    passes: usize,
    /// The number of waits that have begun.
    reached: usize,
}

impl Gate {
    /// Creates a closed gate.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(GateState::default())))
    }

    /// Lets all waits pass, now and later.
    pub fn open(&self) {
        self.0.send_modify(|state| state.is_open = true);
    }

    /// Lets `count` waits pass.
    pub fn pass(&self, count: usize) {
        self.0.send_modify(|state| state.passes += count);
    }

    /// Waits until a script has reached the gate: all bytes before it are written.
    ///
    /// # Panics
    /// Panics after 10 seconds.
    pub async fn reached(&self) {
        self.reached_times(1).await;
    }

    /// Waits until scripts have reached the gate `count` times.
    ///
    /// # Panics
    /// Panics after 10 seconds.
    pub async fn reached_times(&self, count: usize) {
        let mut state = self.0.subscribe();
        let waited = tokio::time::timeout(WAIT_TIMEOUT, state.wait_for(|state| state.reached >= count)).await;
        assert!(matches!(waited, Ok(Ok(_))), "no script reached the gate {count} times");
    }

    /// Waits as a script does.
    pub(super) async fn wait(&self) {
        self.0.send_modify(|state| state.reached += 1);
        let mut changes = self.0.subscribe();
        loop {
            let is_open = changes.borrow_and_update().is_open;
            // The sender lives as long as the gate.
            if is_open || self.take_pass() || changes.changed().await.is_err() {
                return;
            }
        }
    }

    fn take_pass(&self) -> bool {
        self.0.send_if_modified(|state| {
            let has_pass = state.passes > 0;
            state.passes -= usize::from(has_pass);
            has_pass
        })
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}
