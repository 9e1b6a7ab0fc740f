//! Allowances: the rules by which a process gives out units that it has reserved before.
//!
//! The units of a share are in a reservation in the database until the ledger has stored what was used of them. So the
//! limit holds exactly, although nothing is read or written here.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use metrics::Counter;
use omnistack_core::{
    clock::{Clock, Timestamp},
    http::Error,
    metrics::QUOTA_DECISIONS,
};
use tokio::sync::Mutex as AsyncMutex;
use uuid::Uuid;

use crate::{
    account::Entitled,
    period::BillingPeriod,
    window::{
        WindowKey,
        reservations::{LimitUse, RequestedUnits},
    },
};

/// The time without use after which what is left of a share is given back.
const IDLE_AFTER: Duration = Duration::from_secs(1);
/// The time after which a share is renewed.
const RENEW_AFTER: Duration = Duration::from_secs(5);
/// The age at which a share is replaced, so that units which were counted but not stored are not held for ever.
const MAX_SHARE_AGE: Duration = Duration::from_secs(10 * 60);
/// The time before the expiry of its reservation at which a share ends, because the clocks of processes differ.
const EXPIRY_MARGIN: Duration = Duration::from_secs(5);
/// The number of refusals of a second after which others are refused from memory.
const MAX_REFUSALS_PER_SECOND: u32 = 10;

/// A time on both clocks of a process: the one that never goes backwards, which can stand still while the machine
/// sleeps, and that of the wall, which can be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ProcessTime {
    pub(super) elapsed: Duration,
    pub(super) wall: Timestamp,
}

impl ProcessTime {
    pub(super) fn of(clock: &Clock) -> Self {
        Self { elapsed: clock.elapsed(), wall: clock.now() }
    }

    /// Returns the time at which a share ends whose reservation expires `ttl` after this time.
    pub(super) fn end_of_share(self, ttl: Duration) -> Self {
        let life = ttl.saturating_sub(EXPIRY_MARGIN);
        Self { elapsed: self.elapsed + life, wall: self.wall + life }
    }

    /// Returns whether it is before another time on both clocks.
    fn is_before(self, other: Self) -> bool {
        self.elapsed < other.elapsed && self.wall < other.wall
    }
}

/// A request for units of an allowance.
#[derive(Clone, Copy)]
pub(super) struct UnitsRequest<'a> {
    pub(super) units: i64,
    /// The time of use.
    pub(super) at: Timestamp,
    /// The current entitlements of the tenant.
    pub(super) entitled: &'a Arc<Entitled>,
    pub(super) now: ProcessTime,
}

/// The result of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TakeOutcome {
    /// The units were taken out of this reservation.
    Taken(Uuid),
    /// The limit has refused as much several times in this second.
    Refused(LimitUse),
    /// The time of use is in a billing period before that of the share.
    EarlierPeriod,
    /// The allowance has to be refilled.
    Empty,
}

/// Units of a limit that this process has reserved.
pub(super) struct Share {
    /// The id of the reservation.
    pub(super) id: Uuid,
    pub(super) window: WindowKey,
    /// The times of use for which the window counts.
    pub(super) period: BillingPeriod,
    /// The entitlements by which it was reserved. They are replaced whenever the account changes.
    pub(super) entitled: Arc<Entitled>,
    /// The units that are not given out yet.
    pub(super) left: i64,
    /// The time until which no other process can have deleted the reservation as expired.
    pub(super) valid_until: ProcessTime,
    /// The times of the last renewal, the first use and the last use, since the start of the process.
    pub(super) renewed: Duration,
    pub(super) created: Duration,
    pub(super) used: Duration,
}

impl Share {
    /// Returns whether units can be taken out of the share, or added to it, for a request.
    fn serves(&self, request: &UnitsRequest<'_>) -> bool {
        self.is_current(request) && self.period.contains(request.at)
    }

    fn is_current(&self, request: &UnitsRequest<'_>) -> bool {
        Arc::ptr_eq(&self.entitled, request.entitled) && request.now.is_before(self.valid_until)
    }
}

/// Units of a share that are to be given back.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct UnusedUnits {
    /// First, so that windows are locked in the order of their keys.
    pub(super) window: WindowKey,
    pub(super) id: Uuid,
    pub(super) units: i64,
}

/// The work that a share needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ShareUpkeep {
    None,
    /// It is idle: its units, which are no longer in the allowance, have to be given back.
    GiveBack(UnusedUnits),
    /// Its reservation, by id, has to be renewed. The time is that of the last renewal.
    Renew(Uuid, Duration),
}

