//! Single flight: one computation per key in this process.

use std::{
    any::Any,
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use tokio::sync::watch;

/// Result of a computation.
#[derive(Clone)]
pub(crate) enum ComputationResult {
    /// The encoded value.
    Value(Bytes),
    /// The shared error.
    Failed(Arc<dyn Any + Send + Sync>),
    /// The value can't be encoded, so it is not shared.
    Unshared,
}

type Result = watch::Receiver<Option<ComputationResult>>;

/// Computations under way, by key.
#[derive(Default)]
pub(crate) struct SingleFlight(Mutex<HashMap<String, Result>>);

/// Role of a caller: computing, or waiting for the result.
pub(crate) enum FlightRole {
    Compute(Computation),
    Wait(Result),
}

impl SingleFlight {
    fn open(&self) -> MutexGuard<'_, HashMap<String, Result>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn join(self: &Arc<Self>, key: &str) -> FlightRole {
        let mut open = self.open();
        if let Some(result) = open.get(key) {
            return FlightRole::Wait(result.clone());
        }
        let (sender, result) = watch::channel(None);
        open.insert(key.to_owned(), result);
        FlightRole::Compute(Computation { flights: Arc::clone(self), key: key.to_owned(), sender })
    }
}

/// Computation under way; it ends when this is dropped.
pub(crate) struct Computation {
    flights: Arc<SingleFlight>,
    key: String,
    sender: watch::Sender<Option<ComputationResult>>,
}

impl Computation {
    /// Sends the result to the waiting callers.
    pub(crate) fn complete(&self, outcome: ComputationResult) {
        self.sender.send_replace(Some(outcome));
    }
}

impl Drop for Computation {
    fn drop(&mut self) {
        self.flights.open().remove(&self.key);
    }
}

/// Waits for the result. Returns `None` if the computation was dropped before it ended.
pub(crate) async fn wait_for_result(mut result: Result) -> Option<ComputationResult> {
    result.wait_for(Option::is_some).await.ok()?.clone()
}
