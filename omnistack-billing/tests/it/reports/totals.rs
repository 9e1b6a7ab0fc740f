//! The usage of all tenants, which a job adds up.

use omnistack_core::{
    app::AppBuilder,
    async_trait,
    jobs::{Job, JobContext, JobError},
};
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{ADMIN, billing, event, get, meters_of, of_meter, report, report_in, start, tenant_of};

/// The module's own job, as its crons enqueue it.
#[derive(Serialize, Deserialize)]
struct AddUp {
    days: Option<u32>,
}

#[async_trait]
impl Job for AddUp {
    const NAME: &'static str = "usage.add_up_totals";
    type State = ();

    async fn run(self, (): &(), _: &JobContext) -> Result<(), JobError> {
        Ok(())
    }
}

/// Adds up the last days, and returns the usage of the last 30 days.
async fn add_up(app: &TestApp, days: Option<u32>) -> Value {
    app.jobs().enqueue(AddUp { days }).await.unwrap();
    app.run_jobs().await;
    get(&app.operator(), format!("{ADMIN}/metrics")).await
}

/// Returns the last day of a meter with usage: the quantity, the events and the tenants.
fn last(report: &Value, meter: &str) -> (Value, i64, i64) {
    let points = of_meter(report, meter)["points"].as_array().unwrap();
    let point = points.iter().rev().find(|point| point["events"] != 0).unwrap();
    (point["quantity"].clone(), point["events"].as_i64().unwrap(), point["tenants"].as_i64().unwrap())
}

