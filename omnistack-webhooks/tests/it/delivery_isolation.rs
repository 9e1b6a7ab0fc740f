//! Receivers that are slow, send endless bodies or have private addresses, and rate limits.

#![cfg(test)]

use std::time::Duration;

use omnistack_testkit::{
    TestDatabase,
    mock_server::{MockResponse, MockServer},
    on_each_database,
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    sync::mpsc,
};

use crate::delivery::{
    StoredResults, create_endpoint, deliver, deliveries, publish, receiver, start, states, work_and_die, work_until,
};

/// Starts a receiver that responds 200 with a body that never ends. Returns its URL, and a channel that gets a message
/// for each connection that its client has closed.
async fn endless_receiver() -> (String, mpsc::UnboundedReceiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (sender, closed) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let sender = sender.clone();
            tokio::spawn(async move {
                // The request is small enough to arrive at once.
                let mut request = [0; 8 * 1024];
                _ = stream.read(&mut request).await;
                let head = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n";
                let mut sent = stream.write_all(head).await;
                while sent.is_ok() {
                    sent = stream.write_all(&[b'x'; 1024]).await;
                }
                _ = sender.send(());
            });
        }
    });
    (url, closed)
}

on_each_database! {
    async fn a_hung_receiver_does_not_delay_others(database: TestDatabase) {
        // Long, so that no attempt of the hung receiver ends during the test.
        let app = start(database, [("WEBHOOKS_TIMEOUT", "5m")]).await;
        let (hung, fast) = (receiver(MockResponse::hang()).await, receiver(MockResponse::status(200)).await);
        let owner = app.user();
        let stuck = create_endpoint(&owner, hung.url(), json!({})).await;
        let endpoint = create_endpoint(&owner, fast.url(), json!({})).await;
        for number in 1..=40 {
            publish(&app, &owner, number).await;
        }
        let arrived = async {
            hung.wait_for_requests(16).await;
            // More than one batch goes to the other one meanwhile, and later events as well.
            fast.wait_for_requests(40).await;
            publish(&app, &owner, 41).await;
            fast.wait_for_requests(41).await;
        };
        work_and_die(&app, arrived).await;
        assert_eq!(hung.requests().len(), 16, "at most one batch is open");
        let sending = states(&app, &stuck).await.into_iter().filter(|state| state == "sending").count();
        assert_eq!(sending, 16);
        assert!(states(&app, &endpoint).await.iter().filter(|state| *state == "delivered").count() >= 40);
    }

    async fn an_endless_body_is_cut_off(database: TestDatabase) {
        let app = start(database, [("WEBHOOKS_TIMEOUT", "5m")]).await;
        let (url, mut closed) = endless_receiver().await;
        let owner = app.user();
        let endpoint = create_endpoint(&owner, &url, json!({})).await;
        publish(&app, &owner, 1).await;
        work_until(&app, closed.recv()).await.unwrap();

        assert_eq!(states(&app, &endpoint).await, ["delivered"]);
        let mut tx = app.db().app_database().all_tenants().begin_read().await.unwrap();
        let (response,): (String,) =
            tx.query("select response from omni_webhook_attempts").fetch_one().await.unwrap();
        assert_eq!(response, "x".repeat(16 * 1024));
    }

    async fn the_deadline_includes_the_body(database: TestDatabase) {
        let app = start(database, [("WEBHOOKS_TIMEOUT", "500ms")]).await;
        let sink = receiver(MockResponse::chunked(["partial", "never"]).hang_after("partial".len())).await;
        let owner = app.user();
        let endpoint = create_endpoint(&owner, sink.url(), json!({})).await;
        publish(&app, &owner, 1).await;
        work_until(&app, sink.wait_for_abandoned(1)).await;

        let stored = deliveries(&app, &endpoint).await.remove(0);
        assert_eq!((stored.state.as_str(), stored.status_code), ("pending", Some(200)));
        assert_eq!(stored.error.as_deref(), Some("the response did not end within 500ms"));
        let wait = stored.next_at.unwrap().duration_since(app.clock().clock().now());
        assert_eq!(wait, Duration::from_secs(60), "as after every timeout");
        let mut tx = app.db().app_database().all_tenants().begin_read().await.unwrap();
        let (response,): (String,) =
            tx.query("select response from omni_webhook_attempts").fetch_one().await.unwrap();
        assert_eq!(response, "partial");
    }

    async fn a_response_with_nul_and_invalid_utf8_is_stored(database: TestDatabase) {
        let app = start(database, []).await;
        let sink = receiver(MockResponse::content(200, "text/plain", b"a\0b\xff")).await;
        let owner = app.user();
        let endpoint = create_endpoint(&owner, sink.url(), json!({})).await;
        publish(&app, &owner, 1).await;
        deliver(&app, &sink, 1).await;
        assert_eq!(states(&app, &endpoint).await, ["delivered"]);
        let mut tx = app.db().app_database().all_tenants().begin_read().await.unwrap();
        let (response,): (String,) =
            tx.query("select response from omni_webhook_attempts").fetch_one().await.unwrap();
        assert_eq!(response, "a\u{fffd}b\u{fffd}");
    }

    async fn a_rate_limit_spaces_requests(database: TestDatabase) {
        let app = start(database, []).await;
        let sink = receiver(MockResponse::status(200)).await;
        let owner = app.user();
        create_endpoint(&owner, sink.url(), json!({ "rate_per_second": 2 })).await;
        for number in 1..=5 {
            publish(&app, &owner, number).await;
        }
        let start = app.clock().clock().now().as_seconds();
        let arrived = async {
            let mut received = sink.wait_for_requests(1).await;
            for count in 2..=5 {
                // The next request needs half a second of the app's clock.
                app.clock().advance(Duration::from_millis(500));
                received = sink.wait_for_requests(count).await;
                assert_eq!(received.len(), count, "one request for each half second");
            }
            received
        };
        let received = work_until(&app, arrived).await;
        let at = |index: usize| received[index].header("webhook-timestamp").unwrap().parse::<i64>().unwrap() - start;
        assert_eq!([0, 1, 2, 3, 4].map(at), [0, 0, 1, 1, 2]);
    }

    async fn a_rate_limit_outlives_a_lane(database: TestDatabase) {
        let app = start(database, []).await;
        let (sink, marker) = (receiver(MockResponse::status(200)).await, receiver(MockResponse::status(200)).await);
        let owner = app.user();
        create_endpoint(&owner, sink.url(), json!({ "rate_per_second": 1 })).await;
        publish(&app, &owner, 1).await;
        deliver(&app, &sink, 1).await;
        create_endpoint(&owner, marker.url(), json!({})).await;
        publish(&app, &owner, 2).await;
        deliver(&app, &marker, 1).await;
        assert_eq!(sink.requests().len(), 1, "a second has not passed");
        app.clock().advance(Duration::from_secs(1));
        deliver(&app, &sink, 2).await;
    }
}

