//! Settlements that are stored in the background: those of calls whose answer has been given, of calls that were dropped,
//! and those that could not be stored.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt, mem,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::join_all;
use omnistack_core::{BoxError, ShutdownToken, http::Error, identity::TenantId};
use tokio::sync::{Notify, watch};

use super::{handle::Accounting, operation::CallSettlement};

/// Largest number of settlements that wait in the background. Further calls expire.
const MAX_PENDING_SETTLEMENTS: usize = 100_000;
/// Number of settlements that are stored at once.
const BATCH: usize = 256;
/// The time for which the settlements of calls whose answer has been given are gathered, to be stored in one transaction.
/// Their reservations hold until then, so no limit is exceeded, and a call that does not fit waits for them.
const GATHER_TIME: Duration = Duration::from_millis(3);
/// The time after which settlements that could not be stored are tried again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The settlements that wait.
#[derive(Default)]
pub(super) struct PendingSettlements {
    waiting: Mutex<VecDeque<CallSettlement>>,
    added: Notify,
    /// The settlements that are gathered, with their numbers.
    gathered: Mutex<Vec<(u64, CallSettlement)>>,
    /// Ends the time for which settlements are gathered.
    flush: Notify,
    running: watch::Sender<RunningSettlements>,
}

/// The settlements of calls whose answer has been given, until they are stored or wait with the others.
#[derive(Debug, Default)]
struct RunningSettlements {
    /// The number of the next one.
    next: u64,
    tenants: BTreeMap<u64, TenantId>,
}

impl PendingSettlements {
    fn waiting(&self) -> MutexGuard<'_, VecDeque<CallSettlement>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn gathered(&self) -> MutexGuard<'_, Vec<(u64, CallSettlement)>> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes settlements, the oldest first.
    fn take(&self) -> Vec<CallSettlement> {
        let mut waiting = self.waiting();
        let count = waiting.len().min(BATCH);
        waiting.drain(..count).collect()
    }

    /// Returns whether the end of a call of a tenant is being stored.
    pub(super) fn is_settling(&self, tenant: TenantId) -> bool {
        self.running.borrow().tenants.values().any(|settling| *settling == tenant)
    }

    /// Counts a settlement until it is stored. Returns its number.
    fn begin(&self, tenant: TenantId) -> u64 {
        let mut number = 0;
        self.running.send_modify(|running| {
            number = running.next;
            running.next += 1;
            running.tenants.insert(number, tenant);
        });
        number
    }
}

/// Counts a settlement as stored when it is dropped, also by a panic.
struct SettlementGuard<'a> {
    accounting: &'a Accounting,
    number: u64,
}

impl Drop for SettlementGuard<'_> {
    fn drop(&mut self) {
        self.accounting.pending().running.send_modify(|running| {
            running.tenants.remove(&self.number);
        });
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

    /// Stores the end of a call whose answer is given now, together with those of the next milliseconds.
    pub(super) fn settle_soon(&self, settlement: CallSettlement) {
        let number = self.pending().begin(settlement.caller.tenant);
        let is_first = {
            let mut gathered = self.pending().gathered();
            gathered.push((number, settlement));
            gathered.len() == 1
        };
        if is_first {
            let accounting = self.clone();
            tokio::spawn(async move { accounting.settle_gathered().await });
        }
    }

    async fn settle_gathered(&self) {
        _ = tokio::time::timeout(GATHER_TIME, self.pending().flush.notified()).await;
        let gathered = mem::take(&mut *self.pending().gathered());
        join_all(gathered.into_iter().map(|(number, settlement)| self.settle_numbered(number, settlement))).await;
    }

    async fn settle_numbered(&self, number: u64, settlement: CallSettlement) {
        let _guard = SettlementGuard { accounting: self, number };
        // A settlement that fails is kept by the ledger.
        _ = self.settle(settlement).await;
    }

    /// Waits until the calls whose answer was given before are stored, or their settlement has failed.
    pub(crate) async fn settled(&self) {
        let mut running = self.pending().running.subscribe();
        let next = running.borrow().next;
        if running.borrow().tenants.is_empty() {
            return;
        }
        self.pending().flush.notify_one();
        let are_stored =
            |running: &RunningSettlements| running.tenants.keys().next().is_none_or(|first| *first >= next);
        // The sender lives as long as the accounts.
        _ = running.wait_for(are_stored).await;
    }

    /// Waits for the settlements of calls whose answer was given, and settles the calls that were dropped and those
    /// whose settlement has failed. The module does this all the time; this method is for tests, in which no background
    /// work runs, and for the end of the process.
    ///
    /// # Errors
    /// 503 if the database is unavailable. What could not be stored is tried again.
    pub async fn settle_dropped(&self) -> Result<(), Error> {
        self.settled().await;
        loop {
            let batch = self.pending().take();
            if batch.is_empty() {
                return Ok(());
            }
            // A settlement that fails is added again by the ledger.
            let settled = join_all(batch.into_iter().map(|settlement| self.settle(settlement))).await;
            settled.into_iter().collect::<Result<(), _>>()?;
        }
    }

    /// Settles calls in the background until the app shuts down.
    pub(super) async fn run(&self, shutdown: ShutdownToken) -> Result<(), BoxError> {
        let mut is_failing = false;
        loop {
            match self.settle_dropped().await {
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

    /// Settles what is left at the end of the process. What can't be stored expires.
    pub(crate) async fn stop(&self) {
        if let Err(error) = self.settle_dropped().await {
            tracing::warn!(target: "omnistack::ai", %error,
                "calls could not be settled at the shutdown; they expire by themselves");
        }
    }
}

impl fmt::Debug for PendingSettlements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingSettlements").field("waiting", &self.waiting().len()).finish_non_exhaustive()
    }
}