on_each_database! {
    async fn days_of_all_tenants_are_added_up(database: TestDatabase) {
        let app = start(database, "2030-01-20T12:00:00Z").await;
        let (first, second) = (app.user(), app.user());
        let today = "2030-01-20T11:00:00Z";
        report(&first, &[event("pages", today, 3), event("pages", today, 4), event("hours", today, 0.25)]).await;
        report(&second, &[event("pages", today, 5), event("peak", today, 9), event("logins", today, 1)]).await;
        report(&first, &[event("peak", today, 7), event("logins", today, 1), event("level", today, 80)]).await;
        report_in(&first, "test", &[event("pages", today, 1_000)]).await;
        let earlier = [event("pages", "2030-01-18T11:00:00Z", 20), event("pages", "2030-01-17T11:00:00Z", 40)];
        report(&second, &earlier).await;

        let totals = add_up(&app, Some(3)).await;
        // The latest of several tenants is no number.
        assert_eq!(meters_of(&totals), ["hours", "logins", "pages", "peak"]);
        assert_eq!(last(&totals, "hours"), (json!(0.25), 1, 1));
        assert_eq!(last(&totals, "logins"), (json!(2), 2, 2));
        assert_eq!(last(&totals, "pages"), (json!(12), 3, 2));
        assert_eq!(last(&totals, "peak"), (json!(9), 2, 2));
        let pages = of_meter(&totals, "pages");
        let point = |day: &str, quantity: u32, events: u32, tenants: u32| {
            json!({ "start": format!("{day}T00:00:00Z"), "quantity": quantity, "events": events, "tenants": tenants })
        };
        let points = pages["points"].as_array().unwrap();
        let expected = [
            // The day before the last three is not added up.
            point("2030-01-17", 0, 0, 0),
            point("2030-01-18", 20, 1, 1),
            point("2030-01-19", 0, 0, 0),
            point("2030-01-20", 12, 3, 2),
        ];
        assert_eq!((points.len(), &points[26..]), (30, expected.as_slice()));
        for (field, expected) in [
            ("unit", json!("pages")),
            ("total", json!(32)),
            ("previous", json!(0)),
            ("growth", Value::Null),
            ("average", json!(1.07)),
            ("peak", json!({ "start": "2030-01-18T00:00:00Z", "quantity": 20 })),
            ("events", json!(4)),
        ] {
            assert_eq!(pages[field], expected, "{field}");
        }
        let test = get(&app.operator(), format!("{ADMIN}/metrics?environment=test&period=7d")).await;
        assert_eq!((meters_of(&test), &of_meter(&test, "pages")["total"]), (vec!["pages"], &json!(1_000)));

        // The job of the night reaches further back.
        let totals = add_up(&app, None).await;
        assert_eq!(of_meter(&totals, "pages")["total"], 72);
    }

    async fn every_night_adds_up_the_days_that_late_events_can_have_changed(database: TestDatabase) {
        let set = |app: AppBuilder| app.set("USAGE_COUNT_REQUESTS", "false").set("USAGE_MAX_AGE", "80d");
        let app = TestApp::start(database, |app| set(app.with(billing()))).await;
        app.clock().set("2030-07-01T12:00:00Z".parse().unwrap());
        // As old as an event can be, and added up only in the second night after it.
        report(&app.user(), &[event("pages", "2030-04-12T12:00:00Z", 5)]).await;
        app.clock().set("2030-07-03T02:52:00Z".parse().unwrap());
        add_up(&app, None).await;
        let quarter = get(&app.operator(), format!("{ADMIN}/metrics?period=90d")).await;
        assert_eq!(of_meter(&quarter, "pages")["total"], 5);
    }

    async fn totals_are_those_of_the_last_run(database: TestDatabase) {
        let app = start(database, "2030-01-20T12:00:00Z").await;
        let (first, second) = (app.user(), app.user());
        let today = "2030-01-20T11:00:00Z";
        report(&first, &[event("pages", today, 3)]).await;
        assert_eq!(last(&add_up(&app, Some(3)).await, "pages"), (json!(3), 1, 1));
        assert_eq!(last(&add_up(&app, Some(3)).await, "pages"), (json!(3), 1, 1));
        report(&second, &[event("pages", today, 4), event("runs", today, 1)]).await;
        let shown = get(&app.operator(), format!("{ADMIN}/metrics")).await;
        assert_eq!((meters_of(&shown), last(&shown, "pages")), (vec!["pages"], (json!(3), 1, 1)));
        let totals = add_up(&app, Some(3)).await;
        assert_eq!((last(&totals, "pages"), last(&totals, "runs")), ((json!(7), 2, 2), (json!(1), 1, 1)));

        // What a tenant has used is gone with it.
        let tenant = tenant_of(&second);
        let mut tx = app.db().tenant(tenant).begin().await.unwrap();
        let delete = "delete from omni_usage_windows where tenant_id = $1";
        assert!(tx.query(delete).bind(tenant).execute().await.unwrap() > 0);
        tx.commit().await.unwrap();
        let totals = add_up(&app, Some(3)).await;
        assert_eq!((meters_of(&totals), last(&totals, "pages")), (vec!["pages"], (json!(3), 1, 1)));
    }

    async fn totals_of_a_year_are_compared_with_those_of_the_year_before(database: TestDatabase) {
        let app = start(database, "2030-01-10T12:00:00Z").await;
        let owner = app.user();
        let day = |day: &str, quantity: i64, meter: &str| event(meter, &format!("{day}T11:00:00Z"), quantity);
        report(&owner, &[day("2029-12-25", 40, "pages"), day("2029-12-25", 4, "peak")]).await;
        add_up(&app, None).await;
        app.clock().set("2031-01-09T12:00:00Z".parse().unwrap());
        let events = [day("2030-12-25", 50, "pages"), day("2030-12-25", 5, "peak"), day("2030-12-26", 3, "peak")];
        report(&owner, &events).await;
        add_up(&app, None).await;
        let year = get(&app.operator(), format!("{ADMIN}/metrics?period=1y")).await;
        for (meter, total, previous, growth) in [("pages", 50, 40, 25), ("peak", 5, 4, 25)] {
            let shown = of_meter(&year, meter);
            assert_eq!((&shown["total"], &shown["previous"]), (&json!(total), &json!(previous)), "{shown}");
            assert_eq!((&shown["growth"], shown["points"].as_array().unwrap().len()), (&json!(growth), 365));
        }
    }

    async fn a_total_that_is_too_large_is_cut_off(database: TestDatabase) {
        let app = start(database, "2030-01-20T12:00:00Z").await;
        for user in [app.user(), app.user()] {
            report(&user, &[event("pages", "2030-01-20T11:00:00Z", 1)]).await;
            let tenant = tenant_of(&user);
            let mut tx = app.db().tenant(tenant).begin().await.unwrap();
            let update = "update omni_usage_windows set sum = $1 where tenant_id = $2";
            tx.query(update).bind(i64::MAX).bind(tenant).execute().await.unwrap();
            tx.commit().await.unwrap();
        }
        assert_eq!(last(&add_up(&app, Some(3)).await, "pages"), (json!(i64::MAX), 2, 2));
    }
}
