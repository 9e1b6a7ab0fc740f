//! Entry points of the fuzz targets in `fuzz/`: one for each parser of bytes that any sender controls. They are no part
//! of the API.
//!
//! They return nothing: a target looks for panics, endless loops and memory.

use futures_util::FutureExt as _;
use http::HeaderMap;
use omnistack_core::{
    clock::Timestamp,
    webhook::{InboundWebhook, SourceEvent, StandardHeaders, StandardSecret, WebhookRequest, WebhookSource},
};

pub use crate::sources::fuzzing::{bodies, headers};

/// The URL that each request has called.
const URL: &str = "https://app.example.com/api/v1/public/webhooks/fuzz?a=b";

/// Returns the time at which each request is received, 2026-01-01.
fn now() -> Timestamp {
    Timestamp::from_micros(1_767_225_600_000_000)
}

fn request<'a>(headers: &'a HeaderMap, body: &'a [u8]) -> WebhookRequest<'a> {
    WebhookRequest { url: URL, headers, body, now: now() }
}

fn describe_with(source: &dyn WebhookSource, request: &WebhookRequest<'_>) {
    if let Ok(event) = source.describe(request) {
        assert_valid(&event);
    }
}

fn assert_valid(event: &SourceEvent) {
    assert!(event.validate().is_ok(), "{event:?}");
}

/// Translates an event of this type to a unified event, as that of each provider.
pub fn bridge(kind: &str, body: &[u8]) {
    let headers = HeaderMap::new();
    let (request, event) = (request(&headers, body), SourceEvent::new("fuzz", kind));
    crate::bridge::translate_all(&InboundWebhook::new("fuzz", event, None, &request));
}

/// Verifies a notification of the App Store, whose certificates must lead to `root`, and describes it.
///
/// # Panics
/// Panics if `root` is not a certificate, or the description is not valid.
pub fn apple(root: &[u8], body: &[u8]) {
    use omnistack_core::{app_store::AppleVerifier, crypto::TrustedRoots};

    use crate::sources::apple::AppleSource;
    let roots = TrustedRoots::from_der([root]);
    assert!(roots.is_some(), "the root is not a certificate");
    let verifier = AppleVerifier::new("com.example".to_owned(), Some(1234), roots.unwrap_or_default());
    if let Ok(signed) = str::from_utf8(body) {
        _ = verifier.verify_transaction(signed, now());
    }
    let (source, headers) = (AppleSource(verifier), HeaderMap::new());
    let request = request(&headers, body);
    _ = source.verify(&request).now_or_never();
    describe_with(&source, &request);
}

/// Parses a certificate in DER, and verifies it as if it had issued itself.
pub fn certificate(der: &[u8]) {
    use omnistack_core::crypto::{CertificateUsage, ReadableCertificate, TrustedRoots};
    if let Some(certificate) = ReadableCertificate::from_der(der) {
        _ = (certificate.has_extension(&[0x2a]), certificate.public_key().len());
    }
    if let Some(roots) = TrustedRoots::from_der([der]) {
        _ = roots.verify_exactly(der, &[der], CertificateUsage::Server, now());
    }
}

/// Parses the keys of Google, the token of a push request, and its body.
///
/// # Panics
/// Panics if the description is not valid.
pub fn google(input: &[u8]) {
    if let Some(event) = crate::sources::google::parse_all(input, now()) {
        assert_valid(&event);
    }
}

/// Parses the headers and the secret of Standard Webhooks, and verifies the signature.
pub fn standard(headers: &HeaderMap, secret: &str, body: &[u8]) {
    let secrets: Vec<StandardSecret> = StandardSecret::parse(secret).into_iter().collect();
    if let Ok(signed) = StandardHeaders::read(headers) {
        _ = signed.verify(&secrets, body, now());
    }
}
