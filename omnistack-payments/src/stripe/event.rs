//! Events of Stripe, in the layouts of all versions of its API: the version of an event is that of the webhook
//! endpoint, not that of this app.

use omnistack_core::{
    data_environment::DataEnvironment,
    payment::{ProviderEvent, ProviderEventObject},
};
use serde_json::Value;

use super::{NAME, dispute::has_won, object::StripeObject};

/// Returns what an event is about. Returns `None` if it is of no concern, or of a connected account.
pub(super) fn event_of(body: &Value) -> Option<ProviderEvent> {
    let event = StripeObject::new(body);
    if event.text("/account").is_some() {
        return None;
    }
    let (kind, object) = (event.text("/type")?, event.object("/data/object")?);
    Some(ProviderEvent {
        provider: NAME.to_owned(),
        id: event.owned("/id")?,
        kind: kind.to_owned(),
        object: object_of(kind, object)?,
        reference: reference_of(object),
        // A field that is missing must not turn a test into real money.
        environment: if event.flag("/livemode") { DataEnvironment::Live } else { DataEnvironment::Test },
        occurred_at: event.time("/created"),
        account: None,
    })
}

fn object_of(kind: &str, object: StripeObject<'_>) -> Option<ProviderEventObject> {
    let id = || object.owned("/id");
    let at = |path| object.id_at(path).map(str::to_owned);
    Some(match kind {
        _ if kind.starts_with("checkout.session.") => ProviderEventObject::Checkout(id()?),
        _ if kind.starts_with("charge.dispute.") => {
            ProviderEventObject::Dispute { id: id()?, payment: at("/payment_intent"), won: has_won(object) }
        }
        "charge.refunded" => ProviderEventObject::Refund { payment: at("/payment_intent")?, refund: None },
        _ if kind.starts_with("refund.") || kind.starts_with("charge.refund.") => {
            ProviderEventObject::Refund { payment: at("/payment_intent")?, refund: Some(id()?) }
        }
        _ if kind.starts_with("charge.") => ProviderEventObject::Payment(at("/payment_intent")?),
        _ if kind.starts_with("payment_intent.") => ProviderEventObject::Payment(id()?),
        _ if kind.starts_with("customer.subscription.") => ProviderEventObject::Subscription(id()?),
        _ if kind.starts_with("subscription_schedule.") => {
            ProviderEventObject::Subscription(at("/subscription").or_else(|| at("/released_subscription"))?)
        }
        // It announces an invoice that does not exist yet.
        "invoice.upcoming" => ProviderEventObject::Subscription(object.billed_subscription()?.to_owned()),
        _ if kind.starts_with("invoice.") => {
            ProviderEventObject::Invoice { id: id()?, subscription: object.billed_subscription().map(str::to_owned) }
        }
        _ if kind.starts_with("invoice_payment.") => {
            ProviderEventObject::Invoice { id: at("/invoice")?, subscription: None }
        }
        _ if kind.starts_with("customer.source.") || kind.starts_with("customer.discount.") => {
            ProviderEventObject::Customer(at("/customer")?)
        }
        "customer.created" | "customer.updated" | "customer.deleted" => ProviderEventObject::Customer(id()?),
        "setup_intent.succeeded" => ProviderEventObject::Customer(at("/customer")?),
        _ if kind.starts_with("payment_method.") => ProviderEventObject::Customer(at("/customer")?),
        _ => return None,
    })
}

