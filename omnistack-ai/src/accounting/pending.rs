//! Settlements that are stored in the background: those of calls that were dropped, and those that could not be stored.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::join_all;
use omnistack_core::{
    BoxError, ShutdownToken,
    http::{Error, StatusCode},
    trace,
};
use tokio::sync::Notify;
use tracing::Instrument as _;

use super::{handle::Accounting, operation::CallSettlement};

/// Largest number of settlements that wait in the background. Further calls expire.
const MAX_PENDING_SETTLEMENTS: usize = 100_000;
/// Number of settlements that are stored at once.
const BATCH: usize = 256;
/// The time after which settlements that could not be stored are tried again.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// The time for which the end of the process waits for settlements that have begun.
const MAX_SETTLING_TIME: Duration = Duration::from_secs(1);

/// The settlements that wait.
#[derive(Default)]
pub(super) struct PendingSettlements {
    waiting: Mutex<VecDeque<CallSettlement>>,
    added: Notify,
}

impl PendingSettlements {
    fn waiting(&self) -> MutexGuard<'_, VecDeque<CallSettlement>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn len(&self) -> usize {
        self.waiting().len()
    }

    /// Takes so many settlements at most, the oldest first.
    fn take(&self, most: usize) -> Vec<CallSettlement> {
        let mut waiting = self.waiting();
        let count = waiting.len().min(most);
        waiting.drain(..count).collect()
    }
}

impl Accounting {
    /// Lets a settlement be stored in the background.
    pub(super) fn settle_later(&self, settlement: CallSettlement) {
        let pending = self.pending();
        let mut waiting = pending.waiting();
        if waiting.len() >= MAX_PENDING_SETTLEMENTS {
            tracing::error!(target: "omnistack::ai", call = %settlement.id,
                "too many calls wait to be settled in the background; this one expires");
            return;
        }
        waiting.push_back(settlement);
        drop(waiting);
        pending.added.notify_one();
    }

    /// Tries to settle each call that was dropped, and each call whose settlement has failed, once, until the database
    /// is unavailable. The module does this all the time; this method is for tests, in which no background work runs.
    ///
    /// # Errors
    /// The first error: 503 if the database is unavailable. The next time tries again what could not be stored.
    pub async fn settle_dropped(&self) -> Result<(), Error> {
        let (mut left, mut result) = (self.pending().len(), Ok(()));
        while left > 0 {
            let batch = self.pending().take(left.min(BATCH));
            left = if batch.is_empty() { 0 } else { left - batch.len() };
            // The ledger adds a settlement that fails again, behind those that this loop takes.
            let settled = join_all(batch.into_iter().map(|settlement| self.settle(settlement))).await;
            if settled.iter().all(|settled| settled.as_ref().is_err_and(is_unavailable)) {
                left = 0;
            }
            for settled in settled {
                result = result.and(settled);
            }
        }
        result
    }

    /// Stores the end of a call in a task of its own, which goes on if the caller leaves, and for which
    /// [`stop`](Self::stop) waits. An end that can't be stored is tried again in the background; one that the database
    /// refuses expires, which counts its input.
    pub(super) async fn settle_in_task(&self, settlement: CallSettlement) {
        let (accounting, id) = (self.clone(), settlement.id);
        let task = trace::propagate(async move { accounting.settle(settlement).await }).in_current_span();
        let settled = self.settling().spawn(task).await.unwrap_or_else(|error| Err(Error::internal(error)));
        if let Err(error) = settled {
            tracing::error!(target: "omnistack::ai", %error, call = %id, "the end of a call could not be stored now");
        }
    }

    /// Settles calls in the background until the app shuts down.
    pub(super) async fn run(&self, shutdown: ShutdownToken) -> Result<(), BoxError> {
        let mut is_failing = false;
        loop {
            // In a task of its own, for which `stop` waits.
            let accounting = self.clone();
            let settling = self.settling().spawn(async move { accounting.settle_dropped().await });
            let Some(settled) = shutdown.run_until_cancelled(settling).await else { return Ok(()) };
            match settled.unwrap_or_else(|error| Err(Error::internal(error))) {
                Ok(()) => is_failing = false,
                Err(error) => {
                    if !is_failing {
                        tracing::warn!(target: "omnistack::ai", %error, "calls could not be settled; trying again");
                    }
                    is_failing = true;
                }
            }
            let wake = async {
                if is_failing {
                    tokio::time::sleep(RETRY_AFTER).await;
                } else {
                    self.pending().added.notified().await;
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                () = wake => {}
            }
        }
    }

    /// Settles what is left at the end of the process. What can't be stored at the second try expires.
    pub(crate) async fn stop(&self) {
        self.settling().close();
        // What is not stored by then expires.
        _ = tokio::time::timeout(MAX_SETTLING_TIME, self.settling().wait()).await;
        if self.settle_dropped().await.is_ok() {
            return;
        }
        if let Err(error) = self.settle_dropped().await {
            tracing::warn!(target: "omnistack::ai", %error,
                "calls could not be settled at the shutdown; they expire by themselves");
        }
    }
}

fn is_unavailable(error: &Error) -> bool {
    error.status() == StatusCode::SERVICE_UNAVAILABLE
}

impl fmt::Debug for PendingSettlements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingSettlements").field("waiting", &self.waiting().len()).finish_non_exhaustive()
    }
}
