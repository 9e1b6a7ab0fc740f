//! The verification of webhooks by a receiver.

use std::fmt;

use aws_lc_rs::signature::{ED25519, ParsedPublicKey};
use http::HeaderMap;
use omnistack_core::{
    clock::Timestamp,
    webhook::{StandardHeaders, StandardSecret, WebhookRejection},
};

use super::{
    InvalidWebhookKey, SigningScheme,
    key::{PUBLIC_KEY_PREFIX, decode},
};

/// Microseconds of a second.
const MICROS_PER_SECOND: i64 = 1_000_000;

/// A message whose signature was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifiedMessage {
    /// The id of the message, which is the same in all attempts. Store it to process each message once.
    pub id: String,
    /// When the attempt was signed.
    pub timestamp: Timestamp,
}

/// A verifier of the webhooks that an app receives from an OmniStack app, or from any other sender that follows
/// Standard Webhooks, with the signatures `v1` and `v1a`.
///
/// ```
/// use http::HeaderMap;
/// use omnistack_core::clock::Timestamp;
/// use omnistack_webhooks::WebhookVerifier;
///
/// let verifier = WebhookVerifier::new(["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"])?;
/// let mut headers = HeaderMap::new();
/// headers.insert("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek".parse()?);
/// headers.insert("webhook-timestamp", "1614265330".parse()?);
/// headers.insert("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=".parse()?);
/// let now: Timestamp = "2021-02-25T15:02:30Z".parse()?;
///
/// let message = verifier.verify(&headers, br#"{"test": 2432232314}"#, now)?;
/// assert_eq!(message.id, "msg_p5jXN8AQM9LWM0D4loKWxJek");
/// assert!(verifier.verify(&headers, br#"{"test": 0}"#, now).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct WebhookVerifier {
    secrets: Vec<StandardSecret>,
    public_keys: Vec<ParsedPublicKey>,
}

impl WebhookVerifier {
    /// Creates a verifier that accepts the signatures of any of these keys: secrets (`whsec_…`) and public keys
    /// (`whpk_…`), as the sender shows them. While a key is rotated, pass the previous one as well.
    ///
    /// # Errors
    /// Fails if there is no key, or if a text is not a key.
    pub fn new<K: AsRef<str>>(keys: impl IntoIterator<Item = K>) -> Result<Self, InvalidWebhookKey> {
        let (mut secrets, mut public_keys) = (Vec::new(), Vec::new());
        for key in keys {
            let key = key.as_ref().trim();
            match key.strip_prefix(PUBLIC_KEY_PREFIX) {
                Some(key) => public_keys.push(public_key(&decode(key)?)?),
                None => secrets.push(StandardSecret::parse(key).map_err(|_| InvalidWebhookKey)?),
            }
        }
        if secrets.is_empty() && public_keys.is_empty() {
            Err(InvalidWebhookKey)
        } else {
            Ok(Self { secrets, public_keys })
        }
    }

    /// Verifies that one of the keys has signed the body, and that the timestamp is recent. `body` are the raw bytes of
    /// the request, which need not be UTF-8. The headers may have the prefix `svix-` instead of `webhook-`.
    ///
    /// # Errors
    /// Fails with [`WebhookRejection::Unverified`] if a header is missing, if no signature matches, or if the timestamp
    /// is more than five minutes from `now`.
    pub fn verify(
        &self,
        headers: &HeaderMap,
        body: &[u8],
        now: Timestamp,
    ) -> Result<VerifiedMessage, WebhookRejection> {
        let headers = StandardHeaders::read(headers)?;
        if self.has_public_key_signature(&headers, body) {
            headers.verify_timestamp(now)?;
        } else {
            headers.verify(&self.secrets, body, now)?;
        }
        let timestamp = Timestamp::from_micros(headers.seconds.saturating_mul(MICROS_PER_SECOND));
        Ok(VerifiedMessage { id: headers.id.to_owned(), timestamp })
    }

    fn has_public_key_signature(&self, headers: &StandardHeaders<'_>, body: &[u8]) -> bool {
        if self.public_keys.is_empty() {
            return false;
        }
        let signed = headers.signed_bytes(body);
        headers
            .signatures(SigningScheme::V1a.as_str())
            .any(|signature| self.public_keys.iter().any(|key| key.verify_sig(&signed, &signature).is_ok()))
    }
}

impl fmt::Debug for WebhookVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (secrets, public_keys) = (self.secrets.len(), self.public_keys.len());
        f.debug_struct("WebhookVerifier").field("secrets", &secrets).field("public_keys", &public_keys).finish()
    }
}

/// Parses a public key of 32 bytes.
fn public_key(bytes: &[u8]) -> Result<ParsedPublicKey, InvalidWebhookKey> {
    if bytes.len() != 32 {
        return Err(InvalidWebhookKey);
    }
    ParsedPublicKey::new(&ED25519, bytes).map_err(|_| InvalidWebhookKey)
}
