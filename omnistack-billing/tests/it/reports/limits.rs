//! The current billing period and the limits of the plan.

use omnistack_testkit::{TestApp, TestClient, TestDatabase, on_each_database};
use serde_json::{Value, json};

use super::{BILLING_USAGE, USAGE, backfill, event, get, meters_of, of_meter, report, start, tenant_of};

/// Reports usage of February and of March, some of it late, and holds a part of a limit.
async fn use_some(app: &TestApp, owner: &TestClient) {
    app.clock().set("2030-02-20T12:00:00Z".parse().unwrap());
    let in_february = [event("storage_bytes", "2030-02-20T12:00:00Z", 300), event("pages", "2030-02-20T12:00:00Z", 50)];
    assert_eq!(report(owner, &in_february).await, 0);
    app.clock().set("2030-03-03T12:00:00Z".parse().unwrap());
    let in_march = [
        event("pages", "2030-03-02T12:00:00Z", 7),
        event("pages", "2030-02-27T12:00:00Z", 3),
        event("pages", "2030-02-28T12:00:00Z", 1),
        event("pages", "2030-01-31T12:00:00Z", 2),
        event("hours", "2030-03-01T00:00:00Z", 2.5),
        event("peak", "2030-03-01T00:00:00Z", 4),
        event("peak", "2030-03-02T00:00:00Z", 6),
    ];
    assert_eq!(report(owner, &in_march).await, 3);
    let tenant = tenant_of(owner);
    backfill(app, tenant, &[event("storage_bytes", "2030-03-02T12:00:00Z", -50)]).await;
    let mut tx = app.db().tenant(tenant).begin().await.unwrap();
    let hold = "update omni_usage_windows set reserved = 100
        where tenant_id = $1 and meter = 'hours' and grain = 'period'";
    assert_eq!(tx.query(hold).bind(tenant).execute().await.unwrap(), 1);
    tx.commit().await.unwrap();
}

on_each_database! {
    async fn the_current_period_shows_what_is_left_of_limits(database: TestDatabase) {
        let app = start(database, "2030-02-20T12:00:00Z").await;
        let owner = app.user();
        use_some(&app, &owner).await;
        let usage = get(&owner, format!("{USAGE}/current-period")).await;
        for (field, expected) in [
            ("plan", "free"),
            ("environment", "live"),
            ("start", "2030-03-01T00:00:00Z"),
            ("end", "2030-04-01T00:00:00Z"),
        ] {
            assert_eq!(usage[field], expected);
        }
        // Those with a limit or with usage.
        assert_eq!(meters_of(&usage), ["api_requests", "hours", "pages", "peak", "runs", "storage_bytes"]);
        let late = json!([
            { "used_in": "2030-01-01T00:00:00Z", "quantity": 2 },
            { "used_in": "2030-02-01T00:00:00Z", "quantity": 4 },
        ]);
        let numbers = |used: Value, reserved: Value, limit: Value, remaining: Value, percent: Value| {
            json!({ "used": used, "reserved": reserved, "limit": limit, "remaining": remaining, "percent": percent })
        };
        for (meter, unit, mut expected, late) in [
            ("api_requests", "requests", numbers(0.into(), 0.into(), 1_000.into(), 1_000.into(), 0.into()), json!([])),
            ("hours", "hours", numbers(2.5.into(), 1.into(), 10.into(), 6.5.into(), 25.into()), json!([])),
            ("pages", "pages", numbers(7.into(), 0.into(), 5.into(), 0.into(), 140.into()), late),
            ("peak", "connections", numbers(6.into(), 0.into(), Value::Null, Value::Null, Value::Null), json!([])),
            ("runs", "runs", numbers(0.into(), 0.into(), 0.into(), 0.into(), 100.into()), json!([])),
            ("storage_bytes", "bytes", numbers(250.into(), 0.into(), 500.into(), 250.into(), 50.into()), json!([])),
        ] {
            (expected["meter"], expected["unit"], expected["late"]) = (meter.into(), unit.into(), late);
            assert_eq!(*of_meter(&usage, meter), expected);
        }
    }

    async fn the_next_period_begins_with_nothing_but_what_is_stored(database: TestDatabase) {
        let app = start(database, "2030-02-20T12:00:00Z").await;
        let owner = app.user();
        use_some(&app, &owner).await;
        app.clock().set("2030-04-01T00:00:00Z".parse().unwrap());
        let usage = get(&owner, format!("{USAGE}/current-period")).await;
        assert_eq!((&usage["start"], &usage["end"]), (&json!("2030-04-01T00:00:00Z"), &json!("2030-05-01T00:00:00Z")));
        assert_eq!(meters_of(&usage), ["api_requests", "hours", "pages", "runs", "storage_bytes"]);
        for (meter, used) in [("hours", 0), ("pages", 0), ("storage_bytes", 250)] {
            let meter = of_meter(&usage, meter);
            assert_eq!((&meter["used"], &meter["reserved"], &meter["late"]), (&json!(used), &json!(0), &json!([])));
        }
    }

    async fn an_unlimited_meter_is_shown_once_it_is_used(database: TestDatabase) {
        let app = start(database, "2030-01-10T12:00:00Z").await;
        let owner = app.user();
        report(&owner, &[event("ai_tokens", "2030-01-10T11:00:00Z", 5_000)]).await;
        let usage = get(&owner, format!("{USAGE}/current-period")).await;
        let tokens = of_meter(&usage, "ai_tokens");
        assert_eq!((&tokens["used"], &tokens["limit"]), (&json!(5_000), &Value::Null));
        assert_eq!((&tokens["remaining"], &tokens["percent"]), (&Value::Null, &Value::Null));
    }

    async fn billing_usage_has_a_field_for_each_limit(database: TestDatabase) {
        let app = start(database, "2030-02-20T12:00:00Z").await;
        let owner = app.user();
        use_some(&app, &owner).await;
        let limit = |used: Value, limit: Value| json!({ "used": used, "limit": limit });
        let expected = json!({
            "plan": "free",
            "billing_period_start": "2030-03-01T00:00:00Z",
            "billing_period_end": "2030-04-01T00:00:00Z",
            "requests": limit(0.into(), 1_000.into()),
            "storage": limit(250.into(), 500.into()),
            "hours": limit(2.5.into(), 10.into()),
            "pages": limit(7.into(), 5.into()),
            "runs": limit(0.into(), 0.into()),
            "projects": limit(2.into(), 3.into()),
            "ai_tokens": limit(0.into(), Value::Null),
        });
        assert_eq!(get(&owner, BILLING_USAGE).await, expected);
    }
}
