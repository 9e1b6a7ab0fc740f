//! Webhooks that tenants' own accounts send.
//!
//! Documentation: <https://docs.stripe.com/webhooks#verify-manually>.

use omnistack_core::webhook::{SourceEvent, WebhookRejection, WebhookRequest, is_recent};
use serde_json::Value;

use super::object::StripeObject;
use crate::webhook_keys::WebhookKeys;

/// Largest number of signatures of a request that are checked.
const MAX_SIGNATURES: usize = 16;

/// Verifies that one of the keys has signed a request, and not long ago.
pub(super) fn verify(keys: &WebhookKeys, request: &WebhookRequest<'_>) -> Result<(), WebhookRejection> {
    let header = request.header("stripe-signature");
    let header = header.ok_or(WebhookRejection::Unverified("the header `Stripe-Signature` is missing"))?;
    let (timestamp, signatures) = parse(header)
        .ok_or(WebhookRejection::Unverified("the header `Stripe-Signature` has another form than `t=…,v1=…`"))?;
    if !keys.have_signed(&[timestamp.as_bytes(), b".", request.body], &signatures) {
        return Err(WebhookRejection::Unverified("no signature matches"));
    }
    let recent = timestamp.parse().is_ok_and(|seconds| is_recent(seconds, request.now));
    recent.then_some(()).ok_or(WebhookRejection::Unverified("the timestamp is more than five minutes from now"))
}

/// Parses the header: the time as it was signed, and the signatures of the scheme `v1`. Returns `None` if it has not
/// exactly one time.
fn parse(header: &str) -> Option<(&str, Vec<Vec<u8>>)> {
    let mut timestamp = None;
    let mut signatures = Vec::new();
    for (key, value) in header.split(',').filter_map(|item| item.trim().split_once('=')) {
        match key {
            "t" if timestamp.is_some() => return None,
            "t" => timestamp = Some(value),
            "v1" if signatures.len() < MAX_SIGNATURES => signatures.extend(hex::decode(value).ok()),
            _ => {}
        }
    }
    let is_time = |text: &&str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    Some((timestamp.filter(is_time)?, signatures))
}

/// Describes the event in a request.
pub(super) fn describe(request: &WebhookRequest<'_>) -> Result<SourceEvent, WebhookRejection> {
    let body: Value = request.json()?;
    let event = StripeObject::new(&body);
    let (Some(id), Some(kind)) = (event.text("/id"), event.text("/type")) else {
        return Err(WebhookRejection::Malformed("it has no id or no type".to_owned()));
    };
    let object = event.id_at("/data/object").or_else(|| event.text("/related_object/id"));
    Ok(SourceEvent::new(id, kind).occurred_at(event.time("/created")).object(object))
}
