//! SHA-256.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use sha2::Digest as _;

use super::{Error, constant_time_eq};

/// SHA-256 hash (FIPS 180-4). In text and JSON it is 64 hexadecimal digits, in the database its 32 bytes
/// (`as_bytes().to_vec()`) or that text.
///
/// Hashes are compared in constant time.
#[derive(Clone, Copy)]
pub struct Sha256([u8; 32]);

impl Sha256 {
    /// Returns the hash of a byte string.
    pub fn digest(bytes: impl AsRef<[u8]>) -> Self {
        Self::digest_parts([bytes.as_ref()])
    }

    /// Returns the hash of the concatenation of several byte strings. There are no separators: `["ab", "c"]`
    /// has the same hash as `["a", "bc"]`.
    pub fn digest_parts<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut hash = sha2::Sha256::new();
        parts.into_iter().for_each(|part| hash.update(part));
        Self(hash.finalize().into())
    }

    /// Returns the hash of a list. Each part is preceded by its length, so that different lists have different
    /// bytes.
    pub fn digest_list<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut hash = sha2::Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        Self(hash.finalize().into())
    }

    /// Creates a hash from its 32 bytes. Returns `None` if the length differs.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// Creates a hash from its 32 bytes.
    #[cfg(feature = "backup")]
    pub(crate) const fn from_array(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Returns whether this is the hash of `bytes`, such as a presented token, in constant time.
    pub fn matches(&self, bytes: impl AsRef<[u8]>) -> bool {
        *self == Self::digest(bytes)
    }

    /// 32 zero bytes, with which an audit chain begins.
    pub(crate) const ZERO: Self = Self([0; 32]);
}

impl PartialEq for Sha256 {
    fn eq(&self, other: &Self) -> bool {
        constant_time_eq(self.0, other.0)
    }
}

impl Eq for Sha256 {}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&hex::encode(self.0))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sha256({self})")
    }
}

impl FromStr for Sha256 {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| Error::Malformed)?;
        Ok(Self(bytes))
    }
}

impl Serialize for Sha256 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sha256 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(|_| D::Error::custom("expected 64 hexadecimal digits"))
    }
}
