//! Several processes, and processes that are killed.

#![cfg(test)]

use std::{collections::BTreeSet, time::Duration};

use omnistack_core::ShutdownToken;
use omnistack_testkit::{
    TestDatabase,
    mock_server::{MockResponse, MockServer},
    on_each_database,
};
use serde_json::json;

use crate::delivery::{
    StoredResults, create_endpoint, deliver, deliveries, publish, receiver, start, states, work_and_die, work_until,
};

/// Longer than the leases of endpoints and deliveries, and shorter than the second pause between attempts.
const AFTER_THE_LEASES: Duration = Duration::from_secs(61);

on_each_database! {
    async fn a_delivery_that_a_killed_process_was_sending_is_sent_again(database: TestDatabase) {
        let app = start(database, []).await;
        let sink = MockServer::start().await;
        sink.expect_any().times(3).reply(MockResponse::hang());
        sink.expect_any().times(..).reply(MockResponse::status(200));
        let owner = app.user();
        let endpoint = create_endpoint(&owner, sink.url(), json!({})).await;
        for number in 1..=3 {
            publish(&app, &owner, number).await;
        }
        // The receiver has the requests, and no result is stored.
        work_and_die(&app, sink.wait_for_requests(3)).await;
        for stored in deliveries(&app, &endpoint).await {
            assert_eq!((stored.state.as_str(), stored.attempts), ("sending", 1));
        }

        app.clock().advance(AFTER_THE_LEASES);
        let received = deliver(&app, &sink, 6).await;
        for stored in deliveries(&app, &endpoint).await {
            assert_eq!((stored.state.as_str(), stored.attempts), ("delivered", 2));
        }
        let ids: BTreeSet<_> = received.iter().filter_map(|request| request.header("webhook-id")).collect();
        assert_eq!((received.len(), ids.len()), (6, 3), "each is sent twice, with the same id");
    }

    async fn the_lease_of_a_killed_process_is_respected(database: TestDatabase) {
        let app = start(database, []).await;
        let (sink, marker) = (receiver(MockResponse::hang()).await, receiver(MockResponse::status(200)).await);
        let owner = app.user();
        create_endpoint(&owner, sink.url(), json!({})).await;
        publish(&app, &owner, 1).await;
        work_and_die(&app, sink.wait_for_requests(1)).await;

        app.clock().advance(AFTER_THE_LEASES.checked_sub(Duration::from_secs(2)).unwrap());
        create_endpoint(&owner, marker.url(), json!({})).await;
        publish(&app, &owner, 2).await;
        deliver(&app, &marker, 1).await;
        assert_eq!(sink.requests().len(), 1, "the process may still be sending");
    }

    async fn an_attempt_that_kills_its_process_is_not_repeated_for_ever(database: TestDatabase) {
        let app = start(database, []).await;
        let sink = receiver(MockResponse::hang()).await;
        let owner = app.user();
        let endpoint = create_endpoint(&owner, sink.url(), json!({})).await;
        publish(&app, &owner, 1).await;
        for attempt in 1..=8 {
            work_and_die(&app, sink.wait_for_requests(attempt)).await;
            app.clock().advance(AFTER_THE_LEASES);
        }
        let mut results = StoredResults::observe(&app);
        work_until(&app, results.wait(1)).await;
        assert_eq!(sink.requests().len(), 8);
        let stored = deliveries(&app, &endpoint).await.remove(0);
        assert_eq!((stored.state.as_str(), stored.attempts), ("failed", 8));
    }

    async fn two_processes_send_each_delivery_once(database: TestDatabase) {
        let app = start(database, []).await;
        let sink = receiver(MockResponse::status(200)).await;
        let owner = app.user();
        let mut endpoints = Vec::new();
        for index in 0..5 {
            endpoints.push(create_endpoint(&owner, &format!("{}/{index}", sink.url()), json!({})).await);
        }
        let shutdown = ShutdownToken::new();
        let load = async {
            for number in 1..=20 {
                publish(&app, &owner, number).await;
            }
            sink.wait_for_requests(100).await;
            shutdown.cancel();
        };
        let worker = || app.app().run_workers(shutdown.clone());
        tokio::join!(worker(), worker(), load);

        let received = sink.requests();
        let distinct: BTreeSet<_> =
            received.iter().map(|request| (request.path.clone(), request.header("webhook-id"))).collect();
        assert_eq!((received.len(), distinct.len()), (100, 100));
        for endpoint in &endpoints {
            assert_eq!(states(&app, endpoint).await, ["delivered"; 20]);
        }
    }

    async fn shutdown_stores_what_is_being_sent_and_releases_the_lease(database: TestDatabase) {
        let app = start(database, []).await;
        let sink = receiver(MockResponse::status(200).delay(Duration::from_millis(50))).await;
        let owner = app.user();
        let endpoint = create_endpoint(&owner, sink.url(), json!({})).await;
        publish(&app, &owner, 1).await;
        work_until(&app, sink.wait_for_requests(1)).await;
        assert_eq!(states(&app, &endpoint).await, ["delivered"]);

        // The clock has not moved: another process can continue at once.
        publish(&app, &owner, 2).await;
        deliver(&app, &sink, 2).await;
        assert_eq!(states(&app, &endpoint).await, ["delivered", "delivered"]);
    }
    async fn a_process_that_has_lost_its_lease_sends_nothing_more(database: TestDatabase) {
        let app = start(database, []).await;
        // Long enough for the statement below.
        let sink = receiver(MockResponse::status(200).delay(Duration::from_secs(1))).await;
        let owner = app.user();
        let tenant = owner.identity().unwrap().tenant.unwrap();
        let endpoint = create_endpoint(&owner, sink.url(), json!({ "rate_per_second": 1 })).await;
        for number in 1..=3 {
            publish(&app, &owner, number).await;
        }
        let mut results = StoredResults::observe(&app);
        let taken_over = async {
            sink.wait_for_requests(1).await;
            let until = app.clock().clock().now() + AFTER_THE_LEASES;
            let mut tx = app.db().tenant(tenant).begin().await.unwrap();
            let take = tx.query("update omni_webhook_endpoints set lease = lease + 1, lease_until = $2 where id = $1");
            take.bind(endpoint.id).bind(until).execute().await.unwrap();
            tx.commit().await.unwrap();
            results.wait(1).await;
        };
        Box::pin(work_until(&app, taken_over)).await;
        let mut states = states(&app, &endpoint).await;
        states.sort_unstable();
        assert_eq!(states, ["delivered", "pending", "pending"], "the result is stored nevertheless");
        assert_eq!(sink.requests().len(), 1);
    }
}
