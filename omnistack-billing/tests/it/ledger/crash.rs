//! Processes that are killed by SIGKILL after each of their statements in turn while they store usage: what was
//! acknowledged is stored, and nothing counts twice.

use omnistack_billing::UsageOutcome;
use omnistack_core::{clock::Timestamp, identity::TenantId, usage::UsageEvent};
use omnistack_testkit::{
    TestApp, TestDatabase,
    crash::{CrashChild, CrashCommand},
    on_each_database,
};

use super::{billing, ledger, start, sum, tenant_of};

/// The variables by which a child gets its tenant, and the number of events in each of its batches.
const TENANT: &str = "USAGE_CRASH_TENANT";
const BATCH: &str = "USAGE_CRASH_BATCH";
/// The name of the run, which is part of the ids of its events.
const RUN: &str = "USAGE_CRASH_RUN";

/// Batches of a child. All of them have the same ten events in the middle.
const BATCHES: usize = 4;

/// Returns the events of a batch.
fn batch(tenant: TenantId, run: &str, number: usize, size: usize, now: Timestamp) -> Vec<UsageEvent> {
    let event = |id: String| UsageEvent::new(tenant, "pages", 1, now).once("crash", id);
    let own = (0..size).map(|index| event(format!("{run}/{number}/{index}")));
    own.chain((0..10).map(|index| event(format!("{run}/shared/{index}")))).collect()
}

#[tokio::test]
#[ignore = "a child process of other tests"]
async fn child_that_ingests() {
    let Some(child) = CrashChild::from_env() else { return };
    let app = child.builder().set("USAGE_COUNT_REQUESTS", "false").with(billing()).build().unwrap();
    child.kill_after_statement(app.db(), |_| true);
    let tenant: TenantId = child.variable(TENANT).parse().unwrap();
    let (run, size): (_, usize) = (child.variable(RUN), child.variable(BATCH).parse().unwrap());
    let ledger: omnistack_billing::Ledger = app.context().get().unwrap();
    for batch_number in 0..BATCHES {
        let events = batch(tenant, &run, batch_number, size, child.now());
        let outcomes = ledger.ingest(events).await.unwrap();
        assert!(outcomes.iter().all(|one| matches!(one, UsageOutcome::Accepted { .. } | UsageOutcome::Duplicate)));
        println!("acknowledged {batch_number}");
    }
}

/// Runs a child to its end. Returns the batches that it has acknowledged, and whether it was killed.
async fn run(app: &TestApp, tenant: TenantId, name: &str, statement: usize, size: usize) -> (Vec<usize>, bool) {
    let command = CrashCommand::new(app, "ledger::crash::child_that_ingests", statement);
    let end = command.env(RUN, name).env(TENANT, tenant).env(BATCH, size).run().await;
    (end.printed_after("acknowledged ").filter_map(|number| number.parse().ok()).collect(), end.was_killed)
}

on_each_database! {
    async fn killed_processes_lose_nothing_that_was_acknowledged(database: TestDatabase) {
        let app = start(database).await;
        let tenant = tenant_of(&app.user());
        let now = app.clock().clock().now();
        let (mut expected, mut deaths) = (0, 0);
        for size in [1, 5, 300] {
            for statement in 1.. {
                let name = format!("{size}/{statement}");
                let (acknowledged, was_killed) = run(&app, tenant, &name, statement, size).await;
                let before = sum(&app, tenant, "period", "pages").await;
                let stored = before - expected;
                let least = acknowledged.len() * size + if acknowledged.is_empty() { 0 } else { 10 };
                assert!(stored >= i64::try_from(least).unwrap(), "{name}: {stored} of {least}");
                // The client sends all batches again, since it does not know which were stored.
                for number in 0..BATCHES {
                    let outcomes = ledger(&app).ingest(batch(tenant, &name, number, size, now)).await.unwrap();
                    let known = outcomes.iter().all(|outcome| *outcome == UsageOutcome::Duplicate);
                    assert!(known || !acknowledged.contains(&number), "{name}: {number}");
                }
                expected += i64::try_from(BATCHES * size + 10).unwrap();
                for grain in ["minute", "day", "period"] {
                    assert_eq!(sum(&app, tenant, grain, "pages").await, expected, "{name}: {grain}");
                }
                if !was_killed {
                    break;
                }
                deaths += 1;
            }
        }
        assert!(deaths >= 50, "{deaths}");
    }
}
