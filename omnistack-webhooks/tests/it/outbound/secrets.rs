//! Secrets: shown once, rotated with an overlap, and what receivers verify.

use std::time::Duration;

use omnistack_testkit::{mock_server::ReceivedRequest, on_each_database};
use omnistack_webhooks::WebhookVerifier;

use super::*;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Sends a ping to an endpoint and returns the request that the receiver got.
async fn ping(client: &TestClient, endpoint: &Value, receiver: &MockServer) -> ReceivedRequest {
    let body = json!({ "endpoint_id": endpoint["id"] });
    let result = client.post(format!("{WEBHOOKS}/test"), body).await.expect(200).json();
    assert_eq!(result["delivered"], true, "{result}");
    receiver.requests().pop().unwrap()
}

fn verifies(app: &TestApp, key: &Value, request: &ReceivedRequest) -> bool {
    let verifier = WebhookVerifier::new([key.as_str().unwrap()]).unwrap();
    verifier.verify(&request.headers, &request.body, app.clock().clock().now()).is_ok()
}

on_each_database! {
    async fn a_rotated_secret_signs_for_another_day(database: TestDatabase) {
        let (app, receiver) = (start(database, |app| app).await, receiver(MockResponse::status(204)).await);
        let owner = app.user();
        let first = create(&owner, receiver.url(), &["*"]).await;
        let request = ping(&owner, &first, &receiver).await;
        assert!(verifies(&app, &first["secret"], &request));

        let rotate = format!("{}/secret/rotate", path(&first));
        owner.post(&rotate, json!({})).await.expect_error(401, "REAUTHENTICATION_REQUIRED");
        let second = freshly_signed_in(&app, &owner).post(&rotate, json!({})).await.expect(200).json();
        assert_ne!(first["secret"], second["secret"]);
        assert_eq!(second["previous_secret_until"], "2030-01-02T00:00:00Z");
        let request = ping(&owner, &first, &receiver).await;
        assert!(verifies(&app, &first["secret"], &request) && verifies(&app, &second["secret"], &request));
        assert_eq!(request.header("webhook-signature").unwrap().split(' ').count(), 2);

        app.clock().advance(DAY);
        let request = ping(&owner, &first, &receiver).await;
        assert!(!verifies(&app, &first["secret"], &request) && verifies(&app, &second["secret"], &request));
        assert_eq!(owner.get(path(&first)).await.expect(200).json()["previous_secret_until"], json!(null));
        assert_eq!(audited(&app, &owner).await, ["webhook_endpoint.created", "webhook_endpoint.secret_rotated"]);
    }

    async fn the_overlap_is_a_setting(database: TestDatabase) {
        let app = start(database, |app| app.set("WEBHOOKS_SECRET_OVERLAP", "0s")).await;
        let receiver = receiver(MockResponse::status(204)).await;
        let owner = app.user();
        let first = create(&owner, receiver.url(), &["*"]).await;
        let rotate = format!("{}/secret/rotate", path(&first));
        freshly_signed_in(&app, &owner).post(&rotate, json!({})).await.expect(200);
        let request = ping(&owner, &first, &receiver).await;
        assert!(!verifies(&app, &first["secret"], &request));
    }

    async fn a_receiver_of_ed25519_has_only_the_public_key(database: TestDatabase) {
        let (app, receiver) = (start(database, |app| app).await, receiver(MockResponse::status(204)).await);
        let owner = app.user();
        let body = json!({ "url": receiver.url(), "events": ["*"], "scheme": "v1a" });
        let created = owner.post(ENDPOINTS, body).await.expect(201);
        assert!(!created.text().contains("whsk_"), "{}", created.text());
        let created = created.json();
        assert!(created["secret"].as_str().unwrap().starts_with("whpk_"));
        assert_eq!(owner.get(path(&created)).await.expect(200).json()["public_key"], created["secret"]);
        let request = ping(&owner, &created, &receiver).await;
        assert!(request.header("webhook-signature").unwrap().starts_with("v1a,"));
        assert!(verifies(&app, &created["secret"], &request));

        let rotate = format!("{}/secret/rotate", path(&created));
        let rotated = freshly_signed_in(&app, &owner).post(&rotate, json!({})).await.expect(200).json();
        let request = ping(&owner, &created, &receiver).await;
        assert!(verifies(&app, &created["secret"], &request) && verifies(&app, &rotated["public_key"], &request));
    }

    async fn a_test_sends_the_example_with_custom_headers(database: TestDatabase) {
        let (app, receiver) = (start(database, |app| app).await, receiver(MockResponse::text(500, "no")).await);
        let owner = app.user();
        let body = json!({ "url": receiver.url(), "events": ["parcel.lost"], "headers": { "X-Key": "sesame" } });
        let created = owner.post(ENDPOINTS, body).await.expect(201).json();
        let test = json!({ "endpoint_id": created["id"], "event_type": "parcel.sent" });
        let result = owner.post(format!("{WEBHOOKS}/test"), test).await.expect(200).json();
        assert_eq!((&result["delivered"], &result["status_code"]), (&json!(false), &json!(500)));
        assert_eq!((&result["response"], &result["type"]), (&json!("no"), &json!("parcel.sent")));
        let request = receiver.requests().pop().unwrap();
        assert_eq!(request.header("x-key"), Some("sesame"));
        assert_eq!(request.header("webhook-id"), result["webhook_id"].as_str());
        let sent: Value = serde_json::from_slice(&request.body).unwrap();
        let expected = json!({ "type": "parcel.sent", "timestamp": "2030-01-01T00:00:00Z", "data": { "number": 7 } });
        assert_eq!(sent, expected);
        // A test is not in the log of deliveries.
        assert!(states(&owner).await.is_empty());

        for (field, value) in [("event_type", "parcel.eaten"), ("service_name", "nobody")] {
            let mut test = json!({ "endpoint_id": created["id"] });
            test[field] = json!(value);
            owner.post(format!("{WEBHOOKS}/test"), test).await.expect_error(422, "VALIDATION_FAILED");
        }
        // There is no default endpoint.
        owner.post(format!("{WEBHOOKS}/test"), json!({})).await.expect_error(404, "NOT_FOUND");
    }
}
