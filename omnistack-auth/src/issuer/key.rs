//! Keys an issuer publishes (RFC 7517).

use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;

/// The most keys a set may have.
const MOST: usize = 100;

/// A public key. What it verifies is its own to say: its type and curve decide, a token's header has to agree.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) id: Option<String>,
    algorithm: Algorithm,
    public: DecodingKey,
}

impl Key {
    /// Whether a header that names this algorithm can mean this key.
    pub(super) fn is_for(&self, algorithm: &str) -> bool {
        match self.algorithm {
            Algorithm::RS256 => algorithm == "RS256",
            Algorithm::ES256 => algorithm == "ES256",
            // RFC 8037, and RFC 9864, which gives it its own name.
            Algorithm::EdDSA => algorithm == "EdDSA" || algorithm == "Ed25519",
            _ => false,
        }
    }

    pub(super) fn verifies(&self, message: &[u8], signature: &str) -> bool {
        jsonwebtoken::crypto::verify(signature, message, &self.public, self.algorithm).unwrap_or(false)
    }
}

/// The keys of a set; what is for other algorithms or other uses is left out.
///
/// # Errors
/// It is no set, or one larger than anybody's.
pub(super) fn read_set(json: &[u8]) -> Result<Vec<Key>, &'static str> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<serde_json::Value>,
    }
    let set: Set = serde_json::from_slice(json).map_err(|_| "no key set")?;
    if set.keys.len() > MOST {
        return Err("a key set with more than 100 keys");
    }
    Ok(set.keys.into_iter().filter_map(|key| serde_json::from_value(key).ok()).filter_map(Published::usable).collect())
}

/// A key as it is published.
#[derive(Deserialize)]
struct Published {
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
    /// A private key's.
    d: Option<serde::de::IgnoredAny>,
}

impl Published {
    fn usable(self) -> Option<Key> {
        let signs = self.purpose.as_deref().is_none_or(|purpose| purpose == "sig")
            && self.key_ops.as_ref().is_none_or(|uses| uses.iter().any(|of| of == "verify"));
        // Whoever publishes a private key has signed nothing with it that counts; a shared one (`oct`) is no secret here.
        if !signs || self.d.is_some() {
            return None;
        }
        let (algorithm, public) = match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => {
                let (n, e) = (bytes(&self.n)?, bytes(&self.e)?);
                let bits = n.iter().skip_while(|byte| **byte == 0).count() * 8;
                let fits = (2048..=8192).contains(&bits) && e.len() <= 4;
                (Algorithm::RS256, fits.then(|| DecodingKey::from_rsa_raw_components(&n, &e))?)
            }
            ("EC", Some("P-256")) => {
                let fits = bytes(&self.x)?.len() == 32 && bytes(&self.y)?.len() == 32;
                (Algorithm::ES256, fits.then(|| DecodingKey::from_ec_components(&self.x, &self.y).ok())??)
            }
            ("OKP", Some("Ed25519")) => {
                let fits = bytes(&self.x)?.len() == 32;
                (Algorithm::EdDSA, fits.then(|| DecodingKey::from_ed_components(&self.x).ok())??)
            }
            _ => return None,
        };
        let key = Key { id: self.kid, algorithm, public };
        // A key for RS512 is none for RS256.
        self.alg.as_deref().is_none_or(|alg| key.is_for(alg)).then_some(key)
    }
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    URL_SAFE_NO_PAD.decode(text).ok()
}