/// Runs on one database: the address is refused before the database matters.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn private_addresses_are_not_called() {
    let app = start(TestDatabase::sqlite(), [("WEBHOOKS_ALLOW_PRIVATE_ADDRESSES", "false")]).await;
    // It would accept the connection.
    let local = MockServer::start().await;
    let port = local.address().port();
    let owner = app.user();
    let urls = [
        "http://169.254.169.254/latest/meta-data".to_owned(),
        format!("http://127.0.0.1:{port}/"),
        format!("http://[::1]:{port}/"),
        format!("http://[::ffff:127.0.0.1]:{port}/"),
        format!("http://2130706433:{port}/"),
        // A name that resolves to loopback addresses.
        format!("http://localhost:{port}/"),
    ];
    let mut endpoints = Vec::new();
    for url in &urls {
        let endpoint = create_endpoint(&owner, "https://receiver.example/hook", json!({})).await;
        // The routes refuse addresses; a name may get such an address at any time.
        let tenant = owner.identity().unwrap().tenant.unwrap();
        let mut tx = app.db().tenant(tenant).begin().await.unwrap();
        let update = tx.query("update omni_webhook_endpoints set url = $2 where id = $1");
        update.bind(endpoint.id).bind(url.clone()).execute().await.unwrap();
        tx.commit().await.unwrap();
        endpoints.push(endpoint);
    }
    let mut stored = StoredResults::observe(&app);
    publish(&app, &owner, 1).await;
    work_until(&app, stored.wait(urls.len())).await;
    for (endpoint, url) in endpoints.iter().zip(&urls) {
        let stored = deliveries(&app, endpoint).await.remove(0);
        assert_eq!((stored.state.as_str(), stored.status_code), ("pending", None), "{url}");
        let refused = "the host has no public address; the endpoint is not called";
        assert_eq!(stored.error.as_deref(), Some(refused), "{url}");
    }
    assert!(local.requests().is_empty());
}
