//! Counters in memory, stored every few seconds.

use std::{
    borrow::Cow,
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use omnistack_core::{
    ShutdownToken,
    clock::Timestamp,
    db,
    http::Error,
    id::Id,
    identity::{ApiKeyId, TenantId, UserId},
    usage::{DataEnvironment, Decimal, UsageEvent},
};
use tokio::sync::Mutex as AsyncMutex;
use uuid::Uuid;

use super::{
    Ledger,
    aggregate::{MINUTE_MICROS, floor},
    event::{EventPolicy, NewUsage, RejectReason, UsageOutcome},
};
use crate::{
    account::schedule::{AccountLock, AccountSchedule},
    meter::{Aggregation, MeterSet},
    period::RecentPeriods,
    quantity::Quantity,
    window::reservations,
};

/// The source of events that were counted in memory.
const SOURCE: &str = "counter";
/// Largest number of counters that add up in memory. Further ones are dropped, with a log line. As many can be on their
/// way to the database.
const MAX_COUNTERS: usize = 200_000;
/// Number of counters that one transaction stores.
const BATCH_COUNTERS: usize = 1_000;
/// Number of counters from which on events of tenants without known billing periods share those of a minute.
const MAX_EXACT_COUNTERS: usize = MAX_COUNTERS / 2;
/// Largest number of tenants whose billing periods are remembered.
const MAX_REMEMBERED_TENANTS: usize = 100_000;

/// The key of a counter: events with equal keys are added up.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct CounterKey {
    tenant: TenantId,
    environment: DataEnvironment,
    meter: Cow<'static, str>,
    category: Option<Cow<'static, str>>,
    user: Option<UserId>,
    api_key: Option<ApiKeyId>,
    /// The start of the minute, or of its part that is in the billing period of the events.
    start: Timestamp,
    /// The reservation that holds the units.
    reservation: Option<Uuid>,
    /// The id of the event, if nothing is added to its counter.
    single: Option<String>,
}

#[derive(Clone, Copy, Debug)]
struct Counter {
    quantity: Decimal,
    at: Timestamp,
}

#[derive(Default)]
struct BufferState {
    counters: HashMap<CounterKey, Counter>,
    /// The billing periods of the tenants whose usage was stored.
    periods: HashMap<TenantId, RecentPeriods>,
}

impl BufferState {
    /// Returns the start of the times whose events share a counter with one of this time. They are in one billing
    /// period, also in the minute in which a period ends. Until the periods of a tenant are known, they are equal.
    fn start_of_counter(&mut self, tenant: TenantId, at: Timestamp) -> Timestamp {
        let minute = floor(at, MINUTE_MICROS);
        match self.periods.get_mut(&tenant) {
            Some(periods) => minute.max(periods.period_at(at).start),
            None if self.counters.len() < MAX_EXACT_COUNTERS => at,
            None => minute,
        }
    }
}

/// A counter that is being stored. Its id stays the same until it is, so that it counts once.
#[derive(Clone)]
struct Stored {
    event: UsageEvent,
    reservation: Option<Uuid>,
}

/// Counters in memory.
#[derive(Default)]
pub(super) struct UsageBuffer {
    state: Mutex<BufferState>,
    /// Taken from `counters`, and not known to be stored.
    unstored: AsyncMutex<Vec<Stored>>,
}

impl UsageBuffer {
    /// Adds an event to its counter. An event that its meter can't count, or does not add up, has a counter of its own,
    /// so that it keeps no other from counting.
    pub(super) fn count(&self, meters: &MeterSet, event: UsageEvent, reservation: Option<Uuid>) {
        let meter = meters.get(&event.meter).filter(|meter| meter.aggregation == Aggregation::Sum);
        let fits = |sum: Decimal| meter.is_some_and(|meter| Quantity(sum).to_units(meter.decimals).is_ok());
        let UsageEvent { tenant, environment, meter: name, quantity, at, category, user, api_key, .. } = event;
        let single = (!fits(quantity)).then(|| new_id(at));
        let mut state = self.state();
        let start = state.start_of_counter(tenant, at);
        let key = CounterKey { tenant, environment, meter: name, category, user, api_key, start, reservation, single };
        let counters = &mut state.counters;
        if let Some(counter) = counters.get_mut(&key) {
            let sum = counter.quantity + quantity;
            if fits(sum) {
                *counter = Counter { quantity: sum, at: counter.at.max(at) };
            } else {
                // It has as much as one event can have, so another counter begins.
                let full = std::mem::replace(counter, Counter { quantity, at });
                counters.insert(CounterKey { single: Some(new_id(full.at)), ..key }, full);
            }
            return;
        }
        if counters.len() >= MAX_COUNTERS {
            drop(state);
            tracing::error!(target: "omnistack::usage", "too many usage counters wait to be stored; usage is lost");
            return;
        }
        counters.insert(key, Counter { quantity, at });
    }

