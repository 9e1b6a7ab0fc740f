//! Tests of processing: order, retries, failures, exactly-once rows and tenant databases.

use std::{sync::Arc, time::Duration};

use omnistack_core::{
    app::{App, DevIdentity},
    jobs::JobError,
    webhook::WebhookOutcome,
};
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};
use omnistack_webhooks::Webhooks;
use serde_json::{Value, json};
use tokio::{
    sync::{Barrier, Notify},
    time::timeout,
};

use super::{PUBLIC, Probe, app, listed, one, rows, send, signed};

/// Longest time that a test waits for another task.
const SOON: Duration = Duration::from_secs(30);

async fn send_about(app: &TestApp, id: &str, object: &str) {
    send(app, json!({ "id": id, "type": "subscription.updated", "object": object })).await.expect(200);
}

/// Returns the status, the number of attempts and the error of a webhook.
async fn state(app: &TestApp, event: &str) -> (Value, Value, Value) {
    let webhook = one(app, event).await;
    (webhook["status"].clone(), webhook["attempts"].clone(), webhook["error"].clone())
}

on_each_database! {
    async fn webhooks_of_one_object_are_processed_in_order(database: TestDatabase) {
        let probe = Probe::default();
        let app = app(database, &probe, |app| app).await;
        for n in 0..4 {
            send_about(&app, &format!("a{n}"), "sub_a").await;
            send_about(&app, &format!("b{n}"), "sub_b").await;
        }
        app.run_events().await;
        for object in ["a", "b"] {
            let of_object: Vec<_> = probe.ids().into_iter().filter(|id| id.starts_with(object)).collect();
            let expected: Vec<_> = (0..4).map(|n| format!("{object}{n}")).collect();
            assert_eq!(of_object, expected);
        }
        assert_eq!(listed(&app, "status=processed").await.len(), 8);
    }

    async fn webhooks_of_two_objects_are_processed_at_once(database: TestDatabase) {
        let probe = Probe::default();
        let both = Arc::new(Barrier::new(2));
        probe.before(move |_, _| {
            let both = Arc::clone(&both);
            // Without the other one, it waits until the test fails.
            Box::pin(async move { _ = both.wait().await })
        });
        let app = app(database, &probe, |app| app).await;
        send_about(&app, "a", "sub_a").await;
        send_about(&app, "b", "sub_b").await;
        timeout(SOON, app.run_events()).await.unwrap();
        assert_eq!(rows(&app).await, ["a", "b"]);
    }

    async fn a_handler_that_fails_is_tried_again_and_its_rows_are_stored_once(database: TestDatabase) {
        let probe = Probe::default();
        probe.decide(|webhook, call| match (webhook.event.id.as_str(), call) {
            ("evt_1", 1..=2) => Err(JobError::retry(format!("failure {call}"))),
            _ => Ok(WebhookOutcome::Processed),
        });
        let app = app(database, &probe, |app| app).await;
        send_about(&app, "evt_1", "sub_1").await;
        send_about(&app, "evt_2", "sub_1").await;
        app.run_events().await;
        assert_eq!(state(&app, "evt_1").await, (json!("failed"), json!(1), json!("failure 1")));
        assert_eq!(state(&app, "evt_2").await, (json!("received"), json!(0), Value::Null));
        app.clock().advance(Duration::from_secs(3));
        app.run_events().await;
        assert_eq!(state(&app, "evt_1").await, (json!("failed"), json!(2), json!("failure 2")));
        assert!(rows(&app).await.is_empty());
        app.clock().advance(Duration::from_secs(6));
        app.run_events().await;
        assert_eq!(state(&app, "evt_1").await, (json!("processed"), json!(3), Value::Null));
        assert_eq!(state(&app, "evt_2").await, (json!("processed"), json!(1), Value::Null));
        assert_eq!(rows(&app).await, ["evt_1", "evt_2"]);
        assert_eq!(probe.ids(), ["evt_1", "evt_1", "evt_1", "evt_2"]);
    }

    async fn a_fatal_error_ends_the_attempts_and_the_next_of_the_object_continues(database: TestDatabase) {
        let probe = Probe::default();
        probe.decide(|webhook, _| match webhook.event.id.as_str() {
            "evt_1" => Err(JobError::fatal("it has no customer")),
            _ => Ok(WebhookOutcome::Processed),
        });
        let app = app(database, &probe, |app| app).await;
        send_about(&app, "evt_1", "sub_1").await;
        send_about(&app, "evt_2", "sub_1").await;
        app.run_events().await;
        assert_eq!(state(&app, "evt_1").await, (json!("failed"), json!(1), json!("it has no customer")));
        assert_eq!(state(&app, "evt_2").await, (json!("processed"), json!(1), Value::Null));
        app.clock().advance(Duration::from_secs(86_400));
        app.run_events().await;
        assert_eq!(probe.ids(), ["evt_1", "evt_2"]);
        assert_eq!(rows(&app).await, ["evt_2"]);
    }

    async fn attempts_are_used_up_after_twenty(database: TestDatabase) {
        let probe = Probe::default();
        probe.decide(|webhook, _| match webhook.event.id.as_str() {
            "evt_1" => Err(JobError::retry("unavailable")),
            _ => Ok(WebhookOutcome::Processed),
        });
        let app = app(database, &probe, |app| app).await;
        send_about(&app, "evt_1", "sub_1").await;
        send_about(&app, "evt_2", "sub_1").await;
        for _ in 0..25 {
            app.run_events().await;
            app.clock().advance(Duration::from_secs(2 * 3600));
        }
        assert_eq!(state(&app, "evt_1").await, (json!("failed"), json!(20), json!("unavailable")));
        assert_eq!(state(&app, "evt_2").await, (json!("processed"), json!(1), Value::Null));
        assert_eq!(probe.calls().len(), 21);
    }

    async fn a_webhook_that_a_handler_wants_later_has_not_failed(database: TestDatabase) {
        let probe = Probe::default();
        probe.decide(|_, call| match call {
            1..=25 => Err(JobError::snooze(Duration::from_secs(60))),
            _ => Ok(WebhookOutcome::Processed),
        });
        let app = app(database, &probe, |app| app).await;
        send_about(&app, "evt_1", "sub_1").await;
        for _ in 0..25 {
            app.run_events().await;
            assert_eq!(state(&app, "evt_1").await, (json!("received"), json!(0), Value::Null));
            app.clock().advance(Duration::from_secs(60));
        }
        app.run_events().await;
        assert_eq!(state(&app, "evt_1").await, (json!("processed"), json!(1), Value::Null));
        assert_eq!(rows(&app).await, ["evt_1"]);
    }

    async fn a_panic_is_a_failure(database: TestDatabase) {
        let probe = Probe::default();
        probe.decide(|_, call| if call == 1 { panic!("no such plan") } else { Ok(WebhookOutcome::Processed) });
        let app = app(database, &probe, |app| app).await;
        send_about(&app, "evt_1", "sub_1").await;
        app.run_events().await;
        assert_eq!(state(&app, "evt_1").await, (json!("failed"), json!(1), json!("panicked: no such plan")));
        app.clock().advance(Duration::from_secs(3));
        app.run_events().await;
        assert_eq!(state(&app, "evt_1").await, (json!("processed"), json!(2), Value::Null));
        assert_eq!(rows(&app).await, ["evt_1"]);
    }

    async fn what_no_handler_wants_is_ignored(database: TestDatabase) {
        let probe = Probe::default();
        probe.decide(|_, _| Ok(WebhookOutcome::Ignored));
        let app = app(database, &probe, |app| app).await;
        send_about(&app, "evt_1", "sub_1").await;
        let body = json!({ "id": "evt_2", "type": "invoice.paid" }).to_string();
        signed(&app, "/api/v1/public/webhooks/mute", body).await.expect(200);
        app.run_events().await;
        for event in ["evt_1", "evt_2"] {
            assert_eq!(state(&app, event).await, (json!("ignored"), json!(1), Value::Null), "{event}");
        }
    }

    /// Case 41: a signature is as old as its webhook was when it was received.
    async fn a_webhook_is_processed_an_hour_later(database: TestDatabase) {
        let probe = Probe::default();
        let app = app(database, &probe, |app| app).await;
        let received_at = app.clock().clock().now();
        send_about(&app, "evt_1", "sub_1").await;
        app.clock().advance(Duration::from_secs(3600));
        app.run_events().await;
        assert_eq!(state(&app, "evt_1").await, (json!("processed"), json!(1), Value::Null));
        assert_eq!(probe.calls()[0].received_at, received_at);
    }

    async fn an_attempt_that_outlives_its_lease_stores_no_rows(database: TestDatabase) {
        let probe = Probe::default();
        let (begun, leave) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (begins, leaves) = (Arc::clone(&begun), Arc::clone(&leave));
        probe.before(move |_, call| {
            let (begun, leave) = (Arc::clone(&begins), Arc::clone(&leaves));
            Box::pin(async move {
                if call == 1 {
                    begun.notify_one();
                    leave.notified().await;
                }
            })
        });
        let app = app(database, &probe, |app| app).await;
        send_about(&app, "evt_1", "sub_1").await;
        let dispatcher = app.app().dispatcher().clone();
        let frozen = tokio::spawn(async move { dispatcher.run_until_idle().await.unwrap() });
        timeout(SOON, begun.notified()).await.unwrap();
        app.clock().advance(Duration::from_secs(120));
        app.run_events().await;
        assert_eq!(rows(&app).await, ["evt_1"]);
        leave.notify_one();
        timeout(SOON, frozen).await.unwrap().unwrap();
        assert_eq!(probe.ids(), ["evt_1", "evt_1"]);
        assert_eq!(rows(&app).await, ["evt_1"]);
        assert_eq!(state(&app, "evt_1").await, (json!("processed"), json!(1), Value::Null));
    }

    async fn two_processes_share_the_work(database: TestDatabase) {
        let (probe, other) = (Probe::default(), Probe::default());
        let app = app(database, &probe, |app| app).await;
        let builder = App::builder(app.database().config()).clock(app.clock().clock());
        let builder = builder.with(Webhooks::from_env()).with(other.clone()).with(DevIdentity::default());
        let second = builder.build().unwrap();
        let mut expected = Vec::new();
        for n in 0..20 {
            send_about(&app, &format!("evt_{n:02}"), &format!("sub_{}", n % 5)).await;
            expected.push(format!("evt_{n:02}"));
        }
        let (_, idle) = tokio::join!(app.run_events(), second.dispatcher().run_until_idle());
        idle.unwrap();
        app.run_events().await;
        assert_eq!(rows(&app).await, expected);
        assert_eq!(probe.calls().len() + other.calls().len(), 20);
        assert_eq!(listed(&app, "status=processed").await.len(), 20);
    }

    async fn a_tenant_with_its_own_database_has_its_rows_there(database: TestDatabase) {
        let probe = Probe::default();
        probe.decide(|_, call| match call {
            1 => Err(JobError::retry("not yet")),
            _ => Ok(WebhookOutcome::Processed),
        });
        let app = app(database.with_tenant_databases(), &probe, |app| app).await;
        let ada = app.user();
        let tenant = ada.identity().unwrap().tenant.unwrap();
        let body = json!({ "id": "evt_1", "type": "invoice.paid" }).to_string();
        signed(&app, &format!("{PUBLIC}/{tenant}"), body).await.expect(200);
        app.run_events().await;
        assert_eq!(state(&app, "evt_1").await, (json!("failed"), json!(1), json!("not yet")));
        app.clock().advance(Duration::from_secs(3));
        app.run_events().await;
        assert_eq!(state(&app, "evt_1").await, (json!("processed"), json!(2), Value::Null));
        assert!(rows(&app).await.is_empty());
        let mut tx = app.db().tenant(tenant).begin_read().await.unwrap();
        let stored: Vec<(String,)> = tx.query("select event_id from probe_rows").fetch_all().await.unwrap();
        assert_eq!(stored, [("evt_1".to_owned(),)]);
        let page = ada.get(crate::inbox::LOGS).await.expect(200).json();
        assert_eq!(page["items"][0]["status"], "processed");
    }
}
