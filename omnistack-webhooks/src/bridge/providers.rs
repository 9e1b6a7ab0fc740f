//! The translations of each provider's events.

use omnistack_core::webhook::InboundWebhook;
use serde_json::Value;

use super::{PaymentData, SubscriptionData, UnifiedEvent};
use crate::sources::payload::ProviderPayload;

pub(super) fn stripe(webhook: &InboundWebhook) -> Option<UnifiedEvent> {
    let body = ProviderPayload::parse(&webhook.body).ok()?;
    let object = |name: &str| format!("/data/object/{name}");
    let payment = |amount: Option<i64>, id: &str| PaymentData {
        amount,
        currency: body.text(&object("currency")).map(|currency| currency.to_ascii_uppercase()),
        customer_id: body.text(&object("customer")),
        ..PaymentData::of(webhook, body.text(&object(id)))
    };
    let amount = |name: &str| body.number(&object(name));
    let subscription = || SubscriptionData {
        status: body.text(&object("status")),
        customer_id: body.text(&object("customer")),
        ..SubscriptionData::of(webhook, body.text(&object("id")))
    };
    Some(match webhook.event.kind.as_str() {
        "payment_intent.succeeded" => UnifiedEvent::PaymentSucceeded(payment(amount("amount_received"), "id")),
        "payment_intent.payment_failed" => UnifiedEvent::PaymentFailed(payment(amount("amount"), "id")),
        "charge.refunded" => {
            // Stripe states the sum of all refunds of the charge.
            let before = body.number("/data/previous_attributes/amount_refunded").unwrap_or(0);
            let refunded = amount("amount_refunded").and_then(|sum| sum.checked_sub(before));
            UnifiedEvent::PaymentRefunded(payment(refunded, "payment_intent"))
        }
        "customer.subscription.created" => UnifiedEvent::SubscriptionCreated(subscription()),
        "customer.subscription.updated" => UnifiedEvent::SubscriptionUpdated(subscription()),
        "customer.subscription.deleted" => UnifiedEvent::SubscriptionCanceled(subscription()),
        _ => return None,
    })
}

pub(super) fn paypal(webhook: &InboundWebhook) -> Option<UnifiedEvent> {
    let body = ProviderPayload::parse(&webhook.body).ok()?;
    // Captures and sales, which are the payments of subscriptions, have different names for the same.
    let either = |one: &str, other: &str| body.text(one).or_else(|| body.text(other));
    let payment = |id: Option<String>| {
        let currency = either("/resource/amount/currency_code", "/resource/amount/currency");
        // PayPal's amounts are decimal texts; the number of decimals depends on the currency. That of a refunded sale
        // can be negative.
        let amount = either("/resource/amount/value", "/resource/amount/total").zip(currency.as_deref());
        let amount = amount.and_then(|(value, currency)| minor_units(value.trim_start_matches('-'), currency));
        PaymentData { amount, currency, ..PaymentData::of(webhook, id) }
    };
    let subscription = || SubscriptionData {
        status: body.text("/resource/status"),
        customer_id: body.text("/resource/subscriber/payer_id"),
        ..SubscriptionData::of(webhook, body.text("/resource/id"))
    };
    let id = || body.text("/resource/id");
    Some(match webhook.event.kind.as_str() {
        "PAYMENT.CAPTURE.COMPLETED" | "PAYMENT.SALE.COMPLETED" => UnifiedEvent::PaymentSucceeded(payment(id())),
        "PAYMENT.CAPTURE.DENIED" | "PAYMENT.CAPTURE.DECLINED" | "PAYMENT.SALE.DENIED" => {
            UnifiedEvent::PaymentFailed(payment(id()))
        }
        // The resource is the refund.
        "PAYMENT.CAPTURE.REFUNDED" => UnifiedEvent::PaymentRefunded(payment(refunded_capture(&body))),
        "PAYMENT.SALE.REFUNDED" => UnifiedEvent::PaymentRefunded(payment(body.text("/resource/sale_id"))),
        "BILLING.SUBSCRIPTION.ACTIVATED" => UnifiedEvent::SubscriptionCreated(subscription()),
        "BILLING.SUBSCRIPTION.UPDATED" | "BILLING.SUBSCRIPTION.SUSPENDED" => {
            UnifiedEvent::SubscriptionUpdated(subscription())
        }
        "BILLING.SUBSCRIPTION.CANCELLED" | "BILLING.SUBSCRIPTION.EXPIRED" => {
            UnifiedEvent::SubscriptionCanceled(subscription())
        }
        _ => return None,
    })
}

/// Returns the id of the capture to which a refund of PayPal links: `{"rel": "up", "href": "https://…/captures/ID"}`.
fn refunded_capture(body: &ProviderPayload) -> Option<String> {
    let links = body.get("/resource/links")?.as_array()?;
    let link = links.iter().find(|link| link.get("rel").and_then(Value::as_str) == Some("up"))?;
    let (_, id) = link.get("href")?.as_str()?.rsplit_once("/captures/")?;
    Some(id.to_owned())
}

