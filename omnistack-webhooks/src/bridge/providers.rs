//! The translations of each provider's events.

use omnistack_core::webhook::InboundWebhook;
use serde_json::Value;

use super::{PaymentData, SubscriptionData, UnifiedEvent};

/// The body of a webhook, read by JSON pointers (RFC 6901).
struct Payload<'a> {
    webhook: &'a InboundWebhook,
    body: Value,
}

impl<'a> Payload<'a> {
    fn read(webhook: &'a InboundWebhook) -> Option<Self> {
        Some(Self { webhook, body: serde_json::from_slice(&webhook.body).ok()? })
    }

    fn text(&self, pointer: &str) -> Option<String> {
        self.body.pointer(pointer)?.as_str().map(str::to_owned)
    }

    fn number(&self, pointer: &str) -> Option<i64> {
        self.body.pointer(pointer)?.as_i64()
    }

    fn payment(&self, id: Option<String>) -> PaymentData {
        let event = &self.webhook.event;
        PaymentData {
            provider: self.webhook.source.clone(),
            environment: event.environment,
            event_id: event.id.clone(),
            payment_id: id,
            amount: None,
            currency: None,
            customer_id: None,
            occurred_at: event.occurred_at,
        }
    }

    fn subscription(&self, id: Option<String>) -> SubscriptionData {
        let event = &self.webhook.event;
        SubscriptionData {
            provider: self.webhook.source.clone(),
            environment: event.environment,
            event_id: event.id.clone(),
            subscription_id: id,
            status: None,
            customer_id: None,
            occurred_at: event.occurred_at,
        }
    }
}

pub(super) fn stripe(webhook: &InboundWebhook) -> Option<UnifiedEvent> {
    let payload = Payload::read(webhook)?;
    let object = |name: &str| format!("/data/object/{name}");
    let payment = |amount: &str, id: &str| PaymentData {
        amount: payload.number(&object(amount)),
        currency: payload.text(&object("currency")).map(|currency| currency.to_ascii_uppercase()),
        customer_id: payload.text(&object("customer")),
        ..payload.payment(payload.text(&object(id)))
    };
    let subscription = || SubscriptionData {
        status: payload.text(&object("status")),
        customer_id: payload.text(&object("customer")),
        ..payload.subscription(payload.text(&object("id")))
    };
    Some(match webhook.event.kind.as_str() {
        "payment_intent.succeeded" => UnifiedEvent::PaymentSucceeded(payment("amount_received", "id")),
        "payment_intent.payment_failed" => UnifiedEvent::PaymentFailed(payment("amount", "id")),
        "charge.refunded" => UnifiedEvent::PaymentRefunded(payment("amount_refunded", "payment_intent")),
        "customer.subscription.created" => UnifiedEvent::SubscriptionCreated(subscription()),
        "customer.subscription.updated" => UnifiedEvent::SubscriptionUpdated(subscription()),
        "customer.subscription.deleted" => UnifiedEvent::SubscriptionCanceled(subscription()),
        _ => return None,
    })
}

