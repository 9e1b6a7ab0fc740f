//! Tests of the jobs: missed webhooks, retention, and the deletion of tenants.

use std::time::Duration;

use omnistack_core::{
    async_trait,
    events::TenantDeleted,
    http::HeaderMap,
    jobs::{Job, JobContext, JobError},
    webhook::MissedWebhooks,
};
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{PUBLIC, Probe, app, listed, rows, send, signed};

const POLL: &str = "/api/v1/admin/webhooks/sources/probe/poll";

/// The module's own jobs, as their crons enqueue them.
#[derive(Serialize, Deserialize)]
struct Purge {}

#[async_trait]
impl Job for Purge {
    const NAME: &'static str = "webhooks.purge_inbox";
    type State = ();

    async fn run(self, (): &(), _: &JobContext) -> Result<(), JobError> {
        Ok(())
    }
}

#[derive(Serialize, Deserialize)]
struct Poll {}

#[async_trait]
impl Job for Poll {
    const NAME: &'static str = "webhooks.poll_sources";
    type State = ();

    async fn run(self, (): &(), _: &JobContext) -> Result<(), JobError> {
        Ok(())
    }
}

fn missed(events: &[Value]) -> MissedWebhooks {
    let events = events.iter().map(|event| (HeaderMap::new(), event.to_string().into())).collect();
    MissedWebhooks { redelivered: 2, events, has_more: false }
}

/// Returns the ids of the events of all webhooks, sorted.
async fn ids(app: &TestApp) -> Vec<String> {
    let mut ids: Vec<_> =
        listed(app, "").await.iter().map(|webhook| webhook["event_id"].as_str().unwrap().to_owned()).collect();
    ids.sort();
    ids
}

