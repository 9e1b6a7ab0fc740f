//! Tests of webhooks that the accounts of tenants send.

#![cfg(test)]

use omnistack_core::{
    clock::Timestamp,
    http::{Error, HeaderMap, Method},
    identity::TenantId,
    webhook::{IncomingWebhook, StandardSecret, WebhookInbox, WebhookReceipt, WebhookRequest, WebhookStatus},
};
use omnistack_payments::{Payment, PaymentState};
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::{
    payment::{TestTenant, start},
    test_service::SERVICES,
};

const PATH: &str = "/api/v1/public/webhooks/fake-account";

/// A tenant whose account at the fake has a webhook of its own.
struct Sender<'a> {
    tenant: TestTenant<'a>,
    secret: StandardSecret,
}

impl<'a> Sender<'a> {
    async fn new(app: &'a TestApp) -> Self {
        let tenant = TestTenant::new(app).await;
        let secret = StandardSecret::generate();
        store(&tenant, secret.expose_secret()).await;
        Self { tenant, secret: StandardSecret::parse(secret.expose_secret()).unwrap() }
    }
}

/// Stores the secret of the webhook of a test account, in place of the previous one.
async fn store(tenant: &TestTenant<'_>, secret: &str) {
    let body = json!({ "fields": { "api_key": "fake_test_1", "webhook_secret": secret } });
    let path = format!("{SERVICES}/fake/credentials/test");
    let stored = tenant.client.request(Method::PUT, path).json(body).await.expect(200);
    assert!(!stored.text().contains(secret), "{}", stored.text());
}

fn event(id: &str, payment: &Payment, now: Timestamp) -> Value {
    json!({
        "id": id, "type": "payment.succeeded", "created": now, "environment": "live",
        "object": { "payment": payment.provider_payment_id }, "reference": null,
    })
}

/// Sends an event to the URL of a tenant.
async fn send(
    app: &TestApp,
    to: TenantId,
    query: &str,
    secret: &StandardSecret,
    event: &Value,
) -> Result<WebhookReceipt, Error> {
    let (body, uri) = (event.to_string(), format!("{PATH}/{to}{query}"));
    let now = app.clock().clock().now();
    let request = WebhookRequest { url: &uri, headers: &HeaderMap::new(), body: body.as_bytes(), now };
    let headers = secret.sign_request(&request).unwrap();
    let webhook = IncomingWebhook::new(uri.parse().unwrap(), headers, body.into());
    let inbox: WebhookInbox = app.app().context().get().unwrap();
    inbox.receive("fake-account", Some(to), webhook).await
}

on_each_database! {
    async fn an_account_sends_webhooks_about_its_own_payments(database: TestDatabase) {
        let app = start(database).await;
        let (one, other) = (Sender::new(&app).await, Sender::new(&app).await);
        let mut payments = Vec::new();
        for sender in [&one, &other] {
            let payment = sender.tenant.pay("a", "tok_3ds").await;
            let id = payment.provider_payment_id.clone().unwrap();
            sender.tenant.bank.authenticate_payment(&id, true).await.unwrap();
            payments.push(payment);
        }
        let now = app.clock().clock().now();
        // Whatever the body says of the environment, it is that of the account.
        let query = "?environment=test";
        let foreign = event("evt_1", &payments[1], now);
        let receipt = send(&app, one.tenant.id, query, &one.secret, &foreign).await.unwrap();
        assert_eq!(receipt.status, WebhookStatus::Processed);
        app.run_events().await;
        assert_eq!(other.tenant.get(&payments[1]).await.status, PaymentState::RequiresAction);
        // An event of another account with the same id is another event.
        for (sender, payment) in [&one, &other].into_iter().zip(&payments) {
            let own = event("evt_1", payment, now);
            send(&app, sender.tenant.id, query, &sender.secret, &own).await.unwrap();
            app.run_events().await;
            assert_eq!(sender.tenant.get(payment).await.status, PaymentState::Succeeded);
            sender.tenant.check_ledger().await;
        }
    }

    async fn only_the_secret_of_the_account_verifies_its_webhooks(database: TestDatabase) {
        let app = start(database).await;
        let (one, other) = (Sender::new(&app).await, Sender::new(&app).await);
        let without = TestTenant::new(&app).await;
        let payment = one.tenant.pay("a", "tok_ok").await;
        let event = event("evt_1", &payment, app.clock().clock().now());
        let test = "?environment=test";
        for (tenant, query, secret) in [
            (one.tenant.id, test, &other.secret),
            (other.tenant.id, test, &one.secret),
            // The tenant has no live account.
            (one.tenant.id, "", &one.secret),
            (one.tenant.id, "?environment=live", &one.secret),
            (one.tenant.id, "?environment=staging", &one.secret),
            // An account without a secret.
            (without.id, test, &one.secret),
        ] {
            let refused = send(&app, tenant, query, secret, &event).await.unwrap_err();
            assert_eq!(refused.code(), "WEBHOOK_SIGNATURE_INVALID", "{query}");
        }
        send(&app, one.tenant.id, test, &one.secret, &event).await.unwrap();

        // A secret is replaced without a gap.
        let (first, second) = (StandardSecret::generate(), StandardSecret::generate());
        store(&one.tenant, &format!("{}, {}", first.expose_secret(), second.expose_secret())).await;
        for secret in [&first, &second] {
            let secret = StandardSecret::parse(secret.expose_secret()).unwrap();
            send(&app, one.tenant.id, test, &secret, &event).await.unwrap();
        }
        assert!(send(&app, one.tenant.id, test, &one.secret, &event).await.is_err());
        let path = format!("{SERVICES}/fake/credentials/test");
        for secret in ["whsec_", "short", "a,"] {
            let body = json!({ "fields": { "api_key": "fake_test_1", "webhook_secret": secret } });
            let refused = one.tenant.client.request(Method::PUT, &path).json(body).await;
            let refused = refused.expect_error(422, "VALIDATION_FAILED").json();
            assert_eq!(refused["error"]["details"]["fields"][0]["field"], "fields.webhook_secret");
        }
        let fields = one.tenant.client.get(SERVICES).await.expect(200).json();
        let fake = fields.as_array().unwrap().iter().find(|service| service["name"] == "fake").unwrap().clone();
        let field = &fake["fields"][1];
        assert_eq!((&field["name"], &field["required"]), (&json!("webhook_secret"), &json!(false)));
    }
}
