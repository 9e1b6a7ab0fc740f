//! PayPal, against the wire fake.

#![cfg(test)]

mod disputes;
mod orders;
mod subscriptions;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use http::HeaderMap;
use omnistack_core::{
    clock::MockClock,
    data_environment::DataEnvironment,
    http::client::ClientSettings,
    money::Money,
    payment::{
        CaptureMode, NewPayment, PaymentError, PaymentMethodKind, PaymentMethodSource, PaymentProvider, ProviderEvent,
        ProviderEventObject,
    },
    webhook::{InboundWebhook, SourceEvent, WebhookRejection, WebhookRequest},
};
use omnistack_payments::{Credentials, FeeQuestion, PayPalService, PaymentService as _};
use omnistack_testkit::{
    mock_server::{ClosedPort, MockResponse, MockServer},
    payments::paypal::{CLIENT_ID, CLIENT_SECRET, PayPalFault, PayPalServer},
};
use serde_json::{Value, json};

/// The provider, its server and their clock.
struct PayPalTest {
    server: PayPalServer,
    provider: Arc<dyn PaymentProvider>,
    clock: MockClock,
}

impl PayPalTest {
    async fn start() -> Self {
        let clock = MockClock::at("2030-01-01T00:00:00Z".parse().unwrap());
        let server = PayPalServer::start(clock.clock()).await;
        let provider = connect(&server.url(), &clock, CLIENT_SECRET);
        Self { server, provider, clock }
    }

    /// Returns what the newest event of a type is about, as the app's inbox passes it to the provider.
    fn event(&self, kind: &str) -> Option<ProviderEvent> {
        let events = self.server.events();
        let event = events.iter().rev().find(|event| event["event_type"] == kind);
        self.read(event.unwrap_or_else(|| panic!("no event {kind}")))
    }

    fn read(&self, event: &Value) -> Option<ProviderEvent> {
        let text = |name: &str| event[name].as_str().unwrap();
        let described = SourceEvent::new(text("id"), text("event_type"))
            .occurred_at(text("create_time").parse().ok())
            .environment(DataEnvironment::Test);
        let (headers, body) = (HeaderMap::new(), event.to_string());
        let now = self.clock.clock().now();
        let url = "https://app.example/webhooks/paypal";
        let request = WebhookRequest { url, headers: &headers, body: body.as_bytes(), now };
        self.provider.event(&InboundWebhook::new("paypal", described, None, &request))
    }

    fn posts(&self, path: &str) -> usize {
        let requests = self.server.requests();
        requests.iter().filter(|request| request.method == "POST" && request.path.starts_with(path)).count()
    }
}

fn connect(url: &str, clock: &MockClock, secret: &str) -> Arc<dyn PaymentProvider> {
    let client = ClientSettings::default().client().unwrap();
    let service = PayPalService::new(client, clock.clock()).api_url(url).unwrap();
    let fields = [("client_id", CLIENT_ID), ("client_secret", secret)];
    let credentials = Credentials(fields.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect());
    service.connect(DataEnvironment::Test, &credentials).unwrap()
}

/// Returns a payment whose payer approves it on PayPal's page.
fn new_payment(reference: &str, amount: &str, currency: &str) -> NewPayment {
    NewPayment {
        reference: reference.to_owned(),
        amount: Money::parse(amount, currency).unwrap(),
        customer: None,
        method: PaymentMethodKind::Paypal,
        source: PaymentMethodSource::ChosenByPayer,
        capture: CaptureMode::Automatic,
        description: Some("A thing".to_owned()),
        email: None,
        return_url: Some("https://app.example/return".to_owned()),
        metadata: BTreeMap::new(),
        idempotency_key: format!("{reference}:1"),
    }
}

