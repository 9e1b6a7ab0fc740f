//! The sums of windows are those of the stored events, whatever the order, the duplicates and the batches.

use std::collections::{BTreeMap, BTreeSet};

use omnistack_billing::Ledger;
use omnistack_core::{
    clock::Timestamp,
    identity::{ApiKeyId, TenantId, UserId},
    usage::{Decimal, UsageEvent},
};
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};
use rand::{Rng as _, RngExt as _, SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};

use super::{Window, ledger, start, tenant_of, windows};

/// A stored event.
#[derive(omnistack_core::db::FromRow)]
struct Stored {
    event_id: String,
    meter: String,
    units: i64,
    category: Option<String>,
    user_id: Option<UserId>,
    at: Timestamp,
    billed_in: Option<Timestamp>,
}

async fn stored(app: &TestApp, tenant: TenantId) -> Vec<Stored> {
    let mut tx = app.db().app_database().tenant(tenant).begin_read().await.unwrap();
    let sql = "select event_id, meter, units, category, user_id, at, billed_in from omni_usage_events
        where tenant_id = $1 and units is not null";
    tx.query(sql).bind(tenant).fetch_all().await.unwrap()
}

/// Adds events up as a reader of the documentation would.
fn add_up(events: &[&Stored], start_of: impl Fn(&Stored) -> Option<Timestamp>) -> Vec<Window> {
    let mut groups: BTreeMap<(String, Timestamp), Vec<&Stored>> = BTreeMap::new();
    for event in events {
        if let Some(start) = start_of(event) {
            groups.entry((event.meter.clone(), start)).or_default().push(event);
        }
    }
    let window = |((meter, start), events): ((String, Timestamp), Vec<&Stored>)| {
        let last = events.iter().max_by_key(|event| (event.at, &event.event_id)).unwrap();
        let users: BTreeSet<_> = events.iter().filter_map(|event| event.user_id).collect();
        let categories: BTreeSet<_> = events.iter().filter_map(|event| event.category.as_ref()).collect();
        let uniques = match meter.as_str() {
            "active_users" => users.len(),
            "models" => categories.len(),
            _ => 0,
        };
        Window {
            start,
            sum: events.iter().map(|event| event.units).sum(),
            events: i64::try_from(events.len()).unwrap(),
            max: events.iter().map(|event| event.units).max().unwrap(),
            last: last.units,
            uniques: i64::try_from(uniques).unwrap(),
            meter,
        }
    };
    groups.into_iter().map(window).collect()
}

fn floor(at: Timestamp, seconds: i64) -> Timestamp {
    let micros = seconds * 1_000_000;
    Timestamp::from_micros(at.as_micros().div_euclid(micros) * micros)
}

/// Checks that each kind of window has the sums of the stored events. Returns the number of events.
async fn check(app: &TestApp, tenant: TenantId) -> usize {
    let events = stored(app, tenant).await;
    let all: Vec<&Stored> = events.iter().collect();
    for (grain, seconds) in [("minute", 60), ("hour", 3600), ("day", 86_400)] {
        let expected = add_up(&all, |event| Some(floor(event.at, seconds)));
        assert_eq!(windows(app, tenant, grain).await, expected, "{grain}");
    }
    let is_kept = |event: &Stored| event.meter == "storage_bytes";
    let kept: Vec<&Stored> = events.iter().filter(|event| is_kept(event)).collect();
    assert_eq!(windows(app, tenant, "total").await, add_up(&kept, |_| Some(Timestamp::from_micros(0))), "total");

    // What is billed in the period of its time, and what is billed later.
    let month = |at: Timestamp| -> Timestamp { format!("{}-01T00:00:00Z", &at.to_string()[..7]).parse().unwrap() };
    let (on_time, late): (Vec<&Stored>, Vec<&Stored>) =
        events.iter().partition(|event| event.billed_in == Some(month(event.at)));
    assert_eq!(windows(app, tenant, "period").await, add_up(&on_time, |event| event.billed_in), "period");
    let mut expected: BTreeMap<(String, String, String), i64> = BTreeMap::new();
    for event in late {
        let billed = event.billed_in.unwrap().to_string();
        *expected.entry((event.meter.clone(), billed, month(event.at).to_string())).or_default() += event.units;
    }
    let expected: Vec<_> =
        expected.into_iter().map(|((meter, billed, used), sum)| (meter, billed, used, sum)).collect();
    assert_eq!(super::late_usage(app, tenant).await, expected, "late");
    check_dimensions(app, tenant, &events).await;
    events.len()
}

