//! Usage by category, API key and user.

use omnistack_core::id::Id;
use omnistack_testkit::{TestDatabase, on_each_database};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{USAGE, backfill, event, event_of, get, report, start, with};

fn part(value: impl serde::Serialize, quantity: impl serde::Serialize, share: f64, events: u32) -> Value {
    json!({ "value": value, "quantity": quantity, "share": share, "events": events })
}

/// Changes numbers to floating-point ones, so that 25 is equal to 25.0.
fn plain(mut items: Value) -> Value {
    for item in items.as_array_mut().unwrap() {
        item["share"] = json!(item["share"].as_f64());
    }
    items
}

on_each_database! {
    async fn the_largest_parts_are_listed_and_the_others_added_up(database: TestDatabase) {
        let app = start(database, "2030-01-10T12:00:00Z").await;
        let owner = app.user();
        let categories = (1..=103).map(|number| {
            event_of("pages", "2030-01-09T12:00:00Z", number, &format!("c{number:03}"))
        });
        let events: Vec<Value> = categories.chain([event("pages", "2030-01-09T12:00:00Z", 44)]).collect();
        report(&owner, &events).await;
        let breakdown = get(&owner, format!("{USAGE}/breakdown?by=category&meter=pages&period=7d")).await;
        // The sum of 1 to 103, and 44 without a category.
        let total = 103 * 104 / 2 + 44;
        let items = breakdown["items"].as_array().unwrap();
        assert_eq!((&breakdown["total"], items.len()), (&json!(total), 100));
        let quantities: Vec<i64> = items.iter().map(|item| item["quantity"].as_i64().unwrap()).collect();
        assert!(quantities.is_sorted_by(|one, next| one >= next), "{quantities:?}");
        // Of 104 parts, 1 to 4 are left.
        assert_eq!((quantities[0], quantities[99], &breakdown["other"]), (103, 5, &json!(1 + 2 + 3 + 4)));
        // Parts of the same size are ordered by their values; the empty one comes first.
        let equal = items.iter().filter(|item| item["quantity"] == 44).map(|item| &item["value"]);
        assert_eq!(equal.collect::<Vec<_>>(), [&Value::Null, &json!("c044")]);
        for (field, expected) in [
            ("by", "category"),
            ("meter", "pages"),
            ("unit", "pages"),
            ("period", "7d"),
            ("environment", "live"),
            ("start", "2030-01-04T00:00:00Z"),
            ("end", "2030-01-11T00:00:00Z"),
        ] {
            assert_eq!(breakdown[field], expected);
        }
    }

    async fn usage_has_a_category_an_api_key_and_a_user(database: TestDatabase) {
        let app = start(database, "2030-01-10T12:00:00Z").await;
        let owner = app.user();
        let identity = owner.identity().unwrap().clone();
        let keys = [Id::from_uuid(Uuid::from_u128(1)), Id::from_uuid(Uuid::from_u128(2))];
        let [one, other] = keys.map(|key| app.client_as(identity.clone().with_api_key(key)));
        let user = Uuid::from_u128(7);
        let at = "2030-01-10T11:00:00Z";
        report(&owner, &[event_of("hours", at, 0.5, "a"), with(event_of("hours", at, 1, "b"), "user", user)]).await;
        report(&one, &[event_of("hours", at, 2, "a"), event_of("hours", at, 4, "b")]).await;
        report(&other, &[with(event_of("hours", at, 0.5, "b"), "user", user)]).await;
        let none: Option<Uuid> = None;
        for (by, items) in [
            ("category", json!([part("b", 5.5, 68.75, 3), part("a", 2.5, 31.25, 2)])),
            ("api_key", json!([part(keys[0], 6, 75.0, 2), part(none, 1.5, 18.75, 2), part(keys[1], 0.5, 6.25, 1)])),
            ("user", json!([part(none, 6.5, 81.25, 3), part(user, 1.5, 18.75, 2)])),
        ] {
            let breakdown = get(&owner, format!("{USAGE}/breakdown?by={by}&meter=hours&period=7d")).await;
            assert_eq!((plain(breakdown["items"].clone()), &breakdown["total"]), (items, &json!(8)), "{by}");
            assert_eq!(breakdown["other"], 0);
        }
    }

    async fn a_meter_that_counts_is_broken_down_by_events(database: TestDatabase) {
        let app = start(database, "2030-01-10T12:00:00Z").await;
        let owner = app.user();
        let at = "2030-01-10T11:00:00Z";
        report(&owner, &[
            event_of("logins", at, 5, "a"),
            event_of("logins", at, 5, "b"),
            event_of("logins", at, 5, "b"),
            event_of("logins", at, 5, "b"),
        ]).await;
        let breakdown = get(&owner, format!("{USAGE}/breakdown?meter=logins")).await;
        assert_eq!(plain(breakdown["items"].clone()), json!([part("b", 3, 75.0, 3), part("a", 1, 25.0, 1)]));
        assert_eq!((&breakdown["by"], &breakdown["total"]), (&json!("category"), &json!(4)));
    }

    async fn parts_of_what_was_deleted_have_no_share(database: TestDatabase) {
        let app = start(database, "2030-01-10T12:00:00Z").await;
        let owner = app.user();
        let at = "2030-01-10T11:00:00Z";
        // Only the app and operators give usage back.
        let events = [event_of("storage_bytes", at, -30, "png"), event_of("storage_bytes", at, 10, "pdf")];
        backfill(&app, crate::ledger::tenant_of(&owner), &events).await;
        let breakdown = get(&owner, format!("{USAGE}/breakdown?meter=storage_bytes")).await;
        let expected = json!([
            { "value": "pdf", "quantity": 10, "share": null, "events": 1 },
            { "value": "png", "quantity": -30, "share": null, "events": 1 },
        ]);
        assert_eq!((&breakdown["items"], &breakdown["total"]), (&expected, &json!(-20)));
    }

    async fn only_meters_that_add_up_are_broken_down(database: TestDatabase) {
        let app = start(database, "2030-01-10T12:00:00Z").await;
        let owner = app.user();
        for meter in ["peak", "level", "active_users", "models", "unknown", ""] {
            let response = owner.get(format!("{USAGE}/breakdown?meter={meter}")).await;
            let problem = response.expect_error(422, "VALIDATION_FAILED").json();
            assert_eq!(problem["error"]["details"]["fields"][0]["field"], "meter", "{meter}: {problem}");
        }
        assert_eq!(get(&owner, format!("{USAGE}/breakdown")).await["meter"], "api_requests");
    }

    // The largest amounts of many tenants or days don't fit into the integers of a database.
    async fn sums_that_are_too_large_are_cut_off(database: TestDatabase) {
        let app = start(database, "2030-01-10T12:00:00Z").await;
        let owner = app.user();
        let days = ["2030-01-08", "2030-01-09"].map(|day| event_of("pages", &format!("{day}T12:00:00Z"), 1, day));
        report(&owner, &days).await;
        let tenant = crate::ledger::tenant_of(&owner);
        let mut tx = app.db().tenant(tenant).begin().await.unwrap();
        for table in ["omni_usage_windows", "omni_usage_dimensions"] {
            let sql = format!("update {table} set sum = $1, events = 1 where tenant_id = $2");
            tx.query(sqlx::AssertSqlSafe(sql)).bind(i64::MAX).bind(tenant).execute().await.unwrap();
        }
        tx.commit().await.unwrap();
        let summary = get(&owner, format!("{USAGE}/summary?period=7d")).await;
        assert_eq!(crate::reports::of_meter(&summary, "pages")["quantity"], i64::MAX);
        let breakdown = get(&owner, format!("{USAGE}/breakdown?meter=pages&period=7d")).await;
        assert_eq!((&breakdown["total"], breakdown["items"].as_array().unwrap().len()), (&json!(i64::MAX), 2));
    }
}
