//! The signing schemes of Standard Webhooks: keys, signatures `v1` and `v1a`, and their verification by a receiver.
//!
//! Specification: <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>.

mod key;
mod verifier;

pub use key::{InvalidWebhookKey, SigningKey, SigningScheme};
pub use verifier::{VerifiedMessage, WebhookVerifier};

use secrecy::{ExposeSecret as _, SecretString};

pub(crate) use self::sign as signature_header;

/// Returns the value of the header `webhook-signature`: one signature for each secret, in this order, separated by
/// spaces. During a rotation there are two secrets, and a receiver accepts either signature. `id` is the value of the
/// header `webhook-id`, and `seconds` that of `webhook-timestamp`, in seconds since 1970.
///
/// ```
/// use omnistack_webhooks::{SigningScheme, sign};
///
/// let secrets = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".into()];
/// let body = br#"{"test": 2432232314}"#;
/// let signature = sign(SigningScheme::V1, &secrets, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)?;
/// assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
/// # Ok::<_, omnistack_webhooks::InvalidWebhookKey>(())
/// ```
///
/// # Errors
/// Fails if there is no secret, or if one of them is not a secret of this scheme.
pub fn sign(
    scheme: SigningScheme,
    secrets: &[SecretString],
    id: &str,
    seconds: i64,
    body: &[u8],
) -> Result<String, InvalidWebhookKey> {
    let mut signatures = Vec::with_capacity(secrets.len());
    for secret in secrets {
        let key = SigningKey::parse(secret.expose_secret())?;
        if key.scheme() != scheme {
            return Err(InvalidWebhookKey);
        }
        signatures.push(key.sign(id, seconds, body));
    }
    if signatures.is_empty() { Err(InvalidWebhookKey) } else { Ok(signatures.join(" ")) }
}
