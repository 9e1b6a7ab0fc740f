//! Razorpay, against the wire fake.

#![cfg(test)]

mod disputes;
mod payments;
mod subscriptions;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use http::HeaderMap;
use omnistack_core::{
    clock::MockClock,
    crypto::HmacKey,
    data_environment::DataEnvironment,
    http::client::ClientSettings,
    money::Money,
    payment::{
        CaptureMode, NewCustomer, NewPayment, PaymentError, PaymentMethodKind, PaymentMethodSource, PaymentProvider,
        PaymentStatus, ProviderEvent, ProviderEventObject,
    },
    webhook::{InboundWebhook, SourceEvent, WebhookRejection, WebhookRequest},
};
use omnistack_payments::{Credentials, PaymentService as _, RazorpayCallback, RazorpayService};
use omnistack_testkit::{
    mock_server::{ClosedPort, MockResponse, MockServer},
    payments::razorpay::{KEY_ID, KEY_SECRET, RazorpayFault, RazorpayServer},
};
use serde_json::{Value, json};

/// The provider, its server and their clock.
struct RazorpayTest {
    server: RazorpayServer,
    provider: Arc<dyn PaymentProvider>,
    clock: MockClock,
}

impl RazorpayTest {
    async fn start() -> Self {
        let clock = MockClock::at("2030-01-01T00:00:00Z".parse().unwrap());
        let server = RazorpayServer::start(clock.clock()).await;
        let provider = connect(&server.url(), &clock, KEY_SECRET);
        Self { server, provider, clock }
    }

    /// Creates a customer with a stored payment method. Returns the id of the customer.
    async fn customer(&self, token: &str) -> String {
        let new = NewCustomer {
            reference: "tenant".to_owned(),
            name: Some("Ada".to_owned()),
            email: Some("ada@example.com".to_owned()),
            idempotency_key: "c".to_owned(),
        };
        let customer = self.provider.create_customer(&new).await.unwrap();
        let card = json!({ "network": "Visa", "last4": "1111", "expiry_month": 5, "expiry_year": 2031 });
        self.server.add_token(&customer.id, token, json!({ "method": "card", "card": card }));
        customer.id
    }

    /// Returns what the newest event of a type is about, as the app's inbox passes it to the provider.
    fn event(&self, kind: &str) -> Option<ProviderEvent> {
        let events = self.server.events();
        let event = events.iter().rev().find(|event| event["event"] == kind);
        self.read(event.unwrap_or_else(|| panic!("no event {kind}")))
    }

    fn read(&self, event: &Value) -> Option<ProviderEvent> {
        let described = SourceEvent::new("evt_1", event["event"].as_str().unwrap());
        let (headers, body) = (HeaderMap::new(), event.to_string());
        let now = self.clock.clock().now();
        let url = "https://app.example/webhooks/razorpay";
        let request = WebhookRequest { url, headers: &headers, body: body.as_bytes(), now };
        self.provider.event(&InboundWebhook::new("razorpay", described, None, &request))
    }

    fn posts(&self, path: &str) -> usize {
        let requests = self.server.requests();
        requests.iter().filter(|request| request.method == "POST" && request.path == path).count()
    }
}

fn credentials(key_id: &str, secret: &str) -> Credentials {
    let fields = [("key_id", key_id), ("key_secret", secret)];
    Credentials(fields.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect())
}

fn connect(url: &str, clock: &MockClock, secret: &str) -> Arc<dyn PaymentProvider> {
    let client = ClientSettings::default().client().unwrap();
    let service = RazorpayService::new(client, clock.clock()).api_url(url).unwrap();
    service.connect(DataEnvironment::Test, &credentials(KEY_ID, secret)).unwrap()
}

/// Returns a payment whose payer pays on Razorpay's page.
fn new_payment(reference: &str, amount: &str, currency: &str) -> NewPayment {
    NewPayment {
        reference: reference.to_owned(),
        amount: Money::parse(amount, currency).unwrap(),
        customer: None,
        method: PaymentMethodKind::Card,
        source: PaymentMethodSource::ChosenByPayer,
        capture: CaptureMode::Automatic,
        description: Some("A thing".to_owned()),
        email: Some("ada@example.com".to_owned()),
        return_url: Some("https://app.example/return".to_owned()),
        metadata: BTreeMap::new(),
        idempotency_key: format!("{reference}:1"),
    }
}

