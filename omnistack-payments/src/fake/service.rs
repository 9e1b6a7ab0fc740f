//! The fake as a payment service, at which a tenant can have an account.

use std::sync::Arc;

use omnistack_core::{
    money::Money,
    payment::{PaymentProvider, ProviderProfile},
    webhook::{DataEnvironment, SourceEvent, StandardSecret, WebhookRejection, WebhookRequest},
};
use secrecy::ExposeSecret as _;

use super::{
    FakeBank, FakeProvider, NAME, charge,
    delivery::describe,
    provider::{AccountBehavior, profile},
};
use crate::{
    service::{CredentialField, Credentials, FeeQuestion, InvalidCredentials, PaymentService},
    webhook_keys::{WEBHOOK_SECRET, secret_field, secrets},
};

/// The fields of the credentials.
const FIELDS: [CredentialField; 2] = [
    CredentialField {
        name: "api_key",
        label: "Key, a text that begins with fake_test_ or fake_live_",
        secret: true,
        required: true,
    },
    secret_field("Secret of the webhook, whsec_…"),
];
/// The name of the source of webhooks of tenants' own accounts.
const ACCOUNT_SOURCE: &str = "fake-account";

/// The built-in fake as a payment service. Its key is a text such as `fake_test_1`. All accounts of an environment
/// share one state. The keys `fake_test_unauthorized` and `fake_test_unavailable` are of accounts whose calls fail.
#[derive(Clone, Debug)]
pub struct FakeService {
    bank: FakeBank,
    name: &'static str,
}

impl FakeService {
    /// Creates the service `fake`.
    pub fn new(bank: FakeBank) -> Self {
        Self::named(bank, NAME)
    }

    /// Creates a service with another name and a state of its own, to test the choice between providers.
    pub fn named(bank: FakeBank, name: &'static str) -> Self {
        Self { bank, name }
    }
}

impl PaymentService for FakeService {
    fn name(&self) -> &'static str {
        self.name
    }

    fn profile(&self) -> ProviderProfile {
        profile()
    }

    fn fields(&self) -> &'static [CredentialField] {
        &FIELDS
    }

    fn connect(
        &self,
        environment: DataEnvironment,
        credentials: &Credentials,
    ) -> Result<Arc<dyn PaymentProvider>, InvalidCredentials> {
        let prefix = format!("fake_{environment}_");
        let key = credentials.0.get("api_key").map(|key| key.expose_secret()).unwrap_or_default();
        let Some(rest) = key.strip_prefix(&prefix).filter(|rest| !rest.is_empty()) else {
            let message = format!("the key of the environment `{environment}` begins with `{prefix}`");
            return Err(InvalidCredentials { field: "api_key", message });
        };
        let behavior = match rest {
            "unauthorized" => AccountBehavior::RejectsCredentials,
            "unavailable" => AccountBehavior::Unreachable,
            _ => AccountBehavior::Works,
        };
        let texts = secrets(credentials)?;
        let parsed: Result<Vec<_>, _> = texts.iter().map(|secret| StandardSecret::parse(secret)).collect();
        let webhook_secrets =
            parsed.map_err(|error| InvalidCredentials { field: WEBHOOK_SECRET, message: error.to_string() })?;
        let provider = FakeProvider::new(self.bank.clone(), self.name, environment).behaving(behavior);
        Ok(Arc::new(provider.with_webhook_secrets(webhook_secrets)))
    }

    fn account_source(&self) -> Option<&'static str> {
        (self.name == NAME).then_some(ACCOUNT_SOURCE)
    }

    fn describe_webhook(&self, request: &WebhookRequest<'_>) -> Result<SourceEvent, WebhookRejection> {
        describe(request)
    }

    fn estimate_fee(&self, question: &FeeQuestion) -> Option<Money> {
        Some(charge::fee(question.amount))
    }
}