#[tokio::test]
async fn credentials_are_checked_and_one_access_token_serves_all_calls() {
    let test = PayPalTest::start().await;
    test.provider.check().await.unwrap();
    for number in 0..3 {
        test.provider.create_payment(&new_payment(&format!("pay_{number}"), "1.00", "USD")).await.unwrap();
    }
    assert_eq!(test.posts("/v1/oauth2/token"), 1);
    // A token that was revoked, or has expired, is replaced.
    test.server.revoke_tokens();
    test.provider.create_payment(&new_payment("pay_revoked", "1.00", "USD")).await.unwrap();
    assert_eq!(test.posts("/v1/oauth2/token"), 2);
    test.clock.advance(Duration::from_secs(9 * 60 * 60));
    test.provider.create_payment(&new_payment("pay_expired", "1.00", "USD")).await.unwrap();
    assert_eq!(test.posts("/v1/oauth2/token"), 3);

    let wrong = connect(&test.server.url(), &test.clock, "wrong");
    assert!(matches!(wrong.check().await, Err(PaymentError::Unauthorized { .. })));
    let error = wrong.create_payment(&new_payment("pay_x", "1.00", "USD")).await.unwrap_err();
    assert!(error.allows_other_provider(), "{error}");

    let service = PayPalService::new(ClientSettings::default().client().unwrap(), test.clock.clock());
    let error = service.connect(DataEnvironment::Live, &Credentials::default()).unwrap_err();
    assert_eq!(error.field, "client_id");
    assert!(service.api_url("http://paypal.example").is_err());
}

/// Cases 20 and 21.
#[tokio::test]
async fn amounts_are_stated_exactly_or_refused() {
    let test = PayPalTest::start().await;
    for (amount, currency, stated) in
        [("100", "JPY", "100"), ("1235.00", "HUF", "1235"), ("29.90", "EUR", "29.90"), ("7.00", "TWD", "7")]
    {
        let reference = format!("pay_{currency}");
        let payment = test.provider.create_payment(&new_payment(&reference, amount, currency)).await.unwrap();
        let order = test.server.object(&payment.id).unwrap();
        assert_eq!(order["purchase_units"][0]["amount"], json!({ "currency_code": currency, "value": stated }));
        assert_eq!(payment.amount, Money::parse(amount, currency).unwrap());
    }
    for (amount, currency) in [("1234.50", "HUF"), ("1.234", "KWD"), ("500.00", "MGA")] {
        let payment = new_payment("pay_refused", amount, currency);
        assert!(matches!(test.provider.check_amount(payment.amount), Err(PaymentError::Rejected { .. })), "{currency}");
        let error = test.provider.create_payment(&payment).await.unwrap_err();
        assert!(matches!(error, PaymentError::Rejected { .. }), "{currency}: {error}");
    }
    assert_eq!(test.posts("/v2/checkout/orders"), 4);
}

#[tokio::test]
async fn failures_say_whether_the_call_took_effect() {
    let clock = MockClock::at("2030-01-01T00:00:00Z".parse().unwrap());
    let closed = ClosedPort::reserve();
    let provider = connect(&closed.url(), &clock, CLIENT_SECRET);
    let error = provider.payment("1").await.unwrap_err();
    assert!(matches!(error, PaymentError::Unavailable { .. }), "{error}");

    let test = PayPalTest::start().await;
    let order = test.provider.create_payment(&new_payment("pay_1", "10.00", "USD")).await.unwrap();
    let path = format!("/v2/checkout/orders/{}", order.id);
    test.server.approve(&order.id);
    // The money was taken, but the response is lost: the next read finds it, and takes nothing more.
    test.server.fail_next(&format!("POST {path}/capture"), PayPalFault::LostResponse);
    let error = test.provider.payment(&order.id).await.unwrap_err();
    assert!(matches!(error, PaymentError::Unknown { .. }), "{error}");
    assert_eq!(test.provider.payment(&order.id).await.unwrap().captured.minor(), 1000);
    assert_eq!(test.server.charges("pay_1"), 1);

    let refusals: [(u16, fn(&PaymentError) -> bool); 4] = [
        (429, |error| matches!(error, PaymentError::Unavailable { .. })),
        (500, |error| matches!(error, PaymentError::Unavailable { .. })),
        (403, |error| matches!(error, PaymentError::Unauthorized { .. })),
        (404, |error| matches!(error, PaymentError::NotFound { .. })),
    ];
    for (status, is_expected) in refusals {
        test.server.fail_next(
            &format!("GET {path}"),
            PayPalFault::Response(status, json!({ "name": "ERROR", "message": "m" })),
        );
        let error = test.provider.payment(&order.id).await.unwrap_err();
        assert!(is_expected(&error), "{status}: {error}");
    }
    for id in ["", "../v1/billing/plans", "a/b", "sale:../x", "capture:"] {
        assert!(matches!(test.provider.payment(id).await, Err(PaymentError::NotFound { .. })), "{id}");
    }
}

