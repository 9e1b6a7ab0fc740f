//! Retries of deliveries, and endpoints that are disabled by failures.

#![cfg(test)]

use std::time::Duration;

use omnistack_core::{
    audit::{AuditFilter, AuditStore},
    webhook::{EndpointDisabledReason, WebhookEndpointDisabled},
};
use omnistack_testkit::{
    TestDatabase,
    mock_server::{MockResponse, MockServer},
    on_each_database,
};
use serde_json::json;

use crate::delivery::{create_endpoint, deliver, deliveries, publish, receiver, start, states, status, work_until};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

on_each_database! {
    async fn a_delivery_fails_after_eight_attempts(database: TestDatabase) {
        let app = start(database, []).await;
        let sink = receiver(MockResponse::status(500)).await;
        let owner = app.user();
        let endpoint = create_endpoint(&owner, sink.url(), json!({})).await;
        publish(&app, &owner, 1).await;
        for (attempt, pause) in (1..).zip([5, 300, 1_800, 7_200, 18_000, 36_000, 36_000]) {
            deliver(&app, &sink, attempt).await;
            let stored = deliveries(&app, &endpoint).await.remove(0);
            assert_eq!((stored.state.as_str(), stored.status_code), ("pending", Some(500)), "attempt {attempt}");
            assert_eq!(usize::try_from(stored.attempts), Ok(attempt));
            let pause = Duration::from_secs(pause);
            let wait = stored.next_at.unwrap().duration_since(app.clock().clock().now());
            assert!(pause.mul_f64(0.799) <= wait && wait <= pause.mul_f64(1.201), "attempt {attempt}: {wait:?}");
            app.clock().advance(pause.mul_f64(1.201));
        }
        deliver(&app, &sink, 8).await;
        let stored = deliveries(&app, &endpoint).await.remove(0);
        assert_eq!((stored.state.as_str(), stored.attempts, stored.next_at), ("failed", 8, None));

        // Nothing follows: after a month, a new message is the only one that is sent.
        app.clock().advance(DAY * 30);
        let marker = receiver(MockResponse::status(200)).await;
        create_endpoint(&owner, marker.url(), json!({})).await;
        publish(&app, &owner, 2).await;
        deliver(&app, &marker, 1).await;
        assert!(sink.requests().len() <= 9, "the failed delivery is not sent again");
        assert_eq!(states(&app, &endpoint).await[0], "failed");
    }

    async fn a_receiver_can_ask_for_a_longer_pause(database: TestDatabase) {
        let app = start(database, []).await;
        let sink = MockServer::start().await;
        let replies = [
            // The response, and the least and the most seconds until the next attempt.
            (MockResponse::status(500).header("retry-after", "90"), 90, 90),
            (MockResponse::status(429).header("retry-after", "7200"), 7_200, 7_200),
            (MockResponse::status(503).header("retry-after", "9999999"), 86_400, 86_400),
            (MockResponse::status(500).header("retry-after", "soon"), 5_760, 8_640),
        ];
        for (reply, ..) in &replies {
            sink.expect_any().times(1).reply(reply.clone());
        }
        let owner = app.user();
        let endpoint = create_endpoint(&owner, sink.url(), json!({})).await;
        publish(&app, &owner, 1).await;
        for (attempt, (_, least, most)) in (1..).zip(replies) {
            deliver(&app, &sink, attempt).await;
            let next_at = deliveries(&app, &endpoint).await[0].next_at.unwrap();
            let wait = next_at.duration_since(app.clock().clock().now());
            assert!((least..=most).contains(&wait.as_secs()), "attempt {attempt}: {wait:?}");
            app.clock().advance(wait);
        }
    }

    async fn a_receiver_that_asks_for_a_pause_gets_no_other_events_meanwhile(database: TestDatabase) {
        let app = start(database, []).await;
        let (sink, marker) = (MockServer::start().await, receiver(MockResponse::status(200)).await);
        sink.expect_any().times(1).reply(MockResponse::status(429).header("retry-after", "3600"));
        sink.expect_any().times(..).reply(MockResponse::status(200));
        let owner = app.user();
        let endpoint = create_endpoint(&owner, sink.url(), json!({})).await;
        publish(&app, &owner, 1).await;
        deliver(&app, &sink, 1).await;
        create_endpoint(&owner, marker.url(), json!({})).await;
        app.clock().advance(Duration::from_millis(1));
        publish(&app, &owner, 2).await;
        deliver(&app, &marker, 1).await;
        assert_eq!(sink.requests().len(), 1);

        // After a minute, the other event is sent. The first one waits as long as it was asked to.
        app.clock().advance(Duration::from_secs(60));
        deliver(&app, &sink, 2).await;
        assert_eq!(states(&app, &endpoint).await, ["pending", "delivered"]);
    }

    async fn a_busy_receiver_has_a_minute(database: TestDatabase) {
        let app = start(database, []).await;
        let owner = app.user();
        for reply in [429, 502, 503, 504] {
            let sink = receiver(MockResponse::status(reply)).await;
            let endpoint = create_endpoint(&owner, sink.url(), json!({})).await;
            publish(&app, &owner, 1).await;
            deliver(&app, &sink, 1).await;
            let next_at = deliveries(&app, &endpoint).await[0].next_at.unwrap();
            assert_eq!(next_at.duration_since(app.clock().clock().now()), Duration::from_secs(60), "{reply}");
            owner.delete(format!("/api/v1/app/webhooks/endpoints/{}", endpoint.id)).await.expect_ok();
        }
    }

    async fn a_redirect_is_a_failure(database: TestDatabase) {
        let app = start(database, []).await;
        let elsewhere = receiver(MockResponse::status(200)).await;
        let sink = receiver(MockResponse::status(307).header("location", elsewhere.url())).await;
        let owner = app.user();
        let endpoint = create_endpoint(&owner, sink.url(), json!({})).await;
        publish(&app, &owner, 1).await;
        deliver(&app, &sink, 1).await;
        let stored = deliveries(&app, &endpoint).await.remove(0);
        assert_eq!((stored.state.as_str(), stored.status_code), ("pending", Some(307)));
        assert!(elsewhere.requests().is_empty());
    }

    async fn a_receiver_that_is_gone_is_called_once(database: TestDatabase) {
        let app = start(database, []).await;
        let sink = receiver(MockResponse::status(410)).await;
        let owner = app.user();
        let tenant = owner.identity().unwrap().tenant.unwrap();
        // One request at a time, so that the others wait when it responds.
        let url = format!("{}/secret", sink.url());
        let endpoint = create_endpoint(&owner, &url, json!({ "rate_per_second": 1 })).await;
        let mut disabled = app.events().subscribe::<WebhookEndpointDisabled>();
        for number in 1..=5 {
            publish(&app, &owner, number).await;
        }
        let event = work_until(&app, disabled.recv()).await.unwrap();

        assert_eq!((event.tenant, event.endpoint), (tenant, endpoint.id));
        assert_eq!((event.host.as_str(), event.reason), ("127.0.0.1", EndpointDisabledReason::Gone));
        assert_eq!(status(&app, &endpoint).await, ("disabled".to_owned(), Some("gone".to_owned())));
        // All were published at the same time of the app's clock, so any of them may be the first.
        let mut states = states(&app, &endpoint).await;
        states.sort_unstable();
        assert_eq!(states, ["failed", "skipped", "skipped", "skipped", "skipped"]);
        assert_eq!(sink.requests().len(), 1);
        let audit: AuditStore = app.app().context().get().unwrap();
        let filter = AuditFilter::for_chain(tenant).action("webhook_endpoint.disabled");
        let entries = audit.list(&filter, 10, None).await.unwrap().items;
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].details, Some(json!({ "reason": "gone", "host": "127.0.0.1" })));
        assert_eq!(entries[0].actor, None);
    }

    async fn five_days_of_failures_disable_an_endpoint(database: TestDatabase) {
        let app = start(database, []).await;
        let sink = receiver(MockResponse::status(500)).await;
        let owner = app.user();
        let endpoint = create_endpoint(&owner, sink.url(), json!({})).await;
        publish(&app, &owner, 1).await;
        deliver(&app, &sink, 1).await;
        assert_eq!(status(&app, &endpoint).await.0, "enabled");

        app.clock().advance((DAY * 5).checked_sub(Duration::from_secs(1)).unwrap());
        deliver(&app, &sink, 2).await;
        assert_eq!(status(&app, &endpoint).await.0, "enabled");

        app.clock().advance(DAY);
        publish(&app, &owner, 2).await;
        deliver(&app, &sink, 3).await;
        assert_eq!(status(&app, &endpoint).await, ("disabled".to_owned(), Some("failing".to_owned())));
        assert_eq!(states(&app, &endpoint).await, ["skipped", "skipped"]);
        assert_eq!(sink.requests().len(), 3, "a failing endpoint gets one request at a time");

        // What is published meanwhile is skipped, and nothing is sent.
        publish(&app, &owner, 3).await;
        assert_eq!(states(&app, &endpoint).await, ["skipped", "skipped", "skipped"]);
    }

    async fn a_success_ends_the_failure(database: TestDatabase) {
        let app = start(database, []).await;
        let sink = MockServer::start().await;
        for status in [500, 200, 500] {
            sink.expect_any().times(1).reply(MockResponse::status(status));
        }
        let owner = app.user();
        let endpoint = create_endpoint(&owner, sink.url(), json!({})).await;
        publish(&app, &owner, 1).await;
        deliver(&app, &sink, 1).await;
        app.clock().advance(DAY * 4);
        deliver(&app, &sink, 2).await;
        app.clock().advance(DAY * 4);
        publish(&app, &owner, 2).await;
        deliver(&app, &sink, 3).await;
        assert_eq!(status(&app, &endpoint).await, ("enabled".to_owned(), None));
        assert_eq!(states(&app, &endpoint).await, ["delivered", "pending"]);
    }

    // Case 37.
    async fn a_deleted_endpoint_is_never_called_again(database: TestDatabase) {
        let app = start(database, []).await;
        let (sink, marker) = (receiver(MockResponse::status(500)).await, receiver(MockResponse::status(200)).await);
        let owner = app.user();
        let endpoint = create_endpoint(&owner, sink.url(), json!({})).await;
        publish(&app, &owner, 1).await;
        deliver(&app, &sink, 1).await;
        owner.delete(format!("/api/v1/app/webhooks/endpoints/{}", endpoint.id)).await.expect_ok();

        app.clock().advance(DAY);
        create_endpoint(&owner, marker.url(), json!({})).await;
        publish(&app, &owner, 2).await;
        deliver(&app, &marker, 1).await;
        assert_eq!(sink.requests().len(), 1);
        assert!(deliveries(&app, &endpoint).await.is_empty());
    }

    async fn a_paused_endpoint_gets_its_events_after_it_is_resumed(database: TestDatabase) {
        let app = start(database, []).await;
        let (sink, marker) = (receiver(MockResponse::status(200)).await, receiver(MockResponse::status(200)).await);
        let owner = app.user();
        let endpoint = create_endpoint(&owner, sink.url(), json!({})).await;
        create_endpoint(&owner, marker.url(), json!({})).await;
        let path = format!("/api/v1/app/webhooks/endpoints/{}", endpoint.id);
        owner.patch(&path, json!({ "status": "paused" })).await.expect_ok();
        publish(&app, &owner, 1).await;
        deliver(&app, &marker, 1).await;
        assert!(sink.requests().is_empty());
        assert_eq!(states(&app, &endpoint).await, ["pending"]);

        owner.patch(&path, json!({ "status": "enabled" })).await.expect_ok();
        deliver(&app, &sink, 1).await;
        assert_eq!(states(&app, &endpoint).await, ["delivered"]);
    }
}
