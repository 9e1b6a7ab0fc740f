//! Tests of receiving webhooks, and of the log of a tenant.

use std::time::Duration;

use omnistack_core::{
    http::Method,
    id::Id,
    identity::{Identity, Permissions},
};
use omnistack_testkit::{TestDatabase, on_each_database};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{EVENTS, LOGS, PUBLIC, Probe, app, listed, one, rows, send, signed};

/// Returns the ids of the events in a tenant's log.
fn ids(page: &Value) -> Vec<&str> {
    page["items"].as_array().unwrap().iter().map(|item| item["event_id"].as_str().unwrap()).collect()
}

on_each_database! {
    async fn a_webhook_is_stored_before_the_answer_and_processed_afterwards(database: TestDatabase) {
        let probe = Probe::default();
        let app = app(database, &probe, |app| app).await;
        let event = json!({ "id": "evt_1", "type": "invoice.paid", "object": "in_1", "at": "2029-12-31T23:59:58Z" });
        let receipt = send(&app, event.clone()).await.expect(200).json();
        assert_eq!(receipt["status"], "received");
        assert!(probe.calls().is_empty());
        let stored = one(&app, "evt_1").await;
        assert_eq!(stored["id"], receipt["id"]);
        for (field, value) in [
            ("source", json!("probe")),
            ("environment", json!("live")),
            ("type", json!("invoice.paid")),
            ("object", json!("in_1")),
            ("tenant", Value::Null),
            ("status", json!("received")),
            ("attempts", json!(0)),
            ("occurred_at", json!("2029-12-31T23:59:58Z")),
            ("received_at", json!("2030-01-01T00:00:00Z")),
            ("processed_at", Value::Null),
        ] {
            assert_eq!(stored[field], value, "{field}");
        }
        app.clock().advance(Duration::from_secs(1));
        assert_eq!(app.run_events().await, 1);
        let stored = one(&app, "evt_1").await;
        assert_eq!((&stored["status"], &stored["attempts"]), (&json!("processed"), &json!(1)));
        assert_eq!(stored["processed_at"], "2030-01-01T00:00:01Z");
        assert_eq!(rows(&app).await, ["evt_1"]);
        let [call] = probe.calls().try_into().unwrap();
        assert_eq!((call.source.as_str(), &*call.body), ("probe", event.to_string().as_bytes()));
        assert_eq!(call.url, format!("http://127.0.0.1:8080{PUBLIC}"));
        assert!(call.headers.contains_key("x-probe-signature"));
    }

    async fn a_repetition_is_answered_and_counted_and_not_processed(database: TestDatabase) {
        let probe = Probe::default();
        let app = app(database, &probe, |app| app).await;
        let event = json!({ "id": "evt_1", "type": "invoice.paid" });
        let first = send(&app, event.clone()).await.expect(200).json();
        for _ in 0..2 {
            app.clock().advance(Duration::from_secs(60));
            app.run_events().await;
            let again = send(&app, event.clone()).await.expect(200).json();
            assert_eq!((&again["status"], &again["id"]), (&json!("duplicate"), &first["id"]));
        }
        // Another environment has other events, and another source too.
        send(&app, json!({ "id": "evt_1", "type": "invoice.paid", "test": true })).await.expect(200);
        signed(&app, "/api/v1/public/webhooks/mute", event.to_string()).await.expect(200);
        app.run_events().await;
        assert_eq!(probe.ids(), ["evt_1", "evt_1"]);
        assert_eq!(listed(&app, "event_id=evt_1").await.len(), 3);
        let [repeated] = listed(&app, "status=duplicate").await.try_into().unwrap();
        assert_eq!((&repeated["id"], &repeated["duplicates"]), (&first["id"], &json!(2)));
        assert_eq!(repeated["last_duplicate_at"], "2030-01-01T00:02:00Z");
        assert_eq!(repeated["status"], "processed");
    }

    async fn concurrent_repetitions_are_stored_once(database: TestDatabase) {
        let probe = Probe::default();
        let app = app(database, &probe, |app| app).await;
        let event = json!({ "id": "evt_1", "type": "invoice.paid" });
        let answers = futures_util::future::join_all((0..8).map(|_| send(&app, event.clone()))).await;
        let statuses: Vec<_> = answers.into_iter().map(|answer| answer.expect(200).json()["status"].clone()).collect();
        assert_eq!(statuses.iter().filter(|status| **status == "received").count(), 1, "{statuses:?}");
        assert_eq!(statuses.iter().filter(|status| **status == "duplicate").count(), 7, "{statuses:?}");
        app.run_events().await;
        assert_eq!(rows(&app).await, ["evt_1"]);
        assert_eq!(one(&app, "evt_1").await["duplicates"], 7);
    }

    async fn a_request_that_is_not_verified_is_counted_and_limited_and_never_stored(database: TestDatabase) {
        let probe = Probe::default();
        let app = app(database, &probe, |app| app.set("WEBHOOKS_FAILURE_LIMIT", "3/hour")).await;
        let forged = |address: &'static str| {
            let body = json!({ "id": "evt_0", "type": "invoice.paid" });
            let request = app.anonymous().post(PUBLIC, body).header("x-probe-signature", "1893456000,00");
            request.client_ip(address.parse().unwrap())
        };
        for _ in 0..3 {
            forged("192.0.2.1").await.expect_error(400, "WEBHOOK_SIGNATURE_INVALID");
        }
        forged("192.0.2.1").await.expect_error(429, "RATE_LIMIT_EXCEEDED");
        forged("192.0.2.2").await.expect_error(400, "WEBHOOK_SIGNATURE_INVALID");
        // What is verified is not limited.
        let body = json!({ "id": "evt_1", "type": "invoice.paid" }).to_string();
        signed(&app, PUBLIC, body).client_ip("192.0.2.1".parse().unwrap()).await.expect(200);
        app.run_events().await;
        assert_eq!(probe.ids(), ["evt_1"]);
        assert_eq!(listed(&app, "").await.len(), 1);
    }

    async fn the_limit_of_client_addresses_does_not_reject_a_provider(database: TestDatabase) {
        let probe = Probe::default();
        let app = app(database, &probe, |app| app.set("HTTP_RATE_LIMIT", "2/hour")).await;
        let tenant = Uuid::new_v4();
        for number in 0..5 {
            send(&app, json!({ "id": format!("evt_{number}"), "type": "invoice.paid" })).await.expect(200);
            let body = json!({ "id": format!("evt_{number}t"), "type": "invoice.paid" }).to_string();
            signed(&app, &format!("{PUBLIC}/{tenant}"), body).await.expect(200);
        }
        // Other routes are limited, also those beside the inbox.
        for status in [200, 200, 429] {
            app.anonymous().get("/api/v1/public/webhooks/catalogue").await.expect(status);
        }
        send(&app, json!({ "id": "evt_5", "type": "invoice.paid" })).await.expect(200);
        app.run_events().await;
        assert_eq!(rows(&app).await.len(), 11);
    }

    async fn a_tenant_sees_its_own_webhooks_only(database: TestDatabase) {
        let probe = Probe::default();
        let app = app(database, &probe, |app| app).await;
        let (ada, bob) = (app.user(), app.user());
        let tenant = |client: &omnistack_testkit::TestClient| client.identity().unwrap().tenant.unwrap().to_string();
        let (ada_tenant, bob_tenant) = (tenant(&ada), tenant(&bob));
        let path = format!("{PUBLIC}/{ada_tenant}");
        for id in ["evt_1", "evt_2", "evt_3"] {
            signed(&app, &path, json!({ "id": id, "type": "invoice.paid" }).to_string()).await.expect(200);
            app.clock().advance(Duration::from_secs(1));
        }
        send(&app, json!({ "id": "evt_4", "type": "invoice.paid", "tenant": bob_tenant })).await.expect(200);
        send(&app, json!({ "id": "evt_5", "type": "invoice.paid" })).await.expect(200);
        app.run_events().await;
        assert_eq!(probe.calls()[0].tenant.unwrap().to_string(), ada_tenant);
        assert_eq!(rows(&app).await.len(), 5);

        let page = ada.get(format!("{LOGS}?limit=2")).await.expect(200).json();
        assert_eq!(ids(&page), ["evt_3", "evt_2"]);
        assert_eq!(page["items"][0]["status"], "processed");
        let next = format!("{LOGS}?limit=2&cursor={}", page["next_cursor"].as_str().unwrap());
        let rest = ada.get(&next).await.expect(200).json();
        assert_eq!((ids(&rest), &rest["next_cursor"]), (vec!["evt_1"], &Value::Null));
        // Neither a header, nor a cursor or a filter of another tenant shows more.
        assert_eq!(ids(&bob.get(LOGS).header("x-tenant-id", &ada_tenant).await.expect(200).json()), ["evt_4"]);
        assert_eq!(ids(&bob.get(&next).await.expect(200).json()), Vec::<&str>::new());
        bob.get(format!("{LOGS}?tenant={ada_tenant}")).await.expect(422);
        bob.get(EVENTS).await.expect(403);
        for (query, count) in [
            ("service_name=probe", 3),
            ("service_name=mute", 0),
            ("status=processed", 3),
            ("status=failed", 0),
            ("status=duplicate", 0),
        ] {
            assert_eq!(ids(&ada.get(format!("{LOGS}?{query}")).await.expect(200).json()).len(), count, "{query}");
        }
        assert_eq!(listed(&app, &format!("tenant={bob_tenant}")).await.len(), 1);
        assert_eq!(listed(&app, "").await.len(), 5);

        app.anonymous().get(LOGS).await.expect(401);
        let user = Identity::user(Id::from_uuid(Uuid::new_v4()));
        app.client_as(user.clone().with_permissions(Permissions::all())).get(LOGS).await.expect(403);
        let reader = user.for_tenant(Id::from_uuid(Uuid::new_v4()));
        app.client_as(reader.clone()).get(LOGS).await.expect_error(403, "PERMISSION_DENIED");
        let permissions = Permissions::new(["webhooks:read"]).unwrap();
        let page = app.client_as(reader.with_permissions(permissions)).get(LOGS).await.expect(200).json();
        assert!(ids(&page).is_empty());
    }

    async fn a_query_without_a_condition_sees_no_webhook_of_another_tenant(database: TestDatabase) {
        let probe = Probe::default();
        let app = app(database, &probe, |app| app).await;
        if app.db().dialect() != omnistack_core::db::Dialect::Postgres {
            // On SQLite only the `where` clause isolates tenants.
            return;
        }
        let tenants = [(); 2].map(|()| app.user().identity().unwrap().tenant.unwrap());
        for (id, path) in [
            ("evt_1", format!("{PUBLIC}/{}", tenants[0])),
            ("evt_2", format!("{PUBLIC}/{}", tenants[1])),
            ("evt_3", PUBLIC.to_owned()),
        ] {
            signed(&app, &path, json!({ "id": id, "type": "invoice.paid" }).to_string()).await.expect(200);
        }
        let sql = "select event_id from omni_webhooks";
        let mut tx = app.db().tenant(tenants[0]).begin().await.unwrap();
        assert_eq!(tx.query(sql).fetch_all::<(String,)>().await.unwrap(), [("evt_1".to_owned(),)]);
        assert_eq!(tx.query("update omni_webhooks set replays = 1").execute().await.unwrap(), 1);
        tx.rollback().await.unwrap();
        let unbound: Vec<(String,)> = app.db().query(sql).fetch_all().await.unwrap();
        assert_eq!(unbound, [("evt_3".to_owned(),)]);
    }
}

