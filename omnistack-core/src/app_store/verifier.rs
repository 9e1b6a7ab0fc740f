//! Verification of what the App Store signs.

use std::{fmt, sync::Arc};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde::Deserialize;
use serde_json::Value;

use super::AppleNotificationSubject;
use crate::{
    clock::Timestamp,
    crypto::{CertificateUsage, ReadableCertificate, TrustedRoots, UnverifiedJws},
    webhook::WebhookRejection,
};

/// The extension of certificates that sign for the App Store: 1.2.840.113635.100.6.11.1, as the content of its DER.
const SIGNER_EXTENSION: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x63, 0x64, 0x06, 0x0b, 0x01];
/// The extension of Apple Worldwide Developer Relations, which issues them: 1.2.840.113635.100.6.2.1.
const ISSUER_EXTENSION: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x63, 0x64, 0x06, 0x02, 0x01];
/// Apple's certificates have no extended key usage, so none of the usual ones is required.
const USAGE: CertificateUsage = CertificateUsage::IfRestricted(SIGNER_EXTENSION);
/// Maximum size of a certificate, in bytes. Apple's have about 1 KiB.
const MAX_CERTIFICATE_BYTES: usize = 16 * 1024;
/// The reason to reject what Xcode and local tests create.
const OTHER_ENVIRONMENT: &str = "signed for an environment other than production and sandbox";

/// A verifier of what the App Store signs for one app: notifications, transactions and renewals.
///
/// With the feature `webhooks`, it is in the [`Context`](crate::module::Context) if `WEBHOOKS_APPLE_BUNDLE_ID` is set.
/// A handler of the source `apple` reads the signed parts of a notification with it, and a route of the app the
/// transaction that the device sends. Cheap to clone.
///
/// The payloads are returned as JSON with all fields, whether this version knows them or not. A signature has no age
/// limit. Payloads of Xcode and of local tests are never accepted, since they are not signed by Apple.
#[derive(Clone)]
pub struct AppleVerifier(Arc<AppStoreApp>);

/// The app for which payloads must be signed.
struct AppStoreApp {
    bundle_id: String,
    app_id: Option<u64>,
    roots: TrustedRoots,
}

/// The header field with the certificates.
#[derive(Deserialize)]
struct ChainHeader {
    x5c: Vec<String>,
}

impl AppleVerifier {
    /// Creates the verifier of the app with this bundle id and Apple id. Without an Apple id, only what the sandbox
    /// signs is accepted in notifications. Chains of certificates must lead to one of the roots; that of Apple is
    /// [`APPLE_ROOT`](super::APPLE_ROOT).
    pub fn new(bundle_id: String, app_id: Option<u64>, roots: TrustedRoots) -> Self {
        Self(Arc::new(AppStoreApp { bundle_id, app_id, roots }))
    }

    /// Verifies the `signedPayload` of a notification and the transaction, the renewal and the app transaction in it.
    /// `now` is the time of validity for a payload without a date.
    ///
    /// # Errors
    /// Fails with [`WebhookRejection::Unverified`] if Apple has not signed it for this app.
    pub fn verify_notification(&self, signed: &str, now: Timestamp) -> Result<Value, WebhookRejection> {
        let notification = self.verify_signature(signed, now)?;
        let subject = AppleNotificationSubject::of(&notification)
            .ok_or(WebhookRejection::Unverified("the notification does not name its app"))?;
        self.verify_app(subject.object, subject.environment)?;
        let part = |name: &str| subject.object.get(name).and_then(Value::as_str);
        let same = |nested: &Value, name: &str| {
            let same = nested.get(name).and_then(Value::as_str) == Some(subject.environment);
            same.then_some(()).ok_or(WebhookRejection::Unverified("a signed part is of another environment"))
        };
        if let Some(transaction) = part("signedTransactionInfo") {
            same(&self.verify_transaction(transaction, now)?, "environment")?;
        }
        if let Some(renewal) = part("signedRenewalInfo") {
            same(&self.verify_renewal(renewal, now)?, "environment")?;
        }
        if let Some(transaction) = part("signedAppTransactionInfo") {
            same(&self.verify_app_transaction(transaction, now)?, "receiptType")?;
        }
        Ok(notification)
    }

