//! Razorpay: signed webhooks, and the signatures of its checkout.
//!
//! Documentation: <https://razorpay.com/docs/webhooks/validate-test/>.

use async_trait::async_trait;
use http::{HeaderMap, HeaderName};
use omnistack_core::{
    crypto::{self, HmacKey},
    module::Registry,
    webhook::{SourceEvent, WebhookRejection, WebhookRequest, WebhookSource},
};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

use super::{
    keys::SharedKeys,
    payload::{ProviderPayload, body_id, bounded_id, source_event},
    settings::RazorpayWebhookSettings,
    sign::{json_headers, new_id},
};

/// The header with the signature.
const SIGNATURE: HeaderName = HeaderName::from_static("x-razorpay-signature");
/// The header with the id of the event.
const EVENT_ID: HeaderName = HeaderName::from_static("x-razorpay-event-id");

/// Razorpay, as the source `razorpay`.
///
/// Razorpay signs neither a time nor the id of the event. A request that was captured can therefore be sent again with
/// another id, and handlers must ask Razorpay for the state of an object before they act on money. Events of the test
/// mode can't be told from live ones.
struct RazorpaySource(SharedKeys);

pub(super) fn register(registry: &mut Registry) {
    let Some(settings) = registry.config::<RazorpayWebhookSettings>() else { return };
    if let Some(keys) = SharedKeys::from_setting(registry, "WEBHOOKS_RAZORPAY_SECRETS", &settings.secrets) {
        registry.webhook_source("razorpay", move |_| Ok(RazorpaySource(keys)));
    }
}

#[async_trait]
impl WebhookSource for RazorpaySource {
    async fn verify(&self, request: &WebhookRequest<'_>) -> Result<(), WebhookRejection> {
        let signature = request.header(SIGNATURE.as_str());
        let signature =
            signature.ok_or(WebhookRejection::Unverified("the header `X-Razorpay-Signature` is missing"))?;
        let signature = hex::decode(signature)
            .map_err(|_| WebhookRejection::Unverified("the header `X-Razorpay-Signature` is not hexadecimal"))?;
        let signed = self.0.verify(&[request.body], &[signature]);
        signed.then_some(()).ok_or(WebhookRejection::Unverified("no signature matches"))
    }

    fn describe(&self, request: &WebhookRequest<'_>) -> Result<SourceEvent, WebhookRejection> {
        describe(request.header(EVENT_ID.as_str()), request.body)
    }

    fn sign(&self, request: &WebhookRequest<'_>) -> Option<HeaderMap> {
        let id = request.header(EVENT_ID.as_str()).map_or_else(new_id, str::to_owned);
        json_headers([(SIGNATURE, self.0.sign(&[request.body]).to_hex()), (EVENT_ID, id)])
    }
}

/// Describes an event. Without an id, it is the hash of the body.
pub(super) fn describe(id: Option<&str>, body: &[u8]) -> Result<SourceEvent, WebhookRejection> {
    let event = ProviderPayload::parse(body)?;
    let id = id.map_or_else(|| body_id(body), str::to_owned);
    let kind = event.text("/event");
    let object = kind.as_deref().and_then(|kind| object(&event, kind));
    Ok(source_event(Some(&id), kind.as_deref())?
        .occurred_at(event.time("/created_at"))
        .object(object.as_deref().map(bounded_id)))
}

/// Returns the id of the entity that an event is about: `subscription` for `subscription.charged`, which contains a
/// payment too, or else the first one that the event contains.
fn object(event: &ProviderPayload, kind: &str) -> Option<String> {
    let id = |entity: &str| {
        let payload = event.get("/payload")?.get(entity)?;
        payload.get("entity")?.get("id").and_then(Value::as_str).map(str::to_owned)
    };
    let (longest, _) = kind.rsplit_once('.').unwrap_or((kind, ""));
    let (first, _) = kind.split_once('.').unwrap_or((kind, ""));
    let contained = event.get("/contains").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    [longest, first].into_iter().chain(contained).find_map(id)
}

/// The key secret of Razorpay's API, with which the checkout in the browser signs a payment. It differs from the
/// secret of the webhook.
///
/// ```
/// use omnistack_webhooks::RazorpayCheckout;
///
/// let checkout = RazorpayCheckout::new(&"key secret".into()).unwrap();
/// assert!(!checkout.verify_order("order_1", "pay_1", "00"));
/// ```
#[derive(Clone, Debug)]
pub struct RazorpayCheckout(HmacKey);

impl RazorpayCheckout {
    /// Creates the key.
    ///
    /// # Errors
    /// Fails if the secret is empty.
    pub fn new(key_secret: &SecretString) -> Result<Self, crypto::Error> {
        HmacKey::new(key_secret.expose_secret()).map(Self)
    }

    /// Returns whether the checkout has signed this payment of this order: `{order}|{payment}`. Pass the id of the
    /// order that the app has created, not one that the browser sends.
    pub fn verify_order(&self, order: &str, payment: &str, signature: &str) -> bool {
        self.verify(order, payment, signature)
    }

    /// Returns whether the checkout has signed this payment of this subscription: `{payment}|{subscription}`. Pass the
    /// id of the subscription that the app has created, not one that the browser sends.
    pub fn verify_subscription(&self, payment: &str, subscription: &str, signature: &str) -> bool {
        self.verify(payment, subscription, signature)
    }

    fn verify(&self, first: &str, second: &str, signature: &str) -> bool {
        // With the separator inside of an id, other ids could have the same signature.
        let plain = [first, second].iter().all(|id| !id.is_empty() && !id.contains('|'));
        plain && self.0.verify_hex(format!("{first}|{second}"), signature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_object_is_that_of_the_type() {
        for (body, expected) in [
            (
                r#"{"event":"subscription.charged","contains":["payment","subscription"],"created_at":1893456000,
                    "payload":{"payment":{"entity":{"id":"pay_1"}},"subscription":{"entity":{"id":"sub_1"}}}}"#,
                Some("sub_1"),
            ),
            (
                r#"{"event":"payment.dispute.created","contains":["payment","dispute"],
                    "payload":{"payment":{"entity":{"id":"pay_1"}},"dispute":{"entity":{"id":"disp_1"}}}}"#,
                Some("pay_1"),
            ),
            (
                r#"{"event":"payment.downtime.started","payload":{"payment.downtime":{"entity":{"id":"down_1"}}}}"#,
                Some("down_1"),
            ),
            (r#"{"event":"new.kind","contains":["thing"],"payload":{"thing":{"entity":{"id":"t_1"}}}}"#, Some("t_1")),
            (r#"{"event":"new","contains":7,"payload":[]}"#, None),
        ] {
            let event = describe(Some("evt"), body.as_bytes()).unwrap();
            assert_eq!(event.object.as_deref(), expected, "{body}");
        }
        let event = describe(None, br#"{"event":"a"}"#).unwrap();
        assert!(event.id.starts_with("sha256:"), "{}", event.id);
        assert!(matches!(describe(Some("evt"), b"{}"), Err(WebhookRejection::Malformed(_))));
    }
}
