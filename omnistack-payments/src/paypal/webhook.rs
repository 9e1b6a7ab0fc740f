//! Webhooks that tenants' own accounts send.
//!
//! PayPal signs with the key of a certificate. The account itself asks PayPal whether it has sent a request to its
//! webhook: <https://developer.paypal.com/docs/api/webhooks/v1/#verify-webhook-signature_post>.

use std::time::Duration;

use omnistack_core::{
    clock::Timestamp,
    payment::PaymentError,
    webhook::{SourceEvent, TIMESTAMP_TOLERANCE, WebhookRejection, WebhookRequest},
};
use serde_json::Value;

use super::api::PayPalApi;
use crate::provider_api::ApiObject;

/// Largest age of a request. PayPal sends an event again for three days.
const MAX_AGE: Duration = Duration::from_secs(4 * 24 * 60 * 60);
/// Largest length of a header, in bytes.
const MAX_HEADER_BYTES: usize = 1_000;

impl PayPalApi {
    /// Verifies that PayPal has sent a request to the webhook with this id.
    pub(super) async fn verify_webhook(
        &self,
        webhook_id: &str,
        request: &WebhookRequest<'_>,
    ) -> Result<(), WebhookRejection> {
        let unverified = WebhookRejection::Unverified;
        let header = |name| {
            let value = request.header(name).filter(|value| value.len() <= MAX_HEADER_BYTES);
            value.ok_or(unverified("a header of PayPal is missing"))
        };
        let time = header("paypal-transmission-time")?;
        let sent_at: Timestamp = time.parse().map_err(|_| unverified("the time of the transmission is not valid"))?;
        if sent_at > request.now + TIMESTAMP_TOLERANCE || request.now.duration_since(sent_at) > MAX_AGE {
            return Err(unverified("the time of the transmission is in the future, or more than four days ago"));
        }
        // PayPal has signed the bytes of the body, so they are passed on as they are.
        let event = ApiObject::parse(request.body).and_then(|_| std::str::from_utf8(request.body).ok());
        let event = event.filter(|event| !event.is_empty()).ok_or(unverified("the body is no JSON object"))?;
        let fields = [
            ("auth_algo", header("paypal-auth-algo")?),
            ("cert_url", header("paypal-cert-url")?),
            ("transmission_id", header("paypal-transmission-id")?),
            ("transmission_sig", header("paypal-transmission-sig")?),
            ("transmission_time", time),
            ("webhook_id", webhook_id),
        ];
        let fields = fields.map(|(name, value)| format!("\"{name}\":{},", Value::from(value))).concat();
        let body = format!("{{{fields}\"webhook_event\":{event}}}");
        match self.post_text("/v1/notifications/verify-webhook-signature", &body, "webhook").await {
            Ok(answer) if answer.text("/verification_status").as_deref() == Some("SUCCESS") => Ok(()),
            Ok(_) | Err(PaymentError::Rejected { .. } | PaymentError::NotFound { .. }) => {
                Err(unverified("PayPal has not sent it to the webhook of the account"))
            }
            Err(error) => Err(WebhookRejection::Unavailable(error.into())),
        }
    }
}

/// Describes the event in a request.
pub(super) fn describe(request: &WebhookRequest<'_>) -> Result<SourceEvent, WebhookRejection> {
    let malformed = || WebhookRejection::Malformed("it has no id or no type".to_owned());
    let event = ApiObject::parse(request.body).ok_or_else(malformed)?;
    let (id, kind) = event.text("/id").zip(event.text("/event_type")).ok_or_else(malformed)?;
    let object = event.text("/resource/billing_agreement_id").or_else(|| event.text("/resource/id"));
    Ok(SourceEvent::new(id, kind).occurred_at(event.time("/create_time")).object(object))
}
