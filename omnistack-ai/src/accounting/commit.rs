//! Stores changes of the ledger: those that arrive at the same time in one transaction.
//!
//! A transaction has the calls that end before those that begin, so that what is given back is there for them. It
//! decides in memory about all of them, from rows that it has locked, and then writes each row once.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use omnistack_core::{
    credits::CreditCharge,
    db::{self, Dialect, ErrorKind, Submission, Tx},
    http::{Error, StatusCode},
    metrics::{AI_BUDGET_DECISIONS, AI_LOST_CALLS, NO_LABELS},
    usage::UsageEvent,
};

use super::{
    budget::{BudgetLimits, BudgetUse, BudgetUseKey, BudgetWindow, budget_exceeded, exceeded},
    call::CallStatus,
    handle::Accounting,
    open_call::OpenCall,
    operation::{CallSettlement, LedgerAnswer, LedgerOperation, NewCall},
    store::{self, ClosedCall},
    use_store,
};
use crate::{call::CallId, catalog::Cost};

/// Number of times that a change is tried if it conflicts with other transactions.
const MAX_ATTEMPTS: usize = 4;

/// The reason why a transaction of the ledger is rolled back.
enum CommitError {
    Database(db::Error),
    /// The wallet has failed or refused. The transaction has one change.
    Credits(Error),
}

impl From<db::Error> for CommitError {
    fn from(error: db::Error) -> Self {
        Self::Database(error)
    }
}

impl From<CommitError> for Error {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Database(error) => error.into(),
            CommitError::Credits(error) => error,
        }
    }
}

/// A call that has ended in this transaction.
struct EndedCall<'a> {
    settlement: &'a CallSettlement,
    closed: ClosedCall,
}

/// A call that begins in this transaction, with the limits that apply to it.
struct BeginningCall<'a> {
    index: usize,
    new: &'a NewCall,
    limits: Vec<(BudgetUseKey, BudgetLimits)>,
}

/// The used amounts of budgets, as the transaction has found and changed them.
#[derive(Default)]
struct LockedUses {
    uses: BTreeMap<BudgetUseKey, BudgetUse>,
    /// The rows that the transaction has created, from a ledger in which its calls have ended already.
    created: BTreeSet<BudgetUseKey>,
    changed: BTreeSet<BudgetUseKey>,
}

impl LockedUses {
    /// Changes what is used of a budget, if there is a row.
    fn change(&mut self, key: &BudgetUseKey, change: impl FnOnce(&mut BudgetUse)) {
        if let Some(used) = self.uses.get_mut(key) {
            change(used);
            if !self.changed.contains(key) {
                self.changed.insert(key.clone());
            }
        }
    }

    /// Counts a call that has ended, and gives back what it had reserved.
    fn end(&mut self, EndedCall { settlement, closed }: &EndedCall<'_>) {
        let added = settlement.used().minus(closed.counted);
        for key in settlement.possible_uses() {
            if self.created.contains(&key) {
                continue;
            }
            let is_reserved = closed.reserved_in.contains(&key.window);
            self.change(&key, |used| {
                used.spent = used.spent.plus(added).at_least_zero();
                if is_reserved {
                    used.reserved = used.reserved.minus(closed.reserved).at_least_zero();
                }
            });
        }
    }

    /// Reserves for a call, if it fits into all limits. Returns the error if it does not.
    fn begin(&mut self, BeginningCall { new, limits, .. }: &BeginningCall<'_>) -> Result<(), Error> {
        let wanted = new.reserved();
        for (key, limits) in limits.iter().filter(|(_, limits)| limits.is_hard) {
            let used = self.uses.get(key).copied().unwrap_or_default();
            if let Some(exceeded) = exceeded(limits, &used, wanted, new.held.reserved_cost.is_some()) {
                return Err(budget_exceeded(&key.window, limits.id, exceeded));
            }
        }
        for (key, _) in limits {
            self.change(key, |used| used.reserved = used.reserved.plus(wanted));
        }
        Ok(())
    }

