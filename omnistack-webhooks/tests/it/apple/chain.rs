//! Chains of certificates as Apple issues them, and forged ones.

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DistinguishedName, DnType, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use serde_json::{Value, json};

/// The extension of certificates that sign for the App Store.
const SIGNER: &[u64] = &[1, 2, 840, 113_635, 100, 6, 11, 1];
/// The extension of the certificate that issues them.
pub(super) const ISSUER: &[u64] = &[1, 2, 840, 113_635, 100, 6, 2, 1];

/// A chain of certificates that a test has issued. By default it is as Apple's.
pub(super) struct TestChain {
    pub(super) root: Vec<u8>,
    /// The certificates in the header: leaf, issuer, root.
    pub(super) x5c: Vec<String>,
    key: EcdsaKeyPair,
}

/// The differences of a chain from Apple's.
#[derive(Clone, Copy)]
pub(super) struct ChainForm {
    pub(super) signer: Option<&'static [u64]>,
    pub(super) issuer: Option<&'static [u64]>,
    pub(super) issuer_is_ca: bool,
    /// The first and the last year of the leaf.
    pub(super) years: (i32, i32),
}

pub(super) const AS_APPLE: ChainForm =
    ChainForm { signer: Some(SIGNER), issuer: Some(ISSUER), issuer_is_ca: true, years: (2029, 2031) };

fn params(name: &str, is_ca: bool, oid: Option<&[u64]>, (first, last): (i32, i32)) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = if is_ca { IsCa::Ca(BasicConstraints::Unconstrained) } else { IsCa::ExplicitNoCa };
    // Apple's certificates have both extensions, and Apple's library requires them.
    params.key_usages = vec![if is_ca { KeyUsagePurpose::KeyCertSign } else { KeyUsagePurpose::DigitalSignature }];
    params.use_authority_key_identifier_extension = true;
    params.custom_extensions = oid.map(|oid| CustomExtension::from_oid_content(oid, vec![5, 0])).into_iter().collect();
    params.not_before = date_time_ymd(first, 1, 1);
    params.not_after = date_time_ymd(last, 1, 1);
    params
}

impl TestChain {
    pub(super) fn issue(form: ChainForm) -> Self {
        let key = || KeyPair::generate().unwrap();
        let root = CertifiedIssuer::self_signed(params("Root", true, None, (2020, 2040)), key()).unwrap();
        let issuer = params("Issuer", form.issuer_is_ca, form.issuer, (2020, 2040));
        let issuer = CertifiedIssuer::signed_by(issuer, key(), &root).unwrap();
        let key = key();
        let leaf = params("Leaf", false, form.signer, form.years).signed_by(&key, &issuer).unwrap();
        let x5c = [leaf.der(), issuer.der(), root.der()].map(|der| STANDARD.encode(der)).to_vec();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.serialized_der()).unwrap();
        Self { root: root.der().to_vec(), x5c, key }
    }

    pub(super) fn apple() -> Self {
        Self::issue(AS_APPLE)
    }

    pub(super) fn sign(&self, payload: &Value) -> String {
        self.sign_with(&json!({ "alg": "ES256", "x5c": self.x5c }), payload)
    }

    pub(super) fn sign_with(&self, header: &Value, payload: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(header), part(payload));
        let signature = self.key.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}
