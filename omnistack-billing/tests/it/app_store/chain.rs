//! A chain of certificates as Apple issues them, and what is signed with it.

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
    date_time_ymd,
};
use serde_json::{Value, json};

/// The extension of certificates that sign for the App Store.
const SIGNER: &[u64] = &[1, 2, 840, 113_635, 100, 6, 11, 1];
/// The extension of the certificate that issues them.
const ISSUER: &[u64] = &[1, 2, 840, 113_635, 100, 6, 2, 1];

/// A chain of certificates that a test has issued.
pub(crate) struct AppleChain {
    pub(super) root: Vec<u8>,
    /// The certificates in the header: leaf, issuer, root.
    x5c: Vec<String>,
    key: EcdsaKeyPair,
}

fn params(name: &str, is_ca: bool, oid: Option<&[u64]>) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = if is_ca { IsCa::Ca(BasicConstraints::Unconstrained) } else { IsCa::ExplicitNoCa };
    params.custom_extensions = oid.map(|oid| CustomExtension::from_oid_content(oid, vec![5, 0])).into_iter().collect();
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2040, 1, 1);
    params
}

impl AppleChain {
    pub(super) fn issue() -> Self {
        let key = || KeyPair::generate().unwrap();
        let root = CertifiedIssuer::self_signed(params("Root", true, None), key()).unwrap();
        let issuer = CertifiedIssuer::signed_by(params("Issuer", true, Some(ISSUER)), key(), &root).unwrap();
        let key = key();
        let leaf = params("Leaf", false, Some(SIGNER)).signed_by(&key, &issuer).unwrap();
        let x5c = [leaf.der(), issuer.der(), root.der()].map(|der| STANDARD.encode(der)).to_vec();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.serialized_der()).unwrap();
        Self { root: root.der().to_vec(), x5c, key }
    }

    pub(crate) fn sign(&self, payload: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(&json!({ "alg": "ES256", "x5c": self.x5c })), part(payload));
        let signature = self.key.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}
