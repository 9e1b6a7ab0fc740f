//! Events of other systems, in batches.

use std::time::{Duration, Instant};

use omnistack_billing::{Ledger, UsageOutcome};
use omnistack_core::{
    clock::{Clock, Timestamp},
    identity::TenantId,
    usage::UsageEvent,
};
use omnistack_testkit::TestApp;
use tokio::task::JoinSet;

use crate::{METERS, with_background_services};

/// Number of events in a batch.
pub(crate) const BATCH_EVENTS: usize = 1_000;
/// Number of batches in a run.
pub(crate) const BATCHES: usize = 200;
/// Number of runs with new events, and of runs with duplicates. The best counts.
pub(crate) const RUNS: usize = 3;
/// Number of events that [`measure`] leaves in the ledger.
pub(crate) const NEW_EVENTS: usize = RUNS * BATCHES * BATCH_EVENTS;

/// The rates of ingesting, in events a second.
#[derive(Debug, Default)]
pub(crate) struct IngestRates {
    pub(crate) new: f64,
    pub(crate) duplicates: f64,
}

/// Ingests events of these tenants, and then the last of them again.
pub(crate) async fn measure(app: &TestApp, tenants: &[TenantId]) -> IngestRates {
    let ledger: Ledger = app.app().context().get().unwrap();
    let work = async {
        let (mut rates, mut batches) = (IngestRates::default(), Vec::new());
        for _ in 0..RUNS {
            let now = Clock::system().now();
            batches = (0..BATCHES).map(|_| batch(tenants[rand::random_range(0..tenants.len())], now)).collect();
            let rate = ingest(&ledger, batches.clone(), UsageOutcome::Accepted { late: false }).await;
            rates.new = rates.new.max(rate);
        }
        for _ in 0..RUNS {
            let rate = ingest(&ledger, batches.clone(), UsageOutcome::Duplicate).await;
            rates.duplicates = rates.duplicates.max(rate);
        }
        rates
    };
    with_background_services(app, work).await
}

/// Creates events of the last 59 minutes.
fn batch(tenant: TenantId, now: Timestamp) -> Vec<UsageEvent> {
    let event = |index: usize| {
        let age = u64::try_from(index * 7 % (59 * 60)).unwrap();
        let quantity = 1 + index % 100;
        let event = UsageEvent::new(tenant, METERS[index % METERS.len()], quantity, now - Duration::from_secs(age));
        let id = format!("{:032x}", rand::random::<u128>());
        event.once("bench", id).category(format!("category-{}", index / METERS.len() % 10))
    };
    (0..BATCH_EVENTS).map(event).collect()
}

/// Sends batches by two clients, each of which sends its next batch after the response. Returns the events a second.
async fn ingest(ledger: &Ledger, mut batches: Vec<Vec<UsageEvent>>, expected: UsageOutcome) -> f64 {
    let events: usize = batches.iter().map(Vec::len).sum();
    let second_half = batches.split_off(batches.len() / 2);
    let (began, mut clients) = (Instant::now(), JoinSet::new());
    for own in [batches, second_half] {
        let ledger = ledger.clone();
        clients.spawn(async move {
            for batch in own {
                let outcomes = ledger.ingest(batch).await.unwrap();
                let unexpected = outcomes.iter().find(|outcome| **outcome != expected);
                assert_eq!(unexpected, None, "all are {expected:?}");
            }
        });
    }
    clients.join_all().await;
    events as f64 / began.elapsed().as_secs_f64()
}
