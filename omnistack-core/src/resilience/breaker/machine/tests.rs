use super::*;
use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng, seq::IndexedRandom as _};

const OPEN_FOR: Duration = Duration::from_secs(30);

fn settings() -> BreakerSettings {
    BreakerSettings { minimum_calls: 4, open_for: OPEN_FOR, ..BreakerSettings::default() }
}

/// Runs a script of steps on a machine and returns its state. Time advances only at `>`.
///
/// `+` is a call that succeeds, `-` one that fails, `.` one that is ignored, `x` one that is rejected; `(`
/// begins a call, and `+)`, `-)`, `.)` end the oldest running one; `>` advances the clock by one second, `>>`
/// by 30.
fn state_after(settings: BreakerSettings, script: &str) -> BreakerState {
    let mut machine = BreakerMachine::new(settings);
    let (mut now, mut running) = (Duration::ZERO, Vec::new());
    for (at, step) in script.split_whitespace().enumerate() {
        let count = match step.as_bytes()[0] {
            b'+' => BreakerSample::Success,
            b'-' => BreakerSample::Failure,
            _ => BreakerSample::Ignored,
        };
        match step {
            ">" => now += Duration::from_secs(1),
            ">>" => now += OPEN_FOR,
            "x" => assert!(machine.admit(now).0.is_err(), "step {at} of `{script}` is not refused"),
            "+)" | "-)" | ".)" => drop(machine.record(running.remove(0), count, now)),
            _ => {
                let ticket = machine.admit(now).0.unwrap_or_else(|_| panic!("step {at} of `{script}` is refused"));
                if step == "(" {
                    running.push(ticket);
                } else {
                    machine.record(ticket, count, now);
                }
            }
        }
    }
    machine.state()
}

#[test]
fn it_follows_the_rules() {
    use BreakerState::{Closed, HalfOpen, Open};
    let one = settings();
    let two = BreakerSettings { probes: 2, close_after: 3, ..settings() };
    let strict = BreakerSettings { failure_ratio: 1.0, ..settings() };
    let any = BreakerSettings { failure_ratio: 0.0, minimum_calls: 1, ..settings() };
    let cases: &[(&str, &BreakerSettings, &str, BreakerState)] = &[
        ("untouched", &one, "", Closed),
        ("too few calls", &one, "- - -", Closed),
        ("enough failures", &one, "- - - -", Open),
        ("half of them", &one, "+ - + -", Open),
        ("less than half", &one, "+ + + - -", Closed),
        ("half, but the last is a success", &one, "- - + +", Closed),
        ("what says nothing is no call", &one, "- - - . .", Closed),
        ("failures are forgotten", &one, "- - - > > > > > > > > > > -", Closed),
        ("but not before the window is over", &one, "- - - > > > > > > > > > -", Open),
        ("open, it refuses", &one, "- - - - x > x", Open),
        ("until the time is up", &one, "- - - - >> (", HalfOpen),
        ("one probe at a time", &one, "- - - - >> ( x x", HalfOpen),
        ("a probe that succeeds", &one, "- - - - >> +", Closed),
        ("a probe that fails", &one, "- - - - >> - x", Open),
        ("which opens it for the whole time again", &one, "- - - - >> - >> ( x", HalfOpen),
        ("a probe that is dropped makes room", &one, "- - - - >> ( x .) ( x", HalfOpen),
        ("a probe that hangs makes room in time", &one, "- - - - >> ( x >> ( x", HalfOpen),
        ("and then its result is not counted", &one, "- - - - >> ( >> ( +) x -)", Open),
        ("closed, it begins to count anew", &one, "- - - - >> + - - -", Closed),
        ("calls from before it opened don't count", &one, "( ( - - - - >> ( -) +) x", HalfOpen),
        ("nor those from before it closed", &one, "( ( ( ( - - - - >> + -) -) -) -)", Closed),
        ("two probes at a time", &two, "- - - - >> ( ( x", HalfOpen),
        ("two successes are too few", &two, "- - - - >> + +", HalfOpen),
        ("three close it", &two, "- - - - >> ( ( +) +) +", Closed),
        ("one failure opens it", &two, "- - - - >> + + -", Open),
        ("of two probes the failing one counts", &two, "- - - - >> ( ( -) +) x", Open),
        ("every call must fail", &strict, "- - - + - - - -", Closed),
        ("and does", &strict, "- - - -", Open),
        ("any failure opens it", &any, "+ + + + + + -", Open),
        ("and no success", &any, "+ + + +", Closed),
    ];
    for (name, settings, script, expected) in cases {
        assert_eq!(state_after((*settings).clone(), script), *expected, "{name}: `{script}`");
    }
}

