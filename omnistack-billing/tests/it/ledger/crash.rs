//! Processes that are killed by SIGKILL after each of their statements in turn while they store usage: what was
//! acknowledged is stored, and nothing counts twice.

use std::{
    os::unix::process::ExitStatusExt as _,
    process::{Command, Output},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use omnistack_billing::UsageOutcome;
use omnistack_core::{
    app::App,
    clock::{MockClock, Timestamp},
    config::Config,
    db::{Dialect, QueryEvent, QueryObserver},
    identity::TenantId,
    usage::UsageEvent,
};
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};

use super::{billing, ledger, start, sum, tenant_of};

/// The variables by which a child gets the URL of the database, the time of its clock, its tenant, the statement after
/// which it is killed, and the number of events in each of its batches.
const URL: &str = "USAGE_CRASH_URL";
const CLOCK: &str = "USAGE_CRASH_CLOCK";
const TENANT: &str = "USAGE_CRASH_TENANT";
const STATEMENT: &str = "USAGE_CRASH_STATEMENT";
const BATCH: &str = "USAGE_CRASH_BATCH";
/// The name of the run, which is part of the ids of its events.
const RUN: &str = "USAGE_CRASH_RUN";

/// Batches of a child. All of them have the same ten events in the middle.
const BATCHES: usize = 4;

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

fn variable(name: &str) -> Option<String> {
    Config::from_env().get(name).map(|(value, _)| value.to_owned())
}

/// Returns the events of a batch.
fn batch(tenant: TenantId, run: &str, number: usize, size: usize, now: Timestamp) -> Vec<UsageEvent> {
    let event = |id: String| UsageEvent::new(tenant, "pages", 1, now).once("crash", id);
    let own = (0..size).map(|index| event(format!("{run}/{number}/{index}")));
    own.chain((0..10).map(|index| event(format!("{run}/shared/{index}")))).collect()
}

#[tokio::test]
#[ignore = "a process of other tests here"]
async fn child_that_ingests() {
    let Some(url) = variable(URL) else { return };
    let config = Config::from_pairs([
        ("APP_ENV", "test"),
        ("DATABASE_URL", url.as_str()),
        ("DATABASE_SYNCHRONOUS", "off"),
        ("USAGE_COUNT_REQUESTS", "false"),
    ]);
    let now = Timestamp::from_micros(variable(CLOCK).unwrap().parse().unwrap());
    let app = App::builder(config).clock(MockClock::at(now).clock()).with(billing()).build().unwrap();
    let number = |name: &str| variable(name).unwrap().parse::<usize>().unwrap();
    app.db().observe(KillAfter(AtomicUsize::new(number(STATEMENT))));
    let tenant: TenantId = variable(TENANT).unwrap().parse().unwrap();
    let run = variable(RUN).unwrap();
    let ledger: omnistack_billing::Ledger = app.context().get().unwrap();
    for batch_number in 0..BATCHES {
        let events = batch(tenant, &run, batch_number, number(BATCH), now);
        let outcomes = ledger.ingest(events).await.unwrap();
        assert!(outcomes.iter().all(|one| matches!(one, UsageOutcome::Accepted { .. } | UsageOutcome::Duplicate)));
        println!("acknowledged {batch_number}");
    }
}

/// Runs a child to its end. Returns the batches that it has acknowledged, and whether it was killed.
async fn run(app: &TestApp, tenant: TenantId, name: &str, statement: usize, size: usize) -> (Vec<usize>, bool) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "ledger::crash::child_that_ingests", "--ignored", "--nocapture"]);
    command.env(URL, app.database().url()).env(STATEMENT, statement.to_string()).env(RUN, name);
    command.env(CLOCK, app.clock().clock().now().as_micros().to_string());
    command.env(TENANT, tenant.to_string()).env(BATCH, size.to_string());
    let output = tokio::task::spawn_blocking(move || command.output());
    let ended = tokio::time::timeout(Duration::from_secs(90), output).await.expect("the child ends");
    let Output { status, stdout, stderr } = ended.unwrap().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.signal() == Some(9) || status.success(), "{status}\n{stdout}\n{stderr}");
    let acknowledged =
        stdout.lines().filter_map(|line| line.split("acknowledged ").nth(1)?.trim().parse().ok()).collect();
    (acknowledged, !status.success())
}

/// Waits until PostgreSQL has ended the transactions of disconnected clients.
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
    tokio::time::timeout(Duration::from_secs(30), look).await.expect("the child's transaction ends");
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
                wait_for_closed_sessions(&app).await;
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
