//! The secrets of webhooks that tenants' own accounts send.

#[cfg(any(test, feature = "razorpay", feature = "stripe"))]
use omnistack_core::crypto::HmacKey;
use secrecy::ExposeSecret as _;

use crate::service::{CredentialField, Credentials, InvalidCredentials};

/// The name of the field of credentials with the secret.
pub(crate) const WEBHOOK_SECRET: &str = "webhook_secret";
/// Largest number of secrets of an account.
const MAX_SECRETS: usize = 4;

/// Returns the field of credentials with the secret.
pub(crate) const fn secret_field(label: &'static str) -> CredentialField {
    CredentialField { name: WEBHOOK_SECRET, label, secret: true, required: false }
}

/// Returns the secrets of the webhook of an account: several, separated by commas, while one is being replaced. There
/// are none if the account has no webhook.
///
/// # Errors
/// Fails if a secret is empty, because any sender could sign with it, or if there are too many.
pub(crate) fn secrets(credentials: &Credentials) -> Result<Vec<String>, InvalidCredentials> {
    let text = credentials.0.get(WEBHOOK_SECRET).map(|secret| secret.expose_secret().trim()).unwrap_or_default();
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let secrets: Vec<String> = text.split(',').map(|secret| secret.trim().to_owned()).collect();
    let is_empty = |secret: &String| secret.trim_start_matches("whsec_").is_empty();
    if secrets.len() > MAX_SECRETS || secrets.iter().any(is_empty) {
        let message = format!(
            "it has an empty secret, or more than {MAX_SECRETS}; enter what the provider shows, separated by commas"
        );
        return Err(InvalidCredentials { field: WEBHOOK_SECRET, message });
    }
    Ok(secrets)
}

/// The keys for HMAC-SHA-256 that are shared with an account.
#[cfg(any(test, feature = "razorpay", feature = "stripe"))]
#[derive(Clone, Debug, Default)]
pub(crate) struct WebhookKeys(Vec<HmacKey>);

#[cfg(any(test, feature = "razorpay", feature = "stripe"))]
impl WebhookKeys {
    /// Reads the keys from the credentials of an account.
    ///
    /// # Errors
    /// Fails as [`secrets`] does.
    pub(crate) fn read(credentials: &Credentials) -> Result<Self, InvalidCredentials> {
        let keys = secrets(credentials)?.into_iter().map(HmacKey::new).collect::<Result<Vec<_>, _>>();
        keys.map(Self).map_err(|error| InvalidCredentials { field: WEBHOOK_SECRET, message: error.to_string() })
    }

    /// Returns whether one of the signatures is that of the concatenated parts with one of the keys.
    pub(crate) fn have_signed(&self, parts: &[&[u8]], given: &[Vec<u8>]) -> bool {
        // All signatures are compared, so that the duration doesn't reveal which one is right.
        self.0.iter().fold(false, |found, key| {
            let expected = key.sign_parts(parts.iter().copied());
            given.iter().fold(false, |found, given| expected.verify(given) | found) | found
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_has_some_secrets_or_none_but_no_empty_one() {
        let read = |text: &str| {
            let fields = [(WEBHOOK_SECRET.to_owned(), text.to_owned().into())];
            secrets(&Credentials(fields.into_iter().collect())).map(|secrets| secrets.len()).ok()
        };
        for (text, expected) in [
            ("", Some(0)),
            (" ", Some(0)),
            ("whsec_a", Some(1)),
            ("a, b", Some(2)),
            ("whsec_", None),
            ("a,", None),
            ("a,b,c,d,e", None),
        ] {
            assert_eq!(read(text), expected, "{text:?}");
        }
        let keys = WebhookKeys::read(&Credentials::default()).unwrap();
        let empty = HmacKey::new("any").unwrap().sign("").to_hex();
        assert!(!keys.have_signed(&[&b""[..]], &[hex::decode(empty).unwrap()]));
    }
}
