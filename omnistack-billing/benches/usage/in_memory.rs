//! The work of a request without I/O: the check of an entitlement, and a counter.

use std::{hint::black_box, time::Instant};

use omnistack_billing::Ledger;
use omnistack_core::{
    clock::Clock,
    identity::Entitlements,
    usage::{UsageEvent, UsageSink},
};
use omnistack_testkit::TestDatabase;

use crate::{FEATURE, new_tenants, start};

/// Number of runs, of which the fastest counts.
pub(crate) const RUNS: usize = 7;
/// Number of calls of each thread in a run. Small without optimisation, where the run only checks that the benchmark
/// works.
const CALLS: usize = if cfg!(debug_assertions) { 1_000 } else { 1_000_000 };
/// Number of tenants, whose calls take turns.
const TENANTS_IN_TURN: usize = 1_000;
/// The category of the counters.
const ROUTE: &str = "/api/v1/app/projects/{id}";

/// Measures both, and prints the rows.
pub(crate) async fn measure() {
    let app = start(TestDatabase::sqlite()).await;
    let tenants = new_tenants(TENANTS_IN_TURN);
    let entitlements: Entitlements = app.app().context().get().unwrap();
    for tenant in &tenants {
        entitlements.plan(*tenant).await.unwrap();
    }
    let usage: UsageSink = app.app().context().get().unwrap();
    let now = Clock::system().now();
    let check = |turn: usize| {
        let plan = entitlements.cached_plan(black_box(tenants[turn % TENANTS_IN_TURN])).unwrap();
        assert!(plan.has_feature(black_box(FEATURE)));
    };
    let count = |turn: usize| usage.count(UsageEvent::request(tenants[turn % TENANTS_IN_TURN], ROUTE, now));
    // The process knows the billing periods of the tenants whose usage it has stored.
    for turn in 0..TENANTS_IN_TURN {
        count(turn);
    }
    app.app().context().get::<Ledger>().unwrap().flush().await.unwrap();

    println!("| nanoseconds a call | one thread | two threads | target |\n|---|---:|---:|---:|");
    let [one, two] = [1, 2].map(|threads| nanoseconds(threads, &check));
    println!("| `Entitlements::cached_plan` and `has_feature`, 1,000 tenants in memory | {one:.0} | {two:.0} | 100 |");
    let [one, two] = [1, 2].map(|threads| nanoseconds(threads, &count));
    println!("| `UsageSink::count`, 1,000 counters | {one:.0} | {two:.0} | |");
}

/// Returns the time of a call as a thread sees it.
fn nanoseconds(threads: usize, call: &(impl Fn(usize) + Sync)) -> f64 {
    let run = |thread: usize| {
        // The threads begin with different tenants.
        let first = thread * TENANTS_IN_TURN / 2;
        let before = Instant::now();
        for turn in first..first + CALLS {
            call(turn);
        }
        before.elapsed().as_nanos() as f64 / CALLS as f64
    };
    let runs = (0..RUNS).map(|_| {
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..threads).map(|thread| scope.spawn(move || run(thread))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).fold(0.0, f64::max)
        })
    });
    runs.fold(f64::INFINITY, f64::min)
}
