//! Records events in a transaction.

use std::collections::HashMap;

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
    period::RecentPeriods,
};

/// Events that were checked without the database, so that a transaction does not wait for it.
pub(super) struct CheckedUsage<'a> {
    policy: EventPolicy,
    new: Vec<&'a NewUsage>,
    outcomes: Vec<UsageOutcome>,
    /// The events to store, each id once, in the order of the ids, in which transactions lock them.
    unique: Vec<CheckedEvent<'a>>,
    /// The positions of events whose ids occur before in the list, and of the first event with the same id.
    repeated: Vec<(usize, usize)>,
}

/// An event that is to be stored.
struct CheckedEvent<'a> {
    /// The position in the list of new events.
    index: usize,
    new: &'a NewUsage,
    /// The meter and the quantity in its smallest units. `None` if the app has no such meter.
    counted: Option<(&'a Meter, i64)>,
}

/// An event that is stored unless its id is known.
pub(super) struct Candidate<'a> {
    index: usize,
    pub(super) new: &'a NewUsage,
    pub(super) counted: Option<(&'a Meter, i64)>,
    pub(super) billing: EventBilling,
}

impl Ledger {
    /// Checks what does not depend on the database.
    pub(super) fn check<'a>(
        &'a self,
        new: impl IntoIterator<Item = &'a NewUsage>,
        policy: EventPolicy,
    ) -> CheckedUsage<'a> {
        let new: Vec<&NewUsage> = new.into_iter().collect();
        let now = self.0.clock.now();
        let mut outcomes = vec![UsageOutcome::Duplicate; new.len()];
        let mut unique = Vec::with_capacity(new.len());
        for (index, new) in new.iter().copied().enumerate() {
            let meter = self.0.meters.get(&new.event.meter);
            match new.check(meter, policy, now, self.0.settings.max_age) {
                Ok(units) => unique.push(CheckedEvent { index, new, counted: meter.zip(units) }),
                Err(reason) => outcomes[index] = UsageOutcome::Rejected(reason),
            }
        }
        unique.sort_unstable_by(|one, other| {
            EventKey::of(&one.new.event).cmp(&EventKey::of(&other.new.event)).then(one.index.cmp(&other.index))
        });
        let mut repeated = Vec::new();
        unique.dedup_by(|later, first| {
            let is_repeated = EventKey::of(&later.new.event) == EventKey::of(&first.new.event);
            if is_repeated {
                repeated.push((later.index, first.index));
            }
            is_repeated
        });
        CheckedUsage { policy, new, outcomes, unique, repeated }
    }

    /// Stores events and what they add. Returns what became of each, in the same order.
    ///
    /// Rows are locked in the same order by every call: accounts, events, windows, dimensions, each in the order of their
    /// keys. A transaction with several calls locks the accounts exclusively, because it locks the other rows in the
    /// order of its calls.
    pub(super) async fn record(
        &self,
        tx: &mut Tx,
        checked: CheckedUsage<'_>,
        lock: AccountLock,
    ) -> Result<Vec<UsageOutcome>, Error> {
        let CheckedUsage { policy, new, mut outcomes, unique, repeated } = checked;
        let now = self.0.clock.now();
        // In the order of the keys, which begin with the tenant.
        let mut tenants: Vec<TenantId> = unique.iter().map(|event| event.new.event.tenant).collect();
        tenants.dedup();
        let accounts = self.lock_accounts(tx, &tenants, now, lock).await?;
        let candidates = self.bill(accounts, unique, policy, now, &mut outcomes);
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
        accounts: HashMap<TenantId, AccountSchedule>,
        events: Vec<CheckedEvent<'a>>,
        policy: EventPolicy,
        now: Timestamp,
        outcomes: &mut [UsageOutcome],
    ) -> Vec<Candidate<'a>> {
        let mut accounts = BilledAccount::all(accounts);
        let mut candidates = Vec::with_capacity(events.len());
        for CheckedEvent { index, new, counted } in events {
            // Every tenant was asked for.
            let Some(account) = accounts.get_mut(&new.event.tenant) else { continue };
            let billing = match counted {
                _ if account.is_deleted => Err(RejectReason::TenantDeleted),
                Some((meter, _)) => account.billing(meter, new.event.at, policy, now, self.0.settings.grace),
                None => Ok(EventBilling::None),
            };
            match billing {
                Ok(billing) => candidates.push(Candidate { index, new, counted, billing }),
                Err(reason) => outcomes[index] = UsageOutcome::Rejected(reason),
            }
        }
        candidates
    }

    /// Stores candidates whose ids are new, with what they add. Returns the hashes of the stored events with the same ids
    /// and other content, by position.
    async fn store(
        &self,
        tx: &mut Tx,
        candidates: &[Candidate<'_>],
        now: Timestamp,
        outcomes: &mut [UsageOutcome],
    ) -> Result<HashMap<usize, [u8; 16]>, Error> {
        let rows: Vec<EventRow<'_>> = candidates.iter().map(|candidate| EventRow::new(candidate, now)).collect();
        let inserted = store::insert_events(tx, &rows).await?;
        let mut delta = UsageDelta::default();
        let mut known = Vec::new();
        for (candidate, is_new) in candidates.iter().zip(inserted) {
            let Candidate { index, new, counted, billing } = candidate;
            if !is_new {
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
        let mut hashes = HashMap::new();
        for (candidate, hash) in store::conflicts(tx, &known).await? {
            outcomes[candidate.index] = UsageOutcome::Conflict;
            hashes.insert(candidate.index, hash);
        }
        self.add(tx, delta).await?;
        Ok(hashes)
    }

    /// Adds what events have added to windows, and tells tenants of limits and of their usage after the commit.
    pub(super) async fn add(&self, tx: &mut Tx, delta: UsageDelta<'_>) -> Result<(), Error> {
        let changed = store::add(tx, delta.into_sums()?, &self.0.meters).await?;
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

/// The billing periods of an account, for many events.
pub(super) struct BilledAccount {
    periods: RecentPeriods,
    closed_until: Option<Timestamp>,
    /// Whether the tenant was deleted, so that no usage of it is stored.
    pub(super) is_deleted: bool,
}

impl BilledAccount {
    /// Returns the periods of these accounts.
    pub(super) fn all(accounts: HashMap<TenantId, AccountSchedule>) -> HashMap<TenantId, Self> {
        accounts.into_iter().map(|(tenant, account)| (tenant, Self::from(account))).collect()
    }

    /// Returns the billing of an event of a known meter, or the reason why the event does not count.
    pub(super) fn billing(
        &mut self,
        meter: &Meter,
        at: Timestamp,
        policy: EventPolicy,
        now: Timestamp,
        grace: std::time::Duration,
    ) -> Result<EventBilling, RejectReason> {
        let period = self.periods.period_at(at);
        let is_closed = self.closed_until.is_some_and(|until| at < until) || period.end + grace <= now;
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
        let open = self.closed_until.map_or(now, |until| now.max(until));
        Ok(EventBilling::Late { billed_in: self.periods.schedule().period_at(open).start, used_in: period.start })
    }
}

impl From<AccountSchedule> for BilledAccount {
    fn from(account: AccountSchedule) -> Self {
        let is_deleted = account.is_deleted();
        Self { periods: RecentPeriods::new(account.schedule), closed_until: account.closed_until, is_deleted }
    }
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
