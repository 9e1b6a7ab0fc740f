//! Random reports of usage.

use std::{collections::BTreeSet, time::Duration};

use omnistack_core::{clock::Timestamp, identity::UserId, usage::Decimal};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};
use serde_json::{Value, json};

use super::{ENVIRONMENTS, TENANTS};

const REQUESTS: usize = 280;
const MAX_NEW_EVENTS: usize = 150;
/// Number of the newest events of which some are sent again.
const REPEATED_EVENTS: usize = 600;

/// The time of the first requests, and the number of days in which they are sent.
const START: &str = "2030-02-05T00:00:00Z";
const DAYS: u64 = 60;
/// The ends of billing periods. Requests are sent about the last two.
const PERIOD_ENDS: [&str; 3] = ["2030-02-01T00:00:00Z", "2030-03-01T00:00:00Z", "2030-04-01T00:00:00Z"];

const MICROSECOND: Duration = Duration::from_micros(1);
const MINUTE: Duration = Duration::from_secs(60);
const DAY_MICROS: u64 = 24 * 60 * 60 * 1_000_000;
const QUARTER_HOUR_MICROS: i64 = 15 * 60 * 1_000_000;
/// The app's rules: the time for which a billing period takes events, the largest age of an event, and the time by
/// which the clock of a sender may be ahead.
const GRACE: Duration = Duration::from_secs(60 * 60);
const MAX_AGE_MICROS: u64 = 35 * DAY_MICROS;
const MAX_CLOCK_SKEW: Duration = Duration::from_secs(5 * 60);

/// Tenants can report all but the last.
const METERS: [&str; 9] =
    ["pages", "hours", "logins", "peak", "level", "active_users", "models", "storage_bytes", "ai_fixes"];
const CATEGORIES: [&str; 5] = ["a", "B", "c/d", "größer", "gpt-5"];
const USERS: usize = 8;

/// Creates requests with random events.
pub(super) struct RandomRequests {
    rng: StdRng,
    users: Vec<UserId>,
    /// The events of each tenant in each environment, without those that are sent again.
    events: [[Vec<Value>; ENVIRONMENTS.len()]; TENANTS],
}

impl RandomRequests {
    pub(super) fn new(seed: u64) -> Self {
        let start = START.parse().unwrap();
        let users = (0..USERS).map(|_| UserId::new(start)).collect();
        Self { rng: StdRng::seed_from_u64(seed), users, events: Default::default() }
    }

    /// Returns the times of the requests, in order. A quarter is about the end of the grace of a billing period.
    pub(super) fn times(&mut self) -> Vec<Timestamp> {
        let rng = &mut self.rng;
        let start: Timestamp = START.parse().unwrap();
        let mut times: Vec<Timestamp> = (0..REQUESTS)
            .map(|number| {
                if number % 4 > 0 {
                    return start + Duration::from_micros(rng.random_range(0..DAYS * DAY_MICROS));
                }
                let end: Timestamp = PERIOD_ENDS[rng.random_range(1..PERIOD_ENDS.len())].parse().unwrap();
                let after = [GRACE.saturating_sub(MICROSECOND), GRACE, MINUTE * rng.random_range(0..120_u32)];
                end + after[rng.random_range(0..after.len())]
            })
            .collect();
        times.sort_unstable();
        times
    }

    /// Returns the index of a tenant and that of an environment.
    pub(super) fn place(&mut self) -> (usize, usize) {
        (self.rng.random_range(0..TENANTS), self.rng.random_range(0..ENVIRONMENTS.len()))
    }

    /// Returns the body of a request: new events, events that were sent before, and events with the id of another.
    pub(super) fn body(&mut self, tenant: usize, environment: usize, now: Timestamp) -> String {
        let Self { rng, users, events: all } = self;
        let known = &mut all[tenant][environment];
        let first_new = known.len();
        for _ in 0..rng.random_range(1..=MAX_NEW_EVENTS) {
            let event = random_event(rng, users, known.len(), now);
            known.push(event);
        }
        let mut events = known[first_new..].to_vec();
        let (new, oldest) = (events.len(), known.len().saturating_sub(REPEATED_EVENTS));
        // A set, so that a request has an event of an earlier request only once.
        let repeated: BTreeSet<usize> = (0..new * 3 / 10).map(|_| rng.random_range(oldest..known.len())).collect();
        for index in repeated {
            let event = known[index].clone();
            events.push(if rng.random_bool(0.2) { with_text_as_quantity(event) } else { event });
        }
        for _ in 0..new / 25 {
            let mut other = random_event(rng, users, 0, now);
            other["id"] = known[rng.random_range(first_new..known.len())]["id"].clone();
            events.push(other);
        }
        events.shuffle(rng);
        let (mut body, environment) = (json!({ "events": events }), ENVIRONMENTS[environment]);
        // `live` is the default.
        if environment != "live" || rng.random_bool(0.5) {
            body["environment"] = json!(environment);
        }
        body.to_string()
    }
}

