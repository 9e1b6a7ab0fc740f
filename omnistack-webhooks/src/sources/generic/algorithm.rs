//! Hash functions and encodings of signatures.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use hmac::{Hmac, KeyInit, Mac};
use omnistack_core::config::SettingValue;
use sha1::Sha1;
use sha2::{Sha256, Sha512};

/// The hash function of an HMAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HmacAlgorithm {
    /// SHA-256, `sha256` in settings.
    Sha256,
    /// SHA-512, `sha512` in settings.
    Sha512,
    /// SHA-1, `sha1` in settings. HMAC with it is not broken, but use another one if the sender offers it.
    Sha1,
}

impl SettingValue for HmacAlgorithm {
    const EXPECTED: &'static str = "sha256, sha512 or sha1";

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "sha256" => Ok(Self::Sha256),
            "sha512" => Ok(Self::Sha512),
            "sha1" => Ok(Self::Sha1),
            _ => Err(format!("`{text}` is not one of {}", Self::EXPECTED)),
        }
    }
}

/// The encoding of a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SignatureEncoding {
    /// Hexadecimal digits of either case, `hex` in settings.
    Hex,
    /// Base64 in the standard alphabet with padding, or in the URL-safe alphabet without; `base64` in settings.
    Base64,
}

impl SettingValue for SignatureEncoding {
    const EXPECTED: &'static str = "hex or base64";

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "hex" => Ok(Self::Hex),
            "base64" => Ok(Self::Base64),
            _ => Err(format!("`{text}` is not one of {}", Self::EXPECTED)),
        }
    }
}

impl SignatureEncoding {
    pub(super) fn decode(self, text: &str) -> Option<Vec<u8>> {
        match self {
            Self::Hex => hex::decode(text).ok(),
            Self::Base64 => STANDARD.decode(text).or_else(|_| URL_SAFE_NO_PAD.decode(text)).ok(),
        }
    }

    pub(super) fn encode(self, signature: &[u8]) -> String {
        match self {
            Self::Hex => hex::encode(signature),
            Self::Base64 => STANDARD.encode(signature),
        }
    }
}

/// A key with its hash function.
#[derive(Clone, Copy)]
pub(super) struct GenericKey<'a> {
    pub(super) algorithm: HmacAlgorithm,
    pub(super) secret: &'a [u8],
}

impl GenericKey<'_> {
    /// Returns the signature of the concatenated parts.
    pub(super) fn sign(self, parts: &[&[u8]]) -> Vec<u8> {
        match self.algorithm {
            HmacAlgorithm::Sha256 => sign::<Hmac<Sha256>>(self.secret, parts),
            HmacAlgorithm::Sha512 => sign::<Hmac<Sha512>>(self.secret, parts),
            HmacAlgorithm::Sha1 => sign::<Hmac<Sha1>>(self.secret, parts),
        }
    }
}

#[expect(clippy::expect_used, reason = "RFC 2104 allows keys of any length")]
fn sign<M: Mac + KeyInit>(secret: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = <M as KeyInit>::new_from_slice(secret).expect("a key of any length is valid");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_those_of_the_rfcs() {
        // RFC 2202, test case 2, and RFC 4231, test case 2.
        for (algorithm, expected) in [
            (HmacAlgorithm::Sha1, "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
            (HmacAlgorithm::Sha256, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
            (
                HmacAlgorithm::Sha512,
                concat!(
                    "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554",
                    "9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
                ),
            ),
        ] {
            let key = GenericKey { algorithm, secret: b"Jefe" };
            assert_eq!(hex::encode(key.sign(&[b"what do ya ", b"want for nothing?"])), expected, "{algorithm:?}");
        }
    }

    #[test]
    fn encodings_are_read_in_both_forms() {
        for text in ["+/8=", "-_8"] {
            assert_eq!(SignatureEncoding::Base64.decode(text), Some(vec![0xfb, 0xff]), "{text}");
        }
        for text in ["FBff", "fbFF"] {
            assert_eq!(SignatureEncoding::Hex.decode(text), Some(vec![0xfb, 0xff]), "{text}");
        }
        assert_eq!((SignatureEncoding::Hex.decode("f"), SignatureEncoding::Base64.decode("+")), (None, None));
    }
}
