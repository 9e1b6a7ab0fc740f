//! Tests of the numbers that operators see.

#![cfg(test)]

use std::time::Duration;

use omnistack_core::{jobs::JobError, webhook::WebhookOutcome};
use omnistack_testkit::{TestDatabase, mock_server::MockResponse, on_each_database};
use serde_json::json;
use uuid::Uuid;

use crate::{
    delivery::{Orders, create_endpoint, deliver, publish, receiver},
    inbox::{PUBLIC, Probe, app, send, signed},
};

const DASHBOARD: &str = "/api/v1/admin/dashboard/webhooks";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

on_each_database! {
    async fn operators_see_the_numbers_of_webhooks(database: TestDatabase) {
        let probe = Probe::default();
        probe.decide(|webhook, _| match webhook.event.id.as_str() {
            "evt_2" => Err(JobError::fatal("unknown plan")),
            _ => Ok(WebhookOutcome::Processed),
        });
        let app = app(database, &probe, |app| {
            let app = app.set("WEBHOOKS_ALLOW_PRIVATE_ADDRESSES", "true").set("WEBHOOKS_POLL", "10ms");
            app.with(Orders)
        })
        .await;
        let operator = app.operator();
        app.anonymous().get(DASHBOARD).await.expect(401);
        app.user().get(DASHBOARD).await.expect(403);

        send(&app, json!({ "id": "evt_0", "type": "invoice.paid" })).await.expect(200);
        app.run_events().await;
        app.clock().advance(DAY * 5);
        for id in ["evt_1", "evt_2"] {
            send(&app, json!({ "id": id, "type": "invoice.paid" })).await.expect(200);
        }
        app.run_events().await;
        let owner = app.user();
        let (gone, paused) = (receiver(MockResponse::status(410)).await, receiver(MockResponse::status(200)).await);
        let url = format!("{}/paused", paused.url());
        let endpoint = create_endpoint(&owner, &url, json!({ "events": ["order.paid"] })).await;
        let path = format!("/api/v1/app/webhooks/endpoints/{}", endpoint.id);
        owner.patch(path, json!({ "status": "paused" })).await.expect_ok();
        create_endpoint(&owner, gone.url(), json!({})).await;
        publish(&app, &owner, 1).await;
        deliver(&app, &gone, 1).await;
        let body = json!({ "id": "evt_3", "type": "invoice.paid" }).to_string();
        signed(&app, &format!("{PUBLIC}/{}", Uuid::new_v4()), body).await.expect(200);

        let numbers = operator.get(DASHBOARD).await.expect(200).json();
        let received = |status: &str, last_day: i64, last_week: i64| {
            json!({ "source": "probe", "status": status, "last_day": last_day, "last_week": last_week })
        };
        let expected = json!({
            "counted_at": "2030-01-06T00:00:00Z",
            "received": [received("failed", 1, 1), received("processed", 1, 2), received("received", 1, 1)],
            "received_is_estimate": false,
            "waiting": 1,
            "failed": 1,
            "endpoints": { "enabled": 0, "paused": 1, "disabled": 1 },
            "deliveries": { "pending": 1, "failed_last_day": 1, "failed_last_week": 1 },
        });
        assert_eq!(numbers, expected);

        // They are counted again after ten seconds.
        app.run_events().await;
        app.clock().advance(Duration::from_secs(9));
        assert_eq!(operator.get(DASHBOARD).await.expect(200).json(), expected);
        app.clock().advance(Duration::from_secs(1));
        let numbers = operator.get(DASHBOARD).await.expect(200).json();
        assert_eq!(numbers["received"], json!([received("failed", 1, 1), received("processed", 2, 3)]));
        assert_eq!(numbers["waiting"], 0);

        app.clock().advance(DAY * 2);
        let numbers = operator.get(DASHBOARD).await.expect(200).json();
        assert_eq!(numbers["received"], json!([received("failed", 0, 1), received("processed", 0, 2)]));
        let deliveries = json!({ "pending": 1, "failed_last_day": 0, "failed_last_week": 1 });
        assert_eq!((&numbers["failed"], &numbers["deliveries"]), (&json!(1), &deliveries));
    }
}
