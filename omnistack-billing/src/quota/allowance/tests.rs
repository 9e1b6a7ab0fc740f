//! Tests of the rules of allowances.

use omnistack_core::{id::Id, identity::Plan, usage::DataEnvironment};

use super::*;
use crate::{plan::PlanDefinition, window::Grain};

const TTL: Duration = Duration::from_secs(32);

fn entitled() -> Arc<Entitled> {
    let (plan, definition) = (Plan::new("free").limit("runs", 100), PlanDefinition::new("free", "Free"));
    Arc::new(Entitled { plan: Arc::new(plan), definition: Arc::new(definition), valid_until: None })
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

fn time(seconds: u64) -> ProcessTime {
    ProcessTime { elapsed: Duration::from_secs(seconds), wall: at(i64::try_from(seconds).unwrap()) }
}

/// A billing period of 1,000 seconds.
fn period(number: i64) -> BillingPeriod {
    BillingPeriod { start: at(number * 1_000), end: at((number + 1) * 1_000) }
}

struct Probe {
    allowance: Arc<Allowance>,
    entitled: Arc<Entitled>,
}

impl Probe {
    fn new() -> Self {
        Self { allowance: Arc::new(Allowance::new("runs")), entitled: entitled() }
    }

    fn request(&self, units: i64, seconds: u64) -> UnitsRequest<'_> {
        let now = time(seconds);
        UnitsRequest { units, at: now.wall, entitled: &self.entitled, now }
    }

    /// Adds units that were reserved in the first billing period.
    fn refill(&self, id: u128, units: i64, held: i64, seconds: u64) {
        let now = time(seconds);
        let window = WindowKey {
            tenant: Id::new(at(0)),
            environment: DataEnvironment::Live,
            meter: "runs".to_owned(),
            grain: Grain::Period,
            start: at(0),
        };
        let share = Share {
            id: Uuid::from_u128(id),
            window,
            period: period(0),
            entitled: Arc::clone(&self.entitled),
            left: units,
            valid_until: now.end_of_share(TTL),
            renewed: now.elapsed,
            created: now.elapsed,
            used: now.elapsed,
        };
        self.allowance.refill(share, held);
    }

    fn take(&self, units: i64, seconds: u64) -> TakeOutcome {
        self.allowance.take(&self.request(units, seconds))
    }
}

const fn taken(id: u128) -> TakeOutcome {
    TakeOutcome::Taken(Uuid::from_u128(id))
}

#[test]
fn units_are_given_out_once() {
    let probe = Probe::new();
    assert_eq!(probe.take(1, 0), TakeOutcome::Empty);
    probe.refill(1, 10, 10, 0);
    let outcomes = [4, 4, 4, 2, 1].map(|units| probe.take(units, 1));
    assert_eq!(outcomes, [taken(1), taken(1), TakeOutcome::Empty, taken(1), TakeOutcome::Empty]);
}

#[test]
fn a_share_serves_its_time_its_period_and_its_plan() {
    let mut probe = Probe::new();
    probe.refill(1, 10, 10, 0);
    // Five seconds before the reservation expires, its units are no longer safe.
    assert_eq!(probe.take(1, 26), taken(1));
    assert_eq!(probe.take(1, 27), TakeOutcome::Empty);
    // The machine has slept, or its clock was set back.
    for now in [ProcessTime { elapsed: Duration::ZERO, ..time(27) }, ProcessTime { wall: at(0), ..time(27) }] {
        let request = UnitsRequest { now, ..probe.request(1, 26) };
        assert_eq!(probe.allowance.take(&request), TakeOutcome::Empty);
    }
    assert!(probe.allowance.replace_share(&probe.request(1, 26)).is_none());
    assert_eq!(probe.allowance.replace_share(&probe.request(1, 27)).unwrap().left, 9);

    probe.refill(2, 10, 10, 0);
    let later = UnitsRequest { at: period(1).start, ..probe.request(1, 1) };
    assert_eq!(probe.allowance.take(&later), TakeOutcome::Empty);
    let earlier = UnitsRequest { at: at(-1), ..probe.request(1, 1) };
    assert_eq!(probe.allowance.take(&earlier), TakeOutcome::EarlierPeriod);
    assert_eq!(probe.take(1, 1), taken(2));

    probe.entitled = entitled();
    assert_eq!(probe.take(1, 1), TakeOutcome::Empty);
    assert_eq!(probe.allowance.replace_share(&probe.request(1, 1)).unwrap().left, 9);
    assert!(probe.allowance.replace_share(&probe.request(1, 1)).is_none());
}

#[test]
fn an_old_share_is_replaced() {
    let probe = Probe::new();
    probe.refill(1, 1, 1, 0);
    probe.allowance.renewed(Uuid::from_u128(1), Duration::from_secs(599), time(10_000));
    assert!(probe.allowance.replace_share(&probe.request(1, 599)).is_none());
    assert!(probe.allowance.replace_share(&probe.request(1, 600)).is_some());
}

