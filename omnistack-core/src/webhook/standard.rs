//! Standard Webhooks, which Svix, Clerk, Supabase and Resend use: the secret, the headers and the signature `v1`.
//!
//! Specification: <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>.

use std::{fmt, time::Duration};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD},
};
use http::{HeaderMap, HeaderValue};
use secrecy::{ExposeSecret as _, SecretString};

use super::{WebhookRejection, WebhookRequest};
use crate::{
    clock::Timestamp,
    crypto::{HmacKey, Mac},
};

/// Largest difference between a signed timestamp and the clock, in both directions: five minutes, as Standard Webhooks
/// and Stripe recommend.
pub const TIMESTAMP_TOLERANCE: Duration = Duration::from_secs(5 * 60);

/// Largest number of signatures in a request that are checked.
const MAX_SIGNATURES: usize = 16;

/// Largest length of the id of a message, in bytes.
const MAX_ID_BYTES: usize = 200;

/// Returns whether a timestamp, in seconds since 1970, is at most [`TIMESTAMP_TOLERANCE`] from now.
pub fn is_recent(seconds: i64, now: Timestamp) -> bool {
    seconds.abs_diff(now.as_seconds()) <= TIMESTAMP_TOLERANCE.as_secs()
}

/// The error for a text that is not a secret of Standard Webhooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected `whsec_` and base64 of 16 to 75 bytes, as the provider shows the secret")]
pub struct InvalidStandardSecret;

/// A secret of Standard Webhooks, with which both sides sign.
///
/// ```
/// use omnistack_core::webhook::StandardSecret;
///
/// let secret = StandardSecret::parse("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD")?;
/// let body = br#"{"email":"test@example.com","username":"test_user"}"#;
/// let signature = secret.sign("msg_27UH4WbU6Z5A5EzD8u03UvzRbpk", 1649367553, body);
/// assert_eq!(signature, "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=");
/// # Ok::<_, omnistack_core::webhook::InvalidStandardSecret>(())
/// ```
#[derive(Clone)]
pub struct StandardSecret(HmacKey);

impl StandardSecret {
    /// Parses a secret in the forms in which providers show it: base64, `whsec_` and base64, or `v1,whsec_` and base64.
    ///
    /// # Errors
    /// Fails if the text is not base64 of 16 to 75 bytes.
    pub fn parse(text: &str) -> Result<Self, InvalidStandardSecret> {
        let text = text.trim();
        let text = text.strip_prefix("v1,").unwrap_or(text);
        let text = text.strip_prefix("whsec_").unwrap_or(text).trim_end_matches('=');
        let bytes = STANDARD_NO_PAD.decode(text).map_err(|_| InvalidStandardSecret)?;
        Self::from_bytes(&bytes)
    }

    /// Creates a secret from its bytes.
    ///
    /// # Errors
    /// Fails if there are fewer than 16 or more than 75 bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidStandardSecret> {
        if !(16..=75).contains(&bytes.len()) {
            return Err(InvalidStandardSecret);
        }
        HmacKey::new(bytes).map(Self).map_err(|_| InvalidStandardSecret)
    }

    /// Returns a new secret of 32 random bytes as text: `whsec_` and base64.
    pub fn generate() -> SecretString {
        let bytes: [u8; 32] = rand::random();
        format!("whsec_{}", STANDARD.encode(bytes)).into()
    }

    /// Returns the signature of a message: `v1,` and base64 of HMAC-SHA-256 over `{id}.{seconds}.{body}`.
    pub fn sign(&self, id: &str, seconds: i64, body: &[u8]) -> String {
        format!("v1,{}", self.mac(id, &seconds.to_string(), body).to_base64())
    }

    /// Returns the headers that a provider would add to a request, signed with the time at which the app receives it.
    /// The id is that of the request's header `webhook-id`, or a random one.
    ///
    /// Returns `None` if the id is not the value of a header.
    pub fn sign_request(&self, request: &WebhookRequest<'_>) -> Option<HeaderMap> {
        let random = || format!("msg_{:032x}", rand::random::<u128>());
        let id = request.header("webhook-id").map_or_else(random, str::to_owned);
        let seconds = request.now.as_seconds();
        let signature = self.sign(&id, seconds, request.body);
        let mut headers = HeaderMap::new();
        headers.insert("webhook-id", HeaderValue::try_from(id).ok()?);
        headers.insert("webhook-timestamp", HeaderValue::from(seconds));
        headers.insert("webhook-signature", HeaderValue::try_from(signature).ok()?);
        Some(headers)
    }

    fn mac(&self, id: &str, timestamp: &str, body: &[u8]) -> Mac {
        self.0.sign_parts([id.as_bytes(), b".", timestamp.as_bytes(), b".", body])
    }
}

