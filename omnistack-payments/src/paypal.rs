//! PayPal: orders, subscriptions and their events.
//!
//! Documentation: <https://developer.paypal.com/api/rest/>.
//!
//! An account whose customers approve each payment differs from one that charges cards:
//!
//! - PayPal has no customers. The id of a customer is computed from the app's reference, and is stored with each
//!   object.
//! - A payment is an *order*. The payer approves it on PayPal's page, and nothing is charged before the app takes the
//!   money. So [`PaymentProvider::payment`] takes the money of an approved order: PayPal's event
//!   `CHECKOUT.ORDER.APPROVED` leads there.
//! - An order can't be closed. One that the app has canceled is marked in its `custom_id`, and its money is not taken.
//! - Orders can't be found by a reference. Transactions can, three hours after they took place.
//! - A subscription can't be canceled at the end of its period. It is suspended instead, and the date is stored in its
//!   `custom_id`.

mod api;
mod custom_id;
mod disputes;
mod events;
mod fees;
mod orders;
mod provider;
mod sales;
mod subscriptions;
mod webhook;

use std::sync::Arc;

use omnistack_core::{
    BoxError,
    clock::Clock,
    data_environment::DataEnvironment,
    http::client::{Client, base_url},
    money::{Currency, Money},
    payment::{PaymentMethodKind, PaymentProvider, ProviderFeature, ProviderProfile},
    webhook::{SourceEvent, WebhookRejection, WebhookRequest},
};
use secrecy::{ExposeSecret as _, SecretString};

use self::{api::PayPalApi, provider::PayPalProvider};
use crate::service::{CredentialField, Credentials, FeeQuestion, InvalidCredentials, PaymentService};

/// The name of the service and of its providers.
const NAME: &str = "paypal";
/// The API for real money.
const LIVE_URL: &str = "https://api-m.paypal.com";
/// The API of the sandbox.
const TEST_URL: &str = "https://api-m.sandbox.paypal.com";
/// The currencies that accounts can receive: <https://developer.paypal.com/api/rest/reference/currency-codes/>.
const CURRENCIES: [Currency; 23] = [
    Currency::AUD,
    Currency::BRL,
    Currency::CAD,
    Currency::CHF,
    Currency::CNY,
    Currency::CZK,
    Currency::DKK,
    Currency::EUR,
    Currency::GBP,
    Currency::HKD,
    Currency::HUF,
    Currency::ILS,
    Currency::JPY,
    Currency::MXN,
    Currency::MYR,
    Currency::NOK,
    Currency::NZD,
    Currency::PHP,
    Currency::PLN,
    Currency::SEK,
    Currency::SGD,
    Currency::TWD,
    Currency::USD,
];

/// The name of the source of webhooks of tenants' own accounts.
const ACCOUNT_SOURCE: &str = "paypal-account";
/// The name of the field of credentials with the id of the account's webhook.
const WEBHOOK_ID: &str = "webhook_id";
/// The fields of credentials.
const FIELDS: &[CredentialField] = &[
    CredentialField { name: "client_id", label: "Client ID", secret: false, required: true },
    CredentialField { name: "client_secret", label: "Secret", secret: true, required: true },
    CredentialField { name: WEBHOOK_ID, label: "ID of the webhook", secret: false, required: false },
];

/// PayPal, as the service `paypal`.
#[derive(Clone, Debug)]
pub struct PayPalService {
    client: Client,
    clock: Clock,
    url: Option<String>,
}

impl PayPalService {
    /// Creates the service. An account calls the API of its environment.
    pub fn new(client: Client, clock: Clock) -> Self {
        Self { client, clock, url: None }
    }

    /// Sets the base URL of the API for the accounts of both environments, such as that of a test server.
    ///
    /// # Errors
    /// Fails with a description if the URL is invalid.
    pub fn api_url(self, url: &str) -> Result<Self, BoxError> {
        let url = base_url(url)?.as_str().trim_end_matches('/').to_owned();
        Ok(Self { url: Some(url), ..self })
    }
}

impl PaymentService for PayPalService {
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
        let client_id = field(credentials, "client_id")?.expose_secret().trim().to_owned();
        let client_secret = field(credentials, "client_secret")?.clone();
        let url = self.url.as_deref().unwrap_or(match environment {
            DataEnvironment::Live => LIVE_URL,
            DataEnvironment::Test => TEST_URL,
        });
        let api = PayPalApi::new(self.client.clone(), url, client_id, client_secret, self.clock.clone());
        let webhook_id = credentials.0.get(WEBHOOK_ID).map(|id| id.expose_secret().trim().to_owned());
        let webhook_id = webhook_id.filter(|id| !id.is_empty());
        Ok(Arc::new(PayPalProvider::new(api, environment, webhook_id)))
    }

    fn account_source(&self) -> Option<&'static str> {
        Some(ACCOUNT_SOURCE)
    }

    fn calls_to_verify_webhooks(&self) -> bool {
        true
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
    let message = "it is missing; create an app in PayPal's developer dashboard, which shows it";
    value.ok_or_else(|| InvalidCredentials { field: name, message: message.to_owned() })
}

fn profile() -> ProviderProfile {
    ProviderProfile {
        label: "PayPal",
        methods: vec![PaymentMethodKind::Paypal, PaymentMethodKind::Card],
        currencies: CURRENCIES.to_vec(),
        countries: Vec::new(),
        features: vec![
            ProviderFeature::ManualCapture,
            ProviderFeature::PartialRefund,
            ProviderFeature::Subscriptions,
            ProviderFeature::PauseSubscription,
        ],
    }
}