#[test]
fn a_refill_is_for_all_that_wait_and_for_two_seconds() {
    let probe = Probe::new();
    let missing = |units, seconds| {
        let RequestedUnits { least, wanted, spare } = probe.allowance.missing(&probe.request(units, seconds));
        (least, wanted, spare)
    };
    assert_eq!(missing(5, 0), (5, 5, 0));
    let waiting: Vec<_> = [5, 7, 8].map(|units| probe.allowance.wait_for(units)).into();
    assert_eq!(missing(5, 0), (5, 20, 0));
    // What is left is used before more is reserved.
    probe.refill(1, 3, 3, 0);
    assert_eq!(missing(5, 0), (2, 17, 0));
    drop(waiting);
    assert_eq!(missing(5, 0), (2, 2, 0));
    probe.refill(1, 97, 100, 0);
    for _ in 0..10 {
        assert_eq!(probe.take(10, 0), taken(1));
    }
    assert_eq!(missing(5, 0), (5, 5, 200));
    assert_eq!(missing(5, 1), (5, 5, 200));
    assert_eq!(missing(5, 2), (5, 5, 0));
    assert!(!probe.allowance.is_unused());
}

#[test]
fn units_of_a_reservation_that_was_deleted_are_not_given_out() {
    let probe = Probe::new();
    probe.refill(1, 10, 10, 0);
    assert_eq!(probe.take(4, 0), taken(1));
    // Six are left and four are used, but the reservation has only the new units.
    probe.refill(1, 5, 5, 1);
    assert_eq!([5, 1].map(|units| probe.take(units, 1)), [taken(1), TakeOutcome::Empty]);
    // The ledger has stored all that was used.
    probe.refill(1, 5, 5, 1);
    probe.refill(1, 5, 10, 1);
    assert_eq!([10, 1].map(|units| probe.take(units, 1)), [taken(1), TakeOutcome::Empty]);
}

#[test]
fn an_idle_share_is_given_back_and_a_used_one_is_renewed() {
    let probe = Probe::new();
    let id = Uuid::from_u128(1);
    let upkeep = |seconds| probe.allowance.upkeep(Duration::from_secs(seconds), TTL);
    assert_eq!(upkeep(0), ShareUpkeep::None);
    probe.refill(1, 10, 10, 0);
    assert_eq!(upkeep(0), ShareUpkeep::None);
    for seconds in 1..5 {
        assert_eq!(probe.take(1, seconds), taken(1));
        assert_eq!(upkeep(seconds), ShareUpkeep::None);
    }
    assert_eq!(probe.take(1, 5), taken(1));
    assert_eq!(upkeep(5), ShareUpkeep::Renew(id, Duration::ZERO));
    probe.allowance.renewed(id, Duration::from_secs(5), time(32));
    assert_eq!(upkeep(5), ShareUpkeep::None);
    assert!(matches!(upkeep(6), ShareUpkeep::GiveBack(UnusedUnits { units: 5, .. })));
    assert_eq!(probe.take(1, 6), TakeOutcome::Empty);
    // The used units stay in the reservation until the ledger has stored them.
    assert_eq!(upkeep(10), ShareUpkeep::Renew(id, Duration::from_secs(5)));
    assert_eq!(upkeep(37), ShareUpkeep::None);
    assert!(probe.allowance.is_unused());
}

#[test]
fn a_share_that_a_renewal_does_not_find_is_given_up_unless_it_was_refilled() {
    let probe = Probe::new();
    let id = Uuid::from_u128(1);
    probe.refill(1, 10, 10, 0);
    probe.refill(1, 10, 20, 6);
    probe.allowance.lost(id, Duration::ZERO);
    assert_eq!(probe.take(20, 6), taken(1));
    probe.allowance.lost(id, Duration::from_secs(6));
    assert!(probe.allowance.is_unused());
    probe.refill(1, 10, 10, 7);
    probe.allowance.abandon(Uuid::from_u128(2));
    assert_eq!(probe.take(1, 7), taken(1));
    assert_eq!(probe.allowance.close().unwrap().units, 9);
    assert!(probe.allowance.close().is_none());
}

#[test]
fn after_many_refusals_of_a_second_others_are_refused_from_memory() {
    let mut probe = Probe::new();
    let of_limit = LimitUse { used: 95, reserved: 5 };
    for _ in 0..MAX_REFUSALS_PER_SECOND {
        assert_eq!(probe.take(3, 0), TakeOutcome::Empty);
        probe.allowance.refuse(&probe.request(3, 0), period(0), of_limit);
    }
    assert_eq!(probe.take(3, 0), TakeOutcome::Refused(of_limit));
    assert_eq!(probe.take(2, 0), TakeOutcome::Empty, "as much may be left");
    assert_eq!(probe.take(3, 1), TakeOutcome::Empty, "a new second");
    let next = UnitsRequest { at: period(1).start, ..probe.request(3, 0) };
    assert_eq!(probe.allowance.take(&next), TakeOutcome::Empty, "a new billing period");
    let before = std::mem::replace(&mut probe.entitled, entitled());
    assert_eq!(probe.take(3, 0), TakeOutcome::Empty, "another plan");
    probe.entitled = before;
    probe.allowance.forget_refusals();
    assert_eq!(probe.take(3, 0), TakeOutcome::Empty);
}
