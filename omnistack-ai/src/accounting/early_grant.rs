//! Calls that go on as soon as they are granted, while the transaction that reserves for them waits for the disk.
//!
//! The decision is final when the transaction makes it: it has locked the rows of the budgets, so no other call, in any
//! process, can take the same amounts before it ends. A provider may be asked then. No part of an answer is given before
//! the transaction has committed, so that each answer has a row in the ledger, which is settled also if the process is
//! killed. If the commit fails, the call ends with that error, and its caller gets no answer and pays nothing. So it is if
//! the process is killed before the commit, and the database rolls the reservation back.

use std::sync::{Arc, Mutex, PoisonError};

use omnistack_core::http::Error;
use tokio::sync::{oneshot, watch};

use super::open_call::OpenCall;

/// The result of the transaction. `None` while it runs.
type StorageResult = Option<Result<(), Arc<Error>>>;

/// The request of a call to go on before its transaction has committed.
#[derive(Debug)]
pub(super) struct EarlyGrant {
    /// `None` once the call is granted.
    caller: Mutex<Option<oneshot::Sender<Box<OpenCall>>>>,
    storage: watch::Sender<StorageResult>,
}

impl EarlyGrant {
    /// Creates a request, and the receiver of the call that is granted.
    pub(super) fn new() -> (Self, oneshot::Receiver<Box<OpenCall>>) {
        let (caller, granted) = oneshot::channel();
        (Self { caller: Mutex::new(Some(caller)), storage: watch::Sender::new(None) }, granted)
    }

    /// Gives the call to its caller, once. A caller that has left drops it, which ends it.
    pub(super) fn give(&self, call: impl FnOnce(StartStorage) -> OpenCall) {
        let caller = self.caller.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(caller) = caller {
            _ = caller.send(Box::new(call(StartStorage(self.storage.subscribe()))));
        }
    }

    /// Returns whether the call was granted. From then on, its holder ends it, whatever becomes of the transaction.
    pub(super) fn is_given(&self) -> bool {
        self.caller.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    /// Tells the holder of the call the result of the transaction.
    pub(super) fn finish(&self, result: Result<(), Error>) {
        self.storage.send_replace(Some(result.map_err(Arc::new)));
    }
}

/// The storage of the start of a call that was granted early.
#[derive(Clone, Debug)]
pub(super) struct StartStorage(watch::Receiver<StorageResult>);

impl StartStorage {
    /// Waits until the start is stored.
    ///
    /// # Errors
    /// The error of the transaction. It is not known then whether the start is stored.
    pub(super) async fn wait(&self) -> Result<(), Error> {
        let mut results = self.0.clone();
        let result = results.wait_for(Option::is_some).await.map(|result| (*result).clone());
        match result {
            Ok(Some(Err(error))) => Err(error.into()),
            Ok(_) => Ok(()),
            Err(ended) => Err(Error::internal(ended)),
        }
    }
}
