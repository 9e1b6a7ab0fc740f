//! Tests of processes that are killed by SIGKILL, after each statement of a call in turn. The parent then acts as another
//! replica.

use std::time::Duration;

use omnistack_testkit::{
    crash::{CrashChild, CrashCommand},
    on_each_database,
};

use super::*;

/// The variable by which a child gets its tenant.
const TENANT: &str = "AI_CRASH_TENANT";

/// The line that a child prints when its call is settled.
const SETTLED: &str = "the call is settled";

/// Longer than the time limit of a call, and the minute after which it is lost.
const AFTER_EXPIRY: Duration = Duration::from_secs(12 * 60);

fn plan() -> Plan {
    Plan::new("large").limit(meters::AI_TOKENS, 1_000_000).limit(meters::AI_REQUESTS, 1_000)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a process of other tests here"]
async fn child_that_calls() {
    let Some(child) = CrashChild::from_env() else { return };
    let app = with_ai(child.builder(), &plan(), &RecordedUsage::default()).build().unwrap();
    child.kill_after_statement(app.db(), |_| true);
    let accounting: Accounting = app.context().get().unwrap();
    let caller = AiCaller::of_tenant(child.variable(TENANT).parse().unwrap());
    let start = CallStart::new(caller, "smart").reserve(100, 300, Some(Cost::from_pico(4_000)));
    let mut call = accounting.open(start).await.unwrap();
    call.note_target("fake", "fake-small");
    call.settle(answered(90, 250, 3_500)).await.unwrap();
    println!("{SETTLED}");
}

on_each_database! {
    async fn a_killed_process_leaves_nothing_reserved(database: TestDatabase) {
        // The usage of the calls that this process settles.
        let usage = RecordedUsage::default();
        let app = start(database, plan(), &usage).await;
        let (mut deaths, mut seen) = (0, std::collections::BTreeSet::new());
        loop {
            let account = Account::new(&app);
            let child = CrashCommand::new(&app, "accounting::crash::child_that_calls", deaths + 1);
            let end = child.env(TENANT, account.tenant).run().await;
            let has_settled = end.stdout.contains(SETTLED);
            let before = account.ledger().await;
            assert!(before.len() <= 1 && !(has_settled && before.is_empty()), "after {deaths}: {before:?}");
            // Another replica settles what is left, after the time limit of the call.
            app.clock().advance(AFTER_EXPIRY);
            account.accounting.settle_expired().await.unwrap();
            let ledger = account.ledger().await;
            let statuses: Vec<_> = ledger.iter().map(|call| call.status.as_str()).collect();
            match before.first().map(|call| call.status.as_str()) {
                None => assert_eq!(statuses, [""; 0], "after {deaths}"),
                Some("open") => {
                    assert_eq!(statuses, ["lost"], "after {deaths}");
                    assert_eq!((ledger[0].input_tokens, ledger[0].output_tokens), (100, 0), "after {deaths}");
                    assert_eq!(usage.total(account.tenant, meters::AI_TOKENS), 100, "after {deaths}");
                }
                Some(_) => assert_eq!(statuses, ["succeeded"], "after {deaths}"),
            }
            let spent: i64 = ledger.iter().map(|call| call.input_tokens + call.output_tokens).sum();
            for used in account.uses().await {
                assert_eq!((used.reserved_tokens, used.reserved_requests, used.reserved_pico), (0, 0, 0), "after {deaths}");
                assert_eq!(used.spent_tokens, spent, "after {deaths}: {used:?}");
            }
            seen.extend(before.into_iter().map(|call| call.status));
            if !end.was_killed {
                assert!(has_settled);
                break;
            }
            deaths += 1;
        }
        assert!(deaths >= 10, "{deaths}");
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["open", "succeeded"]);
    }
}
