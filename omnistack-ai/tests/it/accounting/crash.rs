//! Tests of processes that are killed by SIGKILL, after each statement of a call in turn.
//!
//! An observer in the child process kills it after the n-th statement. The parent then acts as another replica, and
//! checks the guarantee. This repeats with n + 1 until a child finishes before it is killed.

use std::{
    os::unix::process::ExitStatusExt as _,
    process::{Command, Output},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use omnistack_ai::{AiGateway, CallOptions, ChatRequest, Message};
use omnistack_core::{
    app::App,
    clock::{MockClock, Timestamp},
    config::Config,
    db::{Dialect, QueryEvent, QueryObserver},
};
use omnistack_testkit::on_each_database;

use super::*;

/// The variables by which a child gets the URL of the database, the time of its clock, the statement after which it is
/// killed, and its tenant.
const URL: &str = "AI_CRASH_URL";
const CLOCK: &str = "AI_CRASH_CLOCK";
const STATEMENT: &str = "AI_CRASH_STATEMENT";
const TENANT: &str = "AI_CRASH_TENANT";

/// The line that a child prints when its caller has the result.
const RESULT: &str = "the caller has the result";

/// Longer than the time limit of a call, and the minute after which it is lost.
const AFTER_EXPIRY: Duration = Duration::from_secs(12 * 60);

/// A query observer that kills its process at the end of the n-th statement.
struct KillAfter(AtomicUsize);

impl QueryObserver for KillAfter {
    fn observe(&self, _: QueryEvent<'_>) {
        if self.0.fetch_sub(1, Ordering::SeqCst) == 1 {
            _ = Command::new("kill").args(["-KILL", &std::process::id().to_string()]).status();
            loop {
                std::thread::park();
            }
        }
    }
}

fn plan() -> Plan {
    Plan::new("large").limit(meters::AI_TOKENS, 1_000_000).limit(meters::AI_REQUESTS, 1_000)
}

/// Returns a variable of a child process, or `None` if this is not a child that has it.
fn variable(name: &str) -> Option<String> {
    Config::from_env().get(name).map(|(value, _)| value.to_owned())
}

/// Returns the app of a child that is killed, and its caller. Returns `None` if this is not a child.
fn app_of_child() -> Option<(App, AiCaller)> {
    let url = variable(URL)?;
    let config = Config::from_pairs([
        ("APP_ENV", "test"),
        ("DATABASE_URL", url.as_str()),
        ("DATABASE_SYNCHRONOUS", "off"),
        ("HTTP_RATE_LIMIT", "off"),
    ]);
    let clock = MockClock::at(Timestamp::from_micros(variable(CLOCK).unwrap().parse().unwrap())).clock();
    let app = with_ai(App::builder(config).clock(clock), &plan(), &RecordedUsage::default()).build().unwrap();
    let left = AtomicUsize::new(variable(STATEMENT).unwrap().parse().unwrap());
    app.db().observe(KillAfter(left));
    Some((app, AiCaller::of_tenant(variable(TENANT).unwrap().parse().unwrap())))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a process of other tests here"]
async fn child_that_calls() {
    let Some((app, caller)) = app_of_child() else { return };
    let accounting: Accounting = app.context().get().unwrap();
    let start = CallStart::new(caller, "smart").reserve(100, 300, Some(Cost::from_pico(4_000)));
    let mut call = accounting.open(start).await.unwrap();
    call.note_target("fake", "fake-small");
    call.settle(answered(90, 250, 3_500)).await.unwrap();
    println!("{RESULT}");
}

/// A child whose call asks a provider before its start is stored, and whose caller has the answer before its end is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a process of other tests here"]
async fn child_that_is_answered() {
    let Some((app, caller)) = app_of_child() else { return };
    let gateway: AiGateway = app.context().get().unwrap();
    let request = ChatRequest::new("fake-small", [Message::user("Hello")]).max_output_tokens(100);
    gateway.complete(caller, request, CallOptions::default()).await.unwrap();
    println!("{RESULT}");
    app.context().get::<Accounting>().unwrap().settle_dropped().await.unwrap();
}

/// The end of a child process.
struct ChildEnd {
    was_killed: bool,
    has_result: bool,
}

/// Runs a child to its end.
async fn run(app: &TestApp, child: &str, tenant: TenantId, statement: usize) -> ChildEnd {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &format!("accounting::crash::{child}"), "--ignored", "--nocapture"]);
    command.env(URL, app.database().url()).env(STATEMENT, statement.to_string()).env(TENANT, tenant.to_string());
    command.env(CLOCK, app.clock().clock().now().as_micros().to_string());
    let what = format!("{command:?}");
    let output = tokio::task::spawn_blocking(move || command.output());
    let output = tokio::time::timeout(Duration::from_secs(90), output).await.expect("the child ends");
    let Output { status, stdout, stderr } = output.unwrap().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.signal() == Some(9) || status.success(), "{what}: {status}\n{stdout}\n{stderr}");
    ChildEnd { was_killed: !status.success(), has_result: stdout.contains(RESULT) }
}

/// Waits until PostgreSQL has ended the transactions of the killed process.
async fn wait_for_closed_sessions(app: &TestApp) {
    if app.db().dialect() == Dialect::Sqlite {
        return;
    }
    let open = "select count(*) from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid() and xact_start is not null";
    let look = async {
        while app.db().query(open).fetch_one::<(i64,)>().await.unwrap().0 > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(90), look).await.expect("the transactions end");
}

/// Kills a child after each of its statements in turn. `input` is what its call reserves of the input.
async fn kill_after_each_statement(database: TestDatabase, child: &str, input: i64) {
    // The usage of the calls that this process settles.
    let usage = RecordedUsage::default();
    let app = start(database, plan(), &usage).await;
    let (mut deaths, mut seen) = (0, std::collections::BTreeSet::new());
    loop {
        let account = Account::new(&app);
        let end = run(&app, child, account.tenant, deaths + 1).await;
        wait_for_closed_sessions(&app).await;
        let before = account.ledger().await;
        assert!(before.len() <= 1 && !(end.has_result && before.is_empty()), "after {deaths}: {before:?}");
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
            assert!(end.has_result);
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
