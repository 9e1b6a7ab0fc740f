//! The parts of a notification, read without its signatures.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use omnistack_core::{
    app_store::AppleNotificationSubject,
    clock::Timestamp,
    webhook::{DataEnvironment, SourceEvent, WebhookRejection},
};
use serde::Deserialize;
use serde_json::Value;

use crate::sources::payload::{bounded_id, source_event};

/// Returns the `signedPayload` of a body.
pub(super) fn signed_payload(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct NotificationBody {
        #[serde(rename = "signedPayload")]
        signed_payload: String,
    }
    serde_json::from_slice::<NotificationBody>(body).ok().map(|body| body.signed_payload)
}

/// Describes a notification whose signatures were verified before.
pub(super) fn describe(body: &[u8]) -> Result<SourceEvent, WebhookRejection> {
    let malformed = |what: &str| WebhookRejection::Malformed(what.to_owned());
    let signed = signed_payload(body).ok_or_else(|| malformed("the body has no `signedPayload`"))?;
    let notification = payload(&signed).ok_or_else(|| malformed("`signedPayload` contains no JSON"))?;
    let text = |name: &str| notification.get(name).and_then(Value::as_str);
    let kind = text("notificationType").map(|kind| match text("subtype") {
        Some(subtype) if !subtype.is_empty() => format!("{kind}.{subtype}"),
        _ => kind.to_owned(),
    });
    let subject = AppleNotificationSubject::of(&notification);
    let environment = match subject {
        Some(AppleNotificationSubject { environment: "Production", .. }) => DataEnvironment::Live,
        // What is not known to be about real money is a test.
        _ => DataEnvironment::Test,
    };
    let millis = notification.get("signedDate").and_then(Value::as_i64);
    Ok(source_event(text("notificationUUID"), kind.as_deref())?
        .environment(environment)
        .occurred_at(millis.map(|millis| Timestamp::from_micros(millis.saturating_mul(1000))))
        .object(subject.and_then(object)))
}

/// Returns the id of what a notification is about: the first transaction of a purchase, or the token of a purchase
/// outside of the App Store.
fn object(subject: AppleNotificationSubject<'_>) -> Option<String> {
    let original = |name: &str| {
        let nested = payload(subject.object.get(name)?.as_str()?)?;
        Some(nested.get("originalTransactionId")?.as_str()?.to_owned())
    };
    let token = || Some(subject.object.get("externalPurchaseId")?.as_str()?.to_owned());
    let id = original("signedTransactionInfo").or_else(|| original("signedRenewalInfo")).or_else(token);
    id.as_deref().map(bounded_id)
}

/// Returns the payload of a signed text without verifying it.
fn payload(signed: &str) -> Option<Value> {
    let payload = URL_SAFE_NO_PAD.decode(signed.split('.').nth(1)?).ok()?;
    serde_json::from_slice(&payload).ok()
}