fn random_event(rng: &mut StdRng, users: &[UserId], number: usize, now: Timestamp) -> Value {
    let meter = if rng.random_bool(0.03) { "unknown" } else { METERS[rng.random_range(0..METERS.len())] };
    // The events of a meter have the same source: in two sources, they could have the same id and time.
    let source = match meter {
        "hours" | "models" | "storage_bytes" => Some(json!("scanner")),
        // `api` is the default.
        _ => rng.random_bool(0.5).then(|| json!("api")),
    };
    // The order of upper-case and lower-case letters depends on the collation.
    let id = format!("{}{number}", ["a", "B", "_"][number % 3]);
    let mut event = json!({ "id": id, "meter": meter });
    for (field, value) in [
        ("quantity", random_quantity(rng, meter)),
        ("at", random_time(rng, now).map(|at| json!(at))),
        ("category", rng.random_bool(0.8).then(|| json!(CATEGORIES[rng.random_range(0..CATEGORIES.len())]))),
        ("user", rng.random_bool(0.8).then(|| json!(users[rng.random_range(0..users.len())]))),
        ("source", source),
    ] {
        if let Some(value) = value {
            event[field] = value;
        }
    }
    event
}

/// Returns a random quantity, which a meter may reject, or `None` for the default. A tenant reports no negative ones.
fn random_quantity(rng: &mut StdRng, meter: &str) -> Option<Value> {
    if rng.random_bool(0.02) {
        // With too many decimals, the largest, and larger than that.
        let unusual = ["0.00001", "0.5", "1000000000000000", "1000000000000001"];
        return Some(json!(unusual[rng.random_range(0..unusual.len())]));
    }
    match meter {
        "hours" => {
            let units = rng.random_range(0..900_000_i32);
            let text = Decimal::new(units.into(), 4).to_string();
            Some(if rng.random_bool(0.5) { json!(text) } else { json!(f64::from(units) / 10_000.0) })
        }
        "storage_bytes" => Some(json!(rng.random_range(0..1_000_000_000_i64))),
        "pages" | "peak" | "level" => Some(json!(rng.random_range(0..1_000_i32))),
        "logins" => Some(json!(rng.random_range(-1..5_i32))),
        _ => rng.random_bool(0.5).then(|| json!(1)),
    }
}

/// Returns a random time of use, or `None` for the default. Many events share a time, and some are at a limit.
fn random_time(rng: &mut StdRng, now: Timestamp) -> Option<Timestamp> {
    match rng.random_range(0..10_u32) {
        0 | 1 => None,
        2..=5 => {
            let quarters = now.as_micros().div_euclid(QUARTER_HOUR_MICROS) - rng.random_range(0..200_i64);
            Some(Timestamp::from_micros(quarters * QUARTER_HOUR_MICROS))
        }
        6..=8 => Some(now - Duration::from_micros(rng.random_range(0..MAX_AGE_MICROS))),
        _ => {
            let end: Timestamp = PERIOD_ENDS[rng.random_range(0..PERIOD_ENDS.len())].parse().unwrap();
            let (oldest, newest) = (now - Duration::from_micros(MAX_AGE_MICROS), now + MAX_CLOCK_SKEW);
            let limits = [end, end - MICROSECOND, oldest, oldest - MICROSECOND, newest, newest + MICROSECOND];
            Some(limits[rng.random_range(0..limits.len())])
        }
    }
}

/// Returns the same event, with its quantity as a text with a decimal.
fn with_text_as_quantity(mut event: Value) -> Value {
    if let Some(quantity) = event["quantity"].as_i64() {
        event["quantity"] = json!(format!("{quantity}.0"));
    }
    event
}