/// The allowance of a tenant, environment and meter.
pub(super) struct Allowance {
    state: Mutex<AllowanceState>,
    /// Held by the task that refills the allowance, for which the others wait.
    pub(super) refilling: Arc<AsyncMutex<()>>,
    pub(super) allowed: Counter,
    pub(super) refused: Counter,
}

#[derive(Default)]
struct AllowanceState {
    share: Option<Share>,
    /// The units that tasks wait for.
    waiting: i64,
    demand: UnitsPerSecond,
    refusals: RecentRefusals,
    /// The number of refills that have failed.
    failures: u64,
    last_failure: Option<Arc<Error>>,
}

impl Allowance {
    pub(super) fn new(meter: &'static str) -> Self {
        let [allowed, refused] = ["allowed", "refused"].map(|result| QUOTA_DECISIONS.counter([meter, result]));
        Self { state: Mutex::default(), refilling: Arc::default(), allowed, refused }
    }

    /// Takes units out of the allowance.
    pub(super) fn take(&self, request: &UnitsRequest<'_>) -> TakeOutcome {
        let mut state = self.state();
        if let Some(share) = &mut state.share
            && share.is_current(request)
        {
            if request.at < share.period.start {
                return TakeOutcome::EarlierPeriod;
            }
            if share.left >= request.units && share.period.contains(request.at) {
                share.left -= request.units;
                share.used = request.now.elapsed;
                let id = share.id;
                state.demand.add(request.units, request.now.elapsed);
                return TakeOutcome::Taken(id);
            }
        }
        state.refusals.answer(request).map_or(TakeOutcome::Empty, TakeOutcome::Refused)
    }

    /// Counts units that a task waits for, until the guard is dropped.
    pub(super) fn wait_for(self: &Arc<Self>, units: i64) -> WaitingUnits {
        self.state().waiting += units;
        WaitingUnits { allowance: Arc::clone(self), units }
    }

    /// Takes the share out if it can't serve a request any more.
    pub(super) fn replace_share(&self, request: &UnitsRequest<'_>) -> Option<Share> {
        self.state().share.take_if(|share| {
            !share.serves(request) || request.now.elapsed.saturating_sub(share.created) >= MAX_SHARE_AGE
        })
    }

    /// Returns the reservation to refill, its window and its period.
    pub(super) fn current(&self) -> Option<(Uuid, WindowKey, BillingPeriod)> {
        self.state().share.as_ref().map(|share| (share.id, share.window.clone(), share.period))
    }

    /// Returns the units to reserve for a request that the allowance could not serve.
    pub(super) fn missing(&self, request: &UnitsRequest<'_>) -> RequestedUnits {
        let mut state = self.state();
        let left = state.share.as_ref().map_or(0, |share| share.left);
        let least = (request.units - left).max(1);
        let wanted = state.waiting.saturating_sub(left).max(least);
        let spare = state.demand.recent(request.now.elapsed).saturating_mul(2);
        RequestedUnits { least, wanted, spare }
    }

    /// Adds units that were reserved: to the share, or as a new one. `held` is what the reservation holds in the
    /// database.
    pub(super) fn refill(&self, new: Share, held: i64) {
        let mut state = self.state();
        state.refusals = RecentRefusals::default();
        match &mut state.share {
            Some(share) if share.id == new.id => {
                // If the reservation holds less than what was left before, it was deleted meanwhile, and made again.
                let before = if held - new.left < share.left { 0 } else { share.left };
                share.left = before + new.left;
                share.valid_until = new.valid_until;
                share.renewed = new.renewed;
            }
            _ => state.share = Some(new),
        }
    }

    /// Remembers that a limit has refused a request.
    pub(super) fn refuse(&self, request: &UnitsRequest<'_>, period: BillingPeriod, of_limit: LimitUse) {
        self.state().refusals.add(request, period, of_limit);
    }

    /// Remembers that a refill has failed, for the tasks that wait for it. Returns the error.
    pub(super) fn fail(&self, error: Error) -> Error {
        let error = Arc::new(error);
        let mut state = self.state();
        state.failures += 1;
        state.last_failure = Some(Arc::clone(&error));
        error.into()
    }

    /// Returns the number of refills that have failed.
    pub(super) fn failures(&self) -> u64 {
        self.state().failures
    }

    /// Returns the error of the last refill that has failed, if there are more than `known`.
    pub(super) fn failure_after(&self, known: u64) -> Option<Arc<Error>> {
        let state = self.state();
        state.last_failure.clone().filter(|_| state.failures > known)
    }

    /// Forgets refusals, because units were given back.
    pub(super) fn forget_refusals(&self) {
        self.state().refusals = RecentRefusals::default();
    }