/// Thousands of random histories, compared with a model that keeps every call.
#[test]
fn no_history_breaks_its_promises() {
    for seed in 0..2_000 {
        let mut random = SmallRng::seed_from_u64(seed);
        let settings = BreakerSettings {
            window: Duration::from_secs(10),
            minimum_calls: random.random_range(1..6),
            failure_ratio: *[0.0, 0.3, 0.5, 1.0].choose(&mut random).unwrap(),
            open_for: Duration::from_millis(random.random_range(1..20_000)),
            probes: random.random_range(1..4),
            close_after: random.random_range(1..4),
            ..BreakerSettings::default()
        };
        let mut model = Model { state: BreakerState::Closed, since: Duration::ZERO, counted: Vec::new() };
        let mut machine = BreakerMachine::new(settings.clone());
        let mut running: Vec<AdmittedCall> = Vec::new();
        let mut now = Duration::ZERO;
        for _ in 0..200 {
            match random.random_range(0..10) {
                0..4 => {
                    let (admitted, change) = machine.admit(now);
                    model.changed(change, now, seed);
                    match admitted {
                        Ok(ticket) => running.push(ticket),
                        Err(wait) => {
                            assert_ne!(
                                machine.state(),
                                BreakerState::Closed,
                                "seed {seed}: a closed breaker refuses nothing"
                            );
                            let open = machine.state() == BreakerState::Open;
                            let left = (model.since + settings.open_for).saturating_sub(now);
                            assert_eq!(wait, open.then_some(left), "seed {seed}: how long to wait");
                        }
                    }
                    let current = running.iter().filter(|ticket| **ticket == AdmittedCall(machine.generation)).count();
                    let limit = usize::try_from(settings.probes).unwrap();
                    assert!(
                        machine.state() != BreakerState::HalfOpen || current <= limit,
                        "seed {seed}: {current} probes"
                    );
                }
                4..8 if !running.is_empty() => {
                    let ticket = running.swap_remove(random.random_range(0..running.len()));
                    let count = *[
                        BreakerSample::Success,
                        BreakerSample::Failure,
                        BreakerSample::Failure,
                        BreakerSample::Ignored,
                    ]
                    .choose(&mut random)
                    .unwrap();
                    let counts = ticket == AdmittedCall(machine.generation);
                    let change = machine.record(ticket, count, now);
                    if model.state == BreakerState::Closed {
                        if counts && count != BreakerSample::Ignored {
                            model.counted.push((now, count));
                        }
                        let opens = counts && count == BreakerSample::Failure && model.should_open(&settings, now);
                        assert_eq!(change.is_some(), opens, "seed {seed}: opens when it should");
                    }
                    model.changed(change, now, seed);
                }
                _ => now += Duration::from_millis(random.random_range(0..4_000)),
            }
        }
        // Whatever happened before, and even if calls never finished, the breaker recovers when the service
        // does.
        for _ in 0..settings.close_after {
            now += settings.open_for;
            let (admitted, change) = machine.admit(now);
            model.changed(change, now, seed);
            let ticket = admitted.unwrap_or_else(|_| panic!("seed {seed}: it is stuck"));
            model.changed(machine.record(ticket, BreakerSample::Success, now), now, seed);
        }
        assert_eq!(machine.state(), BreakerState::Closed, "seed {seed}: it did not recover");
    }
}

struct Model {
    state: BreakerState,
    since: Duration,
    counted: Vec<(Duration, BreakerSample)>,
}

impl Model {
    fn changed(&mut self, change: Option<StateChange>, now: Duration, seed: u64) {
        let Some(change) = change else { return };
        assert_eq!(change.from, self.state, "seed {seed}: changes are told one after another");
        let known = [
            (BreakerState::Closed, BreakerState::Open),
            (BreakerState::Open, BreakerState::HalfOpen),
            (BreakerState::HalfOpen, BreakerState::Open),
            (BreakerState::HalfOpen, BreakerState::Closed),
        ];
        assert!(known.contains(&(change.from, change.to)), "seed {seed}: {change:?}");
        (self.state, self.since) = (change.to, now);
        self.counted.clear();
    }

    fn should_open(&self, settings: &BreakerSettings, now: Duration) -> bool {
        // The window moves by whole tenths.
        let second = now.as_secs();
        let recent = || self.counted.iter().filter(|(at, _)| at.as_secs() + 10 > second);
        let failures = recent().filter(|(_, count)| *count == BreakerSample::Failure).count();
        let calls = recent().count();
        calls >= usize::try_from(settings.minimum_calls).unwrap()
            && failures as f64 >= settings.failure_ratio * calls as f64
    }
}
