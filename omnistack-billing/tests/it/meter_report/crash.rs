//! Processes that are killed by SIGKILL after each of their statements in turn while they report usage: the provider
//! counts all usage, and none twice.

use omnistack_core::payment::MeterReport;
use omnistack_testkit::{
    TestApp, TestDatabase,
    crash::{CrashChild, CrashCommand},
    on_each_database,
};

use super::{
    HOUR, REPORTS, SendMeterReports, billing, customer,
    provider::{COUNTED, MeteredProvider, TestProvider},
    send, start, used,
};

#[tokio::test]
#[ignore = "a child process of other tests"]
async fn child_that_reports() {
    let Some(child) = CrashChild::from_env() else { return };
    let provider = MeteredProvider::default();
    provider.state().prints_counted = true;
    let builder = child.builder().set("USAGE_COUNT_REQUESTS", "false").set("BILLING_METER_REPORTS", "pages=acme_pages");
    let app = builder.with(billing()).with(TestProvider(provider)).build().unwrap();
    child.kill_after_statement(app.db(), |_| true);
    app.runner().run_until_idle().await.unwrap();
}

/// Runs a child to its end. Returns the identifiers and the amounts that the provider has counted, and whether the child
/// was killed.
async fn run(app: &TestApp, statement: usize) -> (Vec<(String, String)>, bool) {
    let end = CrashCommand::new(app, "meter_report::crash::child_that_reports", statement).run().await;
    let counted = end.printed_after(COUNTED).filter_map(|report| report.split_once(' '));
    let counted = counted.map(|(identifier, value)| (identifier.to_owned(), value.to_owned())).collect();
    (counted, end.was_killed)
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
