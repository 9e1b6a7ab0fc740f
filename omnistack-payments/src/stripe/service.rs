//! Stripe as a service at which an app or a tenant can have an account.

use std::sync::Arc;

use omnistack_core::{
    BoxError,
    data_environment::DataEnvironment,
    http::client::{Client, base_url},
    money::Money,
    payment::{PaymentMethodKind, PaymentProvider, ProviderFeature, ProviderProfile},
    webhook::{SourceEvent, WebhookRejection, WebhookRequest},
};
use reqwest::Url;
use secrecy::{ExposeSecret as _, SecretString};

use super::{NAME, api::StripeApi, fees, provider::StripeProvider, webhook};
use crate::{
    service::{CredentialField, Credentials, FeeQuestion, InvalidCredentials, PaymentService},
    webhook_keys::{WebhookKeys, secret_field},
};

const API_KEY: &str = "api_key";

/// The name of the source of webhooks of tenants' own accounts.
const ACCOUNT_SOURCE: &str = "stripe-account";

const FIELDS: &[CredentialField] = &[
    CredentialField {
        name: API_KEY,
        label: "Secret key or restricted key, sk_… or rk_…",
        secret: true,
        required: true,
    },
    secret_field("Signing secret of the webhook endpoint, whsec_…"),
];

/// Stripe.
///
/// ```no_run
/// use omnistack_core::{data_environment::DataEnvironment, http::client::ClientSettings};
/// use omnistack_payments::{Credentials, PaymentService, StripeService};
///
/// # fn main() -> Result<(), omnistack_core::BoxError> {
/// let client = ClientSettings::default().client()?;
/// let stripe = StripeService::new(client, "https://api.stripe.com")?;
/// let account = Credentials([("api_key".to_owned(), "sk_test_…".into())].into());
/// let provider = stripe.connect(DataEnvironment::Test, &account)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct StripeService {
    client: Client,
    base: Url,
}

impl StripeService {
    /// Creates the service. `api_url` is the base URL of Stripe's API: `https`, or `http` for this machine.
    ///
    /// # Errors
    /// Fails if the URL has another form.
    pub fn new(client: Client, api_url: &str) -> Result<Self, BoxError> {
        Ok(Self { client, base: base_url(api_url)? })
    }
}

impl PaymentService for StripeService {
    fn name(&self) -> &'static str {
        NAME
    }

    fn profile(&self) -> ProviderProfile {
        profile()
    }

    fn fields(&self) -> &'static [CredentialField] {
        FIELDS
    }

    fn connect(
        &self,
        environment: DataEnvironment,
        credentials: &Credentials,
    ) -> Result<Arc<dyn PaymentProvider>, InvalidCredentials> {
        let invalid = |message: String| InvalidCredentials { field: API_KEY, message };
        let key = credentials.0.get(API_KEY).ok_or_else(|| invalid("it is missing; expected sk_… or rk_…".into()))?;
        let of_key = key_environment(key).ok_or_else(|| {
            invalid("it is no secret key; expected sk_live_…, sk_test_…, rk_live_… or rk_test_…".into())
        })?;
        if of_key != environment {
            return Err(invalid(format!("it is of the {of_key} environment; expected a key of {environment}")));
        }
        let api = StripeApi::new(self.client.clone(), self.base.clone(), key.clone());
        Ok(Arc::new(StripeProvider::new(api, environment, WebhookKeys::read(credentials)?)))
    }

    fn account_source(&self) -> Option<&'static str> {
        Some(ACCOUNT_SOURCE)
    }

    fn describe_webhook(&self, request: &WebhookRequest<'_>) -> Result<SourceEvent, WebhookRejection> {
        webhook::describe(request)
    }

    fn estimate_fee(&self, question: &FeeQuestion) -> Option<Money> {
        fees::estimate(question)
    }
}

/// Returns what Stripe supports.
pub(super) fn profile() -> ProviderProfile {
    ProviderProfile {
        label: "Stripe",
        methods: vec![
            PaymentMethodKind::Card,
            PaymentMethodKind::SepaDebit,
            PaymentMethodKind::BankTransfer,
            PaymentMethodKind::Wallet,
        ],
        currencies: Vec::new(),
        countries: Vec::new(),
        features: vec![
            ProviderFeature::ManualCapture,
            ProviderFeature::PartialRefund,
            ProviderFeature::Subscriptions,
            ProviderFeature::ImmediateChange,
            ProviderFeature::PauseSubscription,
            ProviderFeature::Portal,
            ProviderFeature::MeterReports,
            ProviderFeature::Coupons,
        ],
    }
}

/// Returns the environment of a secret key. Returns `None` if it has another form.
fn key_environment(key: &SecretString) -> Option<DataEnvironment> {
    let key = key.expose_secret();
    if !key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return None;
    }
    let rest = key.strip_prefix("sk_").or_else(|| key.strip_prefix("rk_"))?;
    match rest.split_once('_')? {
        ("live", secret) if !secret.is_empty() => Some(DataEnvironment::Live),
        ("test", secret) if !secret.is_empty() => Some(DataEnvironment::Test),
        _ => None,
    }
}