    /// Returns the budgets of which a share is reached that the tenant was not told of.
    fn to_tell(&self) -> Vec<BudgetUseKey> {
        let changed = self.changed.iter().filter_map(|key| Some((key, self.uses.get(key)?)));
        changed.filter(|(_, used)| used.reached_percent() > used.told_percent).map(|(key, _)| key.clone()).collect()
    }
}

impl Accounting {
    /// Stores a batch and answers its callers.
    pub(super) async fn store(self, batch: Vec<Submission<LedgerOperation, LedgerAnswer>>) {
        let stored = {
            let operations: Vec<&LedgerOperation> = batch.iter().map(|submission| &submission.item).collect();
            self.apply(&operations, true).await
        };
        match stored {
            Ok(results) => {
                for (submission, result) in batch.into_iter().zip(results) {
                    self.answer(submission, result);
                }
            }
            // One of them may be the reason. An outage would make each of them wait.
            Err(CommitError::Database(error)) if is_outage(&error) => {
                let error = Arc::new(error);
                for submission in batch {
                    self.answer(submission, Err(Arc::clone(&error).into()));
                }
            }
            Err(_) => {
                for submission in batch {
                    let result = self.apply_alone(&submission.item).await;
                    self.answer(submission, result);
                }
            }
        }
    }

