//! Signatures with a shared key.

use std::fmt;

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};

use hmac::{Hmac, KeyInit as _, Mac as _};

use super::{Error, same};

/// A key for HMAC-SHA-256 (RFC 2104, FIPS 198-1): whoever has it can sign, and tell what was signed with it.
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
/// Sign parts only with a border between them that none can hold, as `{id}.{timestamp}.{body}`: `sign_parts(["1", "23"])`
/// is `sign_parts(["12", "3"])`.
#[derive(Clone)]
pub struct HmacKey(Hmac<sha2::Sha256>);

impl HmacKey {
    /// With this key; 32 random bytes are as strong as it gets.
    ///
    /// # Errors
    /// [`Error::Keys`] for an empty key, which everybody has.
    pub fn new(key: impl AsRef<[u8]>) -> Result<Self, Error> {
        let empty = || Error::Keys("a key for signing is empty".into());
        let key = Some(key.as_ref()).filter(|key| !key.is_empty()).ok_or_else(empty)?;
        // Of any length: RFC 2104 hashes a long one.
        Hmac::new_from_slice(key).map(Self).map_err(|_| empty())
    }

    /// The signature of a message.
    pub fn sign(&self, message: impl AsRef<[u8]>) -> Mac {
        self.sign_parts([message.as_ref()])
    }

    /// The signature of several byte strings, one after another.
    pub fn sign_parts<'a>(&self, parts: impl IntoIterator<Item = &'a [u8]>) -> Mac {
        let mut mac = self.0.clone();
        parts.into_iter().for_each(|part| mac.update(part));
        Mac(mac.finalize().into_bytes().into())
    }

    /// Whether these 32 bytes are the signature of the message. In constant time; never for a shortened signature.
    pub fn verify(&self, message: impl AsRef<[u8]>, signature: impl AsRef<[u8]>) -> bool {
        self.sign(message).is(signature)
    }

    /// As [`verify`](Self::verify), of hexadecimal digits in either case.
    pub fn verify_hex(&self, message: impl AsRef<[u8]>, signature: &str) -> bool {
        hex::decode(signature).is_ok_and(|signature| self.verify(message, signature))
    }

    /// As [`verify`](Self::verify), of base64: the standard alphabet with padding, or the url-safe one without.
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

/// A signature made by an [`HmacKey`]. There is no `==`: it is compared in constant time only.
#[derive(Clone, Copy)]
pub struct Mac([u8; 32]);

impl Mac {
    /// Its 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// In 64 lower-case hexadecimal digits.
    pub fn to_hex(self) -> String {
        hex::encode(self.0)
    }

    /// In standard base64 (RFC 4648, section 4), with padding.
    pub fn to_base64(self) -> String {
        STANDARD.encode(self.0)
    }

    /// In url-safe base64 (RFC 4648, section 5), without padding, for links.
    pub fn to_base64_url(self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// Whether it is the signature presented. In constant time.
    pub fn is(&self, presented: impl AsRef<[u8]>) -> bool {
        same(self.0, presented)
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mac")
    }
}
