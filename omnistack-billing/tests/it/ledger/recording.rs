//! Usage that the app records itself: in transactions, and in counters.

use std::time::Duration;

use omnistack_billing::{Billing, BillingAccounts, BillingInterval, PlanAssignment};
use omnistack_core::{
    ShutdownToken,
    db::{Dialect, ErrorKind, Tx},
    usage::{Decimal, UsageEvent, UsageSink, meters},
};
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};
use serde_json::json;

use super::{ledger, report, start, start_with, sum, tenant_of, windows};

fn sink(app: &TestApp) -> UsageSink {
    app.app().context().get().unwrap()
}

/// Returns the process of the server that has this transaction, or `None` on SQLite, where the next transaction waits
/// before it begins.
async fn server_process(tx: &mut Tx) -> Option<i32> {
    if tx.dialect() == Dialect::Sqlite {
        return None;
    }
    let (process,): (i32,) = tx.query("select pg_backend_pid()").fetch_one().await.unwrap();
    Some(process)
}

/// Waits until a transaction waits for that of a process of the server.
async fn wait_for_waiting(app: &TestApp, process: Option<i32>) {
    let Some(process) = process else { return };
    let waiting = "select count(*) from pg_stat_activity where $1 = any(pg_blocking_pids(pid))";
    let look = async { while app.db().query(waiting).bind(process).fetch_one::<(i64,)>().await.unwrap().0 == 0 {} };
    tokio::time::timeout(Duration::from_secs(30), look).await.expect("a transaction waits");
}