/// The connection breaks after the request was sent.
#[tokio::test]
async fn a_connection_that_breaks_leaves_a_change_unknown() {
    let clock = MockClock::at("2030-01-01T00:00:00Z".parse().unwrap());
    let upstream = MockServer::start().await;
    let token = r#"{"access_token":"t","expires_in":100}"#;
    upstream.expect("POST", "/v1/oauth2/token").times(..).reply(MockResponse::json(200, token));
    upstream.expect("POST", "/v2/checkout/orders").times(..).reply(MockResponse::reset());
    let provider = connect(upstream.url(), &clock, CLIENT_SECRET);
    let mut payment = new_payment("pay_1", "10.00", "USD");
    // Without its page, an order can't be approved: nothing is unknown.
    let error = provider.create_payment(&payment).await.unwrap_err();
    assert!(matches!(error, PaymentError::Unavailable { .. }), "{error}");
    payment.source = PaymentMethodSource::Token("vault-1".to_owned());
    let error = provider.create_payment(&payment).await.unwrap_err();
    assert!(matches!(error, PaymentError::Unknown { .. }), "{error}");
    assert!(!error.allows_other_provider());
}

#[tokio::test]
async fn events_of_no_concern_and_disputes_are_told_apart() {
    let test = PayPalTest::start().await;
    let event = |kind: &str, resource: Value| {
        let create_time = "2030-01-01T00:00:00Z";
        test.read(&json!({ "id": "WH-1", "event_type": kind, "create_time": create_time, "resource": resource }))
    };
    assert_eq!(event("CATALOG.PRODUCT.CREATED", json!({ "id": "1" })), None);
    assert_eq!(event("BILLING.SUBSCRIPTION.CREATED", json!({})), None);
    for (outcome, won) in
        [(None, None), (Some("RESOLVED_SELLER_FAVOUR"), Some(true)), (Some("RESOLVED_BUYER_FAVOUR"), Some(false))]
    {
        let mut resource = json!({
            "dispute_id": "PP-D-1",
            "disputed_transactions": [{ "seller_transaction_id": "7", "custom": "pay_1|customer" }],
        });
        if let Some(outcome) = outcome {
            resource["dispute_outcome"] = json!({ "outcome_code": outcome });
        }
        let event = event("CUSTOMER.DISPUTE.UPDATED", resource).unwrap();
        let payment = Some("capture:7".to_owned());
        assert_eq!(event.object, ProviderEventObject::Dispute { id: "PP-D-1".to_owned(), payment, won });
        assert_eq!(event.reference.as_deref(), Some("pay_1"));
        assert_eq!(event.environment, DataEnvironment::Test);
    }
}

#[tokio::test]
async fn a_dispute_has_the_amount_that_was_sent_back() {
    let test = PayPalTest::start().await;
    let money = |value: &str| json!({ "currency_code": "USD", "value": value });
    for (outcome, returned, won, amount) in [
        (None, None, None, "10.00"),
        (Some("RESOLVED_SELLER_FAVOUR"), Some("0.00"), Some(true), "10.00"),
        (Some("RESOLVED_BUYER_FAVOUR"), Some("4.00"), Some(false), "4.00"),
        (Some("ACCEPTED"), None, Some(false), "10.00"),
    ] {
        let mut dispute = json!({
            "dispute_id": "PP-D-1", "dispute_amount": money("10.00"),
            "disputed_transactions": [{ "seller_transaction_id": "7" }],
        });
        if let Some(outcome) = outcome {
            dispute["dispute_outcome"] = json!({ "outcome_code": outcome });
        }
        if let Some(returned) = returned {
            dispute["dispute_outcome"]["amount_refunded"] = money(returned);
        }
        test.server.add_dispute("PP-D-1", dispute);
        let found = test.provider.dispute("PP-D-1").await.unwrap();
        assert_eq!((found.won, found.payment.as_deref()), (won, Some("capture:7")), "{outcome:?}");
        assert_eq!((found.amount, found.fee), (Money::parse(amount, "USD").unwrap(), None), "{outcome:?}");
    }
    assert!(matches!(test.provider.dispute("PP-D-2").await, Err(PaymentError::NotFound { .. })));
}

