//! Samples: webhooks that a developer sends to the app in place of a provider.

use http::{HeaderMap, HeaderName, HeaderValue};
use secrecy::ExposeSecret as _;

use super::{WebhookRejection, WebhookRequest};
use crate::{
    config::Config,
    crypto::{KeyRing, SealContext, Sha256},
    http::HttpSettings,
    module::Context,
};

/// The header of a sample from a provider whose key only the provider has.
const SAMPLE_HEADER: HeaderName = HeaderName::from_static("x-omnistack-webhook-sample");

/// The signer and verifier of samples, with the keys of `SECRET_KEYS`, outside production.
#[derive(Clone, Debug)]
pub(crate) struct SampleKeys(KeyRing);

impl SampleKeys {
    /// Returns the keys of an app. Returns `None` if it accepts no samples: in production, without keys, and with keys
    /// that are public, such as those for development, unless only this machine can reach the app.
    pub(crate) fn of_app(ctx: &Context) -> Option<Self> {
        let config = ctx.get::<Config>().ok().filter(|config| !config.environment().is_production())?;
        let keys = ctx.get::<KeyRing>().ok()?;
        let is_local = || config.read_settings::<HttpSettings>().is_ok_and(|http| http.host.is_loopback());
        (keys.weak_key().is_none() || is_local()).then_some(Self(keys))
    }

    /// Returns the header of a sample. Returns `None` if it can't be created.
    #[cfg_attr(not(feature = "cli"), expect(dead_code, reason = "the command `webhooks send` signs samples"))]
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
