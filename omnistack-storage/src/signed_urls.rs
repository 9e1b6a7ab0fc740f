//! Signed URLs that the app creates and serves itself, for providers that have none.

use omnistack_core::{
    ExposeSecret as _,
    clock::{Clock, Timestamp},
    crypto::{KeyRing, SealContext},
    http::Method,
};
use serde::{Deserialize, Serialize};

use crate::{
    Error, ErrorKind, ObjectKey,
    object::{PresignRequest, PresignedRequest},
};

/// The path under which signed URLs are served.
pub(crate) const SIGNED_URL_PATH: &str = "/api/v1/public/files/links";

/// A signer and verifier of signed URLs that the app serves itself. What a URL allows is encrypted and authenticated
/// with the app's [`KeyRing`], so clients can neither read nor change it.
///
/// ```
/// use std::time::Duration;
///
/// use omnistack_core::{clock::Clock, crypto::KeyRing};
/// use omnistack_storage::{UrlSigner, Memory, Storage};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), omnistack_storage::Error> {
/// let ring: KeyRing = KeyRing::new_key("example").parse()?;
/// let links = UrlSigner::new(ring, Clock::system(), "https://app.example.com");
/// let storage = Storage::new(Memory::default().url_signer(links));
/// let signed = storage.presign_get(&"exports/7.csv".parse()?, Duration::from_secs(600)).await?;
/// assert!(signed.url.starts_with("https://app.example.com/api/v1/public/files/links/"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct UrlSigner {
    ring: KeyRing,
    clock: Clock,
    base: String,
}

/// The operation that a signed URL allows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SignedUrlClaims {
    #[serde(rename = "m")]
    method: String,
    #[serde(rename = "k")]
    key: String,
    /// Seconds since 1970-01-01T00:00:00Z.
    #[serde(rename = "e")]
    expires: i64,
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    pub(crate) content_type: Option<String>,
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub(crate) size: Option<u64>,
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    pub(crate) disposition: Option<String>,
}

impl SignedUrlClaims {
    pub(crate) fn key(&self) -> Result<ObjectKey, Error> {
        Ok(self.key.parse()?)
    }
}

fn seal_context() -> SealContext {
    SealContext::row("storage", "link", 1)
}

impl UrlSigner {
    /// Creates signed URLs that begin with the public URL of the app, such as `https://app.example.com`.
    pub fn new(ring: KeyRing, clock: Clock, public_url: &str) -> Self {
        Self { ring, clock, base: format!("{}{SIGNED_URL_PATH}", public_url.trim_end_matches('/')) }
    }

    /// Creates a signed URL. Fails if the duration is not 1 second to 7 days.
    pub(crate) fn sign(&self, request: &PresignRequest) -> Result<PresignedRequest, Error> {
        request.check()?;
        let expires = (self.clock.now() + request.expires_in).as_seconds();
        let allowed = SignedUrlClaims {
            method: request.method.to_string(),
            key: request.key.to_string(),
            expires,
            content_type: request.content_type.clone(),
            size: request.size,
            disposition: request.content_disposition.clone(),
        };
        let text = serde_json::to_vec(&allowed).map_err(|error| Error::new(ErrorKind::Other, error))?;
        let url = format!("{}/{}", self.base, self.ring.seal(text, &seal_context())?);
        let expires_at = Timestamp::from_micros(expires.saturating_mul(1_000_000));
        let signed = PresignedRequest::new(request.method.clone(), url, expires_at);
        Ok(match &request.content_type {
            Some(content_type) if request.method == Method::PUT => signed.header("content-type", content_type.clone()),
            _ => signed,
        })
    }

    /// Returns what a signed URL allows. Returns `None` if it is invalid, has expired or is for another method.
    pub(crate) fn verify(&self, token: &str, method: &Method) -> Option<SignedUrlClaims> {
        let opened = self.ring.open(token, &seal_context()).ok()?;
        let allowed: SignedUrlClaims = serde_json::from_slice(opened.expose_secret()).ok()?;
        (allowed.method == method.as_str() && self.clock.now().as_seconds() < allowed.expires).then_some(allowed)
    }
}
