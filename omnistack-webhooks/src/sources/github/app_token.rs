//! The token with which a GitHub App authenticates: a JWT that it signs itself.
//!
//! Documentation: <https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app>.

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{RSA_PKCS1_SHA256, RsaKeyPair},
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use omnistack_core::{BoxError, clock::Timestamp};

/// Seconds for which a token is valid. GitHub refuses more than ten minutes.
const VALID_SECONDS: i64 = 9 * 60;
/// Seconds by which a token is issued in the past, because clocks differ.
const LEEWAY_SECONDS: i64 = 60;

/// The private key of a GitHub App.
pub(super) struct AppKey {
    id: String,
    key: RsaKeyPair,
}

impl AppKey {
    /// Parses a key in PEM, `RSA PRIVATE KEY` or `PRIVATE KEY`. Line breaks may be written as `\n`. Returns `None` if
    /// it is not an RSA key, or if the id is not a number or a client id.
    pub(super) fn parse(id: &str, pem: &str) -> Option<Self> {
        if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return None;
        }
        let pem = pem.replace("\\n", "\n");
        let (_, rest) = pem.split_once("-----BEGIN ")?;
        let (label, rest) = rest.split_once("-----")?;
        let (text, _) = rest.split_once("-----END ")?;
        let der = STANDARD.decode(text.split_whitespace().collect::<String>()).ok()?;
        let key = match label {
            "RSA PRIVATE KEY" => RsaKeyPair::from_der(&der),
            "PRIVATE KEY" => RsaKeyPair::from_pkcs8(&der),
            _ => return None,
        };
        Some(Self { id: id.to_owned(), key: key.ok()? })
    }

    /// Returns a token that is valid for nine minutes.
    pub(super) fn token(&self, now: Timestamp) -> Result<String, BoxError> {
        let now = now.as_seconds();
        let (issued, expires) = (now - LEEWAY_SECONDS, now + VALID_SECONDS);
        let claims = format!(r#"{{"iat":{issued},"exp":{expires},"iss":"{}"}}"#, self.id);
        let part = |json: &str| URL_SAFE_NO_PAD.encode(json);
        let signed = format!("{}.{}", part(r#"{"alg":"RS256","typ":"JWT"}"#), part(&claims));
        let mut signature = vec![0; self.key.public_modulus_len()];
        let made = self.key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature);
        made.map_err(|_| "the private key of the GitHub App could not sign")?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::{
        encoding::AsDer as _,
        rsa::{KeyPair, KeySize},
        signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey},
    };

    use super::*;

    #[test]
    fn tokens_are_signed_by_the_key() {
        let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let body = STANDARD.encode(pair.as_der().unwrap().as_ref());
        let pem = format!("-----BEGIN PRIVATE KEY-----\\n{body}\\n-----END PRIVATE KEY-----\\n");
        let key = AppKey::parse("123", &pem).unwrap();
        let token = key.token("2030-01-01T00:00:00Z".parse().unwrap()).unwrap();
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair.public_key().as_ref());
        public.verify(signed.as_bytes(), &signature).unwrap();
        let claims = URL_SAFE_NO_PAD.decode(signed.split_once('.').unwrap().1).unwrap();
        assert_eq!(claims, br#"{"iat":1893455940,"exp":1893456540,"iss":"123"}"#);

        for (id, pem) in [("", pem.as_str()), ("1\"", &pem), ("1", "x"), ("1", "-----BEGIN A-----AA==-----END A-----")]
        {
            assert!(AppKey::parse(id, pem).is_none(), "{id}");
        }
    }
}