    /// Verifies a transaction: the `signedTransactionInfo` of a notification, or what the device sends. `now` is the
    /// time of validity for a payload without a date.
    ///
    /// # Errors
    /// Fails with [`WebhookRejection::Unverified`] if Apple has not signed it for this app.
    pub fn verify_transaction(&self, signed: &str, now: Timestamp) -> Result<Value, WebhookRejection> {
        let transaction = self.verify_signature(signed, now)?;
        self.verify_bundle(&transaction)?;
        verify_environment(&transaction, "environment")?;
        Ok(transaction)
    }

    /// Verifies the `signedRenewalInfo` of a notification. It names no app: use it with the transaction of the same
    /// notification. `now` is the time of validity for a payload without a date.
    ///
    /// # Errors
    /// Fails with [`WebhookRejection::Unverified`] if Apple has not signed it.
    pub fn verify_renewal(&self, signed: &str, now: Timestamp) -> Result<Value, WebhookRejection> {
        let renewal = self.verify_signature(signed, now)?;
        verify_environment(&renewal, "environment")?;
        Ok(renewal)
    }

    /// Verifies the `signedAppTransactionInfo` of a notification, or the app transaction that the device sends. `now`
    /// is the time of validity for a payload without a date.
    ///
    /// # Errors
    /// Fails with [`WebhookRejection::Unverified`] if Apple has not signed it for this app.
    pub fn verify_app_transaction(&self, signed: &str, now: Timestamp) -> Result<Value, WebhookRejection> {
        let transaction = self.verify_signature(signed, now)?;
        let environment = verify_environment(&transaction, "receiptType")?;
        self.verify_app(&transaction, environment)?;
        Ok(transaction)
    }

    /// Verifies the signature and its certificates, and returns the payload.
    fn verify_signature(&self, signed: &str, now: Timestamp) -> Result<Value, WebhookRejection> {
        self.payload(signed, now).map_err(WebhookRejection::Unverified)
    }

    fn payload(&self, signed: &str, now: Timestamp) -> Result<Value, &'static str> {
        let jws = UnverifiedJws::<ChainHeader>::parse(signed, "ES256")?;
        let payload: Value = serde_json::from_slice(&jws.payload).map_err(|_| "the payload is not JSON")?;
        // Only the certificates are used that lead to a trusted root: the third, a copy of the root, proves nothing.
        let [leaf, issuer, _] = jws.header.x5c.as_slice() else {
            return Err("the header of the signature does not have three certificates");
        };
        let (leaf, issuer) = (decode(leaf)?, decode(issuer)?);
        self.0.roots.verify_exactly(&leaf, &[&issuer], USAGE, signed_at(&payload).unwrap_or(now))?;
        let readable = |der| ReadableCertificate::from_der(der).ok_or("a certificate has an unknown form");
        let (leaf, issuer) = (readable(&leaf)?, readable(&issuer)?);
        if !leaf.has_extension(SIGNER_EXTENSION) || !issuer.has_extension(ISSUER_EXTENSION) {
            return Err("the certificates were not issued to sign for the App Store");
        }
        let signature = URL_SAFE_NO_PAD.decode(jws.signature).map_err(|_| "the signature is not base64url")?;
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, leaf.public_key())
            .verify(jws.signed.as_bytes(), &signature)
            .map_err(|_| "no signature matches")?;
        Ok(payload)
    }

    fn verify_bundle(&self, object: &Value) -> Result<(), WebhookRejection> {
        let ours = object.get("bundleId").and_then(Value::as_str) == Some(self.0.bundle_id.as_str());
        ours.then_some(()).ok_or(WebhookRejection::Unverified("signed for another bundle id"))
    }

    /// Verifies the bundle id, the environment, and in production the Apple id of the app.
    fn verify_app(&self, object: &Value, environment: &str) -> Result<(), WebhookRejection> {
        self.verify_bundle(object)?;
        match environment {
            "Sandbox" => Ok(()),
            "Production" => match self.0.app_id {
                None => Err(WebhookRejection::Unverified("signed for production, and no Apple id of the app is set")),
                Some(id) if object.get("appAppleId").and_then(Value::as_u64) == Some(id) => Ok(()),
                Some(_) => Err(WebhookRejection::Unverified("signed for an app with another Apple id")),
            },
            _ => Err(WebhookRejection::Unverified(OTHER_ENVIRONMENT)),
        }
    }
}

