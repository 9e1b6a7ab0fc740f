//! The keys that sign webhooks.

use std::fmt;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD},
};
use omnistack_core::webhook::StandardSecret;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Prefix of a private key of Ed25519.
const PRIVATE_KEY_PREFIX: &str = "whsk_";
/// Prefix of a public key of Ed25519.
pub(super) const PUBLIC_KEY_PREFIX: &str = "whpk_";
/// Length of the seed of an Ed25519 key, in bytes (RFC 8032, section 5.1.5).
const SEED_BYTES: usize = 32;

/// The scheme by which webhooks are signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = WebhookSigningScheme)]
pub enum SigningScheme {
    /// HMAC-SHA-256 with a secret that the receiver has as well.
    #[default]
    V1,
    /// Ed25519: the receiver has a public key, with which it can verify signatures but not create them.
    V1a,
}

impl SigningScheme {
    /// Returns the scheme as it is written in signatures: `v1` or `v1a`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V1a => "v1a",
        }
    }

    pub(crate) fn from_stored(text: &str) -> Self {
        if text == Self::V1a.as_str() { Self::V1a } else { Self::V1 }
    }
}

impl fmt::Display for SigningScheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The error for a text that is not a key of Standard Webhooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected a key of Standard Webhooks: `whsec_` and base64 of 16 to 75 bytes; for Ed25519, `whsk_` (private) or \
     `whpk_` (public) and base64"
)]
pub struct InvalidWebhookKey;

/// A key that signs webhooks.
///
/// ```
/// use omnistack_webhooks::SigningKey;
///
/// let key = SigningKey::parse("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD")?;
/// let body = br#"{"email":"test@example.com","username":"test_user"}"#;
/// let signature = key.sign("msg_27UH4WbU6Z5A5EzD8u03UvzRbpk", 1649367553, body);
/// assert_eq!(signature, "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=");
/// # Ok::<_, omnistack_webhooks::InvalidWebhookKey>(())
/// ```
#[derive(Clone)]
pub struct SigningKey(SchemeKey);

#[derive(Clone)]
enum SchemeKey {
    Hmac(StandardSecret),
    Ed25519(Box<Ed25519KeyPair>),
}

impl SigningKey {
    /// Parses a key: `whsk_` and base64 of an Ed25519 seed with or without its public key, or a secret in one of the
    /// forms of [`StandardSecret`].
    ///
    /// # Errors
    /// Fails if the text has another form, or if the public key does not belong to the seed.
    pub fn parse(text: &str) -> Result<Self, InvalidWebhookKey> {
        let text = text.trim();
        match text.strip_prefix(PRIVATE_KEY_PREFIX) {
            Some(key) => Ok(Self(SchemeKey::Ed25519(Box::new(key_pair(&decode(key)?)?)))),
            None => {
                StandardSecret::parse(text).map(|secret| Self(SchemeKey::Hmac(secret))).map_err(|_| InvalidWebhookKey)
            }
        }
    }

    /// Returns a new key as text: `whsec_` and base64 of 32 random bytes, or `whsk_` and base64 of an Ed25519 seed and
    /// its public key.
    ///
    /// # Errors
    /// Fails if the cryptographic library can't create a key.
    pub fn generate(scheme: SigningScheme) -> Result<SecretString, InvalidWebhookKey> {
        match scheme {
            SigningScheme::V1 => Ok(StandardSecret::generate()),
            SigningScheme::V1a => {
                let seed: [u8; SEED_BYTES] = rand::random();
                let pair = key_pair(&seed)?;
                let bytes = [seed.as_slice(), pair.public_key().as_ref()].concat();
                Ok(format!("{PRIVATE_KEY_PREFIX}{}", STANDARD.encode(bytes)).into())
            }
        }
    }

    /// Returns the scheme of the key.
    pub fn scheme(&self) -> SigningScheme {
        match &self.0 {
            SchemeKey::Hmac(_) => SigningScheme::V1,
            SchemeKey::Ed25519(_) => SigningScheme::V1a,
        }
    }

    /// Returns the public key of an Ed25519 key: `whpk_` and base64 of 32 bytes. Returns `None` for a secret.
    pub fn public_key(&self) -> Option<String> {
        match &self.0 {
            SchemeKey::Hmac(_) => None,
            SchemeKey::Ed25519(pair) => {
                Some(format!("{PUBLIC_KEY_PREFIX}{}", STANDARD.encode(pair.public_key().as_ref())))
            }
        }
    }

    /// Returns the signature of a message: the scheme, a comma, and base64 of the signature of `{id}.{seconds}.{body}`.
    pub fn sign(&self, id: &str, seconds: i64, body: &[u8]) -> String {
        match &self.0 {
            SchemeKey::Hmac(secret) => secret.sign(id, seconds, body),
            SchemeKey::Ed25519(pair) => {
                let message = [id.as_bytes(), b".", seconds.to_string().as_bytes(), b".", body].concat();
                format!("{},{}", SigningScheme::V1a, STANDARD.encode(pair.sign(&message).as_ref()))
            }
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("scheme", &self.scheme()).finish_non_exhaustive()
    }
}

/// Creates the key pair of a seed. If bytes follow the seed, they must be its public key.
fn key_pair(bytes: &[u8]) -> Result<Ed25519KeyPair, InvalidWebhookKey> {
    let (seed, public_key) = bytes.split_at_checked(SEED_BYTES).ok_or(InvalidWebhookKey)?;
    let pair = if public_key.is_empty() {
        Ed25519KeyPair::from_seed_unchecked(seed)
    } else {
        Ed25519KeyPair::from_seed_and_public_key(seed, public_key)
    };
    pair.map_err(|_| InvalidWebhookKey)
}

/// Decodes base64 with or without padding.
pub(super) fn decode(text: &str) -> Result<Vec<u8>, InvalidWebhookKey> {
    STANDARD_NO_PAD.decode(text.trim_end_matches('=')).map_err(|_| InvalidWebhookKey)
}
