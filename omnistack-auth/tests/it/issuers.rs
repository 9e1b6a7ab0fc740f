//! Tests of tokens of external issuers: validation, unavailable issuers, and the resolution of users.

mod attacks;
mod keys;
pub(crate) mod peers;
mod providers;
mod users;
mod webhooks;

use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::{
    encoding::AsBigEndian as _,
    rand::SystemRandom,
    rsa::{KeyPair as RsaKeyPair, KeySize},
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
        UnparsedPublicKey,
    },
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use omnistack_auth::Auth;
use omnistack_core::crypto::HmacKey;
use omnistack_testkit::{
    TestApp, TestDatabase, TestResponse,
    mock_server::{MockResponse, MockServer},
};
use serde_json::{Value, json};

pub(crate) const ME: &str = "/api/v1/app/users/me";
/// The required audience of tokens: the app's `PUBLIC_URL`.
pub(crate) const AUDIENCE: &str = "http://127.0.0.1:8080";
/// The time of the test clock, 2030-01-01, as a Unix time in seconds.
pub(crate) const NOW: i64 = 1_893_456_000;

pub(crate) fn base64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A key pair of an issuer, generated for the test.
pub(crate) enum TestKeyPair {
    Rsa(Box<RsaKeyPair>),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

impl TestKeyPair {
    pub(crate) fn rsa() -> Self {
        Self::Rsa(Box::new(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()))
    }

    pub(crate) fn ec() -> Self {
        Self::Ec(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    pub(crate) fn ed() -> Self {
        Self::Ed(Ed25519KeyPair::generate().unwrap())
    }

    pub(crate) fn algorithm(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "RS256",
            Self::Ec(_) => "ES256",
            Self::Ed(_) => "EdDSA",
        }
    }

    /// Returns the public key as a JWK.
    pub(crate) fn jwk(&self, kid: &str) -> Value {
        match self {
            Self::Rsa(pair) => {
                let public = pair.public_key();
                let (n, e) = (public.modulus().big_endian_without_leading_zero(), public.exponent());
                let (n, e) = (base64(n), base64(e.big_endian_without_leading_zero()));
                json!({ "kty": "RSA", "kid": kid, "use": "sig", "alg": "RS256", "n": n, "e": e })
            }
            Self::Ec(pair) => {
                let point: aws_lc_rs::encoding::EcPublicKeyUncompressedBin<'_> =
                    pair.public_key().as_be_bytes().unwrap();
                let both = &point.as_ref()[1..];
                json!({ "kty": "EC", "crv": "P-256", "kid": kid, "x": base64(&both[..32]), "y": base64(&both[32..]) })
            }
            Self::Ed(pair) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "kid": kid, "x": base64(pair.public_key().as_ref()) })
            }
        }
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).unwrap();
                signature
            }
            Self::Ec(pair) => pair.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec(),
            Self::Ed(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }

    /// Returns a valid token.
    pub(crate) fn token(&self, kid: &str, claims: &Value) -> String {
        let header = json!({ "alg": self.algorithm(), "kid": kid, "typ": "JWT" });
        self.raw(&header.to_string(), &claims.to_string())
    }

    /// Returns a token with exactly this header and these claims.
    pub(crate) fn raw(&self, header: &str, claims: &str) -> String {
        let message = format!("{}.{}", base64(header), base64(claims));
        let signature = self.sign(message.as_bytes());
        format!("{message}.{}", base64(signature))
    }
}

/// Returns a token signed with a shared secret.
pub(crate) fn shared(secret: impl AsRef<[u8]>, header: &Value, claims: &Value) -> String {
    let message = format!("{}.{}", base64(header.to_string()), base64(claims.to_string()));
    let signature = HmacKey::new(secret).unwrap().sign(&message);
    format!("{message}.{}", signature.to_base64_url())
}

/// Returns the claims of a valid token of a new subject.
pub(crate) fn claims(issuer: &str) -> Value {
    static SUBJECTS: AtomicU64 = AtomicU64::new(0);
    let subject = format!("subject-{}", SUBJECTS.fetch_add(1, Ordering::Relaxed));
    json!({ "iss": issuer, "sub": subject, "aud": AUDIENCE, "iat": NOW - 5, "exp": NOW + 300 })
}

/// Returns the claims with changes. `null` removes a claim.
pub(crate) fn with(mut claims: Value, changes: Value) -> Value {
    for (name, value) in changes.as_object().unwrap() {
        let claims = claims.as_object_mut().unwrap();
        if value.is_null() {
            claims.remove(name)
        } else {
            claims.insert(name.clone(), value.clone())
        };
    }
    claims
}

pub(crate) fn key_set(keys: &[Value]) -> MockResponse {
    MockResponse::json(200, json!({ "keys": keys }).to_string())
}

/// Serves the configuration with the URL of the keys.
pub(crate) fn serve_configuration(upstream: &MockServer) {
    let configuration = json!({ "issuer": upstream.url(), "jwks_uri": format!("{}/keys", upstream.url()) });
    let reply = MockResponse::json(200, configuration.to_string());
    upstream.expect("GET", "/.well-known/openid-configuration").times(..).reply(reply);
}

/// Starts an issuer with these keys.
pub(crate) async fn issuer(keys: &[Value]) -> MockServer {
    let upstream = MockServer::start().await;
    serve_configuration(&upstream);
    upstream.expect("GET", "/keys").times(..).reply(key_set(keys));
    upstream
}

/// Returns the number of requests for the keys.
pub(crate) fn fetches(upstream: &MockServer) -> usize {
    upstream.requests().iter().filter(|request| request.path == "/keys").count()
}

pub(crate) async fn start(database: TestDatabase, auth: Auth) -> TestApp {
    TestApp::start_with_auth(database, |app| app.with(auth)).await
}

pub(crate) async fn me(app: &TestApp, token: &str) -> TestResponse {
    app.client_with_token(token).get(ME).await
}

#[test]
fn the_tests_keys_sign_what_others_verify() {
    let pair = TestKeyPair::rsa();
    let TestKeyPair::Rsa(rsa) = &pair else { unreachable!() };
    let public = UnparsedPublicKey::new(&aws_lc_rs::signature::RSA_PKCS1_2048_8192_SHA256, rsa.public_key());
    public.verify(b"message", &pair.sign(b"message")).unwrap();
}