on_each_database! {
    async fn usage_commits_with_the_rows_that_it_counts(database: TestDatabase) {
        let app = start(database).await;
        let tenant = tenant_of(&app.user());
        let now = app.clock().clock().now();
        let event = |id: &str| UsageEvent::new(tenant, "pages", 3, now).once("test", id);
        let record = async |id: &str, commits: bool| {
            let mut tx = app.db().tenant(tenant).begin().await.unwrap();
            sink(&app).record_in(&mut tx, [event(id), UsageEvent::new(tenant, "hours", 1, now)]).await.unwrap();
            if commits { tx.commit().await.unwrap() } else { tx.rollback().await.unwrap() }
        };
        record("1", false).await;
        assert!(windows(&app, tenant, "day").await.is_empty());
        record("1", true).await;
        record("1", true).await;
        assert_eq!(sum(&app, tenant, "day", "pages").await, 3);
        assert_eq!(sum(&app, tenant, "day", "hours").await, 20_000, "events without an id count each time");
    }

    async fn a_transaction_without_a_tenant_records_usage(database: TestDatabase) {
        let app = start(database).await;
        let tenant = tenant_of(&app.user());
        let now = app.clock().clock().now();
        for sees_all in [false, true] {
            let tx = if sees_all { app.db().all_tenants().begin().await } else { app.db().begin().await };
            let mut tx = tx.unwrap();
            sink(&app).record_in(&mut tx, [UsageEvent::new(tenant, "pages", 1, now)]).await.unwrap();
            tx.commit().await.unwrap();
        }
        assert_eq!(sum(&app, tenant, "day", "pages").await, 2);
    }

    async fn transactions_that_record_in_different_orders_both_commit(database: TestDatabase) {
        let app = start(database).await;
        let tenant = tenant_of(&app.user());
        let now = app.clock().clock().now();
        for (first_meter, second_meter) in [("pages", "hours"), ("hours", "pages")] {
            let event = |meter: &'static str| [UsageEvent::new(tenant, meter, 1, now)];
            let mut first = app.db().tenant(tenant).begin().await.unwrap();
            let process = server_process(&mut first).await;
            sink(&app).record_in(&mut first, event(first_meter)).await.unwrap();
            let first = async {
                // The other transaction waits for this one. It has not locked what this one needs next.
                wait_for_waiting(&app, process).await;
                sink(&app).record_in(&mut first, event(second_meter)).await.unwrap();
                first.commit().await.unwrap();
            };
            let second = async {
                let mut tx = app.db().tenant(tenant).begin().await.unwrap();
                for meter in [second_meter, first_meter] {
                    sink(&app).record_in(&mut tx, event(meter)).await.unwrap();
                }
                tx.commit().await.unwrap();
            };
            tokio::join!(first, second);
        }
        assert_eq!((sum(&app, tenant, "day", "pages").await, sum(&app, tenant, "day", "hours").await), (4, 40_000));
    }

    async fn what_can_t_be_counted_does_not_fail_the_transaction(database: TestDatabase) {
        let app = start(database).await;
        let tenant = tenant_of(&app.user());
        let now = app.clock().clock().now();
        let old = now - Duration::from_secs(100 * 24 * 60 * 60);
        let mut tx = app.db().tenant(tenant).begin().await.unwrap();
        let events = [
            UsageEvent::new(tenant, "nothing", 1, now),
            UsageEvent::new(tenant, "pages", 1, old),
            UsageEvent::new(tenant, "pages", 1, now).once("test", "x".repeat(500)),
            UsageEvent::new(tenant, "pages", 1, now),
        ];
        sink(&app).record_in(&mut tx, events).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(sum(&app, tenant, "day", "pages").await, 1);
    }

    async fn counters_are_stored_together(database: TestDatabase) {
        let app = start(database).await;
        let (tenant, other) = (tenant_of(&app.user()), tenant_of(&app.user()));
        let now = app.clock().clock().now();
        for _ in 0..100 {
            sink(&app).count(UsageEvent::new(tenant, "pages", 2, now).category("pdf"));
        }
        sink(&app).count(UsageEvent::new(other, "pages", 1, now));
        for _ in 0..3 {
            sink(&app).count(UsageEvent::new(tenant, "logins", 1, now));
        }
        assert!(windows(&app, tenant, "day").await.is_empty());
        ledger(&app).flush().await.unwrap();
        ledger(&app).flush().await.unwrap();
        assert_eq!((sum(&app, tenant, "day", "pages").await, sum(&app, other, "day", "pages").await), (200, 1));
        let days = windows(&app, tenant, "day").await;
        assert_eq!(days.iter().map(|day| (day.meter.as_str(), day.events)).collect::<Vec<_>>(), [("logins", 3), ("pages", 1)]);
    }

    async fn a_counter_that_can_t_be_stored_keeps_no_other_out(database: TestDatabase) {
        let app = start(database).await;
        let (tenant, other) = (tenant_of(&app.user()), tenant_of(&app.user()));
        let now = app.clock().clock().now();
        let count = |tenant, quantity: Decimal| sink(&app).count(UsageEvent::new(tenant, "pages", quantity, now));
        count(tenant, 3.into());
        // The meter counts whole pages.
        count(tenant, Decimal::new(5, 1));
        count(tenant, 4.into());
        ledger(&app).flush().await.unwrap();
        assert_eq!(sum(&app, tenant, "day", "pages").await, 7);

        // Together with this one, the sum is too large for the database.
        let mut tx = app.db().app_database().tenant(tenant).begin().await.unwrap();
        let sql = "update omni_usage_windows set sum = $2 where tenant_id = $1 and grain = 'day'";
        tx.query(sql).bind(tenant).bind(i64::MAX).execute().await.unwrap();
        tx.commit().await.unwrap();
        for tenant in [tenant, other] {
            count(tenant, 1.into());
        }
        ledger(&app).flush().await.unwrap();
        assert_eq!(sum(&app, other, "day", "pages").await, 1);
        assert_eq!(sum(&app, tenant, "day", "pages").await, i64::MAX);
    }

    async fn counters_are_stored_after_a_clock_was_set_back(database: TestDatabase) {
        let app = start(database).await;
        let tenant = tenant_of(&app.user());
        sink(&app).count(UsageEvent::new(tenant, "pages", 3, app.clock().clock().now()));
        app.clock().set("2029-12-31T12:00:00Z".parse().unwrap());
        ledger(&app).flush().await.unwrap();
        let days = windows(&app, tenant, "day").await;
        assert_eq!((days.len(), days[0].sum, days[0].start.to_string()), (1, 3, "2029-12-31T00:00:00Z".to_owned()));
    }

    async fn counters_are_exact_in_the_minute_in_which_a_billing_period_ends(database: TestDatabase) {
        let app = start(database).await;
        let tenant = tenant_of(&app.user());
        app.clock().set("2030-06-15T10:00:00Z".parse().unwrap());
        let accounts: BillingAccounts = app.app().context().get().unwrap();
        let mut tx = app.db().app_database().tenant(tenant).begin().await.unwrap();
        let anchor = "2030-05-20T12:00:30.5Z".parse().unwrap();
        let plan = PlanAssignment::new("free").period(anchor, BillingInterval::MONTH);
        accounts.assign_plan_in(&mut tx, tenant, &plan).await.unwrap();
        tx.commit().await.unwrap();
        // At first, the process has not stored usage of the tenant.
        for month in ["2030-06", "2030-07"] {
            for (seconds, quantity) in [("30.4", 1), ("30.5", 2), ("30.4", 4), ("59", 8)] {
                let at = format!("{month}-20T12:00:{seconds}Z").parse().unwrap();
                app.clock().set(at);
                sink(&app).count(UsageEvent::new(tenant, "pages", quantity, at));
            }
            ledger(&app).flush().await.unwrap();
        }
        let periods = windows(&app, tenant, "period").await;
        let periods: Vec<_> = periods.iter().map(|period| (period.start.to_string(), period.sum)).collect();
        let start = |month: &str| format!("2030-{month}-20T12:00:30.5Z");
        assert_eq!(periods, [(start("05"), 5), (start("06"), 15), (start("07"), 10)]);
        assert_eq!(sum(&app, tenant, "minute", "pages").await, 30);
    }

    async fn an_event_has_at_most_a_petabyte_and_sums_do_not_overflow(database: TestDatabase) {
        const PETABYTE: i64 = 1_000_000_000_000_000;
        let app = start(database).await;
        let tenant = tenant_of(&app.user());
        let now = app.clock().clock().now();
        let event = |bytes: i64| UsageEvent::storage(tenant, "video/mp4", bytes, now);
        let record = async |events: Vec<UsageEvent>| {
            let mut tx = app.db().tenant(tenant).begin().await.unwrap();
            let recorded = sink(&app).record_in(&mut tx, events).await;
            if recorded.is_ok() { tx.commit().await.unwrap() } else { tx.rollback().await.unwrap() }
            recorded
        };
        record(vec![event(2_000_000_000_000), event(PETABYTE), event(PETABYTE + 1)]).await.unwrap();
        let stored = PETABYTE + 2_000_000_000_000;
        assert_eq!(sum(&app, tenant, "total", "storage_bytes").await, stored);
        // The first are too many for one transaction, the second together with what is stored.
        for count in [9_300, 9_223] {
            let error = record((0..count).map(|_| event(PETABYTE)).collect()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidValue, "{count}");
        }
        assert_eq!(sum(&app, tenant, "total", "storage_bytes").await, stored);
    }

    async fn counters_are_stored_at_the_shutdown(database: TestDatabase) {
        let app = start_with(database, |app| app.set("USAGE_FLUSH", "1m")).await;
        let tenant = tenant_of(&app.user());
        let shutdown = ShutdownToken::new();
        let counted = async {
            sink(&app).count(UsageEvent::new(tenant, "pages", 1, app.clock().clock().now()));
            shutdown.cancel();
        };
        let both = async { tokio::join!(app.app().run_workers(shutdown.clone()), counted) };
        tokio::time::timeout(Duration::from_secs(30), both).await.unwrap();
        assert_eq!(sum(&app, tenant, "day", "pages").await, 1);
    }

    async fn requests_are_counted_by_route_user_and_key(database: TestDatabase) {
        let app = TestApp::start(database, |app| app.with(Billing::from_env())).await;
        let owner = app.user();
        let tenant = tenant_of(&owner);
        for _ in 0..3 {
            owner.get("/api/v1/app/usage/metrics").await.expect(200);
        }
        report(&owner, json!([{ "id": "1", "meter": "runs" }])).await;
        app.anonymous().get("/api/v1/app/usage/metrics").await.expect(401);
        ledger(&app).flush().await.unwrap();
        assert_eq!(sum(&app, tenant, "day", meters::API_REQUESTS).await, 4);
        let mut tx = app.db().app_database().tenant(tenant).begin_read().await.unwrap();
        let sql = "select category, sum, user_id from omni_usage_dimensions
            where tenant_id = $1 and grain = 'day' and meter = 'api_requests' order by category";
        let rows: Vec<(String, i64, omnistack_core::identity::UserId)> = tx.query(sql).bind(tenant).fetch_all().await.unwrap();
        let user = owner.identity().unwrap().user;
        assert_eq!(rows, [
            ("/api/v1/app/usage/events".to_owned(), 1, user),
            ("/api/v1/app/usage/metrics".to_owned(), 3, user),
        ]);
    }

    async fn usage_of_a_tenant_database_is_in_the_ledger_of_the_app(database: TestDatabase) {
        let app = start(database.with_tenant_databases()).await;
        let tenant = tenant_of(&app.user());
        let now = app.clock().clock().now();
        let mut tx = app.db().tenant(tenant).begin().await.unwrap();
        assert!(tx.in_tenant_database());
        sink(&app).record_in(&mut tx, [UsageEvent::new(tenant, "pages", 3, now)]).await.unwrap();
        tx.commit().await.unwrap();
        app.run_events().await;
        assert_eq!(sum(&app, tenant, "day", "pages").await, 3);
    }
}
