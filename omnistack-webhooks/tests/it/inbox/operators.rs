//! Tests of the operators' routes: lists, details and replays.

use std::time::Duration;

use omnistack_core::{
    audit::{AuditFilter, AuditRecord, AuditStore},
    id::Id,
    jobs::JobError,
    webhook::WebhookOutcome,
};
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{EVENTS, PUBLIC, Probe, app, listed, one, rows, send, signed};

async fn replays(app: &TestApp) -> Vec<AuditRecord> {
    let log: AuditStore = app.app().context().get().unwrap();
    log.list(&AuditFilter::all_chains().action("webhook."), 100, None).await.unwrap().items
}

/// Returns the path of a webhook with this id of its event.
async fn path(app: &TestApp, event: &str) -> String {
    format!("{EVENTS}/{}", one(app, event).await["id"].as_str().unwrap())
}

fn event_ids(webhooks: &[Value]) -> Vec<&str> {
    webhooks.iter().map(|webhook| webhook["event_id"].as_str().unwrap()).collect()
}

on_each_database! {
    async fn operators_filter_and_read_webhooks(database: TestDatabase) {
        let probe = Probe::default();
        probe.decide(|webhook, _| match webhook.event.id.as_str() {
            "evt_2" => Err(JobError::fatal("unknown plan")),
            _ => Ok(WebhookOutcome::Processed),
        });
        let app = app(database, &probe, |app| app).await;
        for (n, kind) in ["invoice.paid", "invoice.failed", "invoice.paid"].iter().enumerate() {
            send(&app, json!({ "id": format!("evt_{}", n + 1), "type": kind })).await.expect(200);
            app.clock().advance(Duration::from_secs(60));
        }
        send(&app, json!({ "id": "evt_4", "type": "invoice.paid", "test": true })).await.expect(200);
        let body = json!({ "id": "evt_5", "type": "x" }).to_string();
        signed(&app, "/api/v1/public/webhooks/mute", body).await.expect(200);
        app.run_events().await;
        for (query, expected) in [
            ("", vec!["evt_5", "evt_4", "evt_3", "evt_2", "evt_1"]),
            ("source=mute", vec!["evt_5"]),
            ("status=failed", vec!["evt_2"]),
            ("status=ignored", vec!["evt_5"]),
            ("status=received", vec![]),
            ("status=duplicate", vec![]),
            ("type=invoice.paid", vec!["evt_4", "evt_3", "evt_1"]),
            ("environment=test", vec!["evt_4"]),
            ("environment=live&type=invoice.paid&source=probe", vec!["evt_3", "evt_1"]),
            ("event_id=evt_3", vec!["evt_3"]),
            ("since=2030-01-01T00:01:00Z&until=2030-01-01T00:03:00Z", vec!["evt_3", "evt_2"]),
            ("until=2030-01-01T00:00:00Z", vec![]),
            ("tenant=0190a7c8-0000-7000-8000-000000000002", vec![]),
        ] {
            let mut found = listed(&app, query).await;
            // Two of them were received at the same time.
            found.sort_by_key(|webhook| std::cmp::Reverse(webhook["event_id"].to_string()));
            assert_eq!(event_ids(&found), expected, "{query}");
        }
        assert_eq!(one(&app, "evt_2").await["error"], "unknown plan");

        let admin = app.operator();
        let page = admin.get(format!("{EVENTS}?limit=2&source=probe")).await.expect(200).json();
        assert_eq!(event_ids(page["items"].as_array().unwrap()), ["evt_4", "evt_3"]);
        let next = format!("{EVENTS}?limit=2&source=probe&cursor={}", page["next_cursor"].as_str().unwrap());
        let page = admin.get(next).await.expect(200).json();
        assert_eq!(event_ids(page["items"].as_array().unwrap()), ["evt_2", "evt_1"]);
        assert_eq!(page["next_cursor"], Value::Null);

        let details = admin.get(path(&app, "evt_1").await).await.expect(200).json();
        assert_eq!((&details["webhook"]["event_id"], &details["body_encoding"]), (&json!("evt_1"), &json!("text")));
        let body: Value = serde_json::from_str(details["body"].as_str().unwrap()).unwrap();
        assert_eq!(body, json!({ "id": "evt_1", "type": "invoice.paid" }));
        signed(&app, PUBLIC, vec![0_u8, 159, 255]).header("x-probe-id", "evt_6").await.expect(200);
        let details = admin.get(path(&app, "evt_6").await).await.expect(200).json();
        assert_eq!((&details["body"], &details["body_encoding"]), (&json!("AJ//"), &json!("base64")));
    }

    async fn a_replay_processes_the_stored_bytes_again(database: TestDatabase) {
        let probe = Probe::default();
        let app = app(database, &probe, |app| app).await;
        let event = json!({ "id": "evt_1", "type": "invoice.paid", "note": "é" });
        send(&app, event.clone()).await.expect(200);
        app.run_events().await;
        app.clock().advance(Duration::from_secs(86_400));
        let admin = app.operator();
        let replay = format!("{}/replay", path(&app, "evt_1").await);
        let replayed = admin.post(&replay, json!({})).await.expect(200).json();
        assert_eq!((&replayed["status"], &replayed["replays"]), (&json!("received"), &json!(1)));
        app.run_events().await;
        assert_eq!(one(&app, "evt_1").await["status"], "processed");
        assert_eq!(one(&app, "evt_1").await["attempts"], 2);
        for call in probe.calls() {
            assert_eq!(&*call.body, event.to_string().as_bytes());
        }
        assert_eq!(rows(&app).await, ["evt_1", "evt_1"]);
        let [entry] = replays(&app).await.try_into().unwrap();
        assert_eq!((entry.action.as_str(), entry.actor), ("webhook.replayed", admin.identity().map(|one| one.user)));
        assert_eq!(entry.resource, Some(format!("webhook:{}", replayed["id"].as_str().unwrap())));
    }

    async fn a_replay_replaces_attempts_that_wait(database: TestDatabase) {
        let probe = Probe::default();
        probe.decide(|webhook, call| match (webhook.event.id.as_str(), call) {
            ("evt_2", 1) => Err(JobError::retry("unavailable")),
            ("evt_3", 1) => Err(JobError::fatal("unknown plan")),
            _ => Ok(WebhookOutcome::Processed),
        });
        let app = app(database, &probe, |app| app).await;
        // One that waits for its first attempt, one that waits for its second one, and one that was given up.
        for id in ["evt_2", "evt_3"] {
            send(&app, json!({ "id": id, "type": "invoice.paid" })).await.expect(200);
        }
        app.run_events().await;
        send(&app, json!({ "id": "evt_1", "type": "invoice.paid" })).await.expect(200);
        for id in ["evt_1", "evt_2", "evt_3"] {
            app.operator().post(format!("{}/replay", path(&app, id).await), json!({})).await.expect(200);
        }
        app.run_events().await;
        app.clock().advance(Duration::from_secs(86_400));
        app.run_events().await;
        assert_eq!(rows(&app).await, ["evt_1", "evt_2", "evt_3"]);
        assert_eq!(probe.calls().len(), 5);
        assert_eq!(listed(&app, "status=processed").await.len(), 3);
    }

    async fn many_are_replayed_in_the_order_of_their_receipt(database: TestDatabase) {
        let probe = Probe::default();
        probe.decide(|_, _| Err(JobError::fatal("a bug")));
        let app = app(database, &probe, |app| app).await;
        let tenants = [(); 2].map(|()| app.user().identity().unwrap().tenant.unwrap());
        let paths = [PUBLIC.to_owned(), format!("{PUBLIC}/{}", tenants[0]), format!("{PUBLIC}/{}", tenants[1])];
        for n in 0..9 {
            let (id, object) = (format!("evt_{n}"), format!("sub_{}", n % 3));
            let body = json!({ "id": id, "type": "subscription.updated", "object": object });
            signed(&app, &paths[n % 3], body.to_string()).await.expect(200);
            app.clock().advance(Duration::from_secs(1));
        }
        app.run_events().await;
        assert_eq!(listed(&app, "status=failed").await.len(), 9);
        let admin = app.operator();
        let all = format!("{EVENTS}/replay");
        admin.post(&all, json!({})).await.expect(422);
        admin.post(&all, json!({ "tenant": tenants[0] })).await.expect(422);
        let none = admin.post(&all, json!({ "status": "failed", "source": "mute" })).await.expect(200).json();
        assert_eq!(none, json!({ "replayed": 0, "last_received_at": null, "more": false }));

        probe.decide(|_, _| Ok(WebhookOutcome::Processed));
        let before = probe.calls().len();
        let selection = json!({ "status": "failed", "since": "2030-01-01T00:00:03Z", "until": "2030-01-01T00:00:09Z" });
        let replayed = admin.post(&all, selection).await.expect(200).json();
        assert_eq!(replayed, json!({ "replayed": 6, "last_received_at": "2030-01-01T00:00:08Z", "more": false }));
        app.run_events().await;
        let again = probe.ids().split_off(before);
        for object in 0..3 {
            let of_object: Vec<_> = again.iter().filter(|id| id[4..].parse::<usize>().unwrap() % 3 == object).collect();
            assert_eq!(of_object, [&format!("evt_{}", object + 3), &format!("evt_{}", object + 6)]);
        }
        assert_eq!(listed(&app, "status=processed").await.len(), 6);
        assert_eq!(listed(&app, "status=failed").await.len(), 3);
        let entries = replays(&app).await;
        let counted: u64 = entries.iter().map(|entry| entry.details.as_ref().unwrap()["count"].as_u64().unwrap()).sum();
        assert_eq!(counted, 6);
        assert!(entries.iter().all(|entry| entry.tenant.is_none() && entry.action == "webhook.replayed"));
    }
}

#[tokio::test]
async fn only_operators_read_and_replay_and_what_they_ask_is_checked() {
    let probe = Probe::default();
    let app = app(TestDatabase::sqlite(), &probe, |app| app).await;
    let one = format!("{EVENTS}/{}", Id::<()>::from_uuid(Uuid::nil()));
    for path in [EVENTS, &one] {
        app.anonymous().get(path).await.expect(401);
        app.user().get(path).await.expect(403);
    }
    let poll = "/api/v1/admin/webhooks/sources/probe/poll".to_owned();
    for path in [format!("{one}/replay"), format!("{EVENTS}/replay"), poll] {
        app.anonymous().post(&path, json!({})).await.expect(401);
        app.user().post(&path, json!({})).await.expect(403);
    }
    let admin = app.operator();
    for query in ["limit=0", "limit=101", "cursor=x", "status=done", "environment=x", "since=yesterday", "x=1"] {
        admin.get(format!("{EVENTS}?{query}")).await.expect(422);
    }
    admin.get(format!("{EVENTS}/17")).await.expect(422);
    admin.get(&one).await.expect_error(404, "NOT_FOUND");
    admin.post(format!("{one}/replay"), json!({})).await.expect_error(404, "NOT_FOUND");
}
