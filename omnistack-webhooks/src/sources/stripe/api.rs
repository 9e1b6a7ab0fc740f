//! Calls to the API of Stripe.

use omnistack_core::{http::client::RequestBuilder, module::Registry};
use secrecy::{ExposeSecret as _, SecretString};

use crate::sources::{provider_api::ProviderApi, settings::StripeWebhookSettings};

/// The API of Stripe, with the key of `WEBHOOKS_STRIPE_API_KEY`.
pub(super) struct StripeApi {
    api: ProviderApi,
    key: SecretString,
}

impl StripeApi {
    /// Creates the API of the settings. Returns `None` if they have no key, or after a problem was reported.
    pub(super) fn from_settings(registry: &mut Registry, settings: &StripeWebhookSettings) -> Option<Self> {
        let key = settings.api_key.clone()?;
        let api = ProviderApi::from_setting(registry, "WEBHOOKS_STRIPE_API_URL", &settings.api_url)?;
        Some(Self { api, key })
    }

    /// Begins a request.
    pub(super) fn get(&self, path: &str, query: &[(&str, &str)]) -> RequestBuilder {
        self.api.get(path, query).bearer_auth(self.key.expose_secret())
    }
}
