//! The usage of each day and minute: trends, daily usage and the numbers of one meter.

use omnistack_core::id::Id;
use omnistack_testkit::{TestDatabase, on_each_database};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{USAGE, backfill, event, event_of, get, meters_of, of_meter, report, start, tenant_of, with};

/// Returns the quantities of points, which follow each other.
fn quantities(points: &Value) -> Vec<i64> {
    points.as_array().unwrap().iter().map(|point| point["quantity"].as_i64().unwrap()).collect()
}

on_each_database! {
    async fn trends_have_every_day(database: TestDatabase) {
        let app = start(database, "2030-03-02T09:00:00Z").await;
        let owner = app.user();
        let events = [
            event("pages", "2030-03-02T08:59:59Z", 3),
            event("pages", "2030-03-01T00:00:00Z", 1),
            event("pages", "2030-02-28T23:59:59Z", 4),
            event("pages", "2030-02-24T12:00:00Z", 2),
            event("pages", "2030-02-20T12:00:00Z", 5),
            event("runs", "2030-02-20T12:00:00Z", 1),
        ];
        report(&owner, &events).await;
        let week = get(&owner, format!("{USAGE}/trends?period=7d")).await;
        // Meters with usage in the period or in the one before it.
        assert_eq!(meters_of(&week), ["pages", "runs"]);
        let pages = of_meter(&week, "pages");
        let point = |day: &str, quantity: u32| json!({ "start": format!("{day}T00:00:00Z"), "quantity": quantity });
        let points = [
            point("2030-02-24", 2),
            point("2030-02-25", 0),
            point("2030-02-26", 0),
            point("2030-02-27", 0),
            point("2030-02-28", 4),
            point("2030-03-01", 1),
            point("2030-03-02", 3),
        ];
        let expected = json!({
            "meter": "pages", "unit": "pages", "points": points, "total": 10, "previous": 5, "growth": 100,
            "average": 1.43, "peak": point("2030-02-28", 4),
        });
        assert_eq!(*pages, expected);
        let runs = of_meter(&week, "runs");
        assert_eq!(quantities(&runs["points"]), [0; 7]);
        assert_eq!((&runs["total"], &runs["previous"]), (&json!(0), &json!(1)));

        for (period, days) in [("7d", 7), ("30d", 30), ("90d", 90), ("1y", 365)] {
            // A meter that is asked for is there without usage.
            let tokens = get(&owner, format!("{USAGE}/trends?period={period}&meter=ai_tokens")).await;
            assert_eq!(meters_of(&tokens), ["ai_tokens"]);
            let tokens = of_meter(&tokens, "ai_tokens");
            assert_eq!(quantities(&tokens["points"]), vec![0; days]);
            assert_eq!((&tokens["growth"], &tokens["peak"]), (&Value::Null, &Value::Null));
        }
        owner.get(format!("{USAGE}/trends?meter=unknown")).await.expect_error(422, "VALIDATION_FAILED");
    }

    async fn daily_usage_has_every_day_with_the_meters_used_on_it(database: TestDatabase) {
        let app = start(database, "2032-03-01T09:00:00Z").await;
        let owner = app.user();
        let events = [
            event("pages", "2032-03-01T00:00:00Z", 3),
            event("pages", "2032-02-29T23:59:59Z", 1),
            event("hours", "2032-02-29T00:00:00Z", 0.25),
            event("pages", "2032-02-27T12:00:00Z", 2),
            event("pages", "2032-02-23T12:00:00Z", 2),
        ];
        report(&owner, &events).await;
        let day = |day: &str, quantities: Value| json!({ "day": day, "quantities": quantities });
        let days = [
            day("2032-02-24", json!({})),
            day("2032-02-25", json!({})),
            day("2032-02-26", json!({})),
            day("2032-02-27", json!({ "pages": 2 })),
            day("2032-02-28", json!({})),
            day("2032-02-29", json!({ "hours": 0.25, "pages": 1 })),
            day("2032-03-01", json!({ "pages": 3 })),
        ];
        let expected = json!({
            "period": "7d", "environment": "live", "start": "2032-02-24T00:00:00Z", "end": "2032-03-02T00:00:00Z",
            "days": days,
        });
        assert_eq!(get(&owner, format!("{USAGE}/daily?period=7d")).await, expected);
        let year = get(&owner, format!("{USAGE}/daily?period=1y")).await;
        assert_eq!(year["days"].as_array().unwrap().len(), 365);
    }

    async fn one_response_has_all_numbers_of_a_meter(database: TestDatabase) {
        let app = start(database, "2030-01-10T12:00:30Z").await;
        let owner = app.user();
        let tenant = tenant_of(&owner);
        let user = owner.identity().unwrap().user;
        let key = Id::from_uuid(Uuid::new_v4());
        let program = app.client_as(owner.identity().unwrap().clone().with_api_key(key));
        backfill(&app, tenant, &[event("ai_tokens", "2029-12-31T12:00:00Z", 8)]).await;
        report(&owner, &[
            event_of("ai_tokens", "2030-01-10T11:00:59Z", 100, "gpt-5"),
            event_of("ai_tokens", "2030-01-10T11:01:00Z", 1, "gpt-5"),
            event_of("ai_tokens", "2030-01-10T11:59:59Z", 2, "gpt-5"),
            with(event_of("ai_tokens", "2030-01-10T12:00:00Z", 4, "gpt-6"), "user", user),
        ]).await;
        report(&program, &[event("ai_tokens", "2030-01-10T12:00:30Z", 9)]).await;

        let stats = get(&owner, format!("{USAGE}/stats?meter=ai_tokens&period=7d")).await;
        for (field, expected) in [
            ("meter", json!("ai_tokens")),
            ("unit", json!("tokens")),
            ("period", json!("7d")),
            ("start", json!("2030-01-04T00:00:00Z")),
            ("end", json!("2030-01-11T00:00:00Z")),
            ("total", json!(116)),
            ("previous", json!(8)),
            ("growth", json!(1_350)),
            ("average", json!(16.57)),
            ("peak", json!({ "start": "2030-01-10T00:00:00Z", "quantity": 116 })),
            ("by_category", json!([
                { "value": "gpt-5", "quantity": 103, "share": 88.79, "events": 3 },
                { "value": null, "quantity": 9, "share": 7.76, "events": 1 },
                { "value": "gpt-6", "quantity": 4, "share": 3.45, "events": 1 },
            ])),
            ("by_api_key", json!([
                { "value": null, "quantity": 107, "share": 92.24, "events": 4 },
                { "value": key, "quantity": 9, "share": 7.76, "events": 1 },
            ])),
            ("by_user", json!([
                { "value": null, "quantity": 112, "share": 96.55, "events": 4 },
                { "value": user, "quantity": 4, "share": 3.45, "events": 1 },
            ])),
        ] {
            assert_eq!(stats[field], expected, "{field}");
        }
        assert_eq!(quantities(&stats["points"]), [0, 0, 0, 0, 0, 0, 116]);
        // The minute of 11:00 is no longer in the hour.
        let mut minutes = vec![0; 60];
        (minutes[0], minutes[58], minutes[59]) = (1, 2, 13);
        assert_eq!(quantities(&stats["last_hour"]), minutes);
        assert_eq!(stats["last_hour"][0]["start"], "2030-01-10T11:01:00Z");

        // Without a name it is about requests.
        assert_eq!(get(&owner, format!("{USAGE}/stats")).await["meter"], "api_requests");
        owner.get(format!("{USAGE}/stats?meter=unknown")).await.expect_error(422, "VALIDATION_FAILED");
    }

    async fn numbers_of_a_meter_that_does_not_add_up_have_no_parts(database: TestDatabase) {
        let app = start(database, "2030-01-10T12:00:30Z").await;
        let owner = app.user();
        report(&owner, &[
            event_of("peak", "2030-01-10T11:59:00Z", 5, "a"),
            event_of("peak", "2030-01-10T11:59:30Z", 3, "b"),
        ]).await;
        let stats = get(&owner, format!("{USAGE}/stats?meter=peak")).await;
        assert_eq!((&stats["total"], &stats["last_hour"][58]["quantity"]), (&json!(5), &json!(5)));
        for parts in ["by_category", "by_api_key", "by_user"] {
            assert_eq!(stats[parts], json!([]));
        }
    }
}
