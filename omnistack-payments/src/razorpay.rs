//! Razorpay: payment links, orders, subscriptions and their events.
//!
//! Documentation: <https://razorpay.com/docs/api/>.
//!
//! - A payment on Razorpay's page is a *payment link*, one by a stored payment method or in a checkout of the app is an
//!   *order*. Both are found by the app's reference at once, and each takes money at most once. Razorpay's API has no
//!   idempotency keys for them, so the app looks for the reference before it creates one.
//! - A subscription has a finite number of periods, and is complete after the last one. So
//!   [`PaymentProvider::subscription`] adds periods to one that is near its end.

mod api;
mod callback;
mod disputes;
mod events;
mod fees;
mod links;
mod offers;
mod payments;
mod provider;
mod refunds;
mod subscriptions;
mod webhook;

use std::sync::Arc;

use omnistack_core::{
    BoxError,
    clock::Clock,
    data_environment::DataEnvironment,
    http::client::{Client, base_url},
    money::Money,
    payment::{PaymentMethodKind, PaymentProvider, ProviderFeature, ProviderProfile},
    webhook::{SourceEvent, WebhookRejection, WebhookRequest},
};
use secrecy::{ExposeSecret as _, SecretString};

pub use self::callback::RazorpayCallback;
use self::{api::RazorpayApi, provider::RazorpayProvider};
use crate::{
    service::{CredentialField, Credentials, FeeQuestion, InvalidCredentials, PaymentService},
    webhook_keys::{WebhookKeys, secret_field},
};

/// The name of the service and of its providers.
const NAME: &str = "razorpay";
/// The API of both environments: the key says which one it is of.
const API_URL: &str = "https://api.razorpay.com";

/// The name of the source of webhooks of tenants' own accounts.
const ACCOUNT_SOURCE: &str = "razorpay-account";
/// The fields of credentials.
const FIELDS: &[CredentialField] = &[
    CredentialField { name: "key_id", label: "Key id, rzp_…", secret: false, required: true },
    CredentialField { name: "key_secret", label: "Key secret", secret: true, required: true },
    secret_field("Secret of the webhook, which is not the key secret"),
];

/// Razorpay, as the service `razorpay`.
#[derive(Clone, Debug)]
pub struct RazorpayService {
    client: Client,
    clock: Clock,
    url: String,
}

impl RazorpayService {
    /// Creates the service.
    pub fn new(client: Client, clock: Clock) -> Self {
        Self { client, clock, url: API_URL.to_owned() }
    }

    /// Sets the base URL of the API, such as that of a test server.
    ///
    /// # Errors
    /// Fails with a description if the URL is invalid.
    pub fn api_url(self, url: &str) -> Result<Self, BoxError> {
        let url = base_url(url)?.as_str().trim_end_matches('/').to_owned();
        Ok(Self { url, ..self })
    }
}

impl PaymentService for RazorpayService {
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
        let key_id = field(credentials, "key_id")?.expose_secret().trim().to_owned();
        let prefix = match environment {
            DataEnvironment::Live => "rzp_live_",
            DataEnvironment::Test => "rzp_test_",
        };
        if !key_id.starts_with(prefix) {
            let message = format!("it is not of the environment `{environment}`, whose keys begin with `{prefix}`");
            return Err(InvalidCredentials { field: "key_id", message });
        }
        let key_secret = field(credentials, "key_secret")?.clone();
        let api = RazorpayApi::new(self.client.clone(), &self.url, key_id, key_secret, self.clock.clone());
        Ok(Arc::new(RazorpayProvider::new(api, environment, WebhookKeys::read(credentials)?)))
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

fn field<'a>(credentials: &'a Credentials, name: &'static str) -> Result<&'a SecretString, InvalidCredentials> {
    let value = credentials.0.get(name).filter(|value| !value.expose_secret().trim().is_empty());
    let message = "it is missing; create a key under Account & Settings in Razorpay's dashboard, which shows it once";
    value.ok_or_else(|| InvalidCredentials { field: name, message: message.to_owned() })
}

fn profile() -> ProviderProfile {
    ProviderProfile {
        label: "Razorpay",
        methods: vec![
            PaymentMethodKind::Card,
            PaymentMethodKind::Upi,
            PaymentMethodKind::NetBanking,
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
            ProviderFeature::Coupons,
        ],
    }
}
