//! Tests of the translations.

use http::HeaderMap;
use omnistack_core::{
    clock::Timestamp,
    identity::TenantId,
    webhook::{InboundWebhook, SourceEvent, WebhookRequest},
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{TRANSLATIONS, UnifiedEvent};

fn translate(source: &str, kind: &str, object: Option<&str>, body: &Value) -> Option<UnifiedEvent> {
    translate_event(source, SourceEvent::new("evt_1", kind).object(object), body)
}

fn translate_event(source: &str, event: SourceEvent, body: &Value) -> Option<UnifiedEvent> {
    let body = body.to_string();
    let headers = HeaderMap::new();
    let now = Timestamp::from_micros(0);
    let request = WebhookRequest { url: "", headers: &headers, body: body.as_bytes(), now };
    let webhook = InboundWebhook::new(source, event, None, &request);
    let (_, translate) = TRANSLATIONS.iter().find(|(known, _)| *known == source).unwrap();
    translate(&webhook)
}

#[test]
fn payments_have_one_form() {
    let stripe = json!({ "data": { "object": { "id": "pi_1", "amount_received": 2900, "currency": "eur" } } });
    let paypal = |value: &str, currency: &str| {
        let amount = json!({ "value": value, "currency_code": currency });
        json!({ "resource": { "id": "2GG", "amount": amount } })
    };
    let sale = json!({ "resource": { "id": "80X", "amount": { "total": "7.50", "currency": "USD" } } });
    let razorpay =
        json!({ "payload": { "payment": { "entity": { "id": "pay_1", "amount": 2900, "currency": "INR" } } } });
    for (source, kind, body, expected) in [
        ("stripe", "payment_intent.succeeded", stripe, (Some("pi_1"), Some(2900), Some("EUR"))),
        ("paypal", "PAYMENT.CAPTURE.COMPLETED", paypal("29.00", "EUR"), (Some("2GG"), Some(2900), Some("EUR"))),
        ("paypal", "PAYMENT.CAPTURE.COMPLETED", paypal("29.5", "EUR"), (Some("2GG"), Some(2950), Some("EUR"))),
        ("paypal", "PAYMENT.CAPTURE.COMPLETED", paypal("2900", "JPY"), (Some("2GG"), Some(2900), Some("JPY"))),
        ("paypal", "PAYMENT.CAPTURE.COMPLETED", paypal("2900.00", "JPY"), (Some("2GG"), Some(2900), Some("JPY"))),
        ("paypal", "PAYMENT.CAPTURE.COMPLETED", paypal("29.005", "EUR"), (Some("2GG"), None, Some("EUR"))),
        ("paypal", "PAYMENT.SALE.COMPLETED", sale, (Some("80X"), Some(750), Some("USD"))),
        ("razorpay", "payment.captured", razorpay, (Some("pay_1"), Some(2900), Some("INR"))),
        ("google-play", "one_time_product.purchased", json!({}), (Some("1000"), None, None)),
    ] {
        let Some(UnifiedEvent::PaymentSucceeded(data)) = translate(source, kind, Some("1000"), &body) else {
            panic!("{source} {body}");
        };
        assert_eq!((data.payment_id.as_deref(), data.amount, data.currency.as_deref()), expected, "{source} {body}");
        assert_eq!((data.provider.as_str(), data.event_id.as_str()), (source, "evt_1"));
    }
}

#[test]
fn a_refund_names_its_payment_and_its_own_amount() {
    let charge = |sum: i64, previous: Value| {
        let object = json!({ "id": "ch_1", "payment_intent": "pi_1", "amount_refunded": sum, "currency": "eur" });
        json!({ "data": { "object": object, "previous_attributes": previous } })
    };
    let links = json!([
        { "rel": "self", "href": "https://api.paypal.com/v2/payments/refunds/1Y1" },
        { "rel": "up", "href": "https://api.paypal.com/v2/payments/captures/2GG" },
    ]);
    let amount = json!({ "value": "2.50", "currency_code": "EUR" });
    let capture = json!({ "resource": { "id": "1Y1", "amount": amount, "links": links } });
    let sale = json!({ "resource": {
        "id": "6YX", "sale_id": "80X", "amount": { "total": "-2.50", "currency": "EUR" },
    } });
    let refund = json!({ "id": "rfnd_1", "payment_id": "pay_1", "amount": 250, "currency": "EUR" });
    let razorpay = json!({ "payload": { "refund": { "entity": refund } } });
    for (source, kind, body, payment) in [
        ("stripe", "charge.refunded", charge(250, json!({ "amount_refunded": 0 })), "pi_1"),
        ("stripe", "charge.refunded", charge(750, json!({ "amount_refunded": 500 })), "pi_1"),
        ("stripe", "charge.refunded", charge(250, json!({})), "pi_1"),
        ("paypal", "PAYMENT.CAPTURE.REFUNDED", capture, "2GG"),
        ("paypal", "PAYMENT.SALE.REFUNDED", sale, "80X"),
        ("razorpay", "refund.processed", razorpay, "pay_1"),
    ] {
        let Some(UnifiedEvent::PaymentRefunded(data)) = translate(source, kind, None, &body) else {
            panic!("{source} {body}");
        };
        let found = (data.payment_id.as_deref(), data.amount, data.currency.as_deref());
        assert_eq!(found, (Some(payment), Some(250), Some("EUR")), "{source} {body}");
    }
}

#[test]
fn subscriptions_have_one_form() {
    for (source, kind, expected) in [
        ("stripe", "customer.subscription.deleted", "canceled"),
        ("paypal", "BILLING.SUBSCRIPTION.ACTIVATED", "created"),
        ("razorpay", "subscription.charged", "renewed"),
        ("apple", "DID_RENEW.BILLING_RECOVERY", "renewed"),
        ("apple", "EXPIRED.VOLUNTARY", "canceled"),
        ("google-play", "subscription.purchased", "created"),
        ("google-play", "subscription.canceled", "updated"),
        ("google-play", "subscription.99", "none"),
        ("stripe", "radar.early_fraud_warning.created", "none"),
    ] {
        let found = match translate(source, kind, Some("1000"), &json!({})) {
            Some(UnifiedEvent::SubscriptionCreated(_)) => "created",
            Some(UnifiedEvent::SubscriptionRenewed(_)) => "renewed",
            Some(UnifiedEvent::SubscriptionUpdated(_)) => "updated",
            Some(UnifiedEvent::SubscriptionCanceled(_)) => "canceled",
            Some(_) => "other",
            None => "none",
        };
        assert_eq!(found, expected, "{source} {kind}");
    }
}

#[test]
fn an_event_of_a_tenants_account_has_the_names_of_its_provider() {
    let tenant = TenantId::from_uuid(Uuid::from_u128(7));
    for (source, provider, kind) in [
        ("stripe-account", "stripe", "payment_intent.succeeded"),
        ("paypal-account", "paypal", "PAYMENT.CAPTURE.COMPLETED"),
        ("razorpay-account", "razorpay", "payment.captured"),
    ] {
        let event = SourceEvent::new(format!("{tenant}:evt_1"), kind).tenant(Some(tenant));
        let Some(UnifiedEvent::PaymentSucceeded(data)) = translate_event(source, event, &json!({})) else {
            panic!("{source}");
        };
        assert_eq!((data.provider.as_str(), data.event_id.as_str()), (provider, "evt_1"), "{source}");
    }
}

#[test]
fn a_body_that_is_not_json_is_ignored() {
    let (headers, now) = (HeaderMap::new(), Timestamp::from_micros(0));
    let request = WebhookRequest { url: "", headers: &headers, body: b"\xff", now };
    let webhook = InboundWebhook::new("stripe", SourceEvent::new("1", "charge.refunded"), None, &request);
    assert_eq!(super::providers::stripe(&webhook), None);
}
