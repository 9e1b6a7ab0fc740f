//! Signatures with a shared key.

use std::fmt;

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};

use hmac::{Hmac, KeyInit as _, Mac as _};

use super::{Error, constant_time_eq};

/// Key for HMAC-SHA-256 (RFC 2104, FIPS 198-1), which signs messages and verifies signatures.
///
/// ```
/// use omnistack_core::crypto::HmacKey;
///
/// let key = HmacKey::new("whsec_…")?;
/// let signature = key.sign("the body").to_hex();
/// assert!(key.verify_hex("the body", &signature));
/// assert!(!key.verify_hex("another body", &signature));
/// # Ok::<_, omnistack_core::crypto::Error>(())
/// ```
///
/// Parts are concatenated without a separator: `sign_parts(["1", "23"])` equals `sign_parts(["12", "3"])`.
/// Separate them by a character that none of them can contain, as in `{id}.{timestamp}.{body}`.
#[derive(Clone)]
pub struct HmacKey(Hmac<sha2::Sha256>);

impl HmacKey {
    /// Creates a key; 32 random bytes give the full strength.
    ///
    /// # Errors
    ///
    /// Fails with [`Error::InvalidKeys`] if the key is empty.
    pub fn new(key: impl AsRef<[u8]>) -> Result<Self, Error> {
        let empty = || Error::InvalidKeys("a key for signing is empty".into());
        let key = Some(key.as_ref()).filter(|key| !key.is_empty()).ok_or_else(empty)?;
        // Keys of any length are accepted: RFC 2104 hashes a long key.
        Hmac::new_from_slice(key).map(Self).map_err(|_| empty())
    }

    /// Returns the signature of a message.
    pub fn sign(&self, message: impl AsRef<[u8]>) -> Mac {
        self.sign_parts([message.as_ref()])
    }

    /// Returns the signature of the concatenation of several byte strings.
    pub fn sign_parts<'a>(&self, parts: impl IntoIterator<Item = &'a [u8]>) -> Mac {
        let mut mac = self.0.clone();
        parts.into_iter().for_each(|part| mac.update(part));
        Mac(mac.finalize().into_bytes().into())
    }

    /// Returns whether `signature` is the signature of the message, in constant time. It must have all 32
    /// bytes.
    pub fn verify(&self, message: impl AsRef<[u8]>, signature: impl AsRef<[u8]>) -> bool {
        self.sign(message).verify(signature)
    }

    /// Verifies a signature in hexadecimal digits of either case, like [`verify`](Self::verify).
    pub fn verify_hex(&self, message: impl AsRef<[u8]>, signature: &str) -> bool {
        hex::decode(signature).is_ok_and(|signature| self.verify(message, signature))
    }

    /// Verifies a signature in base64, either in the standard alphabet with padding or in the URL-safe alphabet
    /// without, like [`verify`](Self::verify).
    pub fn verify_base64(&self, message: impl AsRef<[u8]>, signature: &str) -> bool {
        let decoded = STANDARD.decode(signature).or_else(|_| URL_SAFE_NO_PAD.decode(signature));
        decoded.is_ok_and(|signature| self.verify(message, signature))
    }
}

impl fmt::Debug for HmacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HmacKey")
    }
}

/// Signature created by an [`HmacKey`]. It does not implement `==`: it can only be compared in constant time.
#[derive(Clone, Copy)]
pub struct Mac([u8; 32]);

impl Mac {
    /// Returns the 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Returns the signature as 64 lower-case hexadecimal digits.
    pub fn to_hex(self) -> String {
        hex::encode(self.0)
    }

    /// Returns the signature in standard base64 (RFC 4648, section 4), with padding.
    pub fn to_base64(self) -> String {
        STANDARD.encode(self.0)
    }

    /// Returns the signature in URL-safe base64 (RFC 4648, section 5), without padding, for links.
    pub fn to_base64_url(self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// Returns whether the presented signature equals this one, in constant time.
    pub fn verify(&self, presented: impl AsRef<[u8]>) -> bool {
        constant_time_eq(self.0, presented)
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mac")
    }
}
