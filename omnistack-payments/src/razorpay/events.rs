//! Events of Razorpay.

use omnistack_core::{
    data_environment::DataEnvironment,
    payment::{ProviderEvent, ProviderEventObject},
    webhook::InboundWebhook,
};

use super::{NAME, api::reference_of, disputes::has_won};
use crate::provider_api::ApiObject;

/// Returns what an event is about. Returns `None` if the event is of no concern. Events don't state their environment:
/// it is that of the account.
pub(super) fn event(webhook: &InboundWebhook, environment: DataEnvironment) -> Option<ProviderEvent> {
    let body = ApiObject::parse(&webhook.body)?;
    let kind = webhook.event.kind.as_str();
    let entity = |name: &str| body.get(&format!("/payload/{name}/entity"));
    let (object, about) = object(kind, &entity)?;
    Some(ProviderEvent {
        provider: NAME.to_owned(),
        id: webhook.event.id.clone(),
        kind: kind.to_owned(),
        object,
        reference: reference_of(&about),
        environment,
        occurred_at: webhook.event.occurred_at.or_else(|| body.seconds("/created_at")),
        account: None,
    })
}

/// Returns the object of an event, and the entity that has the app's reference.
fn object(kind: &str, entity: &dyn Fn(&str) -> Option<ApiObject>) -> Option<(ProviderEventObject, ApiObject)> {
    if kind.starts_with("payment.dispute.") {
        let (dispute, payment) = (entity("dispute")?, entity("payment"));
        let won = has_won(&dispute);
        let id = dispute.text("/id")?;
        let paid = payment.as_ref().and_then(payment_id).or_else(|| dispute.text("/payment_id"));
        return Some((ProviderEventObject::Dispute { id, payment: paid, won }, payment.unwrap_or(dispute)));
    }
    let (group, _) = kind.split_once('.')?;
    let about = match group {
        "payment" | "refund" | "order" | "subscription" | "invoice" | "token" | "payment_link" => entity(group)?,
        _ => return None,
    };
    let object = match group {
        "payment" => ProviderEventObject::Payment(payment_id(&about)?),
        "order" | "payment_link" => ProviderEventObject::Payment(about.text("/id")?),
        "refund" => {
            let payment = entity("payment").as_ref().and_then(payment_id).or_else(|| about.text("/payment_id"))?;
            // The reference of the refund is not that of the payment.
            let object = ProviderEventObject::Refund { payment, refund: about.text("/id") };
            return Some((object, entity("payment").unwrap_or_default()));
        }
        "subscription" => ProviderEventObject::Subscription(about.text("/id")?),
        "invoice" => {
            let subscription = about.text("/subscription_id");
            ProviderEventObject::Invoice { id: about.text("/id")?, subscription }
        }
        _ => ProviderEventObject::Customer(about.text("/customer_id")?),
    };
    Some((object, about))
}

/// Returns the id of the order of a payment, which is the payment of this app, or else its own.
fn payment_id(payment: &ApiObject) -> Option<String> {
    payment.text("/order_id").or_else(|| payment.text("/id"))
}
