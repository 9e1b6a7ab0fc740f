//! The bridge: webhooks of providers become signed events at the endpoints of tenants.

#![cfg(test)]

use omnistack_core::{
    async_trait,
    crypto::HmacKey,
    http::Method,
    identity::TenantId,
    module::{Module, Registry},
    webhook::{SourceEvent, WebhookRejection, WebhookRequest, WebhookSource},
};
use omnistack_testkit::{
    TestApp, TestClient, TestDatabase,
    mock_server::{MockResponse, ReceivedRequest},
    on_each_database,
};
use omnistack_webhooks::Webhooks;
use serde_json::{Value, json};

use crate::{
    delivery::{create_endpoint, deliver, receiver, start, states, verify},
    inbox::EVENTS,
};

const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

fn tenant(client: &TestClient) -> TenantId {
    client.identity().unwrap().tenant.unwrap()
}

fn mac(message: &str) -> String {
    HmacKey::new(SECRET).unwrap().sign(message).to_hex()
}

/// Posts a webhook to a path of the inbox. Returns the id of the stored webhook.
async fn post(app: &TestApp, path: &str, headers: &[(&str, String)], body: &Value) -> String {
    let request = app.anonymous().request(Method::POST, format!("/api/v1/public/webhooks/{path}"));
    let request = headers.iter().fold(request, |request, (name, value)| request.header(name, value.as_str()));
    let receipt = request.header("content-type", "application/json").body(body.to_string()).await.expect(200).json();
    receipt["id"].as_str().unwrap().to_owned()
}

/// Posts an event as Stripe does.
async fn post_stripe(app: &TestApp, path: &str, body: &Value) -> String {
    let seconds = app.clock().clock().now().as_seconds();
    let header = format!("t={seconds},v1={}", mac(&format!("{seconds}.{body}")));
    post(app, path, &[("stripe-signature", header)], body).await
}

/// Posts an event as Razorpay does.
async fn post_razorpay(app: &TestApp, path: &str, id: &str, body: &Value) -> String {
    let headers = [("x-razorpay-signature", mac(&body.to_string())), ("x-razorpay-event-id", id.to_owned())];
    post(app, path, &headers, body).await
}

fn stripe_payment(id: &str) -> Value {
    let intent = json!({ "id": "pi_1", "amount_received": 2900, "currency": "eur", "customer": "cus_1" });
    json!({ "id": id, "type": "payment_intent.succeeded", "livemode": true, "data": { "object": intent } })
}

fn body_of(request: &ReceivedRequest) -> Value {
    serde_json::from_slice(&request.body).unwrap()
}

/// The source of tenants' accounts at Stripe, as the module of payments registers it, but without verification.
struct AccountSource;

#[async_trait]
impl WebhookSource for AccountSource {
    async fn verify(&self, _: &WebhookRequest<'_>) -> Result<(), WebhookRejection> {
        Ok(())
    }

    fn describe(&self, request: &WebhookRequest<'_>) -> Result<SourceEvent, WebhookRejection> {
        let event: Value = request.json()?;
        let tenant: TenantId = request.url.rsplit('/').next().unwrap().parse().unwrap();
        let id = format!("{tenant}:{}", event["id"].as_str().unwrap());
        Ok(SourceEvent::new(id, event["type"].as_str().unwrap()).tenant(Some(tenant)))
    }
}

struct Accounts;

impl Module for Accounts {
    fn name(&self) -> &'static str {
        "accounts"
    }

    fn register(&self, registry: &mut Registry) {
        registry.webhook_source("stripe-account", |_| Ok(AccountSource));
    }
}