/// Returns the app's reference, which an invoice repeats from its subscription.
fn reference_of(object: StripeObject<'_>) -> Option<String> {
    let places = ["/metadata", "/parent/subscription_details/metadata", "/subscription_details/metadata"];
    let found = places.into_iter().find_map(|path| object.reference_in(path));
    let found = found.or_else(|| object.items("/lines").find_map(|line| line.reference_in("/metadata")));
    found.map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(kind: &str, object: Value) -> Option<ProviderEvent> {
        let event =
            json!({ "id": "evt_1", "type": kind, "created": 1, "livemode": true, "data": { "object": object } });
        event_of(&event)
    }

    #[test]
    fn events_name_the_object_that_has_changed() {
        use ProviderEventObject::{Checkout, Customer, Dispute, Invoice, Payment, Refund, Subscription};
        for (kind, object, expected) in [
            ("checkout.session.completed", json!({ "id": "cs_1" }), Checkout("cs_1".into())),
            ("payment_intent.succeeded", json!({ "id": "pi_1" }), Payment("pi_1".into())),
            ("charge.succeeded", json!({ "id": "ch_1", "payment_intent": "pi_1" }), Payment("pi_1".into())),
            ("charge.captured", json!({ "id": "ch_1", "payment_intent": { "id": "pi_1" } }), Payment("pi_1".into())),
            (
                "charge.refunded",
                json!({ "id": "ch_1", "payment_intent": "pi_1", "amount_refunded": 500 }),
                Refund { payment: "pi_1".into(), refund: None },
            ),
            (
                "refund.updated",
                json!({ "id": "re_1", "payment_intent": "pi_1" }),
                Refund { payment: "pi_1".into(), refund: Some("re_1".into()) },
            ),
            (
                "charge.refund.updated",
                json!({ "id": "re_1", "payment_intent": "pi_1" }),
                Refund { payment: "pi_1".into(), refund: Some("re_1".into()) },
            ),
            (
                "charge.dispute.created",
                json!({ "id": "du_1", "payment_intent": "pi_1", "status": "needs_response" }),
                Dispute { id: "du_1".into(), payment: Some("pi_1".into()), won: None },
            ),
            (
                "charge.dispute.closed",
                json!({ "id": "du_1", "payment_intent": "pi_1", "status": "lost" }),
                Dispute { id: "du_1".into(), payment: Some("pi_1".into()), won: Some(false) },
            ),
            ("customer.subscription.deleted", json!({ "id": "sub_1" }), Subscription("sub_1".into())),
            ("customer.subscription.trial_will_end", json!({ "id": "sub_1" }), Subscription("sub_1".into())),
            (
                "subscription_schedule.updated",
                json!({ "id": "sub_sched_1", "subscription": "sub_1" }),
                Subscription("sub_1".into()),
            ),
            ("invoice.upcoming", json!({ "subscription": "sub_1" }), Subscription("sub_1".into())),
            (
                "invoice_payment.paid",
                json!({ "id": "inpay_1", "invoice": "in_1" }),
                Invoice { id: "in_1".into(), subscription: None },
            ),
            ("payment_method.attached", json!({ "id": "pm_1", "customer": "cus_1" }), Customer("cus_1".into())),
            ("customer.source.expiring", json!({ "id": "card_1", "customer": "cus_1" }), Customer("cus_1".into())),
            ("customer.updated", json!({ "id": "cus_1" }), Customer("cus_1".into())),
        ] {
            assert_eq!(read(kind, object).unwrap().object, expected, "{kind}");
        }
    }

    #[test]
    fn the_same_event_is_read_from_both_layouts() {
        let old = json!({
            "id": "in_1", "subscription": "sub_1",
            "subscription_details": { "metadata": { "omnistack_reference": "sub_ref" } },
        });
        let new = json!({
            "id": "in_1",
            "parent": {
                "type": "subscription_details",
                "subscription_details": { "subscription": "sub_1", "metadata": { "omnistack_reference": "sub_ref" } },
            },
        });
        let event = read("invoice.paid", old).unwrap();
        assert_eq!(Some(&event), read("invoice.paid", new).as_ref());
        let expected = ProviderEventObject::Invoice { id: "in_1".into(), subscription: Some("sub_1".into()) };
        assert_eq!((event.object, event.reference.as_deref()), (expected, Some("sub_ref")));
    }

    #[test]
    fn other_events_are_of_no_concern() {
        for (kind, object) in [
            ("balance.available", json!({})),
            ("payment_method.attached", json!({ "id": "pm_1", "customer": null })),
            ("charge.succeeded", json!({ "id": "ch_1", "payment_intent": null })),
            ("payment_intent.succeeded", json!([])),
        ] {
            assert_eq!(read(kind, object), None, "{kind}");
        }
        let object = json!({ "id": "pi_1" });
        let event = |further: Value| {
            let mut event = json!({ "id": "evt_1", "type": "payment_intent.succeeded", "data": { "object": object } });
            for (name, value) in further.as_object().unwrap() {
                event[name] = value.clone();
            }
            event_of(&event)
        };
        assert_eq!(event(json!({ "account": "acct_1" })), None);
        assert_eq!(event(json!({ "id": null })), None);
        assert_eq!(event(json!({})).unwrap().environment, DataEnvironment::Test);
        // Thin events have no object.
        assert_eq!(event_of(&json!({ "id": "evt_1", "type": "v1.billing.meter.error_report_triggered" })), None);
    }
}