pub(super) fn razorpay(webhook: &InboundWebhook) -> Option<UnifiedEvent> {
    let body = ProviderPayload::parse(&webhook.body).ok()?;
    let payment = |entity: &str, id: &str| {
        let part = |name: &str| format!("/payload/{entity}/entity/{name}");
        PaymentData {
            amount: body.number(&part("amount")),
            currency: body.text(&part("currency")),
            customer_id: body.text(&part("customer_id")),
            ..PaymentData::of(webhook, body.text(&part(id)))
        }
    };
    let subscription = || {
        let part = |name: &str| body.text(&format!("/payload/subscription/entity/{name}"));
        SubscriptionData {
            status: part("status"),
            customer_id: part("customer_id"),
            ..SubscriptionData::of(webhook, part("id"))
        }
    };
    Some(match webhook.event.kind.as_str() {
        "payment.captured" => UnifiedEvent::PaymentSucceeded(payment("payment", "id")),
        "payment.failed" => UnifiedEvent::PaymentFailed(payment("payment", "id")),
        "refund.processed" => UnifiedEvent::PaymentRefunded(payment("refund", "payment_id")),
        "subscription.activated" => UnifiedEvent::SubscriptionCreated(subscription()),
        "subscription.charged" => UnifiedEvent::SubscriptionRenewed(subscription()),
        "subscription.updated"
        | "subscription.pending"
        | "subscription.halted"
        | "subscription.paused"
        | "subscription.resumed" => UnifiedEvent::SubscriptionUpdated(subscription()),
        "subscription.cancelled" | "subscription.completed" => UnifiedEvent::SubscriptionCanceled(subscription()),
        _ => return None,
    })
}

pub(super) fn apple(webhook: &InboundWebhook) -> Option<UnifiedEvent> {
    // The object of the source is the id of the original transaction, which is that of the subscription.
    let subscription = || SubscriptionData::of(webhook, webhook.event.object.clone());
    let payment = || PaymentData::of(webhook, webhook.event.object.clone());
    Some(match webhook.event.kind.split('.').next()? {
        "SUBSCRIBED" => UnifiedEvent::SubscriptionCreated(subscription()),
        "DID_RENEW" => UnifiedEvent::SubscriptionRenewed(subscription()),
        "DID_CHANGE_RENEWAL_PREF" | "DID_CHANGE_RENEWAL_STATUS" | "DID_FAIL_TO_RENEW" | "OFFER_REDEEMED" => {
            UnifiedEvent::SubscriptionUpdated(subscription())
        }
        "EXPIRED" | "GRACE_PERIOD_EXPIRED" | "REVOKE" => UnifiedEvent::SubscriptionCanceled(subscription()),
        "ONE_TIME_CHARGE" => UnifiedEvent::PaymentSucceeded(payment()),
        "REFUND" => UnifiedEvent::PaymentRefunded(payment()),
        _ => return None,
    })
}

pub(super) fn google_play(webhook: &InboundWebhook) -> Option<UnifiedEvent> {
    // The object of the source is a hash of the token of the purchase, which is secret.
    let subscription = || SubscriptionData::of(webhook, webhook.event.object.clone());
    let payment = || PaymentData::of(webhook, webhook.event.object.clone());
    Some(match webhook.event.kind.as_str() {
        "subscription.purchased" => UnifiedEvent::SubscriptionCreated(subscription()),
        "subscription.renewed" | "subscription.recovered" => UnifiedEvent::SubscriptionRenewed(subscription()),
        // A subscription that was canceled ends when its period does.
        "subscription.canceled"
        | "subscription.on_hold"
        | "subscription.in_grace_period"
        | "subscription.paused"
        | "subscription.restarted"
        | "subscription.deferred"
        | "subscription.items_changed" => UnifiedEvent::SubscriptionUpdated(subscription()),
        "subscription.expired" | "subscription.revoked" => UnifiedEvent::SubscriptionCanceled(subscription()),
        "one_time_product.purchased" => UnifiedEvent::PaymentSucceeded(payment()),
        "voided_purchase" => UnifiedEvent::PaymentRefunded(payment()),
        _ => return None,
    })
}

/// Returns a decimal text in the smallest unit of its currency. Returns `None` if it has more decimals than the
/// currency. PayPal has currencies of two and of no decimals.
fn minor_units(value: &str, currency: &str) -> Option<i64> {
    let decimals = if matches!(currency, "HUF" | "JPY" | "TWD") { 0 } else { 2 };
    let (whole, fraction) = value.split_once('.').unwrap_or((value, ""));
    let kept = fraction.trim_end_matches('0');
    if kept.len() > decimals || !kept.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    format!("{whole}{kept:0<decimals$}").parse().ok()
}
