//! Records events in a transaction.

use std::collections::{HashMap, HashSet, hash_map::Entry};

use omnistack_core::{
    clock::Timestamp,
    db::{Error, Tx},
    identity::TenantId,
    metrics::USAGE_EVENTS,
};

use super::{
    Ledger,
    aggregate::{EventBilling, UsageDelta},
    event::{EventPolicy, NewUsage, RejectReason, UsageOutcome},
    store::{self, EventKey, EventRow},
};
use crate::{
    account::schedule::{self, AccountLock, AccountSchedule},
    meter::{LatePolicy, Meter},
};

/// An event that is stored unless its id is known.
pub(super) struct Candidate<'a> {
    /// The position in the list of new events.
    index: usize,
    pub(super) new: &'a NewUsage,
    /// The meter and the quantity in its smallest units. `None` if the app has no such meter.
    pub(super) counted: Option<(&'a Meter, i64)>,
    pub(super) billing: EventBilling,
}

impl Ledger {
    /// Stores events and what they add. Returns what became of each, in the same order.
    ///
    /// Rows are locked in the same order by every call: accounts, events, windows, dimensions, each in the order of their
    /// keys. A transaction with several calls locks the accounts exclusively, because it locks the other rows in the
    /// order of its calls.
    pub(super) async fn record(
        &self,
        tx: &mut Tx,
        new: Vec<NewUsage>,
        policy: EventPolicy,
        lock: AccountLock,
    ) -> Result<Vec<UsageOutcome>, Error> {
        let now = self.0.clock.now();
        let mut outcomes = vec![UsageOutcome::Duplicate; new.len()];
        let mut checked = Vec::with_capacity(new.len());
        let mut seen: HashMap<EventKey<'_>, usize> = HashMap::with_capacity(new.len());
        // Events whose ids occur before in the list, and the first positions of these ids.
        let mut repeated = Vec::new();
        for (index, usage) in new.iter().enumerate() {
            let meter = self.0.meters.get(&usage.event.meter);
            let units = match usage.check(meter, policy, now, self.0.settings.max_age) {
                Ok(units) => units,
                Err(reason) => {
                    outcomes[index] = UsageOutcome::Rejected(reason);
                    continue;
                }
            };
            match seen.entry(EventKey::of(&usage.event)) {
                Entry::Occupied(first) => repeated.push((index, *first.get())),
                Entry::Vacant(place) => {
                    place.insert(index);
                    checked.push((index, usage, meter.zip(units)));
                }
            }
        }
        let mut tenants: Vec<TenantId> = checked.iter().map(|(_, usage, _)| usage.event.tenant).collect();
        tenants.sort_unstable();
        tenants.dedup();
        let accounts = self.lock_accounts(tx, &tenants, now, lock).await?;
        let candidates = self.bill(&accounts, checked, policy, now, &mut outcomes);
        let known = if candidates.is_empty() {
            HashMap::new()
        } else {
            self.store(tx, &candidates, now, &mut outcomes).await?
        };
        for (index, first) in repeated {
            let stored = known.get(&first).unwrap_or(&new[first].hash);
            outcomes[index] = match outcomes[first] {
                UsageOutcome::Rejected(reason) => UsageOutcome::Rejected(reason),
                _ if *stored == new[index].hash => UsageOutcome::Duplicate,
                _ => UsageOutcome::Conflict,
            };
        }
        count_on_commit(tx, &outcomes);
        Ok(outcomes)
    }

