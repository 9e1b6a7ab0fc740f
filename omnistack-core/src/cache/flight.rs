//! One computation a key in this process.

use std::{
    any::Any,
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use tokio::sync::watch;

/// What became of a computation.
#[derive(Clone)]
pub(super) enum Outcome {
    /// The value, encoded.
    Value(Bytes),
    /// Its error, shared.
    Failed(Arc<dyn Any + Send + Sync>),
    /// A value that can't be encoded, and so not be shared.
    Unshared,
}

type Result = watch::Receiver<Option<Outcome>>;

/// The computations under way.
#[derive(Default)]
pub(super) struct Flights(Mutex<HashMap<String, Result>>);

/// Whether to compute or to wait.
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

/// A computation under way, over when this is dropped.
pub(super) struct Flight {
    flights: Arc<Flights>,
    key: String,
    sender: watch::Sender<Option<Outcome>>,
}

impl Flight {
    /// Tells those who wait.
    pub(super) fn land(&self, outcome: Outcome) {
        self.sender.send_replace(Some(outcome));
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.flights.open().remove(&self.key);
    }
}

/// Waits for the outcome; `None` when whoever computed was dropped in the middle.
pub(super) async fn outcome(mut result: Result) -> Option<Outcome> {
    result.wait_for(Option::is_some).await.ok()?.clone()
}