#[tokio::test]
async fn an_account_verifies_its_webhooks_by_the_secret_of_its_webhook() {
    let test = RazorpayTest::start().await;
    let service = RazorpayService::new(ClientSettings::default().client().unwrap(), test.clock.clock());
    let mut fields = credentials(KEY_ID, KEY_SECRET);
    fields.0.insert("webhook_secret".to_owned(), "own".into());
    let account = service.connect(DataEnvironment::Test, &fields).unwrap();
    let body = r#"{"event":"subscription.charged","created_at":1893456000,
        "payload":{"subscription":{"entity":{"id":"sub_1"}}}}"#;
    let signature = |key: &str| HmacKey::new(key).unwrap().sign(body).to_hex();
    let headers = |signature: &str| -> HeaderMap {
        [("x-razorpay-signature", signature), ("x-razorpay-event-id", "evt_1")]
            .into_iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    };
    let (url, now) = ("https://app.example/api/v1/public/webhooks/razorpay-account/tenant", test.clock.clock().now());
    // Neither the secret of the key nor that of another webhook signs for the account.
    for (signature, is_own) in [
        (signature("own"), true),
        (signature("other"), false),
        (signature(KEY_SECRET), false),
        ("no hexadecimal".to_owned(), false),
    ] {
        let headers = headers(&signature);
        let request = WebhookRequest { url, headers: &headers, body: body.as_bytes(), now };
        let verified = account.verify_webhook(&request).await;
        assert_eq!(verified.is_ok(), is_own, "{signature}");
        assert!(is_own || matches!(verified, Err(WebhookRejection::Unverified(_))), "{signature}");
        assert!(test.provider.verify_webhook(&request).await.is_err());
        let event = service.describe_webhook(&request).unwrap();
        assert_eq!((event.id.as_str(), event.object.as_deref()), ("evt_1", Some("sub_1")));
    }
}

#[tokio::test]
async fn credentials_are_checked_and_are_of_one_environment() {
    let test = RazorpayTest::start().await;
    test.provider.check().await.unwrap();
    let wrong = connect(&test.server.url(), &test.clock, "wrong");
    assert!(matches!(wrong.check().await, Err(PaymentError::Unauthorized { .. })));

    let service = RazorpayService::new(ClientSettings::default().client().unwrap(), test.clock.clock());
    for (environment, key_id, secret, field) in [
        (DataEnvironment::Live, KEY_ID, KEY_SECRET, "key_id"),
        (DataEnvironment::Test, "rzp_live_key", KEY_SECRET, "key_id"),
        (DataEnvironment::Test, "", KEY_SECRET, "key_id"),
        (DataEnvironment::Test, KEY_ID, " ", "key_secret"),
    ] {
        let error = service.connect(environment, &credentials(key_id, secret)).unwrap_err();
        assert_eq!(error.field, field, "{environment} {key_id}");
    }
    assert!(service.connect(DataEnvironment::Live, &credentials("rzp_live_key", "s")).is_ok());
}

/// Cases 20 and 21.
#[tokio::test]
async fn amounts_are_stated_exactly_or_refused() {
    let test = RazorpayTest::start().await;
    for (amount, currency, stated) in [("100", "JPY", 100), ("29.90", "INR", 2990), ("1.230", "KWD", 1230)] {
        let reference = format!("pay_{currency}");
        let payment = test.provider.create_payment(&new_payment(&reference, amount, currency)).await.unwrap();
        let link = test.server.object(&payment.id).unwrap();
        assert_eq!((&link["amount"], &link["currency"]), (&json!(stated), &json!(currency)));
        assert_eq!(payment.amount, Money::parse(amount, currency).unwrap());
    }
    let payment = new_payment("pay_refused", "1.234", "KWD");
    assert!(matches!(test.provider.check_amount(payment.amount), Err(PaymentError::Rejected { .. })));
    let error = test.provider.create_payment(&payment).await.unwrap_err();
    assert!(error.to_string().contains("1.230"), "{error}");
    assert_eq!(test.posts("/v1/payment_links"), 3);
}

