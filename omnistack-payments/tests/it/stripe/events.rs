//! Tests of Stripe's events.

use http::HeaderMap;
use omnistack_core::{
    data_environment::DataEnvironment,
    payment::{
        NewProviderSubscription, NewRefund, PaymentError, PaymentProvider, ProviderEvent, ProviderEventObject,
        TrialEndBehavior,
    },
    webhook::{InboundWebhook, SourceEvent, WebhookRequest},
};
use omnistack_testkit::payments::stripe::in_old_layout;
use serde_json::{Value, json};

use super::{START, Stripe, payment, reference, usd};

/// Returns what the provider reads from a webhook with this event.
fn read(provider: &dyn PaymentProvider, event: &Value) -> Option<ProviderEvent> {
    let body = event.to_string();
    let headers = HeaderMap::new();
    let url = "https://app.example.com/api/v1/public/webhooks/stripe";
    let now = START.parse().unwrap();
    let request = WebhookRequest { url, headers: &headers, body: body.as_bytes(), now };
    let described = SourceEvent::new("evt_1", "any");
    provider.event(&InboundWebhook::new("stripe", described, None, &request))
}

// Case 11.
#[tokio::test]
async fn both_layouts_are_the_same_event() {
    let stripe = Stripe::start().await;
    let customer = stripe.customer_with_card("t1", "visa").await;
    let new = NewProviderSubscription {
        reference: "s1".to_owned(),
        customer: customer.clone(),
        price: "price_basic".to_owned(),
        quantity: 1,
        trial_end: None,
        trial_end_behavior: TrialEndBehavior::Pause,
        coupon: None,
        metadata: std::collections::BTreeMap::new(),
        idempotency_key: "key".to_owned(),
    };
    let subscription = stripe.provider.create_subscription(&new).await.unwrap();
    stripe.server.renew(&subscription.id);
    let mut invoices = 0;
    for event in stripe.server.events() {
        let old = in_old_layout(&event);
        let read_event = read(&*stripe.provider, &event);
        assert_eq!(read(&*stripe.provider, &old), read_event, "{event}");
        let Some(read_event) = read_event else { panic!("{event}") };
        assert_eq!(read_event.environment, DataEnvironment::Test);
        assert_eq!(read_event.occurred_at, Some(stripe.now()));
        if let ProviderEventObject::Invoice { subscription: of, .. } = &read_event.object {
            invoices += 1;
            assert_ne!(old["data"], event["data"]);
            assert_eq!(of.as_deref(), Some(subscription.id.as_str()));
            assert_eq!(read_event.reference.as_deref(), Some("s1"));
            assert_eq!(read_event.object.root(), subscription.id);
        }
    }
    assert_eq!(invoices, 4);
}

#[tokio::test]
async fn a_dispute_has_its_amount_and_the_sum_of_its_fees() {
    let stripe = Stripe::start().await;
    for (status, fees, won, fee) in [
        ("needs_response", vec![1_500], None, Some(usd(1_500))),
        ("lost", vec![1_500], Some(false), Some(usd(1_500))),
        ("won", vec![1_500, -1_500], Some(true), Some(usd(0))),
        ("warning_closed", vec![], Some(true), None),
    ] {
        let transaction = |fee: &i64| json!({ "amount": -5_000, "fee": fee, "currency": "usd" });
        let transactions: Vec<_> = fees.iter().map(transaction).collect();
        stripe.server.add_object(json!({
            "id": "du_1", "object": "dispute", "status": status, "amount": 5_000, "currency": "usd",
            "payment_intent": "pi_1", "balance_transactions": transactions,
        }));
        let dispute = stripe.provider.dispute("du_1").await.unwrap();
        assert_eq!((dispute.id.as_str(), dispute.payment.as_deref()), ("du_1", Some("pi_1")));
        assert_eq!((dispute.amount, dispute.fee, dispute.won), (usd(5_000), fee, won), "{status}");
    }
    assert!(matches!(stripe.provider.dispute("du_2").await, Err(PaymentError::NotFound { .. })));
}

#[tokio::test]
async fn events_of_a_payment_have_one_root() {
    let stripe = Stripe::start().await;
    let paid = stripe.provider.create_payment(&payment(1, 500, "pm_card_createDispute")).await.unwrap();
    let refund =
        NewRefund { reference: "r1".to_owned(), amount: usd(100), reason: None, idempotency_key: "refund".to_owned() };
    stripe.provider.refund_payment(&paid.id, &refund).await.unwrap();
    let events = stripe.server.events();
    let kinds: Vec<_> = events.iter().filter_map(|event| event["type"].as_str()).collect();
    assert_eq!(
        kinds,
        [
            "payment_intent.created",
            "charge.succeeded",
            "payment_intent.succeeded",
            "charge.dispute.created",
            "charge.refunded",
            "refund.created",
        ]
    );
    for event in &events {
        let read = read(&*stripe.provider, event).unwrap();
        assert_eq!(read.object.root(), paid.id, "{event}");
        assert_eq!(read.kind, event["type"].as_str().unwrap());
        if matches!(read.object, ProviderEventObject::Payment(_)) {
            assert_eq!(read.reference, Some(reference(1)), "{event}");
        }
    }
}

#[tokio::test]
async fn other_bodies_are_no_events() {
    let stripe = Stripe::start().await;
    for body in [
        Value::Null,
        Value::from("text"),
        serde_json::json!({ "id": "evt_1", "object": "v2.core.event", "type": "v1.billing.meter.error_report_triggered" }),
        serde_json::json!({ "id": "evt_1", "type": "new.kind", "data": { "object": { "id": "x_1" } } }),
    ] {
        assert_eq!(read(&*stripe.provider, &body), None, "{body}");
    }
}