on_each_database! {
    async fn events_of_providers_reach_the_endpoints_of_their_tenant(database: TestDatabase) {
        let settings = [("WEBHOOKS_STRIPE_SECRETS", SECRET), ("WEBHOOKS_RAZORPAY_SECRETS", SECRET)];
        let app = start(database, settings).await;
        let (ours, theirs) = (receiver(MockResponse::status(200)).await, receiver(MockResponse::status(200)).await);
        let (owner, other) = (app.user(), app.user());
        let endpoint = create_endpoint(&owner, ours.url(), json!({})).await;
        let foreign = create_endpoint(&other, theirs.url(), json!({})).await;

        // The tenant is that of the path, or else that of the payload. Without one, nothing is published.
        post_stripe(&app, &format!("stripe/{}", tenant(&owner)), &stripe_payment("evt_1")).await;
        let mut subscription = json!({ "id": "sub_1", "status": "active", "customer": "cus_1" });
        subscription["metadata"] = json!({ "tenant_id": tenant(&owner) });
        let created = json!({
            "id": "evt_2", "type": "customer.subscription.created", "livemode": false,
            "data": { "object": subscription },
        });
        post_stripe(&app, "stripe", &created).await;
        let refund = json!({ "id": "rfnd_1", "payment_id": "pay_1", "amount": 250, "currency": "INR" });
        let refund = json!({ "event": "refund.processed", "payload": { "refund": { "entity": refund } } });
        post_razorpay(&app, &format!("razorpay/{}", tenant(&owner)), "evt_3", &refund).await;
        post_stripe(&app, "stripe", &stripe_payment("evt_4")).await;
        app.run_events().await;

        let received = deliver(&app, &ours, 3).await;
        let now = app.clock().clock().now();
        let mut events: Vec<Value> = received.iter().map(body_of).collect();
        events.sort_by_key(|event| event["data"]["event_id"].to_string());
        for request in &received {
            verify(request, &endpoint, now);
        }
        let [payment, subscription, refund] = events.as_slice() else { panic!("{events:?}") };
        assert_eq!(payment["type"], "payment.succeeded");
        assert_eq!(payment["data"], json!({
            "provider": "stripe", "environment": "live", "event_id": "evt_1", "payment_id": "pi_1", "amount": 2900,
            "currency": "EUR", "customer_id": "cus_1", "occurred_at": null,
        }));
        assert_eq!(subscription["type"], "subscription.created");
        assert_eq!(subscription["data"], json!({
            "provider": "stripe", "environment": "test", "event_id": "evt_2", "subscription_id": "sub_1",
            "status": "active", "customer_id": "cus_1", "occurred_at": null,
        }));
        assert_eq!((&refund["type"], &refund["data"]["payment_id"]), (&json!("payment.refunded"), &json!("pay_1")));
        assert_eq!((&refund["data"]["provider"], &refund["data"]["amount"]), (&json!("razorpay"), &json!(250)));
        assert_eq!(states(&app, &endpoint).await, ["delivered"; 3]);
        assert!(states(&app, &foreign).await.is_empty() && theirs.requests().is_empty());
    }

    async fn a_replay_publishes_nothing_a_second_time(database: TestDatabase) {
        let app = start(database, [("WEBHOOKS_STRIPE_SECRETS", SECRET)]).await;
        let sink = receiver(MockResponse::status(200)).await;
        let owner = app.user();
        let endpoint = create_endpoint(&owner, sink.url(), json!({})).await;
        let id = post_stripe(&app, &format!("stripe/{}", tenant(&owner)), &stripe_payment("evt_1")).await;
        app.run_events().await;
        deliver(&app, &sink, 1).await;
        let replayed = app.operator().post(format!("{EVENTS}/{id}/replay"), json!({})).await.expect(200).json();
        assert_eq!(replayed["replays"], 1);
        app.run_events().await;
        let shown = app.operator().get(format!("{EVENTS}/{id}")).await.expect(200).json();
        assert_eq!((&shown["webhook"]["status"], &shown["webhook"]["attempts"]), (&json!("processed"), &json!(2)));
        assert_eq!(states(&app, &endpoint).await, ["delivered"]);
    }

    async fn events_of_a_tenants_own_account_reach_its_endpoints(database: TestDatabase) {
        let app = TestApp::start(database, |app| {
            let app = app.set("WEBHOOKS_ALLOW_PRIVATE_ADDRESSES", "true").set("WEBHOOKS_POLL", "10ms");
            app.with(Webhooks::from_env()).with(Accounts)
        })
        .await;
        let (ours, theirs) = (receiver(MockResponse::status(200)).await, receiver(MockResponse::status(200)).await);
        let (owner, other) = (app.user(), app.user());
        create_endpoint(&owner, ours.url(), json!({})).await;
        let foreign = create_endpoint(&other, theirs.url(), json!({})).await;
        post(&app, &format!("stripe-account/{}", tenant(&owner)), &[], &stripe_payment("evt_1")).await;
        app.run_events().await;
        let received = deliver(&app, &ours, 1).await;
        let event = body_of(&received[0]);
        assert_eq!((&event["type"], &event["data"]["provider"]), (&json!("payment.succeeded"), &json!("stripe")));
        assert_eq!((&event["data"]["event_id"], &event["data"]["amount"]), (&json!("evt_1"), &json!(2900)));
        assert!(states(&app, &foreign).await.is_empty());
    }
}
