//! Tests of processes that are killed by SIGKILL, after each statement of a call in turn. The parent then acts as another
//! replica.

use std::time::Duration;

use omnistack_ai::{AiGateway, CallOptions, ChatRequest, Message};
use omnistack_core::app::App;
use omnistack_testkit::{
    crash::{CrashChild, CrashCommand},
    on_each_database,
};

use super::*;

/// The variable by which a child gets its tenant.
const TENANT: &str = "AI_CRASH_TENANT";

/// The line that a child prints when its caller has the result.
const RESULT: &str = "the caller has the result";

/// Longer than the time limit of a call, and the minute after which it is lost.
const AFTER_EXPIRY: Duration = Duration::from_secs(12 * 60);

fn plan() -> Plan {
    Plan::new("large").limit(meters::AI_TOKENS, 1_000_000).limit(meters::AI_REQUESTS, 1_000)
}

/// Returns the app of a child that is killed, and its caller. Returns `None` if this is not a child.
fn app_of_child() -> Option<(App, AiCaller)> {
    let child = CrashChild::from_env()?;
    let app = with_ai(child.builder(), &plan(), &RecordedUsage::default()).build().unwrap();
    child.kill_after_statement(app.db(), |_| true);
    Some((app, AiCaller::of_tenant(child.variable(TENANT).parse().unwrap())))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a child process of other tests"]
async fn child_that_calls() {
    let Some((app, caller)) = app_of_child() else { return };
    let accounting: Accounting = app.context().get().unwrap();
    let start = CallStart::new(caller, "smart").reserve(100, 300, Some(Cost::from_pico(4_000)));
    let mut call = accounting.open(start).await.unwrap();
    call.note_target("fake", "fake-small");
    call.settle(answered(90, 250, 3_500)).await.unwrap();
    println!("{RESULT}");
}

/// A child that calls through the gateway. Its caller has the answer when the call is settled.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a child process of other tests"]
async fn child_that_is_answered() {
    let Some((app, caller)) = app_of_child() else { return };
    let gateway: AiGateway = app.context().get().unwrap();
    let request = ChatRequest::new("fake-small", [Message::user("Hello")]).max_output_tokens(100);
    gateway.complete(caller, request, CallOptions::default()).await.unwrap();
    println!("{RESULT}");
}

/// Kills a child after each of its statements in turn. `input` is the number of tokens of input that its call reserves.
async fn kill_after_each_statement(database: TestDatabase, child: &str, input: i64) {
    // The usage of the calls that this process settles.
    let usage = RecordedUsage::default();
    let app = start(database, plan(), &usage).await;
    let (mut deaths, mut seen) = (0, std::collections::BTreeSet::new());
    loop {
        let account = Account::new(&app);
        let child = CrashCommand::new(&app, &format!("accounting::crash::{child}"), deaths + 1);
        let end = child.env(TENANT, account.tenant).run().await;
        let has_result = end.stdout.contains(RESULT);
        let before = account.ledger().await;
        assert!(before.len() <= 1, "after {deaths}: {before:?}");
        assert!(!has_result || before[0].status == "succeeded", "after {deaths}: {before:?}");
        // Another replica settles what is left, after the time limit of the call.
        app.clock().advance(AFTER_EXPIRY);
        account.accounting.settle_expired().await.unwrap();
        let ledger = account.ledger().await;
        let statuses: Vec<_> = ledger.iter().map(|call| call.status.as_str()).collect();
        match before.first().map(|call| call.status.as_str()) {
            None => assert_eq!(statuses, [""; 0], "after {deaths}"),
            Some("open") => {
                assert_eq!(statuses, ["lost"], "after {deaths}");
                assert_eq!((ledger[0].input_tokens, ledger[0].output_tokens), (input, 0), "after {deaths}");
                assert_eq!(usage.total(account.tenant, meters::AI_TOKENS), input, "after {deaths}");
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
            assert!(has_result);
            break;
        }
        deaths += 1;
    }
    assert!(deaths >= 10, "{deaths}");
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["open", "succeeded"]);
}

on_each_database! {
    async fn a_killed_process_leaves_nothing_reserved(database: TestDatabase) {
        kill_after_each_statement(database, "child_that_calls", 100).await;
    }

    async fn an_answer_that_was_given_is_in_the_ledger_of_a_killed_process(database: TestDatabase) {
        // A text of five bytes is two tokens, and its message four.
        kill_after_each_statement(database, "child_that_is_answered", 6).await;
    }
}