#[tokio::test]
async fn failures_say_whether_the_call_took_effect() {
    let clock = MockClock::at("2030-01-01T00:00:00Z".parse().unwrap());
    let closed = ClosedPort::reserve();
    let provider = connect(&closed.url(), &clock, KEY_SECRET);
    let error = provider.create_payment(&new_payment("pay_1", "1.00", "INR")).await.unwrap_err();
    assert!(matches!(error, PaymentError::Unavailable { .. }), "{error}");

    let upstream = MockServer::start().await;
    let order = r#"{"id":"order_1","amount":1000,"currency":"INR","notes":{"reference":"pay_1","charge":"token"}}"#;
    let orders = format!(r#"{{"items":[{order}]}}"#);
    upstream.expect("GET", "/v1/orders").times(..).reply(MockResponse::json(200, orders));
    upstream.expect("GET", "/v1/orders/order_1/payments").times(..).reply(MockResponse::json(200, r#"{"items":[]}"#));
    upstream.expect("GET", "/v1/customers/cust_1").times(..).reply(MockResponse::json(200, r#"{"id":"cust_1"}"#));
    upstream.expect("POST", "/v1/payments/create/recurring").times(..).reply(MockResponse::reset());
    let provider = connect(upstream.url(), &clock, KEY_SECRET);
    let payment = NewPayment {
        customer: Some("cust_1".to_owned()),
        source: PaymentMethodSource::Token("token_1".to_owned()),
        ..new_payment("pay_1", "10.00", "INR")
    };
    let error = provider.create_payment(&payment).await.unwrap_err();
    assert!(matches!(error, PaymentError::Unknown { .. }), "{error}");

    let test = RazorpayTest::start().await;
    for id in ["order_none", "plink_none", "pay_none", "a/b", ""] {
        assert!(matches!(test.provider.payment(id).await, Err(PaymentError::NotFound { .. })), "{id}");
    }
    let busy = RazorpayFault::Response(429, json!({ "error": { "description": "Too many requests" } }));
    test.server.fail_next("GET /v1/orders/order_1", busy);
    assert!(matches!(test.provider.payment("order_1").await, Err(PaymentError::Unavailable { .. })));
}

/// Case 44: three signatures, of which each has another order.
#[test]
fn each_page_signs_in_its_own_order() {
    let callback = RazorpayCallback::new(&KEY_SECRET.into()).unwrap();
    let order = RazorpayServer::sign_order("order_1", "pay_1");
    assert!(callback.verify_order("order_1", "pay_1", &order));
    assert!(!callback.verify_order("order_2", "pay_1", &order));
    assert!(!callback.verify_subscription("pay_1", "order_1", &order));
    let subscription = RazorpayServer::sign_subscription("pay_1", "sub_1");
    assert!(callback.verify_subscription("pay_1", "sub_1", &subscription));
    assert!(!callback.verify_order("sub_1", "pay_1", &subscription));
    let link = RazorpayServer::sign_link("plink_1", "ref", "paid", "pay_1");
    assert!(callback.verify_link("plink_1", "ref", "paid", "pay_1", &link));
    assert!(!callback.verify_link("plink_1", "ref", "cancelled", "pay_1", &link));
    assert!(!callback.verify_link("plink_1|ref", "paid", "pay_1", "", &link));
    // A webhook has a secret of its own, and the raw body: written again, its text differs.
    let body = r#"{"event":"payment.captured","note":"caf\u00e9"}"#;
    let rewritten = serde_json::from_str::<Value>(body).unwrap().to_string();
    let webhook = RazorpayServer::sign_webhook("webhook secret", body);
    assert_ne!(webhook, RazorpayServer::sign_webhook("webhook secret", &rewritten));
    assert_ne!(webhook, RazorpayServer::sign_webhook(KEY_SECRET, body));
    assert!(RazorpayCallback::new(&"".into()).is_err());
}
