//! Tests of billing periods: time zones and anchors.

use std::time::Duration;

use omnistack_billing::{BillingInterval, PlanAssignment};
use omnistack_core::clock::Timestamp;
use omnistack_testkit::{TestApp, TestClient, TestDatabase, on_each_database};
use serde_json::{Value, json};

use super::{PLAN, accounts, app, audited, tenant_of};

const ACCOUNT: &str = "/api/v1/app/billing/account";
const DAY: Duration = Duration::from_secs(86_400);

async fn current_period(user: &TestClient) -> Value {
    user.get(PLAN).await.expect(200).json()["current_period"].clone()
}

/// Returns the starts of the periods that a tenant sees in the next days. Each begins where the one before it ends.
async fn starts(app: &TestApp, user: &TestClient, days: u32) -> Vec<String> {
    let mut period = current_period(user).await;
    let mut starts = vec![period["start"].as_str().unwrap().to_owned()];
    for _ in 0..days {
        app.clock().advance(DAY);
        let now = current_period(user).await;
        if now != period {
            assert_eq!(now["start"], period["end"]);
            starts.push(now["start"].as_str().unwrap().to_owned());
            period = now;
        }
    }
    starts
}

async fn set_zone(user: &TestClient, zone: &str) -> Value {
    user.patch(ACCOUNT, json!({ "zone": zone })).await.expect(200).json()
}

on_each_database! {
    async fn a_zone_counts_from_the_next_period(database: TestDatabase) {
        let app = app(database, |app| app).await;
        let (east, west, other) = (app.user(), app.user(), app.user());
        app.clock().advance(DAY * 14);
        let running = current_period(&east).await;
        let changed = set_zone(&east, "europe/berlin").await;
        assert_eq!((&changed["zone"], &changed["current_period"]), (&json!("Europe/Berlin"), &running));
        set_zone(&west, "Asia/Tokyo").await;
        set_zone(&west, "America/Los_Angeles").await;
        assert_eq!(current_period(&west).await, running);
        set_zone(&west, "America/Los_Angeles").await;
        assert_eq!(audited(&app, "billing_account.updated").await.len(), 3, "the last one has changed nothing");

        let start = app.clock().clock().now();
        for (user, expected) in [
            (&east, ["2030-01-01T00:00:00Z", "2030-02-01T00:00:00Z", "2030-02-28T23:00:00Z", "2030-03-31T22:00:00Z"]),
            // The eight hours until midnight are a part of the period, and no period of their own.
            (&west, ["2030-01-01T00:00:00Z", "2030-02-01T00:00:00Z", "2030-03-01T08:00:00Z", "2030-04-01T07:00:00Z"]),
            (&other, ["2030-01-01T00:00:00Z", "2030-02-01T00:00:00Z", "2030-03-01T00:00:00Z", "2030-04-01T00:00:00Z"]),
        ] {
            app.clock().set(start);
            assert_eq!(starts(&app, user, 80).await, expected);
        }
    }

    async fn a_plan_can_have_periods_of_its_own(database: TestDatabase) {
        let app = app(database, |app| app).await;
        let user = app.user();
        let tenant = tenant_of(&user);
        app.clock().advance(DAY * 30);
        let anchor = app.clock().clock().now();
        assert_eq!(anchor, "2030-01-31T00:00:00Z".parse::<Timestamp>().unwrap());
        let assignment = PlanAssignment::new("pro").period(anchor, BillingInterval::MONTH);
        // A provider can report the same more than once.
        for _ in 0..2 {
            let mut tx = app.db().tenant(tenant).begin().await.unwrap();
            accounts(&app).assign_plan_in(&mut tx, tenant, &assignment).await.unwrap();
            tx.commit().await.unwrap();
            app.clock().advance(Duration::from_secs(600));
        }
        assert_eq!(audited(&app, "billing_plan.assigned").await.len(), 1);
        let expected = ["2030-01-31T00:00:00Z", "2030-02-28T00:00:00Z", "2030-03-31T00:00:00Z", "2030-04-30T00:00:00Z"];
        assert_eq!(starts(&app, &user, 100).await, expected);

        // Another plan without periods keeps them; one with periods ends the running one.
        for (assignment, start, end) in [
            (PlanAssignment::new("enterprise"), "2030-04-30T00:00:00Z", "2030-05-31T00:00:00Z"),
            (
                PlanAssignment::new("pro").period("2030-05-11T00:00:00Z".parse().unwrap(), BillingInterval::YEAR),
                "2030-05-11T00:00:00Z",
                "2031-05-11T00:00:00Z",
            ),
        ] {
            let mut tx = app.db().tenant(tenant).begin().await.unwrap();
            accounts(&app).assign_plan_in(&mut tx, tenant, &assignment).await.unwrap();
            tx.commit().await.unwrap();
            assert_eq!(current_period(&user).await, json!({ "start": start, "end": end }));
        }
    }
}

#[tokio::test]
async fn the_default_zone_is_a_setting() {
    let app = app(TestDatabase::sqlite(), |app| app.set("BILLING_ZONE", "Europe/Berlin")).await;
    let user = app.user();
    let expected = json!({ "start": "2029-12-31T23:00:00Z", "end": "2030-01-31T23:00:00Z" });
    assert_eq!(current_period(&user).await, expected);
    assert_eq!(set_zone(&user, "Europe/Berlin").await["current_period"], expected);
    for zone in ["Europe/Atlantis", "", "+01:00"] {
        user.patch(ACCOUNT, json!({ "zone": zone })).await.expect_error(422, "VALIDATION_FAILED");
    }
}
