//! The text of an API key: a prefix that identifies it as a key, 256 random bits, and a checksum.
//!
//! The checksum is no protection. It allows the app to refuse a typing error, a truncated copy or a scanner's guess
//! without a database query, and helps secret scanners to recognise a leaked key.

use std::fmt;

use omnistack_core::crypto::Sha256;
use secrecy::{ExposeSecret as _, SecretString};

const LIVE: &str = "omni_live_";
const TEST: &str = "omni_test_";
/// The length of 256 bits in base 62.
const RANDOM_CHARS: usize = 43;
/// The length of the 32-bit checksum in base 62.
const CHECKSUM_CHARS: usize = 6;
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The text of a new API key.
pub(crate) struct ApiKeySecret(SecretString);

impl ApiKeySecret {
    /// Creates a key from the operating system's random numbers.
    pub(crate) fn random(test: bool) -> Self {
        Self::with_random(test, rand::random())
    }

    fn with_random(test: bool, random: [u8; 32]) -> Self {
        let mut text = String::from(if test { TEST } else { LIVE });
        text.push_str(&base62(&random, RANDOM_CHARS));
        let checksum = base62(&crc32fast::hash(text.as_bytes()).to_be_bytes(), CHECKSUM_CHARS);
        Self((text + &checksum).into())
    }

    pub(crate) fn into_text(self) -> SecretString {
        self.0
    }

    /// Returns the first characters of the key: enough for a user to identify it, too few to use it.
    pub(crate) fn hint(&self) -> String {
        self.0.expose_secret().chars().take(LIVE.len() + 4).collect()
    }

    pub(crate) fn hash(&self) -> Sha256 {
        Sha256::digest(self.0.expose_secret())
    }
}

impl fmt::Debug for ApiKeySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Returns whether a text looks like an API key, valid or not.
pub(crate) fn looks_like_api_key(text: &str) -> bool {
    text.starts_with("omni_")
}

/// Returns the hash to look an API key up by, or `None` if the prefix, the length or the checksum is wrong.
pub(crate) fn hash_of(text: &str) -> Option<Sha256> {
    let known = text.starts_with(LIVE) || text.starts_with(TEST);
    let whole = text.len() == LIVE.len() + RANDOM_CHARS + CHECKSUM_CHARS && text.is_ascii();
    if !known || !whole {
        return None;
    }
    let (body, checksum) = text.split_at(text.len() - CHECKSUM_CHARS);
    let expected = base62(&crc32fast::hash(body.as_bytes()).to_be_bytes(), CHECKSUM_CHARS);
    (checksum == expected).then(|| Sha256::digest(text))
}

/// Returns a big-endian number in base 62, with a fixed number of digits.
fn base62(bytes: &[u8], digits: usize) -> String {
    let mut number = bytes.to_vec();
    let mut text = vec![b'0'; digits];
    for digit in text.iter_mut().rev() {
        let mut rest = 0_u32;
        for byte in &mut number {
            let value = rest * 256 + u32::from(*byte);
            *byte = u8::try_from(value / 62).unwrap_or(u8::MAX);
            rest = value % 62;
        }
        *digit = DIGITS[rest as usize];
    }
    text.into_iter().map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_to_the_base_62() {
        for (bytes, digits, text) in [
            (&[0_u8; 4][..], 6, "000000"),
            (&[0, 0, 0, 61], 6, "00000z"),
            (&[0, 0, 0, 62], 6, "000010"),
            (&[255; 4], 6, "4gfFC3"),
        ] {
            assert_eq!(base62(bytes, digits), text);
        }
        // The largest number of 256 bits fits, and uses every digit.
        assert_eq!(base62(&[255; 32], RANDOM_CHARS).len(), RANDOM_CHARS);
        assert_ne!(base62(&[255; 32], RANDOM_CHARS).as_bytes()[0], b'0');
    }

    #[test]
    fn a_wrong_letter_is_seen() {
        let secret = ApiKeySecret::with_random(false, [7; 32]);
        let text = secret.0.expose_secret().to_owned();
        assert_eq!(hash_of(&text), Some(secret.hash()));
        assert!(secret.hint().starts_with(LIVE) && secret.hint().len() == LIVE.len() + 4);
        for at in 0..text.len() {
            let mut wrong = text.clone().into_bytes();
            wrong[at] = if wrong[at] == b'x' { b'y' } else { b'x' };
            assert_eq!(hash_of(std::str::from_utf8(&wrong).unwrap()), None, "at {at}");
        }
        for wrong in ["", "omni_", LIVE, &text[..text.len() - 1], &format!("{text}0"), &text.replace("live", "test")] {
            assert_eq!(hash_of(wrong), None, "{wrong}");
        }
    }
}
