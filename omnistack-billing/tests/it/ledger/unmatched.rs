//! Events of unknown meters, and events of the past.

use omnistack_billing::{Billing, LatePolicy, Meter};
use omnistack_core::{app::App, jobs::Jobs};
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};
use serde_json::{Value, json};

use super::{billing, late_usage, report, start, sum, tenant_of};

const UNMATCHED: &str = "/api/v1/app/usage/unmatched";

/// Starts the next version of the app, which has further meters.
async fn next_version(app: &TestApp, meters: impl IntoIterator<Item = Meter>) -> App {
    let billing = meters.into_iter().fold(billing(), Billing::meter);
    let next = App::builder(app.database().config()).clock(app.clock().clock()).set("USAGE_COUNT_REQUESTS", "false");
    let next = next.with(billing).build().unwrap();
    next.start().await.unwrap();
    next
}

/// Counts the events of a meter that was unknown.
async fn count_in(app: &App, meter: &str, since: &str, billed: bool) {
    let job = CountUnmatched { meter: meter.to_owned(), since: since.parse().unwrap(), billed };
    let jobs: Jobs = app.context().get().unwrap();
    jobs.enqueue(job).await.unwrap();
    app.runner().run_until_idle().await.unwrap();
}

on_each_database! {
    // Case 33.
    async fn events_before_their_meter_count_when_an_operator_says_so(database: TestDatabase) {
        let app = start(database).await;
        let (owner, other) = (app.user(), app.user());
        app.clock().set("2030-05-04T00:00:00Z".parse().unwrap());
        let event = |id: &str, at: &str, quantity: f64| {
            json!({ "id": id, "meter": "scans", "quantity": quantity, "at": at, "category": "x" })
        };
        let events = json!([
            event("april", "2030-04-20T00:00:00Z", 1.0),
            event("may 1", "2030-05-01T00:00:00Z", 2.0),
            event("half", "2030-05-01T00:00:00Z", 0.5),
            event("may 3", "2030-05-03T00:00:00Z", 3.0),
        ]);
        assert_eq!(report(&owner, events).await, ["unmatched"; 4]);
        assert_eq!(report(&other, json!([event("other", "2030-05-03T00:00:00Z", 4.0)])).await, ["unmatched"]);
        let seen = owner.get(UNMATCHED).await.expect(200).json();
        assert_eq!(seen["meters"], json!([{
            "meter": "scans", "events": 4, "first_at": "2030-04-20T00:00:00Z", "last_at": "2030-05-03T00:00:00Z",
        }]));
        let admin = app.operator();
        assert_eq!(admin.get("/api/v1/admin/usage/unmatched").await.expect(200).json()["meters"][0]["events"], 5);
        let count = "/api/v1/admin/usage/unmatched/scans/count";
        admin.post(count, json!({})).await.expect_error(422, "VALIDATION_FAILED");

        let next = next_version(&app, [Meter::sum("scans", "scans").reported_by_tenants()]).await;
        assert_eq!(sum(&app, tenant_of(&owner), "day", "scans").await, 0);
        count_in(&next, "scans", "2030-05-02T00:00:00Z", true).await;
        assert_eq!((sum(&app, tenant_of(&owner), "period", "scans").await, sum(&app, tenant_of(&other), "day", "scans").await), (3, 4));
        count_in(&next, "scans", "2000-01-01T00:00:00Z", true).await;
        assert_eq!((sum(&app, tenant_of(&owner), "period", "scans").await, sum(&app, tenant_of(&owner), "day", "scans").await), (5, 6));
        let late = late_usage(&app, tenant_of(&owner)).await;
        assert_eq!(late, [("scans".to_owned(), "2030-05-01T00:00:00Z".to_owned(), "2030-04-01T00:00:00Z".to_owned(), 1)]);
        // It has too many decimals for the meter.
        assert_eq!(owner.get(UNMATCHED).await.json()["meters"][0]["events"], 1);
    }

    async fn a_meter_counts_earlier_events_by_its_own_rules(database: TestDatabase) {
        let app = start(database).await;
        let owner = app.user();
        let tenant = tenant_of(&owner);
        app.clock().set("2030-05-04T00:00:00Z".parse().unwrap());
        let events = json!([
            { "id": "late", "meter": "scans", "at": "2030-04-20T00:00:00Z" },
            { "id": "in time", "meter": "scans", "at": "2030-05-01T00:00:00Z" },
            { "id": "not reportable", "meter": "gpu_hours", "at": "2030-05-01T00:00:00Z" },
        ]);
        assert_eq!(report(&owner, events).await, ["unmatched"; 3]);
        let strict = Meter::sum("scans", "scans").late(LatePolicy::Reject).reported_by_tenants();
        let next = next_version(&app, [strict, Meter::sum("gpu_hours", "hours")]).await;
        let counted = async || {
            let seen = owner.get(UNMATCHED).await.expect(200).json();
            let seen: Vec<_> = seen["meters"].as_array().unwrap().iter().map(|meter| meter["meter"].clone()).collect();
            (sum(&app, tenant, "day", "scans").await, sum(&app, tenant, "period", "scans").await, json!(seen))
        };
        for meter in ["scans", "gpu_hours"] {
            count_in(&next, meter, "2000-01-01T00:00:00Z", true).await;
        }
        assert_eq!(counted().await, (1, 1, json!(["gpu_hours", "scans"])));
        // What is not billed is not late.
        count_in(&next, "scans", "2000-01-01T00:00:00Z", false).await;
        assert_eq!(counted().await, (2, 1, json!(["gpu_hours"])));
        assert!(late_usage(&app, tenant).await.is_empty());
    }

    async fn operators_enter_past_usage(database: TestDatabase) {
        let app = start(database).await;
        let owner = app.user();
        let tenant = tenant_of(&owner);
        app.clock().set("2031-01-10T00:00:00Z".parse().unwrap());
        let admin = app.operator();
        let enter = async |billing: Value, id: &str| {
            let events = json!([{ "id": id, "meter": "pages", "quantity": 7, "at": "2030-02-01T00:00:00Z" }]);
            let body = json!({ "tenant": tenant, "billing": billing, "events": events });
            admin.post("/api/v1/admin/usage/backfill", body).await.expect(200).json()["events"][0]["status"].clone()
        };
        assert_eq!(enter(json!("none"), "1").await, "accepted");
        assert_eq!(enter(json!("none"), "1").await, "duplicate");
        assert_eq!(enter(json!("next_period"), "2").await, "late");
        assert_eq!(sum(&app, tenant, "day", "pages").await, 14);
        assert_eq!(sum(&app, tenant, "period", "pages").await, 0);
        let late = late_usage(&app, tenant).await;
        assert_eq!(late, [("pages".to_owned(), "2031-01-01T00:00:00Z".to_owned(), "2030-02-01T00:00:00Z".to_owned(), 7)]);
        let mut tx = app.db().app_database().all_tenants().begin_read().await.unwrap();
        let sql = "select count(*) from omni_audit_entries where action = 'usage.backfilled'";
        assert_eq!(tx.query(sql).fetch_one::<(i64,)>().await.unwrap().0, 3);
    }
}

/// The module's own job.
#[derive(serde::Serialize, serde::Deserialize)]
struct CountUnmatched {
    meter: String,
    since: omnistack_core::clock::Timestamp,
    billed: bool,
}

#[omnistack_core::async_trait]
impl omnistack_core::jobs::Job for CountUnmatched {
    const NAME: &'static str = "usage.count_unmatched";
    type State = ();

    async fn run(self, (): &(), _: &omnistack_core::jobs::JobContext) -> Result<(), omnistack_core::jobs::JobError> {
        Ok(())
    }
}
