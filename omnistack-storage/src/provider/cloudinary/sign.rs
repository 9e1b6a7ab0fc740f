//! Signatures of Cloudinary: of requests (version 2, which escapes `&` in values, so that no value can be read as
//! two parameters), and of delivery URLs. Both use SHA-256, which Cloudinary accepts besides SHA-1.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::URL_SAFE};
use omnistack_core::crypto::Sha256;

const DIGITS: &[u8; 16] = b"0123456789abcdef";
/// The number of characters of the signature in a delivery URL.
const SIGNATURE_CHARS: usize = 32;

/// Returns the signature of a request. It covers all parameters except the file, the API key and empty ones.
pub(super) fn request_signature(parameters: &BTreeMap<&str, String>, secret: &str) -> String {
    let parameters = parameters.iter().filter(|(_, value)| !value.is_empty());
    let mut pairs: Vec<_> = parameters.map(|(name, value)| format!("{name}={value}").replace('&', "%26")).collect();
    pairs.sort();
    Sha256::digest(format!("{}{secret}", pairs.join("&"))).to_string()
}

/// Returns the signature of a delivery URL, as the segment of its path.
pub(super) fn delivery_signature(public_id: &str, secret: &str) -> String {
    let hash = Sha256::digest(format!("{public_id}{secret}"));
    let text = URL_SAFE.encode(hash.as_bytes());
    format!("s--{}--", &text[..SIGNATURE_CHARS])
}

/// Returns the public id of a key. Each byte other than ASCII letters, digits, `.`, `-` and `/` becomes `_` and
/// two hexadecimal digits, because public ids can't contain `?`, `&`, `#`, `\`, `%`, `<`, `>` and `+`, and URLs
/// change others.
pub(super) fn public_id(key: &str) -> String {
    let mut id = String::with_capacity(key.len());
    for byte in key.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'/' => id.push(char::from(byte)),
            other => {
                id.push('_');
                id.extend([other >> 4, other & 15].map(|digit| char::from(DIGITS[usize::from(digit)])));
            }
        }
    }
    id
}

/// Returns the key of a public id, or `None` if the public id was not created by this crate.
pub(super) fn key(public_id: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::new(), public_id.bytes());
    while let Some(byte) = rest.next() {
        if byte != b'_' {
            bytes.push(byte);
            continue;
        }
        let digits = [rest.next()?, rest.next()?];
        bytes.push(u8::from_str_radix(str::from_utf8(&digits).ok()?, 16).ok()?);
    }
    String::from_utf8(bytes).ok().filter(|key| self::public_id(key) == public_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Examples from Cloudinary's documentation and tests.
    #[test]
    fn signatures_match_the_documented_examples() {
        for (parameters, secret, signature) in [
            (
                BTreeMap::from([
                    ("cloud_name", "dn6ot3ged"),
                    ("timestamp", "1568810420"),
                    ("username", "user@cloudinary.com"),
                ]),
                "hdcixPpR2iKERPwqvH6sHdK9cyac",
                "45ddaa4fa01f0c2826f32f669d2e4514faf275fe6df053f1a150e7beae58a3bd",
            ),
            (
                BTreeMap::from([
                    ("public_id", "sample_image"),
                    ("timestamp", "1315060510"),
                    ("eager", "w_400,h_300,c_pad|w_260,h_200,c_crop"),
                    ("tags", ""),
                ]),
                "abcd",
                "cc927e1290f9e3ae4c1a741eda21a4630b4ce80f9ce0bc0296337d25cf40f91e",
            ),
            (
                BTreeMap::from([("public_id", "a&b=c"), ("notification_url", "https://x/?a=1&b=2")]),
                "s",
                "a5ce03a939de3f013c9cc100e2676dd4d54bea3c5221bb2479cf539182ce61ea",
            ),
        ] {
            let parameters = parameters.into_iter().map(|(name, value)| (name, value.to_owned())).collect();
            assert_eq!(request_signature(&parameters, secret), signature);
        }
        assert_eq!(delivery_signature("sample.jpg", "a"), "s--8uegnbNPGDM54fVn-NrhHUYT3MeEBaj1--");
        assert_eq!(delivery_signature("test", "b"), "s--j39Cd0pz2cpYtreJIdHfTWudx4DkblGA--");
    }

    #[test]
    fn keys_round_trip_through_public_ids() {
        for (text, id) in [("a/b-1.txt", "a/b-1.txt"), ("a_b c", "a_5fb_20c"), ("100% ü", "100_25_20_c3_bc")] {
            assert_eq!((public_id(text).as_str(), key(id).as_deref()), (id, Some(text)));
        }
        for others in ["a_", "a_g0", "a_5F", "a b", "_c3"] {
            assert_eq!(key(others), None, "{others}");
        }
    }
}
