//! Public keys that issuers publish (RFC 7517).

use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;

/// The maximum number of keys in a set.
const MAX_KEYS: usize = 100;

/// A public key. Its type and curve decide the algorithm, and the header of a token must name the same.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) id: Option<String>,
    algorithm: Algorithm,
    public: DecodingKey,
}

impl Key {
    /// Returns whether this key verifies signatures of the algorithm that a header names.
    pub(crate) fn supports_algorithm(&self, algorithm: &str) -> bool {
        match self.algorithm {
            Algorithm::RS256 => algorithm == "RS256",
            Algorithm::ES256 => algorithm == "ES256",
            // `Ed25519` is the name in RFC 9864; RFC 8037 names it `EdDSA`.
            Algorithm::EdDSA => algorithm == "EdDSA" || algorithm == "Ed25519",
            _ => false,
        }
    }

    /// Returns whether the signature is valid.
    pub(crate) fn verifies(&self, message: &[u8], signature: &str) -> bool {
        jsonwebtoken::crypto::verify(signature, message, &self.public, self.algorithm).unwrap_or(false)
    }
}

/// Parses a key set. Keys for other algorithms or other uses are skipped.
///
/// # Errors
/// Returns a message if the document is not a key set or has more than 100 keys.
pub(crate) fn parse_key_set(json: &[u8]) -> Result<Vec<Key>, &'static str> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<serde_json::Value>,
    }
    let set: Set = serde_json::from_slice(json).map_err(|_| "not a key set")?;
    if set.keys.len() > MAX_KEYS {
        return Err("a key set with more than 100 keys");
    }
    Ok(set
        .keys
        .into_iter()
        .filter_map(|key| serde_json::from_value(key).ok())
        .filter_map(JsonWebKey::into_key)
        .collect())
}

/// A JSON Web Key as it is published.
#[derive(Deserialize)]
struct JsonWebKey {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    #[serde(default)]
    x: String,
    #[serde(default)]
    y: String,
    #[serde(default)]
    n: String,
    #[serde(default)]
    e: String,
    /// Present in private keys only.
    d: Option<serde::de::IgnoredAny>,
}

impl JsonWebKey {
    fn into_key(self) -> Option<Key> {
        let signs = self.purpose.as_deref().is_none_or(|purpose| purpose == "sig")
            && self.key_ops.as_ref().is_none_or(|uses| uses.iter().any(|of| of == "verify"));
        // A published private key is not secret, so its signatures prove nothing. Symmetric keys (`oct`) are skipped
        // below.
        if !signs || self.d.is_some() {
            return None;
        }
        let (algorithm, public) = match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => {
                let (n, e) = (decode_base64url(&self.n)?, decode_base64url(&self.e)?);
                let bits = n.iter().skip_while(|byte| **byte == 0).count() * 8;
                let fits = (2048..=8192).contains(&bits) && e.len() <= 4;
                (Algorithm::RS256, fits.then(|| DecodingKey::from_rsa_raw_components(&n, &e))?)
            }
            ("EC", Some("P-256")) => {
                let fits = decode_base64url(&self.x)?.len() == 32 && decode_base64url(&self.y)?.len() == 32;
                (Algorithm::ES256, fits.then(|| DecodingKey::from_ec_components(&self.x, &self.y).ok())??)
            }
            ("OKP", Some("Ed25519")) => {
                let fits = decode_base64url(&self.x)?.len() == 32;
                (Algorithm::EdDSA, fits.then(|| DecodingKey::from_ed_components(&self.x).ok())??)
            }
            _ => return None,
        };
        let key = Key { id: self.kid, algorithm, public };
        // A key for RS512 does not verify RS256.
        self.alg.as_deref().is_none_or(|alg| key.supports_algorithm(alg)).then_some(key)
    }
}

fn decode_base64url(text: &str) -> Option<Vec<u8>> {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    URL_SAFE_NO_PAD.decode(text).ok()
}