/// Returns the environment that a payload names.
fn verify_environment<'p>(payload: &'p Value, name: &str) -> Result<&'p str, WebhookRejection> {
    let environment = payload.get(name).and_then(Value::as_str);
    let known = environment.filter(|name| matches!(*name, "Production" | "Sandbox"));
    known.ok_or(WebhookRejection::Unverified(OTHER_ENVIRONMENT))
}

/// Returns when a payload was signed. App transactions name that date differently.
fn signed_at(payload: &Value) -> Option<Timestamp> {
    let millis = payload.get("signedDate").or_else(|| payload.get("receiptCreationDate"))?.as_i64()?;
    Some(Timestamp::from_micros(millis.saturating_mul(1000)))
}

fn decode(certificate: &str) -> Result<Vec<u8>, &'static str> {
    if certificate.len() > MAX_CERTIFICATE_BYTES {
        return Err("a certificate has more than 16 KiB");
    }
    STANDARD.decode(certificate).map_err(|_| "a certificate is not base64")
}

impl fmt::Debug for AppleVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppleVerifier").field("bundle_id", &self.0.bundle_id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{app_store::APPLE_ROOT, crypto::Sha256};

    const LEAF: &[u8] = include_bytes!("../../tests/data/apple/appStoreLeaf.der");
    const INTERMEDIATE: &[u8] = include_bytes!("../../tests/data/apple/appStoreIntermediate.der");
    const OTHER_ROOT: &[u8] = include_bytes!("../../tests/data/apple/testCA.der");

    #[test]
    fn the_pinned_root_is_apples() {
        let expected = "63343abfb89a6a03ebb57e9b3f5fa7be7c4f5c756f3017b3a8c488c3653e9179";
        assert_eq!(Sha256::digest(APPLE_ROOT).to_string(), expected);
    }

    #[test]
    fn the_certificates_of_the_app_store_lead_to_the_root() {
        let untrusted = Err("the certificates do not lead to a trusted root");
        let invalid = Err("a certificate was not valid at the time of the signature");
        for (roots, leaf, intermediates, at, expected) in [
            (APPLE_ROOT, LEAF, vec![INTERMEDIATE], "2025-11-01T02:09:35Z", Ok(())),
            (APPLE_ROOT, LEAF, vec![INTERMEDIATE], "2025-09-19T19:44:51Z", Ok(())),
            (APPLE_ROOT, LEAF, vec![INTERMEDIATE], "2025-09-19T19:44:50Z", invalid),
            (APPLE_ROOT, LEAF, vec![INTERMEDIATE], "2027-10-13T17:47:24Z", invalid),
            (APPLE_ROOT, LEAF, vec![INTERMEDIATE], "1969-01-01T00:00:00Z", invalid),
            (OTHER_ROOT, LEAF, vec![INTERMEDIATE], "2025-11-01T02:09:35Z", untrusted),
            (APPLE_ROOT, LEAF, vec![], "2025-11-01T02:09:35Z", untrusted),
            (APPLE_ROOT, LEAF, vec![APPLE_ROOT], "2025-11-01T02:09:35Z", untrusted),
            (APPLE_ROOT, INTERMEDIATE, vec![LEAF], "2025-11-01T02:09:35Z", untrusted),
            (APPLE_ROOT, &LEAF[1..], vec![INTERMEDIATE], "2025-11-01T02:09:35Z", untrusted),
        ] {
            let roots = TrustedRoots::from_der([roots]).unwrap();
            let verified = roots.verify_exactly(leaf, &intermediates, USAGE, at.parse().unwrap());
            assert_eq!(verified, expected, "{} certificates at {at}", intermediates.len());
        }
    }

    #[test]
    fn the_certificates_of_the_app_store_have_the_extensions() {
        let (leaf, issuer) =
            (ReadableCertificate::from_der(LEAF).unwrap(), ReadableCertificate::from_der(INTERMEDIATE).unwrap());
        assert!(leaf.has_extension(SIGNER_EXTENSION) && !leaf.has_extension(ISSUER_EXTENSION));
        assert!(issuer.has_extension(ISSUER_EXTENSION) && !issuer.has_extension(SIGNER_EXTENSION));
        assert_eq!(leaf.public_key().len(), 65, "a point of P-256, uncompressed");
    }

    #[test]
    fn a_root_must_be_a_certificate() {
        assert!(TrustedRoots::from_der([APPLE_ROOT, b"-----BEGIN CERTIFICATE-----"]).is_none());
    }
}