    /// Remembers the billing periods of tenants, so that no counter has usage of two of them.
    pub(super) fn remember_periods(&self, accounts: &HashMap<TenantId, AccountSchedule>) {
        let mut state = self.state();
        for (tenant, account) in accounts {
            if state.periods.get(tenant).is_some_and(|known| *known.schedule() == account.schedule) {
                continue;
            }
            if state.periods.len() >= MAX_REMEMBERED_TENANTS {
                state.periods.clear();
            }
            state.periods.insert(*tenant, RecentPeriods::new(account.schedule.clone()));
        }
    }

    /// Stores all counters.
    pub(super) async fn flush(&self, ledger: &Ledger) -> Result<(), Error> {
        let mut unstored = self.unstored.lock().await;
        // Before others are taken: while the database is away, they add up in the map, which has a limit.
        store_all(ledger, &mut unstored).await?;
        let taken = std::mem::take(&mut self.state().counters);
        let now = ledger.0.clock.now();
        unstored.extend(taken.into_iter().map(|(key, counter)| stored(key, counter, now)));
        store_all(ledger, &mut unstored).await?;
        Ok(())
    }

    /// Stores counters every few seconds, and once more at the shutdown.
    pub(super) async fn run(&self, ledger: &Ledger, shutdown: ShutdownToken) {
        let mut is_failing = false;
        loop {
            let ends = tokio::select! {
                () = shutdown.cancelled() => true,
                () = tokio::time::sleep(ledger.0.settings.flush) => false,
            };
            match self.flush(ledger).await {
                Ok(()) => is_failing = false,
                Err(error) if !is_failing => {
                    is_failing = true;
                    tracing::warn!(target: "omnistack::usage", %error, "usage counters could not be stored; they are kept");
                }
                Err(_) => {}
            }
            if ends {
                return;
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, BufferState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn new_id(at: Timestamp) -> String {
    Id::<Counter>::new(at).to_string()
}

fn stored(key: CounterKey, counter: Counter, now: Timestamp) -> Stored {
    let CounterKey { tenant, environment, meter, category, user, api_key, reservation, single, .. } = key;
    let id = single.unwrap_or_else(|| new_id(now));
    let mut event = UsageEvent::new(tenant, meter, counter.quantity, counter.at).once(SOURCE, id);
    event = event.environment(environment).api_key(api_key);
    (event.category, event.user) = (category, user);
    Stored { event, reservation }
}

/// Stores counters, and removes them from the list.
async fn store_all(ledger: &Ledger, unstored: &mut Vec<Stored>) -> Result<(), db::Error> {
    while !unstored.is_empty() {
        // The last ones, so that the others stay in their place.
        let first = unstored.len().saturating_sub(BATCH_COUNTERS);
        let batch = &unstored[first..];
        match store(ledger, batch).await {
            // A sum is too large for the database, which must not keep the counters of other tenants out.
            Err(error) if error.kind() == db::ErrorKind::InvalidValue => store_each(ledger, batch).await?,
            result => result?,
        }
        unstored.truncate(first);
    }
    Ok(())
}

/// Stores counters one by one. One whose sum is too large for the database is lost.
async fn store_each(ledger: &Ledger, batch: &[Stored]) -> Result<(), db::Error> {
    for stored in batch {
        match store(ledger, std::slice::from_ref(stored)).await {
            Err(error) if error.kind() == db::ErrorKind::InvalidValue => {
                let UsageEvent { tenant, meter, .. } = &stored.event;
                tracing::error!(target: "omnistack::usage", %tenant, %meter, %error,
                    "a usage counter can't be stored, and is lost");
            }
            result => result?,
        }
    }
    Ok(())
}

/// Stores counters in one transaction, and takes what they have used out of their reservations.
async fn store(ledger: &Ledger, batch: &[Stored]) -> Result<(), db::Error> {
    let now = ledger.0.clock.now();
    let new = batch.iter().map(|stored| {
        let mut event = stored.event.clone();
        // After a clock was set back, it would be an event of the future, which is rejected.
        event.at = event.at.min(now);
        NewUsage::new(event, false)
    });
    let new: Vec<NewUsage> = new.collect();
    let checked = ledger.check(&new, EventPolicy::Report);
    // The counters are of several tenants.
    let mut tx = ledger.0.db.all_tenants().begin().await?;
    let outcomes = ledger.record(&mut tx, checked, AccountLock::Shared).await?;
    let mut used: HashMap<(TenantId, Uuid), i64> = HashMap::new();
    for (Stored { event, reservation }, outcome) in batch.iter().zip(&outcomes) {
        // A duplicate was stored before, and its units were taken out then.
        let (Some(id), Some(meter)) = (reservation, ledger.0.meters.get(&event.meter)) else { continue };
        if *outcome == UsageOutcome::Duplicate {
            continue;
        }
        let units = Quantity(event.quantity).to_units(meter.decimals).unwrap_or(0);
        *used.entry((event.tenant, *id)).or_default() += reservations::units_of_event(meter, units);
    }
    let mut used: Vec<_> = used.into_iter().collect();
    used.sort_unstable();
    for ((tenant, id), units) in used {
        reservations::shrink(&mut tx, tenant, id, units).await?;
    }
    tx.commit().await?;
    for (stored, outcome) in batch.iter().zip(outcomes) {
        match outcome {
            UsageOutcome::Accepted { .. }
            | UsageOutcome::Duplicate
            // What a tenant has used shortly before its deletion is dropped.
            | UsageOutcome::Rejected(RejectReason::TenantDeleted) => {}
            UsageOutcome::Conflict | UsageOutcome::Unmatched | UsageOutcome::Rejected(_) => {
                tracing::warn!(target: "omnistack::usage", meter = %stored.event.meter, outcome = outcome.as_str(),
                    "a usage counter does not count");
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;
    use crate::{
        meter::{Meter, MeterSet},
        period::{BillingAnchor, BillingInterval, PeriodSchedule},
    };

    /// Lets a buffer know the billing periods of a tenant.
    fn remember(buffer: &UsageBuffer, tenant: TenantId, schedule: PeriodSchedule) {
        let account = AccountSchedule { schedule, closed_until: None };
        buffer.remember_periods(&HashMap::from([(tenant, account)]));
    }

    /// Returns the quantities of the counters, the smallest first.
    fn quantities(buffer: &UsageBuffer) -> Vec<Decimal> {
        let mut found: Vec<Decimal> = buffer.state().counters.values().map(|counter| counter.quantity).collect();
        found.sort_unstable();
        found
    }

    #[test]
    fn events_of_one_minute_share_a_counter() {
        let meters = MeterSet::new(&[Meter::new("logins", "logins", Aggregation::Count)]).0;
        let buffer = UsageBuffer::default();
        let tenant = Id::new(Timestamp::from_micros(0));
        remember(&buffer, tenant, PeriodSchedule::calendar_months(TimeZone::UTC));
        let count = |meter: &'static str, micros: i64, category: &'static str| {
            let event = UsageEvent::new(tenant, meter, 1, Timestamp::from_micros(micros)).category(category);
            buffer.count(&meters, event, None);
        };
        for (micros, category) in [(0, "a"), (59_999_999, "a"), (60_000_000, "a"), (1, "b")] {
            count("api_requests", micros, category);
        }
        assert_eq!(quantities(&buffer), [Decimal::ONE, Decimal::ONE, Decimal::TWO]);
        // Each event of a meter that counts events is stored.
        count("logins", 0, "a");
        count("logins", 0, "a");
        assert_eq!(quantities(&buffer).len(), 5);
    }

    #[test]
    fn events_of_two_billing_periods_share_no_counter() {
        let meters = MeterSet::new(&[]).0;
        let tenant = Id::new(Timestamp::from_micros(0));
        let boundary = Timestamp::from_micros(30_000_000);
        let schedule = PeriodSchedule::new(BillingAnchor::new(boundary, BillingInterval::MONTH, TimeZone::UTC));
        for (is_known, expected) in [(true, vec![3_i32, 4]), (false, vec![1, 2, 4])] {
            let buffer = UsageBuffer::default();
            if is_known {
                remember(&buffer, tenant, schedule.clone());
            }
            for (quantity, micros) in [(1, 29_000_000), (2, 29_999_999), (4, 30_000_000)] {
                let event = UsageEvent::new(tenant, "runs", quantity, Timestamp::from_micros(micros));
                buffer.count(&meters, event, None);
            }
            let expected: Vec<Decimal> = expected.into_iter().map(Decimal::from).collect();
            assert_eq!(quantities(&buffer), expected, "{is_known}");
        }
    }

    #[test]
    fn counters_have_what_one_event_can_have() {
        let meters = MeterSet::new(&[Meter::sum("hours", "hours").decimals(4)]).0;
        let buffer = UsageBuffer::default();
        let tenant = Id::new(Timestamp::from_micros(0));
        // The largest event has 10^15 units, which are 10^11 hours.
        let (large, rest) = (60_000_000_000_i64.into(), 39_999_999_999_i64.into());
        for quantity in [Decimal::new(1, 5), Decimal::MAX, large, 1.into(), rest, 3.into()] {
            buffer.count(&meters, UsageEvent::new(tenant, "hours", quantity, Timestamp::from_micros(0)), None);
        }
        assert_eq!(quantities(&buffer), [Decimal::new(1, 5), 3.into(), 100_000_000_000_i64.into(), Decimal::MAX]);
    }
}