    /// Stores one change, several times if it conflicts with other transactions.
    async fn apply_alone(&self, operation: &LedgerOperation) -> Result<(), Error> {
        let (mut attempts, mut with_credits) = (0, true);
        loop {
            attempts += 1;
            match self.apply(&[operation], with_credits).await {
                Ok(results) => return results.into_iter().next().unwrap_or(Ok(())),
                Err(CommitError::Database(error)) if error.kind() == ErrorKind::Conflict && attempts < MAX_ATTEMPTS => {
                }
                // A call that has ended is settled, whatever the wallet says.
                Err(CommitError::Credits(error))
                    if matches!(operation, LedgerOperation::Settle(_)) && error.status().is_client_error() =>
                {
                    tracing::error!(target: "omnistack::ai", %error, "the credits of a call could not be settled");
                    with_credits = false;
                }
                Err(CommitError::Credits(error)) if error.code() == "CONCURRENT_UPDATE" && attempts < MAX_ATTEMPTS => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Answers the caller of a change. What could not be stored of the end of a call is stored later.
    fn answer(&self, submission: Submission<LedgerOperation, LedgerAnswer>, result: Result<(), Error>) {
        let answer = match (&submission.item, result) {
            // If the caller has left, this is dropped, which ends the call.
            (LedgerOperation::Open(new), Ok(())) => LedgerAnswer::Opened(Ok(Box::new(OpenCall::new(self, new)))),
            (LedgerOperation::Open(new), Err(error)) => {
                // Unless it was refused, the commit may have succeeded without a response.
                if error.status() != StatusCode::PAYMENT_REQUIRED {
                    self.settle_later(new.cancellation(self.clock().now()));
                }
                LedgerAnswer::Opened(Err(error))
            }
            // The database refuses a value, and would do so each time. The call expires, which counts its input.
            (LedgerOperation::Settle(settlement), Err(error)) if error.status().is_client_error() => {
                tracing::error!(target: "omnistack::ai", %error, call = %settlement.id,
                    "the end of a call can't be stored; it expires");
                LedgerAnswer::Settled(Err(error))
            }
            (LedgerOperation::Settle(settlement), Err(error)) => {
                self.settle_later(settlement.as_ref().clone());
                LedgerAnswer::Settled(Err(error))
            }
            (LedgerOperation::Settle(_), Ok(())) => LedgerAnswer::Settled(Ok(())),
        };
        submission.answer(answer);
    }

    /// Stores changes in one transaction. Returns the result of each of them.
    async fn apply(
        &self,
        operations: &[&LedgerOperation],
        with_credits: bool,
    ) -> Result<Vec<Result<(), Error>>, CommitError> {
        let mut results: Vec<Result<(), Error>> = operations.iter().map(|_| Ok(())).collect();
        let mut tx = self.begin(operations).await?;
        let ended = end_calls(&mut tx, operations).await?;
        let (beginning, mut locked) = lock_uses(&mut tx, &ended, new_calls(operations)).await?;
        for call in &ended {
            locked.end(call);
        }
        let mut stored = Vec::with_capacity(beginning.len());
        for call in &beginning {
            let result = locked.begin(call);
            count_decision(call, &result);
            match result {
                Ok(()) => {
                    let windows: Vec<BudgetWindow> = call.limits.iter().map(|(key, _)| key.window.clone()).collect();
                    stored.push((call.new, windows));
                }
                Err(error) => results[call.index] = Err(error),
            }
        }
        let changed: Vec<_> = locked.changed.iter().filter_map(|key| Some((key, locked.uses.get(key)?))).collect();
        use_store::store_uses(&mut tx, &changed).await?;
        store::insert_calls(&mut tx, &stored).await?;
        let events: Vec<UsageEvent> =
            ended.iter().flat_map(|call| call.settlement.usage_events(&call.closed)).collect();
        if !events.is_empty() {
            self.usage().record_in(&mut tx, events).await?;
        }
        if with_credits {
            self.charge(&mut tx, &ended, &stored).await?;
        }
        count_on_commit(&mut tx, &ended);
        tx.commit().await?;
        for key in locked.to_tell() {
            self.tell(&key).await;
        }
        Ok(results)
    }

    /// Begins a transaction that sees the rows of the changes.
    async fn begin(&self, operations: &[&LedgerOperation]) -> Result<Tx, db::Error> {
        let mut tenants = operations.iter().map(|operation| operation.caller().tenant);
        let first = tenants.next();
        match first.filter(|first| tenants.all(|tenant| tenant == *first)) {
            Some(tenant) => self.db().tenant(tenant).begin().await,
            // The calls of several tenants wait for the disk together. Each statement names the tenants.
            None => self.db().all_tenants().begin().await,
        }
    }

    /// Charges the credits of calls that begin, and returns what calls that have ended did not need.
    async fn charge(
        &self,
        tx: &mut Tx,
        ended: &[EndedCall<'_>],
        beginning: &[(&NewCall, Vec<BudgetWindow>)],
    ) -> Result<(), CommitError> {
        let Some(credits) = self.credits() else { return Ok(()) };
        for EndedCall { settlement, closed } in ended {
            let counted = Some(Cost::from_pico(closed.counted.pico));
            let before = if closed.was_lost { self.credits_of(counted) } else { closed.reserved_credits };
            // A call whose cost is not known is not free: it keeps what it has charged.
            let used = settlement.cost.map_or(before, |cost| self.credits_of(Some(cost)));
            let key = if used > before { more_credits_key(settlement) } else { credits_key(settlement.id) };
            let amount = i64::try_from(used.abs_diff(before)).unwrap_or(i64::MAX);
            let charge = CreditCharge::new(settlement.caller.tenant, key, amount)
                .environment(settlement.caller.environment)
                .description(settlement.asked_model.clone());
            let changed = match used.cmp(&before) {
                Ordering::Greater => credits.charge_in(tx, charge).await,
                Ordering::Less if !closed.was_lost => credits.return_in(tx, charge).await,
                // The credits of a charge can be returned once.
                Ordering::Less | Ordering::Equal => Ok(()),
            };
            changed.map_err(CommitError::Credits)?;
        }
        for (new, _) in beginning.iter().filter(|(new, _)| new.credits > 0) {
            let charge = CreditCharge::new(new.held.caller.tenant, credits_key(new.id), new.credits)
                .environment(new.held.caller.environment)
                .description(new.held.asked_model.clone());
            credits.charge_in(tx, charge).await.map_err(CommitError::Credits)?;
        }
        Ok(())
    }
}

/// Returns the key of what a call charges in advance.
fn credits_key(id: CallId) -> String {
    format!("ai/{id}")
}

/// Returns the key of what a call has used beyond what it had charged.
fn more_credits_key(settlement: &CallSettlement) -> String {
    format!("ai/{}/more", settlement.id)
}

/// Ends calls, in the order of their ids. Those that were settled before are left out.
async fn end_calls<'a>(tx: &mut Tx, operations: &[&'a LedgerOperation]) -> Result<Vec<EndedCall<'a>>, db::Error> {
    let mut settlements: Vec<&CallSettlement> = operations
        .iter()
        .filter_map(|operation| match *operation {
            LedgerOperation::Settle(settlement) => Some(settlement.as_ref()),
            LedgerOperation::Open(_) => None,
        })
        .collect();
    settlements.sort_by_key(|settlement| settlement.id);
    let mut ended = Vec::with_capacity(settlements.len());
    for settlement in settlements {
        if let Some(closed) = store::close_call(tx, settlement).await? {
            ended.push(EndedCall { settlement, closed });
        }
    }
    Ok(ended)
}

/// Returns the calls that begin, with their places in the batch.
fn new_calls<'a>(operations: &[&'a LedgerOperation]) -> Vec<(usize, &'a NewCall)> {
    let new = operations.iter().enumerate().filter_map(|(index, operation)| match *operation {
        LedgerOperation::Open(new) => Some((index, new.as_ref())),
        LedgerOperation::Settle(_) => None,
    });
    new.collect()
}

