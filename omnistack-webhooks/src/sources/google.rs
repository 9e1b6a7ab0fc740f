//! Real-time developer notifications of Google Play, which Pub/Sub pushes.
//!
//! Pub/Sub sends `Authorization: Bearer JWT`, which Google has signed for the service account of the push subscription.
//! It uses a token for several requests within its hour, so it is the id of the message that shows a repetition. The
//! token does not sign the body: a token that was captured can send any message until it expires.
//!
//! A notification names a purchase by its token and says nothing about its state. A handler asks the Google Play
//! Developer API for it.

mod keys;
mod notification;
mod token;

use async_trait::async_trait;
use omnistack_core::{
    clock::Timestamp,
    http::client,
    module::Registry,
    settings,
    webhook::{SourceEvent, WebhookRejection, WebhookRequest, WebhookSource},
};

use self::{
    keys::GoogleKeys,
    notification::PlayNotification,
    token::{ExpectedPush, PushToken},
};

settings! {
    /// Webhooks of Google Play.
    pub(crate) struct GooglePlaySettings {
        /// Package name of the app, such as `com.example.app`. Turns the source `google-play` on.
        pub(crate) package: Option<String> = "WEBHOOKS_GOOGLE_PACKAGE";
        /// Email address of the service account with which the push subscription authenticates. Required if
        /// WEBHOOKS_GOOGLE_PACKAGE is set.
        pub(crate) service_account: Option<String> = "WEBHOOKS_GOOGLE_SERVICE_ACCOUNT";
        /// Audience of the push subscription. Without it, the URL that Pub/Sub calls, as PUBLIC_URL names it.
        pub(crate) audience: Option<String> = "WEBHOOKS_GOOGLE_AUDIENCE";
        /// URL of Google's public keys.
        pub(crate) keys_url: String = "WEBHOOKS_GOOGLE_KEYS_URL", default "https://www.googleapis.com/oauth2/v3/certs";
    }
}

/// Registers the source `google-play` if a package name is set.
pub(crate) fn register(registry: &mut Registry) {
    let Some(settings) = registry.config::<GooglePlaySettings>() else { return };
    let Some(package) = settings.package else { return };
    let Some(service_account) = settings.service_account else {
        let what = "`WEBHOOKS_GOOGLE_PACKAGE` is set without `WEBHOOKS_GOOGLE_SERVICE_ACCOUNT`, so the sender of a \
                    notification can't be verified";
        let fix = "set WEBHOOKS_GOOGLE_SERVICE_ACCOUNT to the service account of the Pub/Sub push subscription";
        registry.report_problem(what, fix);
        return;
    };
    let url = match client::base_url(&settings.keys_url) {
        Ok(url) => url,
        Err(error) => {
            let fix = "remove it: the default is Google's own address";
            registry.report_problem(format!("`WEBHOOKS_GOOGLE_KEYS_URL` is invalid: {error}"), fix);
            return;
        }
    };
    if settings.audience.is_none() {
        registry.require_public_url("the audience of Pub/Sub's tokens");
    }
    let Some(client) = registry.settings_client() else { return };
    let keys = GoogleKeys::new(url, client, registry.clock());
    let source = GooglePlaySource { package, service_account, audience: settings.audience, keys };
    registry.webhook_source("google-play", move |_| Ok(source));
}

/// The source `google-play`.
#[derive(Debug)]
pub(crate) struct GooglePlaySource {
    package: String,
    service_account: String,
    /// The audience of the tokens, unless it is the URL of the request.
    audience: Option<String>,
    keys: GoogleKeys,
}

impl GooglePlaySource {
    fn expected<'a>(&'a self, request: &WebhookRequest<'a>) -> ExpectedPush<'a> {
        let url = request.url.split_once('?').map_or(request.url, |(url, _)| url);
        ExpectedPush {
            audience: self.audience.as_deref().unwrap_or(url),
            service_account: &self.service_account,
            now: request.now,
        }
    }
}

#[async_trait]
impl WebhookSource for GooglePlaySource {
    async fn verify(&self, request: &WebhookRequest<'_>) -> Result<(), WebhookRejection> {
        let token = request
            .header("authorization")
            .and_then(token::bearer)
            .ok_or(WebhookRejection::Unverified("the header Authorization has no bearer token"))?;
        let token = PushToken::parse(token).map_err(WebhookRejection::Unverified)?;
        // The claims are checked first, so that a token which is invalid anyway can't cause a request for the keys.
        token.check_claims(&self.expected(request)).map_err(WebhookRejection::Unverified)?;
        let key = self.keys.find(token.key_id()).await.map_err(|error| WebhookRejection::Unavailable(error.into()))?;
        let key = key.ok_or(WebhookRejection::Unverified("the token names no key of Google"))?;
        if !token.is_signed_by(&key) {
            return Err(WebhookRejection::Unverified("no signature matches"));
        }
        if PlayNotification::read(request.body)?.package() == Some(&self.package) {
            Ok(())
        } else {
            Err(WebhookRejection::Unverified("sent for another package"))
        }
    }

    fn describe(&self, request: &WebhookRequest<'_>) -> Result<SourceEvent, WebhookRejection> {
        PlayNotification::read(request.body)?.describe()
    }
}

/// Parses bytes as a key set, as a token and as the body of a request, for fuzz targets. Returns the event, if there is
/// one.
pub(crate) fn parse_all(input: &[u8], now: Timestamp) -> Option<SourceEvent> {
    let keys = keys::parse_key_set(input).unwrap_or_default();
    if let Some(token) = str::from_utf8(input).ok().and_then(token::bearer)
        && let Ok(token) = PushToken::parse(token)
    {
        _ = token.check_claims(&ExpectedPush { audience: "", service_account: "", now });
        _ = keys.iter().any(|(id, key)| id == token.key_id() && token.is_signed_by(key));
    }
    PlayNotification::read(input).ok()?.describe().ok()
}
