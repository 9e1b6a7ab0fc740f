//! Webhooks that tenants' own accounts send.
//!
//! Documentation: <https://razorpay.com/docs/webhooks/validate-test/>.

use omnistack_core::{
    crypto::Sha256,
    webhook::{SourceEvent, WebhookRejection, WebhookRequest},
};

use crate::{provider_api::ApiObject, webhook_keys::WebhookKeys};

/// Verifies that one of the keys has signed a request. Razorpay signs no time.
pub(super) fn verify(keys: &WebhookKeys, request: &WebhookRequest<'_>) -> Result<(), WebhookRejection> {
    let signature = request.header("x-razorpay-signature").and_then(|signature| hex::decode(signature).ok());
    let missing = WebhookRejection::Unverified("the header `X-Razorpay-Signature` is missing, or not hexadecimal");
    let is_signed = keys.have_signed(&[request.body], &[signature.ok_or(missing)?]);
    is_signed.then_some(()).ok_or(WebhookRejection::Unverified("no signature matches"))
}

/// Describes the event in a request. Without an id, it is the hash of the body.
pub(super) fn describe(request: &WebhookRequest<'_>) -> Result<SourceEvent, WebhookRejection> {
    let malformed = || WebhookRejection::Malformed("it is no event".to_owned());
    let body = ApiObject::parse(request.body).ok_or_else(malformed)?;
    let kind = body.text("/event").ok_or_else(malformed)?;
    let id = request.header("x-razorpay-event-id").map(str::to_owned);
    let id = id.unwrap_or_else(|| Sha256::digest(request.body).to_string());
    // The entity that the type names, such as the subscription of `subscription.charged`, which has a payment too.
    let group = kind.split_once('.').map_or(kind.as_str(), |(group, _)| group);
    let object = body.text(&format!("/payload/{group}/entity/id"));
    Ok(SourceEvent::new(id, kind).occurred_at(body.seconds("/created_at")).object(object))
}
