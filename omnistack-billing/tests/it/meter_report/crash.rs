//! Processes that are killed by SIGKILL after each of their statements in turn while they report usage: the provider
//! counts all usage, and none twice.

use std::{
    os::unix::process::ExitStatusExt as _,
    process::{Command, Output},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use omnistack_core::{
    app::App,
    clock::{MockClock, Timestamp},
    config::Config,
    db::{Dialect, QueryEvent, QueryObserver},
    payment::MeterReport,
};
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};

use super::{
    HOUR, REPORTS, SendMeterReports, billing, customer,
    provider::{COUNTED, MeteredProvider, TestProvider},
    send, start, used,
};

/// The variables by which a child gets the URL of the database, the time of its clock, and the statement after which it
/// is killed.
const URL: &str = "METER_CRASH_URL";
const CLOCK: &str = "METER_CRASH_CLOCK";
const STATEMENT: &str = "METER_CRASH_STATEMENT";

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

#[tokio::test]
#[ignore = "a process of other tests here"]
async fn child_that_reports() {
    let Some(url) = variable(URL) else { return };
    let config = Config::from_pairs([
        ("APP_ENV", "test"),
        ("DATABASE_URL", url.as_str()),
        ("DATABASE_SYNCHRONOUS", "off"),
        ("USAGE_COUNT_REQUESTS", "false"),
        ("BILLING_METER_REPORTS", "pages=acme_pages"),
    ]);
    let now = Timestamp::from_micros(variable(CLOCK).unwrap().parse().unwrap());
    let provider = MeteredProvider::default();
    provider.state().prints_counted = true;
    let app = App::builder(config).clock(MockClock::at(now).clock()).with(billing());
    let app = app.with(TestProvider(provider)).build().unwrap();
    app.db().observe(KillAfter(AtomicUsize::new(variable(STATEMENT).unwrap().parse().unwrap())));
    app.runner().run_until_idle().await.unwrap();
}

/// Runs a child to its end. Returns the identifiers and the amounts that the provider has counted, and whether the child
/// was killed.
async fn run(app: &TestApp, statement: usize) -> (Vec<(String, String)>, bool) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "meter_report::crash::child_that_reports", "--ignored", "--nocapture"]);
    command.env(URL, app.database().url()).env(STATEMENT, statement.to_string());
    command.env(CLOCK, app.clock().clock().now().as_micros().to_string());
    let output = tokio::task::spawn_blocking(move || command.output());
    let ended = tokio::time::timeout(Duration::from_secs(90), output).await.expect("the child ends");
    let Output { status, stdout, stderr } = ended.unwrap().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.signal() == Some(9) || status.success(), "{status}\n{stdout}\n{stderr}");
    // The name of the test may be before the first one, in its line.
    let counted = stdout.lines().filter_map(|line| line.split_once(COUNTED)?.1.split_once(' '));
    let counted = counted.map(|(identifier, value)| (identifier.to_owned(), value.trim().to_owned())).collect();
    (counted, !status.success())
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
    async fn a_killed_reporter_reports_all_usage_once(database: TestDatabase) {
        let (app, provider) = start(database, "pages=acme_pages").await;
        let clients = [customer(&app).await, customer(&app).await];
        let (mut expected, mut deaths, mut resent) = (0, 0, 0);
        for statement in 1.. {
            for client in &clients {
                used(&app, client, "pages", "3").await;
                expected += 3;
            }
            app.jobs().enqueue(SendMeterReports {}).await.unwrap();
            let (counted, was_killed) = run(&app, statement).await;
            wait_for_closed_sessions(&app).await;
            for (identifier, value) in counted {
                let (meter, customer, at) = (String::new(), String::new(), app.clock().clock().now());
                let report = MeterReport { meter, customer, value, identifier: identifier.clone(), at };
                let before = provider.state().counted.insert(identifier, report);
                assert!(before.is_none(), "{statement}: {before:?}");
            }
            // Longer than the leases of jobs, and than the time after which an unknown report is sent again.
            app.clock().advance(HOUR);
            let known = provider.counted().len();
            let calls = provider.calls();
            send(&app).await;
            resent += provider.calls() - calls - (provider.counted().len() - known);
            let sum: i64 = provider.counted().iter().map(|value| value.parse::<i64>().unwrap()).sum();
            assert_eq!(sum, expected, "{statement}");
            let status = app.operator().get(format!("{REPORTS}/status")).await.expect(200).json();
            assert_eq!(status["states"].as_array().unwrap().len(), 0, "{statement}: {status}");
            if !was_killed {
                break;
            }
            deaths += 1;
        }
        assert!(deaths >= 10, "{deaths}");
        // Those whose result the killed process could not store.
        assert!(resent >= 2, "{resent}");
    }
}