#[tokio::test]
async fn an_account_asks_paypal_whether_it_has_sent_a_webhook() {
    let test = PayPalTest::start().await;
    let service = PayPalService::new(ClientSettings::default().client().unwrap(), test.clock.clock());
    let service = service.api_url(&test.server.url()).unwrap();
    let fields = [("client_id", CLIENT_ID), ("client_secret", CLIENT_SECRET), ("webhook_id", "WH-OWN")];
    let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
    let account = service.connect(DataEnvironment::Test, &Credentials(fields)).unwrap();
    let body = r#"{"id":"WH-1", "event_type":"PAYMENT.SALE.COMPLETED","resource":{"id":"7","note":"caf\u00e9"}}"#;
    let now = test.clock.clock().now();
    let headers = |signature: &str, time: &str| -> HeaderMap {
        [
            ("paypal-auth-algo", "SHA256withRSA"),
            ("paypal-cert-url", "https://api.sandbox.paypal.com/v1/notifications/certs/CERT-1"),
            ("paypal-transmission-id", "t-1"),
            ("paypal-transmission-sig", signature),
            ("paypal-transmission-time", time),
        ]
        .into_iter()
        .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()))
        .collect()
    };
    let time = "2030-01-01T00:00:00Z";
    for (signature, time, body, is_sent) in [
        ("WH-OWN|t-1|WH-1", time, body, true),
        ("WH-OTHER|t-1|WH-1", time, body, false),
        ("WH-OWN|t-1|WH-1", "2029-12-27T23:59:00Z", body, false),
        ("WH-OWN|t-1|WH-1", "2030-01-01T00:06:00Z", body, false),
        ("WH-OWN|t-1|WH-1", "now", body, false),
        ("WH-OWN|t-1|WH-1", time, "[]", false),
        ("WH-OWN|t-1|WH-1", time, "", false),
    ] {
        let headers = headers(signature, time);
        let url = "https://app.example/api/v1/public/webhooks/paypal-account/tenant";
        let request = WebhookRequest { url, headers: &headers, body: body.as_bytes(), now };
        match account.verify_webhook(&request).await {
            Ok(()) => assert!(is_sent, "{signature} {time} {body}"),
            Err(error) => assert!(!is_sent && matches!(error, WebhookRejection::Unverified(_)), "{error}"),
        }
    }
    let headers = headers("WH-OWN|t-1|WH-1", time);
    let request = WebhookRequest { url: "", headers: &headers, body: body.as_bytes(), now };
    // Without the id of its webhook, an account verifies none; and without PayPal it can't be known.
    assert!(matches!(test.provider.verify_webhook(&request).await, Err(WebhookRejection::Unverified(_))));
    test.server.fail_next("POST /v1/notifications/verify-webhook-signature", PayPalFault::LostResponse);
    assert!(matches!(account.verify_webhook(&request).await, Err(WebhookRejection::Unavailable(_))));
    let event = service.describe_webhook(&request).unwrap();
    assert_eq!((event.id.as_str(), event.object.as_deref()), ("WH-1", Some("7")));
}

#[test]
fn fees_are_estimated_for_known_prices_only() {
    let client = ClientSettings::default().client().unwrap();
    let clock = MockClock::at("2030-01-01T00:00:00Z".parse().unwrap());
    let service = PayPalService::new(client, clock.clock());
    let fee = |method| {
        let amount = Money::parse("100.00", "USD").unwrap();
        service.estimate_fee(&FeeQuestion { amount, method, country: None })
    };
    assert_eq!(fee(PaymentMethodKind::Paypal), Some(Money::parse("3.98", "USD").unwrap()));
    assert_eq!(fee(PaymentMethodKind::SepaDebit), None);
    assert!(service.profile().methods.contains(&PaymentMethodKind::Paypal));
}
