//! Tests of the module in the chapters on webhooks.

use book_examples::webhooks::Parcels;
use omnistack::{
    http::{HeaderMap, Method},
    webhook::{WebhookRequest, WebhookSources},
    webhooks::Webhooks,
};
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};
use serde_json::json;

on_each_database! {
    async fn a_webhook_of_the_courier_becomes_an_event_of_the_tenant(database: TestDatabase) {
        let app = TestApp::start(database, |app| {
            app.with(Webhooks::from_env()).with(Parcels).set("COURIER_SECRET", "a long secret")
        })
        .await;
        let owner = app.user();
        let endpoint = json!({ "url": "https://receiver.example/hook", "events": ["parcel.delivered"] });
        owner.post("/api/v1/app/webhooks/endpoints", endpoint).await.expect(201);

        let tenant = owner.identity().unwrap().tenant.unwrap();
        let path = format!("/api/v1/public/webhooks/courier/{tenant}");
        let body = json!({ "id": "7", "type": "parcel.delivered", "parcel": "P-7" }).to_string();
        let sources: WebhookSources = app.app().context().get().unwrap();
        let (_, courier) = sources.get("courier").unwrap();
        let headers = HeaderMap::new();
        let now = app.clock().clock().now();
        let request = WebhookRequest { url: &path, headers: &headers, body: body.as_bytes(), now };
        let signed = courier.sign(&request).unwrap();
        for expected in ["received", "duplicate"] {
            let mut request = app.anonymous().request(Method::POST, &path).body(body.clone());
            for (name, value) in &signed {
                request = request.header(name.as_str(), value);
            }
            assert_eq!(request.await.expect(200).json()["status"], expected);
        }
        app.run_events().await;

        let log = owner.get("/api/v1/app/webhooks/logs").await.expect(200).json();
        assert_eq!((&log["items"][0]["status"], &log["items"][0]["duplicates"]), (&json!("processed"), &json!(1)));
        let deliveries = owner.get("/api/v1/app/webhooks/deliveries").await.expect(200).json();
        assert_eq!(deliveries["items"].as_array().map(Vec::len), Some(1));
        assert_eq!(deliveries["items"][0]["type"], "parcel.delivered");
        app.anonymous().request(Method::POST, &path).body(body).await.expect_error(400, "WEBHOOK_SIGNATURE_INVALID");
    }
}
