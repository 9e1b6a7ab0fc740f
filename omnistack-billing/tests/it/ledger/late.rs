//! Events that arrive after their billing period.

use std::time::Duration;

use omnistack_billing::{Billing, LatePolicy, Meter};
use omnistack_core::{
    async_trait,
    jobs::{Job, JobContext, JobError},
};
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{late_usage, ledger, report, start, sum, tenant_of, windows};

/// The module's own job, as its cron enqueues it.
#[derive(Serialize, Deserialize)]
struct Purge {}

#[async_trait]
impl Job for Purge {
    const NAME: &'static str = "usage.purge";
    type State = ();

    async fn run(self, (): &(), _: &JobContext) -> Result<(), JobError> {
        Ok(())
    }
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

on_each_database! {
    // Case 35.
    async fn a_late_event_is_billed_in_the_next_period(database: TestDatabase) {
        let app = start(database).await;
        let owner = app.user();
        let tenant = tenant_of(&owner);
        app.clock().set("2030-07-01T00:30:00Z".parse().unwrap());
        let event = |id: &str| json!([{ "id": id, "meter": "pages", "quantity": 5, "at": "2030-06-30T12:00:00Z" }]);
        assert_eq!(report(&owner, event("in the grace")).await, ["accepted"]);
        app.clock().set("2030-07-03T00:00:00Z".parse().unwrap());
        assert_eq!(report(&owner, event("late")).await, ["late"]);
        assert_eq!(report(&owner, event("late")).await, ["duplicate"]);
        app.clock().set("2030-08-05T12:00:01Z".parse().unwrap());
        assert_eq!(report(&owner, event("too late")).await, ["rejected"]);

        let june = windows(&app, tenant, "period").await;
        assert_eq!((june.len(), june[0].start.to_string(), june[0].sum), (1, "2030-06-01T00:00:00Z".to_owned(), 5));
        let (billed, used) = ("2030-07-01T00:00:00Z".to_owned(), "2030-06-01T00:00:00Z".to_owned());
        assert_eq!(late_usage(&app, tenant).await, [("pages".to_owned(), billed, used, 5)]);
        // Charts show it at the time of use.
        let days = windows(&app, tenant, "day").await;
        assert_eq!((days.len(), days[0].start.to_string(), days[0].sum), (1, "2030-06-30T00:00:00Z".to_owned(), 10));
    }

    async fn a_meter_may_take_no_late_events(database: TestDatabase) {
        let strict = Meter::sum("pages", "pages").late(LatePolicy::Reject).reported_by_tenants();
        let billing = Billing::from_env().meter(strict).meter(Meter::sum("runs", "runs").reported_by_tenants());
        let app = TestApp::start(database, |app| app.with(billing)).await;
        let owner = app.user();
        app.clock().set("2030-07-03T00:00:00Z".parse().unwrap());
        let events = json!([
            { "id": "1", "meter": "pages", "at": "2030-06-30T12:00:00Z" },
            { "id": "2", "meter": "runs", "at": "2030-06-30T12:00:00Z" },
            { "id": "3", "meter": "pages", "at": "2030-07-01T00:00:00Z" },
        ]);
        assert_eq!(report(&owner, events).await, ["rejected", "late", "accepted"]);
    }

    async fn what_is_kept_is_never_late(database: TestDatabase) {
        let app = start(database).await;
        let owner = app.user();
        app.clock().set("2030-07-03T00:00:00Z".parse().unwrap());
        let events = json!([{ "id": "1", "meter": "storage_bytes", "quantity": 7, "at": "2030-06-30T12:00:00Z" }]);
        assert_eq!(report(&owner, events).await, ["accepted"]);
        assert_eq!(sum(&app, tenant_of(&owner), "total", "storage_bytes").await, 7);
    }

    async fn a_closed_period_takes_no_events(database: TestDatabase) {
        let app = start(database).await;
        let owner = app.user();
        let tenant = tenant_of(&owner);
        app.clock().set("2030-06-15T12:00:00Z".parse().unwrap());
        let mut tx = app.db().app_database().tenant(tenant).begin().await.unwrap();
        ledger(&app).close_in(&mut tx, tenant, "2030-06-10T00:00:00Z".parse().unwrap()).await.unwrap();
        tx.commit().await.unwrap();
        let events = json!([
            { "id": "1", "meter": "pages", "quantity": 1, "at": "2030-06-09T23:59:59Z" },
            { "id": "2", "meter": "pages", "quantity": 2, "at": "2030-06-10T00:00:00Z" },
        ]);
        assert_eq!(report(&owner, events).await, ["late", "accepted"]);
        assert_eq!(sum(&app, tenant, "period", "pages").await, 2);
        assert_eq!(late_usage(&app, tenant).await[0].3, 1);
    }

    async fn old_events_and_minutes_are_deleted_and_their_sums_kept(database: TestDatabase) {
        let app = start(database).await;
        let owner = app.user();
        let tenant = tenant_of(&owner);
        let event = json!([{ "id": "1", "meter": "pages", "quantity": 5 }]);
        assert_eq!(report(&owner, event.clone()).await, ["accepted"]);
        let count = async || {
            let mut tx = app.db().app_database().tenant(tenant).begin_read().await.unwrap();
            let sql = "select count(*) from omni_usage_events where tenant_id = $1";
            tx.query(sql).bind(tenant).fetch_one::<(i64,)>().await.unwrap().0
        };
        let purge = async |days: u32| {
            app.clock().advance(DAY * days);
            app.jobs().enqueue(Purge {}).await.unwrap();
            app.run_jobs().await;
        };
        purge(3).await;
        assert_eq!((count().await, windows(&app, tenant, "minute").await.len()), (1, 0));
        assert_eq!(windows(&app, tenant, "hour").await.len(), 1);
        purge(100).await;
        assert_eq!((count().await, windows(&app, tenant, "hour").await.len()), (1, 0));
        purge(300).await;
        assert_eq!(count().await, 0);
        assert_eq!((sum(&app, tenant, "day", "pages").await, sum(&app, tenant, "period", "pages").await), (5, 5));
    }

    async fn an_id_is_known_for_as_long_as_its_event_is_kept(database: TestDatabase) {
        let app = start(database).await;
        let owner = app.user();
        let now = app.clock().clock().now();
        let events =
            json!([{ "id": "without a time", "meter": "pages" }, { "id": "timed", "meter": "pages", "at": now }]);
        for (days, expected) in [
            (0, ["accepted", "accepted"]),
            (30, ["duplicate", "duplicate"]),
            (369, ["duplicate", "rejected"]),
            (2, ["accepted", "rejected"]),
        ] {
            app.clock().advance(DAY * days);
            app.jobs().enqueue(Purge {}).await.unwrap();
            app.run_jobs().await;
            assert_eq!(report(&owner, events.clone()).await, expected, "after {days} days more");
        }
        assert_eq!(sum(&app, tenant_of(&owner), "day", "pages").await, 3);
    }
}