async fn check_dimensions(app: &TestApp, tenant: TenantId, events: &[Stored]) {
    type Row = (String, Timestamp, String, UserId, ApiKeyId, i64, i64, i64);
    let nil = uuid::Uuid::nil();
    let mut expected: BTreeMap<(String, String, String, UserId), (i64, i64, i64)> = BTreeMap::new();
    for event in events {
        let key = (
            event.meter.clone(),
            floor(event.at, 86_400).to_string(),
            event.category.clone().unwrap_or_default(),
            event.user_id.unwrap_or(UserId::from_uuid(nil)),
        );
        let (sum, count, max) = expected.entry(key).or_insert((0, 0, i64::MIN));
        (*sum, *count, *max) = (*sum + event.units, *count + 1, event.units.max(*max));
    }
    let mut tx = app.db().app_database().tenant(tenant).begin_read().await.unwrap();
    let sql = "select meter, start, category, user_id, api_key_id, sum, events, max from omni_usage_dimensions
        where tenant_id = $1 and grain = 'day'";
    let rows: Vec<Row> = tx.query(sql).bind(tenant).fetch_all().await.unwrap();
    let found: BTreeMap<_, _> = rows
        .into_iter()
        .map(|(meter, start, category, user, _, sum, events, max)| {
            ((meter, start.to_string(), category, user), (sum, events, max))
        })
        .collect();
    assert_eq!(found, expected);
    let sql = "select grain, cast(sum(sum) as bigint), cast(sum(events) as bigint) from omni_usage_dimensions
        where tenant_id = $1 group by grain order by grain";
    let grains: Vec<(String, i64, i64)> = tx.query(sql).bind(tenant).fetch_all().await.unwrap();
    let sum: i64 = events.iter().map(|event| event.units).sum();
    let count = i64::try_from(events.len()).unwrap();
    assert_eq!(grains, [("day".to_owned(), sum, count), ("month".to_owned(), sum, count)]);
}

/// Generates events of all kinds of meters, of the last forty days.
fn generate(rng: &mut StdRng, tenant: TenantId, now: Timestamp, count: usize, users: &[UserId]) -> Vec<UsageEvent> {
    let meters = ["pages", "hours", "logins", "peak", "level", "active_users", "models", "storage_bytes"];
    (0..count)
        .map(|number| {
            let meter = meters[rng.random_range(0..meters.len())];
            // Few times, so that events share windows and instants.
            let age = std::time::Duration::from_secs(rng.random_range(0..40_u64) * 86_000 + rng.random_range(0..3_u64));
            let quantity = match meter {
                "hours" => Decimal::new(rng.random_range(-9_i64..100) * 125, 3),
                "pages" | "level" | "peak" | "storage_bytes" => rng.random_range(-50_i32..100).into(),
                _ => 1.into(),
            };
            let category = ["a", "b", "c"][rng.random_range(0..3)];
            let user = users[rng.random_range(0..users.len())];
            let event = UsageEvent::new(tenant, meter, quantity, now - age).category(category).user(user);
            event.once("test", format!("{count}/{}", number % (count * 9 / 10)))
        })
        .collect()
}

/// Stores events in random batches, some twice, and in a random order.
async fn ingest_at_random(rng: &mut StdRng, ledger: &Ledger, mut events: Vec<UsageEvent>) {
    let again: Vec<UsageEvent> = events.iter().filter(|_| rng.random_bool(0.2)).cloned().collect();
    events.extend(again);
    events.shuffle(rng);
    while !events.is_empty() {
        let count = rng.random_range(1..=events.len().min(90));
        ledger.ingest(events.drain(..count).collect()).await.unwrap();
    }
}

on_each_database! {
    async fn windows_add_up_to_the_stored_events(database: TestDatabase) {
        let app = start(database).await;
        let seed: u64 = rand::rng().next_u64();
        println!("seed {seed}");
        let mut rng = StdRng::seed_from_u64(seed);
        app.clock().set("2030-03-15T10:20:30Z".parse().unwrap());
        let now = app.clock().clock().now();
        let (tenant, other) = (tenant_of(&app.user()), tenant_of(&app.user()));
        let users: Vec<UserId> = (0..5).map(|_| UserId::new(now)).collect();
        for tenant in [tenant, other] {
            let events = generate(&mut rng, tenant, now, 400, &users);
            ingest_at_random(&mut rng, &ledger(&app), events).await;
        }
        // The clock of a server can be set back.
        app.clock().set("2030-03-14T00:00:00Z".parse().unwrap());
        let events = generate(&mut rng, tenant, app.clock().clock().now(), 100, &users);
        ingest_at_random(&mut rng, &ledger(&app), events).await;
        ledger(&app).flush().await.unwrap();
        for tenant in [tenant, other] {
            let count = check(&app, tenant).await;
            assert!(count > 200, "{count}");
        }
    }
}