on_each_database! {
    async fn missed_webhooks_are_stored_and_processed_once(database: TestDatabase) {
        let probe = Probe::default();
        let app = app(database, &probe, |app| app).await;
        let known = json!({ "id": "evt_1", "type": "invoice.paid" });
        send(&app, known.clone()).await.expect(200);
        let new = json!({ "id": "evt_2", "type": "invoice.paid" });
        probe.set_missed(Ok(missed(&[known, json!({ "what": "no event" }), new])));
        let admin = app.operator();
        let found = admin.post(POLL, json!({})).await.expect(200).json();
        assert_eq!(found, json!({ "redelivered": 2, "received": 1, "duplicates": 1 }));
        app.run_events().await;
        assert_eq!(rows(&app).await, ["evt_1", "evt_2"]);
        assert!(listed(&app, "status=duplicate").await.is_empty(), "the provider has not sent it again");

        app.clock().advance(Duration::from_secs(3600));
        app.jobs().enqueue(Poll {}).await.unwrap();
        app.run_jobs().await;
        app.run_events().await;
        assert_eq!(rows(&app).await, ["evt_1", "evt_2"]);
        let since: Vec<_> = probe.asked_since().into_iter().map(|since| since.to_string()).collect();
        assert_eq!(since, ["2029-12-31T00:00:00Z", "2029-12-31T23:45:00Z"]);

        // After a failure, the same period is asked for again.
        app.clock().advance(Duration::from_secs(3600));
        probe.set_missed(Err("the provider is down".to_owned()));
        admin.post(POLL, json!({})).await.expect_error(502, "WEBHOOK_POLL_FAILED");
        probe.set_missed(Ok(MissedWebhooks::default()));
        app.clock().advance(Duration::from_secs(3600));
        admin.post(POLL, json!({})).await.expect(200);
        assert_eq!(probe.asked_since()[2], probe.asked_since()[3]);

        // The period has more than the provider has handled at once.
        for has_more in [true, false] {
            probe.set_missed(Ok(MissedWebhooks { has_more, ..MissedWebhooks::default() }));
            app.clock().advance(Duration::from_secs(3600));
            admin.post(POLL, json!({})).await.expect(200);
        }
        assert_eq!(probe.asked_since()[4], probe.asked_since()[5]);
        admin.post(POLL.replace("probe", "mute"), json!({})).await.expect_error(422, "WEBHOOK_POLL_UNSUPPORTED");
        admin.post(POLL.replace("probe", "unknown"), json!({})).await.expect_error(404, "NOT_FOUND");
    }

    async fn webhooks_are_deleted_after_their_retention(database: TestDatabase) {
        let probe = Probe::default();
        let app = app(database, &probe, |app| {
            app.set("WEBHOOKS_RETENTION", "10d").set("WEBHOOKS_RETENTION_SOURCES", "mute:20d")
        }).await;
        let tenant = app.user().identity().unwrap().tenant.unwrap();
        let body = |id: &str| json!({ "id": id, "type": "invoice.paid" }).to_string();
        signed(&app, PUBLIC, body("old")).await.expect(200);
        signed(&app, &format!("{PUBLIC}/{tenant}"), body("old_of_tenant")).await.expect(200);
        signed(&app, "/api/v1/public/webhooks/mute", body("old_of_mute")).await.expect(200);
        app.clock().advance(Duration::from_secs(5 * 86_400));
        signed(&app, PUBLIC, body("young")).await.expect(200);
        app.run_events().await;
        for (days, expected) in [
            (5, vec!["old", "old_of_mute", "old_of_tenant", "young"]),
            (1, vec!["old_of_mute", "young"]),
            (9, vec!["old_of_mute"]),
            (1, vec![]),
        ] {
            app.clock().advance(Duration::from_secs(days * 86_400));
            app.jobs().enqueue(Purge {}).await.unwrap();
            app.run_jobs().await;
            assert_eq!(ids(&app).await, expected);
        }
    }

    async fn a_webhook_is_kept_until_it_is_processed(database: TestDatabase) {
        let probe = Probe::default();
        let app = app(database, &probe, |app| app.set("WEBHOOKS_RETENTION_SOURCES", "mute:1d")).await;
        let body = |id: &str| json!({ "id": id, "type": "invoice.paid" }).to_string();
        signed(&app, PUBLIC, body("of_probe")).await.expect(200);
        signed(&app, "/api/v1/public/webhooks/mute", body("of_mute")).await.expect(200);
        app.clock().advance(Duration::from_secs(31 * 86_400));
        app.jobs().enqueue(Purge {}).await.unwrap();
        app.run_jobs().await;
        assert_eq!(ids(&app).await, ["of_mute", "of_probe"]);
        app.run_events().await;
        assert_eq!(rows(&app).await, ["of_probe"]);
        app.jobs().enqueue(Purge {}).await.unwrap();
        app.run_jobs().await;
        assert!(ids(&app).await.is_empty());
    }

    async fn webhooks_of_a_deleted_tenant_are_deleted(database: TestDatabase) {
        let probe = Probe::default();
        let app = app(database, &probe, |app| app).await;
        let tenants = [(); 2].map(|()| app.user().identity().unwrap().tenant.unwrap());
        for (id, tenant) in [("gone", tenants[0]), ("kept", tenants[1])] {
            let body = json!({ "id": id, "type": "invoice.paid" }).to_string();
            signed(&app, &format!("{PUBLIC}/{tenant}"), body).await.expect(200);
        }
        send(&app, json!({ "id": "of_app", "type": "invoice.paid" })).await.expect(200);
        app.events().publish(&TenantDeleted::new(tenants[0])).await.unwrap();
        app.run_events().await;
        app.run_jobs().await;
        assert_eq!(ids(&app).await, ["kept", "of_app"]);
    }
}

#[tokio::test]
async fn settings_out_of_range_are_reported() {
    let config = TestDatabase::sqlite().config();
    for (name, value) in [
        ("WEBHOOKS_BODY_LIMIT", "1GiB"),
        ("WEBHOOKS_RETENTION", "1h"),
        ("WEBHOOKS_RETENTION_SOURCES", "stripe"),
        ("WEBHOOKS_FAILURE_LIMIT", "often"),
    ] {
        let builder = omnistack_core::app::App::builder(config.clone()).set(name, value);
        let error = builder.with(omnistack_webhooks::Webhooks::from_env()).build().unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
    }
}