/// Finds the limits of calls that begin, and reads and locks what is used of all budgets of the calls. Rows for the first
/// calls of a period are created.
async fn lock_uses<'a>(
    tx: &mut Tx,
    ended: &[EndedCall<'_>],
    new: Vec<(usize, &'a NewCall)>,
) -> Result<(Vec<BeginningCall<'a>>, LockedUses), db::Error> {
    let mut keys: BTreeSet<BudgetUseKey> = ended.iter().flat_map(|call| call.settlement.possible_uses()).collect();
    let has_one_writer = tx.dialect() == Dialect::Sqlite;
    let (budgets, mut known) = if has_one_writer {
        keys.extend(new.iter().flat_map(|(_, new)| new.possible_uses()));
        use_store::budgets_and_uses_of(tx, &keys).await?
    } else {
        let callers: Vec<_> = new.iter().map(|(_, new)| &new.held.caller).collect();
        (use_store::budgets_of(tx, &callers).await?, BTreeMap::new())
    };
    let with_limits = |(index, new): (usize, &'a NewCall)| BeginningCall { index, new, limits: new.limits(&budgets) };
    let beginning: Vec<BeginningCall<'a>> = new.into_iter().map(with_limits).collect();
    let needed: BTreeSet<BudgetUseKey> =
        beginning.iter().flat_map(|call| &call.limits).map(|(key, _)| key.clone()).collect();
    if !has_one_writer {
        // Without locks: rows of calls are locked before rows of budgets.
        known = use_store::uses_of(tx, &needed, false).await?;
        keys.extend(needed.iter().cloned());
    }
    let created: BTreeSet<BudgetUseKey> = needed.into_iter().filter(|key| !known.contains_key(key)).collect();
    if !created.is_empty() {
        use_store::create_uses(tx, &created).await?;
    }
    let uses = if has_one_writer && created.is_empty() { known } else { use_store::uses_of(tx, &keys, true).await? };
    Ok((beginning, LockedUses { uses, created, changed: BTreeSet::new() }))
}

fn count_decision(call: &BeginningCall<'_>, result: &Result<(), Error>) {
    if call.limits.is_empty() {
        return;
    }
    let decision = if result.is_ok() { "allowed" } else { "refused" };
    AI_BUDGET_DECISIONS.counter([decision]).increment(1);
}

/// Counts calls in the metrics once they are stored.
fn count_on_commit(tx: &mut Tx, ended: &[EndedCall<'_>]) {
    let lost = ended.iter().filter(|call| call.settlement.status == CallStatus::Lost).count();
    if lost == 0 {
        return;
    }
    let lost = u64::try_from(lost).unwrap_or(u64::MAX);
    tx.on_commit(move || AI_LOST_CALLS.counter(NO_LABELS).increment(lost));
}

/// Returns whether no transaction can succeed at the moment.
fn is_outage(error: &db::Error) -> bool {
    matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::Schema | ErrorKind::Configuration)
}
