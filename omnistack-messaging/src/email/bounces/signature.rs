//! Verifies that a webhook comes from SendGrid: the signature of the raw body, and a recent timestamp.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use base64::{Engine as _, engine::general_purpose::STANDARD};

use omnistack_core::webhook::{WebhookRejection, WebhookRequest, is_recent};

/// Parses the public key that SendGrid shows, base64 of a P-256 `SubjectPublicKeyInfo`, and returns its point.
/// Returns `None` if it is not valid.
pub(super) fn sendgrid_key(text: &str) -> Option<Vec<u8>> {
    // RFC 5480, section 2: ecPublicKey, prime256v1, and a bit string of an uncompressed point.
    const PREFIX: [u8; 26] = [
        0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48,
        0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
    ];
    let der = STANDARD.decode(text.trim()).ok()?;
    let point = der.strip_prefix(&PREFIX)?;
    (point.len() == 65 && point[0] == 4).then(|| point.to_vec())
}

/// Verifies a request of SendGrid: ECDSA over the timestamp and the raw body.
///
/// # Errors
/// Fails if the key has not signed the request, or the timestamp is more than five minutes from now.
pub(super) fn verify_sendgrid(key: &[u8], request: &WebhookRequest<'_>) -> Result<(), WebhookRejection> {
    let header = |name: &str| request.header(&format!("x-twilio-email-event-webhook-{name}"));
    let (Some(timestamp), Some(signature)) = (header("timestamp"), header("signature")) else {
        return Err(WebhookRejection::Unverified("a signature header is missing"));
    };
    let signed = [timestamp.as_bytes(), request.body].concat();
    let verified = STANDARD.decode(signature).is_ok_and(|signature| {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key).verify(&signed, &signature).is_ok()
    });
    if !verified {
        return Err(WebhookRejection::Unverified("no signature matches"));
    }
    let recent = timestamp.parse().is_ok_and(|seconds| is_recent(seconds, request.now));
    recent.then_some(()).ok_or(WebhookRejection::Unverified("the timestamp is more than five minutes from now"))
}