    /// Finds the billing periods of events, in the accounts of their tenants.
    fn bill<'a>(
        &self,
        accounts: &HashMap<TenantId, AccountSchedule>,
        checked: Vec<(usize, &'a NewUsage, Option<(&'a Meter, i64)>)>,
        policy: EventPolicy,
        now: Timestamp,
        outcomes: &mut [UsageOutcome],
    ) -> Vec<Candidate<'a>> {
        let mut candidates = Vec::with_capacity(checked.len());
        for (index, new, counted) in checked {
            // Every tenant was asked for.
            let Some(account) = accounts.get(&new.event.tenant) else { continue };
            let billing = match counted {
                _ if account.is_deleted() => Err(RejectReason::TenantDeleted),
                Some((meter, _)) => billing(account, meter, new.event.at, policy, now, self.0.settings.grace),
                None => Ok(EventBilling::None),
            };
            match billing {
                Ok(billing) => candidates.push(Candidate { index, new, counted, billing }),
                Err(reason) => outcomes[index] = UsageOutcome::Rejected(reason),
            }
        }
        // The order in which ids are locked.
        candidates.sort_unstable_by(|one, other| EventKey::of(&one.new.event).cmp(&EventKey::of(&other.new.event)));
        candidates
    }

    /// Stores candidates whose ids are new, with what they add. Returns the stored hashes of the others, by position.
    async fn store(
        &self,
        tx: &mut Tx,
        candidates: &[Candidate<'_>],
        now: Timestamp,
        outcomes: &mut [UsageOutcome],
    ) -> Result<HashMap<usize, [u8; 16]>, Error> {
        let rows: Vec<EventRow<'_>> = candidates.iter().map(|candidate| EventRow::new(candidate, now)).collect();
        let stored = store::insert_events(tx, &rows).await?;
        let stored: HashSet<EventKey<'_>> = stored.iter().map(store::StoredKey::key).collect();
        let mut delta = UsageDelta::default();
        let mut known = Vec::new();
        for candidate in candidates {
            let Candidate { index, new, counted, billing } = candidate;
            if !stored.contains(&EventKey::of(&new.event)) {
                known.push(candidate);
                continue;
            }
            outcomes[*index] = match counted {
                Some((meter, units)) => {
                    delta.add(&new.event, meter, *units, *billing)?;
                    UsageOutcome::Accepted { late: matches!(billing, EventBilling::Late { .. }) }
                }
                None => UsageOutcome::Unmatched,
            };
        }
        let mut hashes = HashMap::with_capacity(known.len());
        for (candidate, hash) in store::stored_hashes(tx, &known).await? {
            if hash != candidate.new.hash {
                outcomes[candidate.index] = UsageOutcome::Conflict;
            }
            hashes.insert(candidate.index, hash);
        }
        self.add(tx, delta).await?;
        Ok(hashes)
    }

    /// Adds what events have added to windows, and tells tenants of limits and of their usage after the commit.
    pub(super) async fn add(&self, tx: &mut Tx, delta: UsageDelta) -> Result<(), Error> {
        let changed = store::add(tx, delta, &self.0.meters).await?;
        self.0.changed_usage.after_commit(tx, &changed);
        self.0.changes.after_commit(tx, changed);
        Ok(())
    }

    /// Loads the accounts of tenants, and locks them against the close of a period and the deletion of the tenant.
    pub(super) async fn lock_accounts(
        &self,
        tx: &mut Tx,
        tenants: &[TenantId],
        now: Timestamp,
        lock: AccountLock,
    ) -> Result<HashMap<TenantId, AccountSchedule>, Error> {
        let zone = self.0.accounts.zone();
        store::ensure_accounts(tx, tenants, now, zone).await?;
        let accounts = schedule::load(tx, tenants, zone, Some(lock)).await?;
        self.0.buffer.remember_periods(&accounts);
        Ok(accounts)
    }
}

/// Returns the billing of an event of a known meter, or the reason why the event does not count.
pub(super) fn billing(
    account: &AccountSchedule,
    meter: &Meter,
    at: Timestamp,
    policy: EventPolicy,
    now: Timestamp,
    grace: std::time::Duration,
) -> Result<EventBilling, RejectReason> {
    let period = account.schedule.period_at(at);
    let is_closed = account.closed_until.is_some_and(|until| at < until) || period.end + grace <= now;
    // What is kept has no period: limits apply to the total.
    if !is_closed || meter.lifetime {
        return Ok(EventBilling::InPeriod(period.start));
    }
    if policy == (EventPolicy::Backfill { billed: false }) {
        return Ok(EventBilling::None);
    }
    if meter.late == LatePolicy::Reject {
        return Err(RejectReason::PeriodClosed);
    }
    let open = account.closed_until.map_or(now, |until| now.max(until));
    Ok(EventBilling::Late { billed_in: account.schedule.period_at(open).start, used_in: period.start })
}

/// Counts events in the metrics once they are stored.
fn count_on_commit(tx: &mut Tx, outcomes: &[UsageOutcome]) {
    let mut counts: HashMap<&'static str, u64> = HashMap::new();
    for outcome in outcomes {
        *counts.entry(outcome.as_str()).or_default() += 1;
    }
    tx.on_commit(move || {
        for (status, count) in counts {
            USAGE_EVENTS.counter([status]).increment(count);
        }
    });
}
