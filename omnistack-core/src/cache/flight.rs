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
pub(super) enum Outcome {
    /// The encoded value.
    Value(Bytes),
    /// The shared error.
    Failed(Arc<dyn Any + Send + Sync>),
    /// The value can't be encoded, so it is not shared.
    Unshared,
}

type Result = watch::Receiver<Option<Outcome>>;

/// Computations under way, by key.
#[derive(Default)]
pub(super) struct Flights(Mutex<HashMap<String, Result>>);

/// Role of a caller: computing, or waiting for the result.
pub(super) enum Seat {
    Lead(Flight),
    Follow(Result),
}

impl Flights {
    fn open(&self) -> MutexGuard<'_, HashMap<String, Result>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn join(self: &Arc<Self>, key: &str) -> Seat {
        let mut open = self.open();
        if let Some(result) = open.get(key) {
            return Seat::Follow(result.clone());
        }
        let (sender, result) = watch::channel(None);
        open.insert(key.to_owned(), result);
        Seat::Lead(Flight { flights: Arc::clone(self), key: key.to_owned(), sender })
    }
}

/// Computation under way; it ends when this is dropped.
pub(super) struct Flight {
    flights: Arc<Flights>,
    key: String,
    sender: watch::Sender<Option<Outcome>>,
}

impl Flight {
    /// Sends the result to the waiting callers.
    pub(super) fn land(&self, outcome: Outcome) {
        self.sender.send_replace(Some(outcome));
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.flights.open().remove(&self.key);
    }
}

/// Waits for the result. Returns `None` if the computation was dropped before it ended.
pub(super) async fn outcome(mut result: Result) -> Option<Outcome> {
    result.wait_for(Option::is_some).await.ok()?.clone()
}