    /// Gives up the share of this reservation, because it is not known what it holds in the database. It expires there.
    pub(super) fn abandon(&self, id: Uuid) {
        self.state().share.take_if(|share| share.id == id);
    }

    /// Returns the work that the share needs. A share that was not used for `ttl` is given up: the ledger has stored
    /// what was used of it.
    pub(super) fn upkeep(&self, now: Duration, ttl: Duration) -> ShareUpkeep {
        let mut state = self.state();
        let Some(share) = &mut state.share else { return ShareUpkeep::None };
        let idle = now.saturating_sub(share.used);
        if idle >= IDLE_AFTER && share.left > 0 {
            let units = std::mem::take(&mut share.left);
            return ShareUpkeep::GiveBack(UnusedUnits { window: share.window.clone(), id: share.id, units });
        }
        if idle >= ttl {
            state.share = None;
            return ShareUpkeep::None;
        }
        if now.saturating_sub(share.renewed) >= RENEW_AFTER {
            return ShareUpkeep::Renew(share.id, share.renewed);
        }
        ShareUpkeep::None
    }

    /// Records that a reservation was renewed.
    pub(super) fn renewed(&self, id: Uuid, at: Duration, valid_until: ProcessTime) {
        if let Some(share) = self.state().share.as_mut().filter(|share| share.id == id) {
            share.renewed = share.renewed.max(at);
            if share.valid_until.is_before(valid_until) {
                share.valid_until = valid_until;
            }
        }
    }

    /// Gives up the share of a reservation that a renewal has not found, unless it was refilled since. `seen` is the
    /// time of the renewal before.
    pub(super) fn lost(&self, id: Uuid, seen: Duration) {
        self.state().share.take_if(|share| share.id == id && share.renewed == seen);
    }

    /// Ends the allowance. Returns the units to give back.
    pub(super) fn close(&self) -> Option<UnusedUnits> {
        let Share { window, id, left: units, .. } = self.state().share.take()?;
        (units > 0).then_some(UnusedUnits { window, id, units })
    }

    /// Returns whether it holds nothing and no task waits for it.
    pub(super) fn is_unused(&self) -> bool {
        let state = self.state();
        state.share.is_none() && state.waiting == 0
    }

    fn state(&self) -> MutexGuard<'_, AllowanceState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Units that a task waits for.
pub(super) struct WaitingUnits {
    allowance: Arc<Allowance>,
    units: i64,
}

impl Drop for WaitingUnits {
    fn drop(&mut self) {
        self.allowance.state().waiting -= self.units;
    }
}

/// The units that were used in the current second of the process's clock, and in the one before.
#[derive(Clone, Copy, Debug, Default)]
struct UnitsPerSecond {
    second: u64,
    current: i64,
    before: i64,
}

impl UnitsPerSecond {
    fn add(&mut self, units: i64, now: Duration) {
        self.advance(now);
        self.current = self.current.saturating_add(units);
    }

    fn recent(&mut self, now: Duration) -> i64 {
        self.advance(now);
        self.current.max(self.before)
    }

    fn advance(&mut self, now: Duration) {
        let second = now.as_secs();
        self.before = match second.saturating_sub(self.second) {
            0 => return,
            1 => self.current,
            _ => 0,
        };
        (self.second, self.current) = (second, 0);
    }
}

/// The refusals of the current second of the process's clock. A caller that is refused and tries again at once would
/// otherwise lock the window each time.
#[derive(Default)]
struct RecentRefusals {
    second: u64,
    count: u32,
    last: Option<Refusal>,
}

struct Refusal {
    units: i64,
    period: BillingPeriod,
    entitled: Arc<Entitled>,
    of_limit: LimitUse,
}

impl RecentRefusals {
    fn add(&mut self, request: &UnitsRequest<'_>, period: BillingPeriod, of_limit: LimitUse) {
        let second = request.now.elapsed.as_secs();
        if self.second != second {
            (self.second, self.count) = (second, 0);
        }
        self.count += 1;
        let entitled = Arc::clone(request.entitled);
        self.last = Some(Refusal { units: request.units, period, entitled, of_limit });
    }

    /// Returns the last refusal if it is that of a request for as much or less, and there were many.
    fn answer(&self, request: &UnitsRequest<'_>) -> Option<LimitUse> {
        let refusal = self.last.as_ref()?;
        let is_same = request.units >= refusal.units
            && refusal.period.contains(request.at)
            && Arc::ptr_eq(&refusal.entitled, request.entitled);
        let are_many = self.second == request.now.elapsed.as_secs() && self.count >= MAX_REFUSALS_PER_SECOND;
        (is_same && are_many).then_some(refusal.of_limit)
    }
}

#[cfg(test)]
mod tests;