#[tokio::test]
async fn requests_that_are_no_webhooks_are_refused() {
    let probe = Probe::default();
    let app = app(TestDatabase::sqlite(), &probe, |app| app.set("WEBHOOKS_BODY_LIMIT", "1KiB")).await;
    let event = json!({ "id": "evt_1", "type": "invoice.paid" }).to_string();
    signed(&app, "/api/v1/public/webhooks/unknown", event.as_str()).await.expect_error(404, "NOT_FOUND");
    signed(&app, &format!("{PUBLIC}/no-id"), event.as_str()).await.expect(422);
    signed(&app, PUBLIC, "{}").await.expect_error(422, "WEBHOOK_MALFORMED");
    for (id, kind) in [("x".repeat(201), "x".to_owned()), ("a\0b".into(), "x".into()), ("1".into(), "x".repeat(101))] {
        let event = json!({ "id": id, "type": kind }).to_string();
        signed(&app, PUBLIC, event).await.expect_error(422, "WEBHOOK_MALFORMED");
    }
    signed(&app, PUBLIC, "x".repeat(1025)).await.expect(413);
    app.anonymous().request(Method::POST, PUBLIC).body(event.clone()).await.expect(400);
    app.anonymous().get(PUBLIC).await.expect(405);
    // The age of a signature is checked when the request arrives.
    for (seconds, status) in [(300, 200), (301, 400)] {
        let request = signed(&app, PUBLIC, json!({ "id": format!("evt_{seconds}"), "type": "x" }).to_string());
        app.clock().advance(Duration::from_secs(seconds));
        request.await.expect(status);
    }
    assert_eq!(listed(&app, "").await.len(), 1);
}

#[tokio::test]
async fn credentials_are_not_stored() {
    let probe = Probe::default();
    let app = app(TestDatabase::sqlite(), &probe, |app| app).await;
    let body = json!({ "id": "evt_1", "type": "invoice.paid" }).to_string();
    let request = signed(&app, &format!("{PUBLIC}?token=hidden&message=7"), body);
    let request = request.header("x-webhook-secret", "hidden").header("cookie", "session=hidden");
    let request = request.header("x-probe-hook", "hidden");
    let id = request.header("x-kind", "invoice").await.expect(200).json()["id"].clone();
    let details = app.operator().get(format!("{EVENTS}/{}", id.as_str().unwrap())).await.expect(200);
    assert!(!details.text().contains("hidden"), "{}", details.text());
    let details = details.json();
    assert!(details["url"].as_str().unwrap().ends_with("/probe?token=REDACTED&message=7"));
    let headers = details["headers"].as_array().unwrap();
    assert!(headers.contains(&json!({ "name": "x-kind", "value": "invoice" })), "{headers:?}");
}
