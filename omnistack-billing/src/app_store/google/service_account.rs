//! The service account with which the app authenticates at Google.
//!
//! Documentation: <https://developers.google.com/identity/protocols/oauth2/service-account>.

use std::fmt;

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{RSA_PKCS1_SHA256, RsaKeyPair},
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use omnistack_core::{clock::Timestamp, http::client};
use serde::Deserialize;
use serde_json::json;

/// The permission that the app asks for.
const SCOPE: &str = "https://www.googleapis.com/auth/androidpublisher";
/// Seconds for which an assertion is valid, the most that Google accepts.
const VALID_SECONDS: i64 = 60 * 60;
/// Seconds by which an assertion is issued in the past, because clocks differ.
const LEEWAY_SECONDS: i64 = 30;

/// A service account and its private key.
pub(super) struct ServiceAccount {
    email: String,
    key_id: String,
    key: RsaKeyPair,
    token_url: String,
}

/// The JSON file of a key.
#[derive(Deserialize)]
struct ServiceAccountFile {
    client_email: String,
    private_key: String,
    #[serde(default)]
    private_key_id: String,
    token_uri: String,
}

impl ServiceAccount {
    /// Reads the JSON of a key.
    ///
    /// # Errors
    /// Returns what is wrong with it.
    pub(super) fn parse(json: &str) -> Result<Self, &'static str> {
        let file: ServiceAccountFile =
            serde_json::from_str(json).map_err(|_| "it is not the JSON of the key of a service account")?;
        let token_url = client::base_url(&file.token_uri).map_err(|_| "its `token_uri` is not a URL with https")?;
        let key = private_key(&file.private_key).ok_or("its `private_key` is not an RSA key in PEM")?;
        Ok(Self { email: file.client_email, key_id: file.private_key_id, key, token_url: token_url.into() })
    }

    /// Returns the URL at which an assertion is exchanged for an access token.
    pub(super) fn token_url(&self) -> &str {
        &self.token_url
    }

    /// Returns a signed assertion, which is valid for an hour. Returns `None` if the key can't sign.
    pub(super) fn assertion(&self, now: Timestamp) -> Option<String> {
        let part = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let issued = now.as_seconds() - LEEWAY_SECONDS;
        let header = part(&json!({ "alg": "RS256", "typ": "JWT", "kid": self.key_id }));
        let claims = part(&json!({
            "iss": self.email, "scope": SCOPE, "aud": self.token_url, "iat": issued, "exp": issued + VALID_SECONDS,
        }));
        let signed = format!("{header}.{claims}");
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).ok()?;
        Some(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

/// Parses an RSA key in PEM.
fn private_key(pem: &str) -> Option<RsaKeyPair> {
    let (_, rest) = pem.split_once("-----BEGIN ")?;
    let (label, rest) = rest.split_once("-----")?;
    let (text, _) = rest.split_once("-----END ")?;
    let der = STANDARD.decode(text.split_whitespace().collect::<String>()).ok()?;
    match label {
        "PRIVATE KEY" => RsaKeyPair::from_pkcs8(&der).ok(),
        "RSA PRIVATE KEY" => RsaKeyPair::from_der(&der).ok(),
        _ => None,
    }
}

impl fmt::Debug for ServiceAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceAccount").field("email", &self.email).finish_non_exhaustive()
    }
}
