//! The reports of operators: a user in all tenants, and the users with the largest usage.

use omnistack_core::{
    id::Id,
    identity::{Identity, Permissions, UserId},
};
use omnistack_testkit::{TestDatabase, on_each_database};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{ADMIN, event, event_of, get, meters_of, of_meter, report, start, with};

on_each_database! {
    async fn a_user_is_shown_over_all_tenants(database: TestDatabase) {
        let app = start(database, "2030-01-10T12:00:00Z").await;
        let user: UserId = Id::from_uuid(Uuid::from_u128(7));
        let member = || {
            let tenant = Id::from_uuid(Uuid::new_v4());
            app.client_as(Identity::user(user).for_tenant(tenant).with_permissions(Permissions::all()))
        };
        let (first, second) = (member(), member());
        let key = Id::from_uuid(Uuid::from_u128(3));
        let program = app.client_as(second.identity().unwrap().clone().with_api_key(key));
        let used = |meter: &str, day: &str, quantity: f64, category: &str| {
            with(event_of(meter, &format!("{day}T11:00:00Z"), quantity, category), "user", user)
        };
        report(&first, &[
            used("pages", "2030-01-09", 3.0, "a"),
            used("pages", "2030-01-02", 2.0, "a"),
            used("logins", "2030-01-09", 1.0, "a"),
            used("peak", "2030-01-09", 9.0, "a"),
            used("active_users", "2030-01-09", 1.0, "a"),
            // Of another user and of no user.
            with(event("pages", "2030-01-09T11:00:00Z", 100), "user", Uuid::from_u128(8)),
            event("pages", "2030-01-09T11:00:00Z", 100),
        ]).await;
        report(&program, &[used("pages", "2030-01-09", 4.0, "b"), used("hours", "2030-01-08", 1.5, "b")]).await;

        let operator = app.operator();
        let summary = get(&operator, format!("{ADMIN}/summary/{user}?period=7d")).await;
        // Only meters that add up are known by user.
        assert_eq!(meters_of(&summary), ["hours", "logins", "pages"]);
        let expected = json!({
            "meter": "pages", "unit": "pages", "quantity": 7, "previous": 2, "growth": 250, "average": 1,
            "peak": { "start": "2030-01-09T00:00:00Z", "quantity": 7 }, "events": 2,
        });
        assert_eq!(*of_meter(&summary, "pages"), expected);

        let trends = get(&operator, format!("{ADMIN}/trends/{user}?period=7d&meter=hours")).await;
        assert_eq!(meters_of(&trends), ["hours"]);
        let hours = of_meter(&trends, "hours");
        assert_eq!((&hours["total"], &hours["points"][4]["quantity"]), (&json!(1.5), &json!(1.5)));
        assert_eq!(meters_of(&get(&operator, format!("{ADMIN}/trends/{user}?meter=runs")).await), ["runs"]);
        operator.get(format!("{ADMIN}/trends/{user}?meter=peak")).await.expect_error(422, "VALIDATION_FAILED");

        let daily = get(&operator, format!("{ADMIN}/daily/{user}?period=7d")).await;
        let days = [&daily["days"][4]["quantities"], &daily["days"][5]["quantities"]];
        assert_eq!(days, [&json!({ "hours": 1.5 }), &json!({ "logins": 1, "pages": 7 })]);

        let breakdown = get(&operator, format!("{ADMIN}/breakdown/{user}?meter=pages&period=7d")).await;
        let quantities = |breakdown: &Value| -> Vec<(Value, i64)> {
            let items = breakdown["items"].as_array().unwrap();
            items.iter().map(|item| (item["value"].clone(), item["quantity"].as_i64().unwrap())).collect()
        };
        assert_eq!(quantities(&breakdown), [(json!("b"), 4), (json!("a"), 3)]);
        let breakdown = get(&operator, format!("{ADMIN}/breakdown/{user}?meter=pages&period=7d&by=api_key")).await;
        assert_eq!(quantities(&breakdown), [(json!(key), 4), (Value::Null, 3)]);
        operator.get(format!("{ADMIN}/breakdown/{user}?meter=peak")).await.expect_error(422, "VALIDATION_FAILED");
        operator.get(format!("{ADMIN}/summary/me")).await.expect(422);
    }

    async fn the_users_with_the_largest_usage_come_first(database: TestDatabase) {
        let app = start(database, "2030-01-10T12:00:00Z").await;
        let (first, second) = (app.user(), app.user());
        let user = Uuid::from_u128;
        let used = |number: u128, quantity: i64| {
            with(event("pages", "2030-01-09T11:00:00Z", quantity), "user", user(number))
        };
        report(&first, &[used(1, 10), used(2, 30), used(3, 5), event("pages", "2030-01-09T11:00:00Z", 1_000)]).await;
        report(&second, &[used(1, 15), used(1, 4), used(4, 5)]).await;
        // Usage before the period, of another meter, and of none.
        let old = with(event("pages", "2030-01-02T11:00:00Z", 99), "user", user(5));
        report(&first, &[old, with(event("runs", "2030-01-09T11:00:00Z", 99), "user", user(6))]).await;

        let operator = app.operator();
        let item = |number: u128, quantity: i64, events: u32, tenants: u32| {
            json!({ "user": user(number), "quantity": quantity, "events": events, "tenants": tenants })
        };
        let all = [item(2, 30, 1, 1), item(1, 29, 3, 2), item(3, 5, 1, 1), item(4, 5, 1, 1)];
        let path = format!("{ADMIN}/top-users?meter=pages&period=7d");
        let expected = json!({
            "meter": "pages", "unit": "pages", "period": "7d", "environment": "live",
            "start": "2030-01-04T00:00:00Z", "end": "2030-01-11T00:00:00Z", "items": all,
        });
        assert_eq!(get(&operator, &path).await, expected);
        for limit in 1..=4 {
            let items = get(&operator, format!("{path}&limit={limit}")).await["items"].clone();
            assert_eq!(items, json!(all[..limit]));
        }
        for wrong in ["limit=0", "limit=101", "meter=level", "meter=unknown", "period=1d"] {
            operator.get(format!("{ADMIN}/top-users?{wrong}")).await.expect_error(422, "VALIDATION_FAILED");
        }
    }
}
