//! JSON Web Signatures in compact form (RFC 7515), before they are verified.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{
    Deserialize,
    de::{DeserializeOwned, IgnoredAny},
};

/// Maximum size of a signature with its payload, in bytes. Those of the App Store and of Google have a few KiB.
const MAX_JWS_BYTES: usize = 256 * 1024;

/// A signed payload whose signature is not verified yet. `H` are the fields of the header that select the key.
#[derive(Debug)]
pub struct UnverifiedJws<'a, H> {
    /// The fields of the header.
    pub header: H,
    /// The payload, decoded from base64url.
    pub payload: Vec<u8>,
    /// The signed text: header and payload, as they were sent.
    pub signed: &'a str,
    /// The signature in base64url.
    pub signature: &'a str,
}

/// The fields of the header that decide how a signature is verified.
#[derive(Deserialize)]
struct ProtectedHeader {
    alg: String,
    crit: Option<IgnoredAny>,
}

impl<'a, H: DeserializeOwned> UnverifiedJws<'a, H> {
    /// Splits and decodes a signature. The header must name `algorithm`: the verifier chooses it, not the sender.
    ///
    /// # Errors
    /// Returns the reason why the text can't be a signature of this algorithm.
    pub fn parse(text: &'a str, algorithm: &str) -> Result<Self, &'static str> {
        const NO_JWS: &str = "the signature is not a JWS in compact form";
        if text.len() > MAX_JWS_BYTES {
            return Err("the signature has more than 256 KiB");
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(NO_JWS)?;
        let (header, payload) = signed.split_once('.').ok_or(NO_JWS)?;
        // A further dot, as in the five parts of an encrypted token, is not base64url.
        let header = URL_SAFE_NO_PAD.decode(header).map_err(|_| NO_JWS)?;
        let payload = URL_SAFE_NO_PAD.decode(payload).map_err(|_| NO_JWS)?;
        let protected: ProtectedHeader =
            serde_json::from_slice(&header).map_err(|_| "the header of the signature names no algorithm")?;
        if protected.alg != algorithm {
            return Err("the header of the signature names another algorithm");
        }
        // RFC 7515, section 4.1.11: a verifier rejects extensions that it does not know. It knows none.
        if protected.crit.is_some() {
            return Err("the header of the signature requires an extension");
        }
        let header =
            serde_json::from_slice(&header).map_err(|_| "the header of the signature does not identify its key")?;
        Ok(Self { header, payload, signed, signature })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn parse(text: &str) -> Result<Vec<u8>, &'static str> {
        UnverifiedJws::<Value>::parse(text, "ES256").map(|jws| jws.payload)
    }

    fn encode(text: &str) -> String {
        URL_SAFE_NO_PAD.encode(text)
    }

    #[test]
    fn only_the_expected_algorithm_is_accepted() {
        let payload = encode("{}");
        for (header, expected) in [
            (r#"{"alg":"ES256"}"#, None),
            (r#"{"alg":"none"}"#, Some("the header of the signature names another algorithm")),
            (r#"{"alg":"HS256"}"#, Some("the header of the signature names another algorithm")),
            (r#"{"alg":"es256"}"#, Some("the header of the signature names another algorithm")),
            (r#"{"alg":["ES256"]}"#, Some("the header of the signature names no algorithm")),
            (r#"{"alg":"ES256","alg":"none"}"#, Some("the header of the signature names no algorithm")),
            ("{}", Some("the header of the signature names no algorithm")),
            ("", Some("the header of the signature names no algorithm")),
            (r#"{"alg":"ES256","crit":["exp"]}"#, Some("the header of the signature requires an extension")),
        ] {
            let parsed = parse(&format!("{}.{payload}.c2ln", encode(header)));
            assert_eq!(parsed.err(), expected, "{header}");
        }
    }

    #[test]
    fn other_forms_are_rejected() {
        let header = encode(r#"{"alg":"ES256"}"#);
        for text in [
            String::new(),
            ".".to_owned(),
            "..".to_owned(),
            header.clone(),
            format!("{header}.e30"),
            format!("{header}.e30.e30.c2ln"),
            format!("{header}=.e30.c2ln"),
            format!("{header}.e30=.c2ln"),
            format!(" {header}.e30.c2ln"),
            format!("{header}.é.c2ln"),
            format!("{header}.{}.c2ln", "A".repeat(MAX_JWS_BYTES)),
        ] {
            assert!(parse(&text).is_err(), "{}", &text.chars().take(80).collect::<String>());
        }
        assert_eq!(parse(&format!("{header}.e30.")).unwrap(), b"{}", "the verifier rejects an empty signature");
    }
}
