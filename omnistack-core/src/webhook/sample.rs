//! Samples: webhooks that a developer sends to the app in place of a provider.

use http::{HeaderMap, HeaderName, HeaderValue};
use secrecy::ExposeSecret as _;

use super::{WebhookRejection, WebhookRequest};
use crate::crypto::{KeyRing, SealContext, Sha256};

/// The header of a sample from a provider whose key only the provider has.
const SAMPLE_HEADER: HeaderName = HeaderName::from_static("x-omnistack-webhook-sample");

/// Signs and verifies samples with the keys of `SECRET_KEYS`, outside production.
#[derive(Clone, Debug)]
pub(crate) struct SampleKeys(KeyRing);

impl SampleKeys {
    pub(crate) fn new(keys: KeyRing) -> Self {
        Self(keys)
    }

    /// Returns the header of a sample. Returns `None` if it can't be created.
    pub(crate) fn sign(&self, source: &str, body: &[u8]) -> Option<HeaderMap> {
        let sealed = self.0.seal(Sha256::digest(body).as_bytes(), &place(source)).ok()?;
        Some(HeaderMap::from_iter([(SAMPLE_HEADER, HeaderValue::try_from(sealed).ok()?)]))
    }

    /// Returns the result of the verification if the request has the header of a sample.
    pub(super) fn verify(&self, source: &str, request: &WebhookRequest<'_>) -> Option<Result<(), WebhookRejection>> {
        let sealed = request.header(SAMPLE_HEADER.as_str())?;
        let opened = self.0.open(sealed, &place(source)).ok();
        let matches = opened.is_some_and(|opened| opened.expose_secret() == Sha256::digest(request.body).as_bytes());
        Some(matches.then_some(()).ok_or(WebhookRejection::Unverified("the sample is not signed with SECRET_KEYS")))
    }
}

fn place(source: &str) -> SealContext {
    SealContext::row("webhook_samples", "signature", source)
}
