//! `POST /api/v1/app/usage/events`.

use http::Method;
use omnistack_billing::{Aggregation, Billing, LatePolicy, Meter};
use omnistack_core::{
    id::Id,
    identity::Identity,
    usage::{UsageEvent, UsageSink},
};
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};
use serde_json::json;

use super::{EVENTS, ledger, report, start, sum, tenant_of, windows};

const BATCH: &str = "application/cloudevents-batch+json";

on_each_database! {
    // Case 30: one duplicate keeps no other event out.
    async fn each_event_of_a_report_has_its_own_result(database: TestDatabase) {
        let app = start(database).await;
        let owner = app.user();
        let stored = json!([{ "id": "known", "meter": "pages", "quantity": 3 }]);
        assert_eq!(report(&owner, stored).await, ["accepted"]);
        let events = json!([
            { "id": "a", "meter": "pages" },
            { "id": "known", "meter": "pages", "quantity": 3.0 },
            { "id": "b", "meter": "pages", "quantity": "2" },
            { "id": "b", "meter": "pages", "quantity": 2 },
            { "id": "known", "meter": "pages", "quantity": 4 },
            { "id": "b", "meter": "pages", "quantity": 5 },
            { "id": "c", "meter": "nothing", "quantity": 1 },
            { "id": "d", "meter": "pages", "quantity": 0.5 },
            { "id": "e", "meter": "hours", "quantity": 0.0001 },
            { "id": "f", "meter": "pages", "at": "2029-11-01T00:00:00Z" },
            { "id": "g", "meter": "pages", "at": "2030-01-01T01:00:00Z" },
            { "id": "h", "meter": "active_users" },
        ]);
        let answer = owner.post(EVENTS, json!({ "events": events })).await.expect(200).json();
        let results = answer["events"].as_array().unwrap();
        let found: Vec<_> = results.iter().map(|one| (one["status"].as_str().unwrap(), &one["error"]["code"])).collect();
        let null = serde_json::Value::Null;
        let code = |code: &str| json!(code);
        assert_eq!(found, [
            ("accepted", &null),
            ("duplicate", &null),
            ("accepted", &null),
            ("duplicate", &null),
            ("conflict", &code("USAGE_EVENT_CONFLICT")),
            ("conflict", &code("USAGE_EVENT_CONFLICT")),
            ("unmatched", &code("USAGE_METER_UNKNOWN")),
            ("rejected", &code("USAGE_QUANTITY_INVALID")),
            ("accepted", &null),
            ("rejected", &code("USAGE_EVENT_TOO_LATE")),
            ("rejected", &code("USAGE_EVENT_IN_FUTURE")),
            ("rejected", &code("USAGE_QUANTITY_INVALID")),
        ]);
        assert_eq!(results[4]["error"]["status"], 409);
        assert_eq!(answer["counts"]["accepted"], 3);
        assert_eq!(sum(&app, tenant_of(&owner), "period", "pages").await, 6);
        assert_eq!(sum(&app, tenant_of(&owner), "period", "hours").await, 1);
    }

    async fn a_repetition_in_a_report_is_compared_with_what_is_stored(database: TestDatabase) {
        let app = start(database).await;
        let owner = app.user();
        let event = |quantity: u32| json!({ "id": "1", "meter": "pages", "quantity": quantity });
        assert_eq!(report(&owner, json!([event(1)])).await, ["accepted"]);
        assert_eq!(report(&owner, json!([event(2), event(1), event(2)])).await, ["conflict", "duplicate", "conflict"]);
        assert_eq!(sum(&app, tenant_of(&owner), "period", "pages").await, 1);
    }

    async fn an_event_that_is_repeated_in_a_report_has_the_result_of_the_first(database: TestDatabase) {
        let strict = Meter::sum("seconds", "seconds").late(LatePolicy::Reject).reported_by_tenants();
        let billing = Billing::from_env().meter(strict).meter(Meter::sum("runs", "runs").reported_by_tenants());
        let app = TestApp::start(database, |app| app.with(billing)).await;
        let owner = app.user();
        app.clock().set("2030-07-03T00:00:00Z".parse().unwrap());
        let known = |quantity: i32| json!({ "id": "known", "meter": "runs", "quantity": quantity });
        assert_eq!(report(&owner, json!([known(1)])).await, ["accepted"]);
        let late = json!({ "id": "late", "meter": "seconds", "at": "2030-06-30T12:00:00Z" });
        let unknown = json!({ "id": "unknown", "meter": "nothing" });
        let events = json!([known(2), known(2), late, late, unknown, unknown]);
        let expected = ["conflict", "conflict", "rejected", "rejected", "unmatched", "duplicate"];
        assert_eq!(report(&owner, events).await, expected);
    }

    async fn ids_belong_to_a_source_an_environment_and_a_tenant(database: TestDatabase) {
        let app = start(database).await;
        let (owner, other) = (app.user(), app.user());
        let event = |source: &str| json!([{ "id": "1", "meter": "pages", "source": source, "quantity": 1 }]);
        assert_eq!(report(&owner, event("a")).await, ["accepted"]);
        assert_eq!(report(&owner, event("b")).await, ["accepted"]);
        assert_eq!(report(&other, event("a")).await, ["accepted"]);
        let body = json!({ "events": event("a"), "environment": "test" });
        let answer = owner.post(EVENTS, body).await.expect(200).json();
        assert_eq!(answer["events"][0]["status"], "accepted");
        assert_eq!(report(&owner, event("a")).await, ["duplicate"]);
    }

    async fn cloud_events_are_usage(database: TestDatabase) {
        let app = start(database).await;
        let owner = app.user();
        let event = json!({
            "specversion": "1.0", "id": "1", "source": "/scanner", "type": "pages", "time": "2029-12-31T23:00:00Z",
            "datacontenttype": "application/json", "subject": "doc-7",
            "data": { "quantity": 3, "category": "pdf", "colour": "blue" },
        });
        let send = async |kind: &str, body: String| {
            owner.request(Method::POST, EVENTS).header("content-type", kind).body(body).await
        };
        let kind = "application/cloudevents+json; charset=utf-8";
        let answer = send(kind, event.to_string()).await.expect(200).json();
        assert_eq!(answer["events"][0]["status"], "accepted");
        let minimal = json!({ "specversion": "1.0", "id": "2", "source": "/scanner", "type": "pages" });
        let answer = send(BATCH, json!([event, minimal]).to_string()).await.expect(200).json();
        assert_eq!(answer["events"][0]["status"], "duplicate");
        assert_eq!(answer["events"][1]["status"], "accepted");
        assert_eq!(sum(&app, tenant_of(&owner), "day", "pages").await, 4);
        for (kind, body, status, code) in [
            (BATCH, "{}".to_owned(), 422, "VALIDATION_FAILED"),
            (BATCH, "[".to_owned(), 400, "MALFORMED_JSON"),
            (BATCH, "[]".to_owned(), 422, "VALIDATION_FAILED"),
            (BATCH, json!([{ "specversion": "0.3", "id": "1", "source": "a", "type": "pages" }]).to_string(), 422, "VALIDATION_FAILED"),
            ("text/plain", "{}".to_owned(), 415, "UNSUPPORTED_MEDIA_TYPE"),
        ] {
            send(kind, body).await.expect_error(status, code);
        }
    }

    async fn reports_of_another_form_are_422(database: TestDatabase) {
        let app = start(database).await;
        let owner = app.user();
        let many: Vec<_> = (0..1001).map(|id| json!({ "id": id.to_string(), "meter": "pages" })).collect();
        for events in [
            json!([]),
            json!(many),
            json!([{ "id": "1" }]),
            json!([{ "id": "", "meter": "pages" }]),
            json!([{ "id": "x".repeat(201), "meter": "pages" }]),
            json!([{ "id": "1", "meter": "pages", "quantity": true }]),
            json!([{ "id": "1", "meter": "pages", "quantity": "many" }]),
            json!([{ "id": "1", "meter": "pages", "colour": "blue" }]),
            json!([{ "id": "a\u{0}", "meter": "pages" }]),
        ] {
            owner.post(EVENTS, json!({ "events": events })).await.expect_error(422, "VALIDATION_FAILED");
        }
        assert!(windows(&app, tenant_of(&owner), "day").await.is_empty());
    }

    async fn a_tenant_can_t_lower_its_usage(database: TestDatabase) {
        let app = start(database).await;
        let owner = app.user();
        let tenant = tenant_of(&owner);
        let now = app.clock().clock().now();
        // It knows the id of an event that the app is about to record.
        let event = |quantity: i32| {
            json!([{ "id": "file/1/stored", "source": "files", "meter": "storage_bytes", "quantity": quantity }])
        };
        assert_eq!(report(&owner, event(-500)).await, ["rejected"]);
        assert_eq!(report(&owner, event(0)).await, ["accepted"]);
        let mut tx = app.db().tenant(tenant).begin().await.unwrap();
        let sink: UsageSink = app.app().context().get().unwrap();
        let stored = UsageEvent::new(tenant, "storage_bytes", 500, now).once("files", "file/1/stored");
        sink.record_in(&mut tx, [stored]).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(sum(&app, tenant, "total", "storage_bytes").await, 500);
        // An operator can.
        let back = json!({ "tenant": tenant, "events": [{ "id": "1", "meter": "storage_bytes", "quantity": -200 }] });
        app.operator().post("/api/v1/admin/usage/backfill", back).await.expect(200);
        assert_eq!(sum(&app, tenant, "total", "storage_bytes").await, 300);

        let impersonated = owner.identity().unwrap().clone().with_impersonator(Id::new(now));
        let body = json!({ "events": event(1) });
        app.client_as(impersonated).post(EVENTS, body).await.expect_error(403, "IMPERSONATION_REFUSED");
    }

    async fn tenants_report_only_the_meters_that_the_app_lets_them(database: TestDatabase) {
        let billing = Billing::from_env()
            .meter(Meter::sum("pages", "pages").reported_by_tenants())
            .meter(Meter::new("level", "percent", Aggregation::Last));
        let app = TestApp::start(database, |app| app.with(billing).set("USAGE_COUNT_REQUESTS", "false")).await;
        let owner = app.user();
        let tenant = tenant_of(&owner);
        let events = json!([
            { "id": "1", "meter": "level", "quantity": 1 },
            { "id": "2", "meter": "api_requests" },
            { "id": "3", "meter": "runs", "quantity": -1 },
            // The app does not know who the users of another system are.
            { "id": "1", "meter": "pages", "quantity": 2, "user": uuid::Uuid::new_v4() },
        ]);
        let answer = owner.post(EVENTS, json!({ "events": events })).await.expect(200).json();
        assert_eq!(answer["counts"], json!({ "accepted": 1, "rejected": 3 }));
        for index in 0..3 {
            let result = &answer["events"][index];
            let error = &result["error"];
            assert_eq!((&result["status"], &error["status"]), (&json!("rejected"), &json!(403)), "{result}");
            assert_eq!(error["code"], "USAGE_METER_NOT_REPORTABLE");
            assert!(error["message"].as_str().unwrap().contains("Meter::reported_by_tenants"), "{error}");
        }
        // Operators enter usage of all meters.
        let events = json!([{ "id": "4", "meter": "level", "quantity": 40 }]);
        let body = json!({ "tenant": tenant, "events": events });
        app.operator().post("/api/v1/admin/usage/backfill", body).await.expect(200);
        let days = windows(&app, tenant, "day").await;
        let days: Vec<_> = days.iter().map(|day| (day.meter.as_str(), day.sum)).collect();
        assert_eq!(days, [("level", 40), ("pages", 2)]);
    }

    async fn a_report_needs_the_permission_to_write_usage(database: TestDatabase) {
        let app = start(database).await;
        let tenant = tenant_of(&app.user());
        let body = json!({ "events": [{ "id": "1", "meter": "pages" }] });
        let identity = Identity::user(Id::new(app.clock().clock().now())).for_tenant(tenant);
        let reader = app.client_as(identity.with_permissions("usage:read".parse().unwrap()));
        reader.post(EVENTS, &body).await.expect_error(403, "PERMISSION_DENIED");
        app.anonymous().post(EVENTS, &body).await.expect_error(401, "UNAUTHORIZED");
        app.user().post("/api/v1/admin/usage/backfill", &body).await.expect_error(403, "FORBIDDEN");
    }

    async fn reports_at_the_same_time_count_once(database: TestDatabase) {
        let app = start(database).await;
        let owner = app.user();
        let events: Vec<_> =
            (0..200).map(|id| json!({ "id": id.to_string(), "meter": "pages", "quantity": id % 7 })).collect();
        let mut reports = tokio::task::JoinSet::new();
        for turn in 0..8_usize {
            // Each report has another order, in which transactions could wait for each other in a circle.
            let mut events = events.clone();
            events.rotate_left(turn * 25);
            if turn % 2 == 1 {
                events.reverse();
            }
            let owner = owner.clone();
            reports.spawn(async move { report(&owner, json!(events)).await });
        }
        let all = reports.join_all().await.concat();
        assert_eq!(all.iter().filter(|status| *status == "accepted").count(), 200);
        assert_eq!(all.iter().filter(|status| *status == "duplicate").count(), 1400);
        let expected: i64 = (0..200).map(|id| id % 7).sum();
        for grain in ["minute", "hour", "day", "period"] {
            assert_eq!(sum(&app, tenant_of(&owner), grain, "pages").await, expected, "{grain}");
        }
    }
}

#[tokio::test]
async fn meters_that_change_keep_the_app_from_starting() {
    use omnistack_core::app::App;

    let app = start(TestDatabase::sqlite()).await;
    assert!(ledger(&app).flush().await.is_ok());
    let other = Billing::from_env().meter(Meter::sum("hours", "hours").decimals(2));
    let again = App::builder(app.database().config()).with(other).build().unwrap();
    let error = again.start().await.unwrap_err().to_string();
    assert!(error.contains("the meter `hours` has counted as sum with 4 decimals"), "{error}");
}