pub(super) fn paypal(webhook: &InboundWebhook) -> Option<UnifiedEvent> {
    let payload = Payload::read(webhook)?;
    let payment = |pointer: &str| {
        let currency = payload.text("/resource/amount/currency_code");
        // PayPal's amounts are decimal texts; the number of decimals depends on the currency.
        let amount = payload.text("/resource/amount/value").zip(currency.as_deref());
        PaymentData {
            amount: amount.and_then(|(value, currency)| minor_units(&value, currency)),
            currency,
            ..payload.payment(payload.text(pointer))
        }
    };
    let subscription = || SubscriptionData {
        status: payload.text("/resource/status"),
        customer_id: payload.text("/resource/subscriber/payer_id"),
        ..payload.subscription(payload.text("/resource/id"))
    };
    Some(match webhook.event.kind.as_str() {
        "PAYMENT.CAPTURE.COMPLETED" => UnifiedEvent::PaymentSucceeded(payment("/resource/id")),
        "PAYMENT.CAPTURE.DENIED" | "PAYMENT.CAPTURE.DECLINED" => UnifiedEvent::PaymentFailed(payment("/resource/id")),
        "PAYMENT.CAPTURE.REFUNDED" => UnifiedEvent::PaymentRefunded(payment("/resource/id")),
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

pub(super) fn razorpay(webhook: &InboundWebhook) -> Option<UnifiedEvent> {
    let payload = Payload::read(webhook)?;
    let payment = |entity: &str, id: &str| {
        let part = |name: &str| format!("/payload/{entity}/entity/{name}");
        PaymentData {
            amount: payload.number(&part("amount")),
            currency: payload.text(&part("currency")),
            customer_id: payload.text(&part("customer_id")),
            ..payload.payment(payload.text(&part(id)))
        }
    };
    let subscription = || {
        let part = |name: &str| format!("/payload/subscription/entity/{name}");
        SubscriptionData {
            status: payload.text(&part("status")),
            customer_id: payload.text(&part("customer_id")),
            ..payload.subscription(payload.text(&part("id")))
        }
    };
    Some(match webhook.event.kind.as_str() {
        "payment.captured" => UnifiedEvent::PaymentSucceeded(payment("payment", "id")),
        "payment.failed" => UnifiedEvent::PaymentFailed(payment("payment", "id")),
        "refund.processed" => UnifiedEvent::PaymentRefunded(payment("refund", "payment_id")),
        "subscription.activated" => UnifiedEvent::SubscriptionCreated(subscription()),
        "subscription.charged" => UnifiedEvent::SubscriptionRenewed(subscription()),
        "subscription.updated" | "subscription.halted" | "subscription.paused" | "subscription.resumed" => {
            UnifiedEvent::SubscriptionUpdated(subscription())
        }
        "subscription.cancelled" | "subscription.completed" => UnifiedEvent::SubscriptionCanceled(subscription()),
        _ => return None,
    })
}

pub(super) fn apple(webhook: &InboundWebhook) -> Option<UnifiedEvent> {
    let payload = Payload { webhook, body: Value::Null };
    // The object of the source is the id of the original transaction, which is that of the subscription.
    let subscription = || payload.subscription(webhook.event.object.clone());
    let kind = webhook.event.kind.split('.').next()?;
    Some(match kind {
        "SUBSCRIBED" => UnifiedEvent::SubscriptionCreated(subscription()),
        "DID_RENEW" => UnifiedEvent::SubscriptionRenewed(subscription()),
        "DID_CHANGE_RENEWAL_PREF" | "DID_CHANGE_RENEWAL_STATUS" | "DID_FAIL_TO_RENEW" | "OFFER_REDEEMED" => {
            UnifiedEvent::SubscriptionUpdated(subscription())
        }
        "EXPIRED" | "GRACE_PERIOD_EXPIRED" | "REVOKE" => UnifiedEvent::SubscriptionCanceled(subscription()),
        "ONE_TIME_CHARGE" => UnifiedEvent::PaymentSucceeded(payload.payment(webhook.event.object.clone())),
        "REFUND" => UnifiedEvent::PaymentRefunded(payload.payment(webhook.event.object.clone())),
        _ => return None,
    })
}

pub(super) fn google_play(webhook: &InboundWebhook) -> Option<UnifiedEvent> {
    let payload = Payload { webhook, body: Value::Null };
    let subscription = || payload.subscription(webhook.event.object.clone());
    Some(match webhook.event.kind.as_str() {
        "subscription.purchased" => UnifiedEvent::SubscriptionCreated(subscription()),
        "subscription.renewed" | "subscription.recovered" => UnifiedEvent::SubscriptionRenewed(subscription()),
        "subscription.on_hold" | "subscription.in_grace_period" | "subscription.paused" | "subscription.restarted" => {
            UnifiedEvent::SubscriptionUpdated(subscription())
        }
        "subscription.expired" | "subscription.revoked" => UnifiedEvent::SubscriptionCanceled(subscription()),
        "one_time_product.purchased" => UnifiedEvent::PaymentSucceeded(payload.payment(webhook.event.object.clone())),
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
