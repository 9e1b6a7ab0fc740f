//! Keys that are shared with a provider.

use omnistack_core::{
    crypto::{HmacKey, Mac},
    module::Registry,
};
use secrecy::{ExposeSecret as _, SecretString};

use super::settings::WebhookSecrets;

/// Largest number of signatures of a request that are checked.
pub(super) const MAX_SIGNATURES: usize = 16;

/// The keys for HMAC-SHA-256 that are shared with a provider. The first one signs, all of them verify.
#[derive(Clone, Debug)]
pub(super) struct SharedKeys {
    first: HmacKey,
    others: Vec<HmacKey>,
}

impl SharedKeys {
    /// Creates keys from the bytes of the secrets. Returns `None` if there is none, or if one is empty.
    pub(super) fn new(secrets: &[SecretString]) -> Option<Self> {
        let key = |secret: &SecretString| HmacKey::new(secret.expose_secret()).ok();
        let (first, others) = secrets.split_first()?;
        Some(Self { first: key(first)?, others: others.iter().map(key).collect::<Option<_>>()? })
    }

    /// Creates the keys of a setting. Returns `None` if it is not set, or after a problem with it was reported.
    pub(super) fn from_setting(registry: &mut Registry, name: &str, secrets: &WebhookSecrets) -> Option<Self> {
        if secrets.is_empty() {
            return None;
        }
        // `whsec_` without more is what remains of a secret that was lost in a template.
        let is_empty = |secret: &SecretString| secret.expose_secret().trim_start_matches("whsec_").is_empty();
        let keys = Self::new(secrets.as_slice()).filter(|_| !secrets.as_slice().iter().any(is_empty));
        if keys.is_none() {
            let fix = format!("set {name} to the secret that the provider shows, or unset it");
            registry.report_problem(format!("`{name}` has an empty secret, with which any sender could sign"), fix);
        }
        keys
    }

    /// Returns the signature of the concatenated parts with the first key.
    pub(super) fn sign(&self, parts: &[&[u8]]) -> Mac {
        self.first.sign_parts(parts.iter().copied())
    }

    /// Returns whether one of the signatures is that of the concatenated parts with one of the keys.
    pub(super) fn verify(&self, parts: &[&[u8]], given: &[Vec<u8>]) -> bool {
        // All signatures are compared, so that the duration doesn't reveal which one is right.
        std::iter::once(&self.first).chain(&self.others).fold(false, |found, key| {
            let expected = key.sign_parts(parts.iter().copied());
            given.iter().fold(false, |found, given| expected.verify(given) | found) | found
        })
    }
}
