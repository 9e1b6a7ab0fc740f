//! The summary of a period.

use omnistack_core::id::Id;
use omnistack_testkit::{TestDatabase, on_each_database};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{USAGE, backfill, event, event_of, get, meters_of, of_meter, report, report_in, start, tenant_of, with};

on_each_database! {
    async fn a_period_is_the_last_days_of_utc_including_today(database: TestDatabase) {
        let app = start(database, "2030-03-01T09:00:00Z").await;
        let owner = app.user();
        let events = [
            event("pages", "2030-03-01T08:00:00Z", 10),
            event("pages", "2030-02-23T00:00:00Z", 4),
            event("pages", "2030-02-22T23:59:59.999999Z", 100),
            event("pages", "2030-02-16T00:00:00Z", 5),
            event("pages", "2030-02-15T23:59:59.999999Z", 1_000),
            event("pages", "2029-03-01T00:00:00Z", 200),
        ];
        backfill(&app, tenant_of(&owner), &events).await;
        let day = |day: &str, quantity: i64| json!({ "start": format!("{day}T00:00:00Z"), "quantity": quantity });
        let most = day("2030-02-15", 1_000);
        for (period, start, quantity, previous, growth, average, peak, events) in [
            ("7d", "2030-02-23", 14, 105, json!(-86.67), json!(2), day("2030-03-01", 10), 2),
            ("30d", "2030-01-31", 1_119, 0, Value::Null, json!(37.3), most.clone(), 5),
            ("90d", "2029-12-02", 1_119, 0, Value::Null, json!(12.43), most.clone(), 5),
            ("1y", "2029-03-02", 1_119, 200, json!(459.5), json!(3.07), most, 5),
        ] {
            let expected = json!({
                "period": period, "environment": "live", "start": format!("{start}T00:00:00Z"),
                "end": "2030-03-02T00:00:00Z",
                "meters": [{
                    "meter": "pages", "unit": "pages", "quantity": quantity, "previous": previous, "growth": growth,
                    "average": average, "peak": peak, "events": events,
                }],
            });
            assert_eq!(get(&owner, format!("{USAGE}/summary?period={period}")).await, expected);
        }
        assert_eq!(get(&owner, format!("{USAGE}/summary")).await["period"], "30d");

        // A day later, each period has moved by a day.
        app.clock().set("2030-03-02T00:00:00Z".parse().unwrap());
        let week = get(&owner, format!("{USAGE}/summary?period=7d")).await;
        assert_eq!((&week["start"], &week["end"]), (&json!("2030-02-24T00:00:00Z"), &json!("2030-03-03T00:00:00Z")));
        let pages = of_meter(&week, "pages");
        assert_eq!((&pages["quantity"], &pages["previous"], &pages["events"]), (&json!(10), &json!(104), &json!(1)));
    }

    async fn days_become_the_number_of_a_period_by_the_aggregation(database: TestDatabase) {
        let app = start(database, "2030-01-10T12:00:00Z").await;
        let owner = app.user();
        let (one, other) = (Uuid::new_v4(), Uuid::new_v4());
        let first = |time: &str| format!("2030-01-08T{time}:00Z");
        let second = |time: &str| format!("2030-01-09T{time}:00Z");
        let events = [
            event("pages", &first("09:00"), 3),
            event("pages", &first("10:00"), 4),
            event("pages", &second("09:00"), 1),
            event("hours", &first("09:00"), 0.25),
            event("hours", &first("09:00"), "0.50"),
            event("hours", &second("09:00"), 1.5),
            event("logins", &first("09:00"), 1),
            event("logins", &first("10:00"), 1),
            event("logins", &first("11:00"), 1),
            event("logins", &second("09:00"), 1),
            event("logins", &second("10:00"), 1),
            event("peak", &first("09:00"), 7),
            event("peak", &first("10:00"), 9),
            event("peak", &second("09:00"), 5),
            event("level", &first("11:00"), 40),
            event("level", &first("10:00"), 50),
            event("level", &second("08:00"), 60),
            event("level", &second("07:00"), 30),
            with(event("active_users", &first("09:00"), 1), "user", one),
            with(event("active_users", &first("10:00"), 1), "user", other),
            with(event("active_users", &second("09:00"), 1), "user", one),
            event_of("models", &first("09:00"), 1, "a"),
            event_of("models", &first("10:00"), 1, "b"),
            event_of("models", &first("11:00"), 1, "a"),
            event_of("models", &second("09:00"), 1, "a"),
        ];
        report(&owner, &events).await;
        let summary = get(&owner, format!("{USAGE}/summary?period=7d")).await;
        let trends = get(&owner, format!("{USAGE}/trends?period=7d")).await;
        let names = ["active_users", "hours", "level", "logins", "models", "pages", "peak"];
        assert_eq!((meters_of(&summary), meters_of(&trends)), (names.to_vec(), names.to_vec()));
        for (meter, quantity, average, [day_one, day_two], events) in [
            ("active_users", json!(2), json!(0.43), [json!(2), json!(1)], 3),
            ("hours", json!(2.25), json!(0.3214), [json!(0.75), json!(1.5)], 3),
            ("level", json!(60), json!(14.29), [json!(40), json!(60)], 4),
            ("logins", json!(5), json!(0.71), [json!(3), json!(2)], 5),
            ("models", json!(2), json!(0.43), [json!(2), json!(1)], 4),
            ("pages", json!(8), json!(1.14), [json!(7), json!(1)], 3),
            ("peak", json!(9), json!(2), [json!(9), json!(5)], 3),
        ] {
            let peak = if day_one.as_f64() > day_two.as_f64() { ("08", &day_one) } else { ("09", &day_two) };
            let peak = json!({ "start": format!("2030-01-{}T00:00:00Z", peak.0), "quantity": peak.1 });
            let in_summary = of_meter(&summary, meter);
            assert_eq!(in_summary["quantity"], quantity, "{in_summary}");
            assert_eq!(in_summary["events"], events, "{in_summary}");
            let in_trends = of_meter(&trends, meter);
            assert_eq!(in_trends["total"], quantity, "{in_trends}");
            let points = in_trends["points"].as_array().unwrap();
            assert_eq!((&points[4]["quantity"], &points[5]["quantity"]), (&day_one, &day_two), "{in_trends}");
            for report in [in_summary, in_trends] {
                assert_eq!((&report["average"], &report["peak"]), (&average, &peak), "{report}");
                assert_eq!((&report["previous"], &report["growth"]), (&json!(0), &Value::Null), "{report}");
            }
        }

        // The 8th is in the week before, the 9th is not.
        app.clock().set("2030-01-15T12:00:00Z".parse().unwrap());
        let summary = get(&owner, format!("{USAGE}/summary?period=7d")).await;
        for (meter, previous) in [("level", 40), ("pages", 7), ("active_users", 2)] {
            assert_eq!(of_meter(&summary, meter)["previous"], previous, "{meter}");
        }
        // A day later, all of it is.
        app.clock().set("2030-01-16T12:00:00Z".parse().unwrap());
        let summary = get(&owner, format!("{USAGE}/summary?period=7d")).await;
        for (meter, previous) in [("hours", 2.25), ("level", 60.0), ("models", 2.0), ("pages", 8.0), ("peak", 9.0)] {
            let shown = of_meter(&summary, meter);
            assert_eq!(shown["previous"].as_f64(), Some(previous), "{shown}");
            assert_eq!((&shown["quantity"], &shown["growth"]), (&json!(0), &json!(-100)), "{shown}");
            assert_eq!((&shown["average"], &shown["peak"], &shown["events"]), (&json!(0), &Value::Null, &json!(0)));
        }
    }

    async fn the_first_of_several_equal_days_is_the_peak(database: TestDatabase) {
        let app = start(database, "2030-01-10T12:00:00Z").await;
        let owner = app.user();
        let days = [("2030-01-05", 2), ("2030-01-06", 9), ("2030-01-08", 9), ("2030-01-09", 9)];
        let events = days.map(|(day, quantity)| event("pages", &format!("{day}T12:00:00Z"), quantity));
        report(&owner, &events).await;
        let peak = json!({ "start": "2030-01-06T00:00:00Z", "quantity": 9 });
        for route in ["summary?period=7d", "trends?period=7d"] {
            assert_eq!(of_meter(&get(&owner, format!("{USAGE}/{route}")).await, "pages")["peak"], peak);
        }
        assert_eq!(get(&owner, format!("{USAGE}/stats?meter=pages&period=7d")).await["peak"], peak);
    }

    async fn what_is_deleted_lowers_the_usage_of_its_day(database: TestDatabase) {
        let app = start(database, "2030-01-10T12:00:00Z").await;
        let owner = app.user();
        report(&owner, &[event("storage_bytes", "2030-01-02T12:00:00Z", 1_000)]).await;
        backfill(&app, tenant_of(&owner), &[event("storage_bytes", "2030-01-09T12:00:00Z", -400)]).await;
        let week = get(&owner, format!("{USAGE}/summary?period=7d")).await;
        let stored = of_meter(&week, "storage_bytes");
        assert_eq!((&stored["quantity"], &stored["previous"]), (&json!(-400), &json!(1_000)));
        assert_eq!((&stored["growth"], &stored["peak"]), (&json!(-140), &Value::Null));
        let month = get(&owner, format!("{USAGE}/summary?period=30d")).await;
        assert_eq!(of_meter(&month, "storage_bytes")["quantity"], 600);
    }

    async fn test_usage_is_apart_from_live_usage(database: TestDatabase) {
        let app = start(database, "2030-01-10T12:00:00Z").await;
        let owner = app.user();
        let user = owner.identity().unwrap().user;
        let used = |quantity: i64| with(event_of("pages", "2030-01-10T11:30:00Z", quantity, "a"), "user", user);
        report(&owner, &[used(1)]).await;
        report_in(&owner, "test", &[used(20)]).await;
        for (environment, expected) in [("live", 1), ("test", 20)] {
            let of = |path: &str| format!("{USAGE}/{path}environment={environment}");
            let summary = get(&owner, of("summary?")).await;
            assert_eq!(summary["environment"], environment);
            assert_eq!(of_meter(&summary, "pages")["quantity"], expected);
            assert_eq!(of_meter(&get(&owner, of("trends?")).await, "pages")["total"], expected);
            assert_eq!(of_meter(&get(&owner, of("current-period?")).await, "pages")["used"], expected);
            assert_eq!(get(&owner, of("daily?")).await["days"][29]["quantities"]["pages"], expected);
            assert_eq!(get(&owner, of("breakdown?meter=pages&")).await["total"], expected);
            let stats = get(&owner, of("stats?meter=pages&")).await;
            assert_eq!((&stats["total"], &stats["by_user"][0]["quantity"]), (&json!(expected), &json!(expected)));
            let admin = format!("{}/summary/{user}?environment={environment}", crate::reports::ADMIN);
            assert_eq!(of_meter(&get(&app.operator(), admin).await, "pages")["quantity"], expected);
        }
        assert_eq!(get(&owner, crate::reports::BILLING_USAGE).await["pages"]["used"], 1);
    }

    async fn a_tenant_without_usage_has_empty_reports(database: TestDatabase) {
        let app = start(database, "2030-01-10T12:00:00Z").await;
        let owner = app.user();
        assert_eq!(get(&owner, format!("{USAGE}/summary?period=1y")).await["meters"], json!([]));
        assert_eq!(get(&owner, format!("{USAGE}/trends?period=1y")).await["meters"], json!([]));
        let breakdown = get(&owner, format!("{USAGE}/breakdown?meter=pages&by=user")).await;
        assert_eq!((&breakdown["total"], &breakdown["items"], &breakdown["other"]), (&json!(0), &json!([]), &json!(0)));
        let user: omnistack_core::identity::UserId = Id::from_uuid(Uuid::new_v4());
        assert_eq!(get(&app.operator(), format!("{}/summary/{user}", crate::reports::ADMIN)).await["meters"], json!([]));
        assert_eq!(get(&app.operator(), format!("{}/top-users", crate::reports::ADMIN)).await["items"], json!([]));
        assert_eq!(get(&app.operator(), format!("{}/metrics", crate::reports::ADMIN)).await["meters"], json!([]));
    }
}
