//! Verifies that a webhook comes from the provider: the signature of the raw body, and a recent timestamp.

use std::time::Duration;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::HeaderMap;

use omnistack_core::{clock::Timestamp, crypto::HmacKey};

/// Largest difference between the signed timestamp and the clock, in both directions. Standard Webhooks recommends
/// five minutes.
const TOLERANCE: Duration = Duration::from_secs(5 * 60);

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn is_recent(seconds: &str, now: Timestamp) -> bool {
    seconds.parse::<i64>().is_ok_and(|signed| signed.abs_diff(now.as_seconds()) <= TOLERANCE.as_secs())
}

/// Parses the secret of a Standard Webhooks endpoint: `whsec_` and base64. Returns `None` if it is not valid.
pub(super) fn standard_secret(secret: &str) -> Option<HmacKey> {
    let bytes = STANDARD.decode(secret.strip_prefix("whsec_").unwrap_or(secret)).ok()?;
    HmacKey::new(bytes).ok()
}

/// Verifies a request of Standard Webhooks, as Svix sends them. Returns the message id if one of the first ten
/// signatures is valid and the timestamp is recent.
pub(super) fn standard<'a>(key: &HmacKey, headers: &'a HeaderMap, body: &[u8], now: Timestamp) -> Option<&'a str> {
    let header =
        |name: &str| text(headers, &format!("svix-{name}")).or_else(|| text(headers, &format!("webhook-{name}")));
    let (id, timestamp, signatures) = (header("id")?, header("timestamp")?, header("signature")?);
    let signed = key.sign_parts([id.as_bytes(), b".", timestamp.as_bytes(), b".", body]);
    // While a secret is being rotated, there is one signature for each secret.
    let is_right = signatures.split(' ').take(10).any(|signature| {
        let given = signature.strip_prefix("v1,").and_then(|signature| STANDARD.decode(signature).ok());
        given.is_some_and(|given| signed.verify(given))
    });
    let known = matches!(id.len(), 1..=200) && is_recent(timestamp, now);
    (is_right && known).then_some(id)
}

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
pub(super) fn sendgrid(key: &[u8], headers: &HeaderMap, body: &[u8], now: Timestamp) -> bool {
    let header = |name: &str| text(headers, &format!("x-twilio-email-event-webhook-{name}"));
    let (Some(timestamp), Some(signature)) = (header("timestamp"), header("signature")) else {
        return false;
    };
    let Ok(signature) = STANDARD.decode(signature) else {
        return false;
    };
    let signed = [timestamp.as_bytes(), body].concat();
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key).verify(&signed, &signature).is_ok()
        && is_recent(timestamp, now)
}