/// Parses a secret of a setting.
impl TryFrom<&SecretString> for StandardSecret {
    type Error = InvalidStandardSecret;

    fn try_from(secret: &SecretString) -> Result<Self, Self::Error> {
        Self::parse(secret.expose_secret())
    }
}

impl fmt::Debug for StandardSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StandardSecret")
    }
}

/// The headers of a request of Standard Webhooks: `webhook-id`, `webhook-timestamp` and `webhook-signature`, or those
/// of Svix with the prefix `svix-`. The two sets are never mixed: with `webhook-id`, those of Svix are not read.
#[derive(Clone, Copy, Debug)]
pub struct StandardHeaders<'a> {
    /// The id of the message, which is the same in all attempts.
    pub id: &'a str,
    /// When the attempt was signed, in seconds since 1970.
    pub seconds: i64,
    /// The timestamp as it was signed.
    timestamp: &'a str,
    /// The signatures, separated by spaces.
    signatures: &'a str,
}

impl<'a> StandardHeaders<'a> {
    /// Reads the headers.
    ///
    /// # Errors
    /// Fails if a header is missing, occurs twice, or has another form. The id has 1 to 200 bytes without a dot, so
    /// that the signed text has one meaning.
    pub fn read(headers: &'a HeaderMap) -> Result<Self, WebhookRejection> {
        let header = |name: &str| {
            let mut values = headers.get_all(name).iter();
            let value = values.next()?.to_str().ok()?;
            values.next().is_none().then_some(value)
        };
        let names = if headers.contains_key("webhook-id") {
            ["webhook-id", "webhook-timestamp", "webhook-signature"]
        } else {
            ["svix-id", "svix-timestamp", "svix-signature"]
        };
        let [Some(id), Some(timestamp), Some(signatures)] = names.map(header) else {
            return Err(WebhookRejection::Unverified("a signature header is missing"));
        };
        if !(1..=MAX_ID_BYTES).contains(&id.len()) || id.contains('.') {
            return Err(WebhookRejection::Unverified("the id of the message is invalid"));
        }
        let digits = timestamp.bytes().all(|byte| byte.is_ascii_digit());
        let seconds = timestamp.parse().ok().filter(|_| digits);
        let seconds = seconds.ok_or(WebhookRejection::Unverified("the timestamp is not a number of seconds"))?;
        Ok(Self { id, seconds, timestamp, signatures })
    }

    /// Returns the first signatures of a version such as `v1`, decoded.
    pub fn signatures(&self, version: &'a str) -> impl Iterator<Item = Vec<u8>> + 'a {
        let listed = self.signatures.split(' ').take(MAX_SIGNATURES);
        let of_version = listed.filter_map(move |one| one.split_once(',').filter(|(known, _)| *known == version));
        of_version.filter_map(|(_, signature)| STANDARD.decode(signature).ok())
    }

    /// Returns the signed bytes: `{id}.{timestamp}.{body}`.
    pub fn signed_bytes(&self, body: &[u8]) -> Vec<u8> {
        [self.id.as_bytes(), b".", self.timestamp.as_bytes(), b".", body].concat()
    }

    /// Verifies that the timestamp is recent.
    ///
    /// # Errors
    /// Fails if it is more than [`TIMESTAMP_TOLERANCE`] from now.
    pub fn verify_timestamp(&self, now: Timestamp) -> Result<(), WebhookRejection> {
        let recent = is_recent(self.seconds, now);
        recent.then_some(()).ok_or(WebhookRejection::Unverified("the timestamp is more than five minutes from now"))
    }

    /// Verifies that one of the secrets has signed the body, and that the timestamp is recent.
    ///
    /// # Errors
    /// Fails if no signature matches, or the timestamp is more than [`TIMESTAMP_TOLERANCE`] from now.
    pub fn verify(&self, secrets: &[StandardSecret], body: &[u8], now: Timestamp) -> Result<(), WebhookRejection> {
        let given: Vec<Vec<u8>> = self.signatures("v1").collect();
        // All signatures are compared, so that the duration doesn't reveal which one is right.
        let signed = secrets.iter().fold(false, |found, secret| {
            let expected = secret.mac(self.id, self.timestamp, body);
            given.iter().fold(false, |found, given| expected.verify(given) | found) | found
        });
        if !signed {
            return Err(WebhookRejection::Unverified("no signature matches"));
        }
        self.verify_timestamp(now)
    }
}

#[cfg(test)]
mod tests;
