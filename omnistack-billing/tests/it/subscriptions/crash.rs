//! Processes that are killed by SIGKILL after each of their statements in turn, while they start a checkout and while
//! they process an event of the provider: nothing is lost, and nothing counts twice.

use std::{
    os::unix::process::ExitStatusExt as _,
    process::{Command, Output},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use axum::body::Body;
use omnistack_core::{
    app::{App, DevIdentity},
    clock::{MockClock, Timestamp},
    config::Config,
    db::{Dialect, QueryEvent, QueryObserver},
    http::StatusCode,
    identity::Permissions,
    payment::ProviderEventObject,
};
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};
use serde_json::json;
use tower::ServiceExt as _;

use super::{
    BILLING, billing, checkout, count, event,
    provider::{ScriptedPayments, ScriptedProvider},
    start, subscription,
};

/// The variables by which a child gets the URL of the database, the time of its clock, the statement after which it is
/// killed, and the checkout that is paid.
const URL: &str = "SUBSCRIPTION_CRASH_URL";
const CLOCK: &str = "SUBSCRIPTION_CRASH_CLOCK";
const STATEMENT: &str = "SUBSCRIPTION_CRASH_STATEMENT";
const PLAN: &str = "SUBSCRIPTION_CRASH_PLAN";
const PAID: &str = "SUBSCRIPTION_CRASH_PAID";

/// Longer than the leases of events.
const AFTER_THE_LEASES: Duration = Duration::from_secs(600);

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

/// Returns the app of a child process. Returns `None` if this is not a child.
async fn child() -> Option<(App, ScriptedProvider, Timestamp)> {
    let url = variable(URL)?;
    let config = Config::from_pairs([
        ("APP_ENV", "test"),
        ("DATABASE_URL", url.as_str()),
        ("DATABASE_SYNCHRONOUS", "off"),
        ("USAGE_COUNT_REQUESTS", "false"),
        ("DEV_TOKEN", "dev_crash"),
    ]);
    let now = Timestamp::from_micros(variable(CLOCK)?.parse().unwrap());
    let provider = ScriptedProvider::default();
    let app = App::builder(config).clock(MockClock::at(now).clock()).with(billing());
    let app = app.with(DevIdentity::default()).with(ScriptedPayments(provider.clone())).build().unwrap();
    // The development token is known from the start on.
    app.start().await.unwrap();
    app.db().observe(KillAfter(AtomicUsize::new(variable(STATEMENT)?.parse().unwrap())));
    Some((app, provider, now))
}

#[tokio::test]
#[ignore = "a process of other tests here"]
async fn child_that_starts_a_checkout() {
    let Some((app, ..)) = child().await else { return };
    let request = http::Request::post(format!("{BILLING}/checkout"))
        .header("content-type", "application/json")
        .header("authorization", "Bearer dev_crash")
        .body(Body::from(json!({ "plan": variable(PLAN).unwrap() }).to_string()))
        .unwrap();
    let response = app.service().oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test]
#[ignore = "a process of other tests here"]
async fn child_that_processes_an_event() {
    let Some((app, provider, now)) = child().await else { return };
    let text = variable(PAID).unwrap();
    let (reference, customer) = text.split_once(' ').unwrap();
    let paid = provider.restore(reference, customer, "pro:2900:USD:month", now);
    provider.pay(&paid, now);
    app.dispatcher().run_until_idle().await.unwrap();
}

/// Runs a child to its end. Returns whether it was killed.
async fn run(app: &TestApp, child: &str, statement: usize, variables: &[(&str, &str)]) -> bool {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &format!("subscriptions::crash::{child}"), "--ignored", "--nocapture"]);
    command.env(URL, app.database().url()).env(STATEMENT, statement.to_string());
    command.env(CLOCK, app.clock().clock().now().as_micros().to_string()).envs(variables.iter().copied());
    let output = tokio::task::spawn_blocking(move || command.output());
    let ended = tokio::time::timeout(Duration::from_secs(90), output).await.expect("the child ends");
    let Output { status, stdout, stderr } = ended.unwrap().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.signal() == Some(9) || status.success(), "{status}\n{stdout}\n{stderr}");
    wait_for_closed_sessions(app).await;
    !status.success()
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
    async fn a_killed_checkout_is_continued(database: TestDatabase) {
        let (app, provider) = start(database).await;
        let client = app.client_as(DevIdentity::identity().with_permissions(Permissions::all()));
        let mut deaths = 0;
        loop {
            let was_killed = run(&app, "child_that_starts_a_checkout", deaths + 1, &[(PLAN, "pro")]).await;
            assert!(count(&app, "select count(*) from omni_checkouts where status in ('creating', 'open')").await <= 1);
            let page = checkout(&client, json!({ "plan": "pro" })).await;
            let open = "select count(*) from omni_checkouts where status = 'open'";
            assert_eq!(count(&app, open).await, 1, "after {deaths}");
            assert_eq!(count(&app, "select count(*) from omni_billing_customers").await, 1, "after {deaths}");
            // The next child starts anew.
            let mut tx = app.db().app_database().all_tenants().begin().await.unwrap();
            tx.query("delete from omni_checkouts").execute().await.unwrap();
            tx.query("delete from omni_billing_customers").execute().await.unwrap();
            tx.commit().await.unwrap();
            provider.world().checkouts.remove(&page);
            if !was_killed {
                break;
            }
            deaths += 1;
        }
        assert!(deaths >= 8, "{deaths}");
        // The same key, so one customer.
        assert_eq!(provider.world().customers.len(), 1);
    }

    async fn an_event_that_is_processed_by_a_killed_process_counts_once(database: TestDatabase) {
        let (app, provider) = start(database).await;
        let mut deaths = 0;
        loop {
            let client = app.user();
            let open = checkout(&client, json!({ "plan": "pro" })).await;
            let now = app.clock().clock().now();
            let (reference, customer) = {
                let world = provider.world();
                let new = &world.checkouts[&open].0;
                (new.reference.clone(), new.customer.clone())
            };
            let id = provider.pay(&open, now);
            app.events().publish(&event(ProviderEventObject::Subscription(id))).await.unwrap();
            let paid = format!("{reference} {customer}");
            let was_killed = run(&app, "child_that_processes_an_event", deaths + 1, &[(PAID, &paid)]).await;
            app.clock().advance(AFTER_THE_LEASES);
            app.run_events().await;
            app.run_jobs().await;
            assert_eq!(subscription(&client).await["status"], "active", "after {deaths}");
            deaths += 1;
            let bought = i64::try_from(deaths).unwrap();
            assert_eq!(count(&app, "select count(*) from omni_subscriptions").await, bought);
            assert_eq!(count(&app, "select count(*) from omni_subscription_changes").await, bought);
            let assigned = "select count(*) from omni_billing_accounts where plan = 'pro'";
            assert_eq!(count(&app, assigned).await, bought);
            if !was_killed {
                break;
            }
        }
        assert!(deaths >= 8, "{deaths}");
    }
}
