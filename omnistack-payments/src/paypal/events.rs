//! Events of PayPal.

use omnistack_core::{
    payment::{ProviderEvent, ProviderEventObject},
    webhook::InboundWebhook,
};

use super::{
    NAME,
    custom_id::CustomId,
    disputes,
    orders::refunded_capture,
    sales::{CAPTURE, SALE},
};
use crate::provider_api::ApiObject;

/// Returns what an event is about. Returns `None` if the event is of no concern.
pub(super) fn event(webhook: &InboundWebhook) -> Option<ProviderEvent> {
    let body = ApiObject::parse(&webhook.body)?;
    let resource = body.get("/resource")?;
    let kind = webhook.event.kind.as_str();
    let object = object(kind, &resource)?;
    Some(ProviderEvent {
        provider: NAME.to_owned(),
        id: webhook.event.id.clone(),
        kind: kind.to_owned(),
        object,
        reference: reference(&resource),
        // An event of the sandbox is kept apart, also if it arrives at the app's account for real money.
        environment: webhook.event.environment,
        occurred_at: webhook.event.occurred_at,
        account: None,
    })
}

fn object(kind: &str, resource: &ApiObject) -> Option<ProviderEventObject> {
    let id = || resource.text("/id");
    let (group, action) = kind.rsplit_once('.')?;
    Some(match (group, action) {
        ("CHECKOUT.ORDER", _) => ProviderEventObject::Payment(id()?),
        ("CHECKOUT.PAYMENT-APPROVAL", _) => ProviderEventObject::Payment(resource.text("/order_id")?),
        ("PAYMENT.CAPTURE", "REFUNDED" | "REVERSED") => {
            let capture = || refunded_capture(resource).map(|capture| format!("{CAPTURE}{capture}"));
            ProviderEventObject::Refund { payment: order_id(resource).or_else(capture)?, refund: id() }
        }
        ("PAYMENT.CAPTURE", _) => {
            let capture = || id().map(|capture| format!("{CAPTURE}{capture}"));
            ProviderEventObject::Payment(order_id(resource).or_else(capture)?)
        }
        ("PAYMENT.AUTHORIZATION", _) => ProviderEventObject::Payment(order_id(resource)?),
        ("PAYMENT.SALE", "REFUNDED" | "REVERSED") => {
            let sale = resource.text("/sale_id").or_else(id)?;
            ProviderEventObject::Refund { payment: format!("{SALE}{sale}"), refund: id() }
        }
        ("PAYMENT.SALE", _) => {
            let sale = format!("{SALE}{}", id()?);
            match resource.text("/billing_agreement_id") {
                Some(subscription) => ProviderEventObject::Invoice { id: sale, subscription: Some(subscription) },
                None => ProviderEventObject::Payment(sale),
            }
        }
        ("BILLING.SUBSCRIPTION" | "BILLING.SUBSCRIPTION.PAYMENT", _) => ProviderEventObject::Subscription(id()?),
        ("CUSTOMER.DISPUTE", _) => ProviderEventObject::Dispute {
            id: resource.text("/dispute_id").or_else(id)?,
            payment: disputes::payment_of(resource),
            won: disputes::has_won(resource),
        },
        ("VAULT.PAYMENT-TOKEN", _) => ProviderEventObject::Customer(resource.text("/customer/id")?),
        _ => return None,
    })
}

fn order_id(resource: &ApiObject) -> Option<String> {
    resource.text("/supplementary_data/related_ids/order_id")
}

/// Returns the app's reference.
fn reference(resource: &ApiObject) -> Option<String> {
    let places = ["/custom_id", "/purchase_units/0/custom_id", "/custom", "/disputed_transactions/0/custom"];
    let text = places.into_iter().find_map(|place| resource.text(place))?;
    Some(CustomId::parse(&text).reference)
}
