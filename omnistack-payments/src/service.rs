//! The contract of payment services: companies at which an app or a tenant can have an account.

use std::{collections::BTreeMap, fmt, sync::Arc};

use omnistack_core::{
    data_environment::DataEnvironment,
    money::Money,
    payment::{PaymentMethodKind, PaymentProvider, ProviderProfile},
    webhook::{SourceEvent, WebhookRejection, WebhookRequest},
};
use secrecy::SecretString;

/// A field of the credentials of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CredentialField {
    /// The name, such as `api_key`.
    pub name: &'static str,
    /// The text for users, such as `Secret key, sk_…`.
    pub label: &'static str,
    /// Whether the value is never shown.
    pub secret: bool,
    /// Whether an account can't be used without it.
    pub required: bool,
}

/// The credentials of an account at a service, by the names of the [fields](CredentialField).
#[derive(Clone, Default)]
pub struct Credentials(pub BTreeMap<String, SecretString>);

/// Shows the names of the fields.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// The error of credentials that can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}`: {message}")]
pub struct InvalidCredentials {
    /// The name of the field.
    pub field: &'static str,
    /// The reason, and what is expected.
    pub message: String,
}

/// A payment whose fee is estimated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeeQuestion {
    /// The amount.
    pub amount: Money,
    /// The kind of payment method.
    pub method: PaymentMethodKind,
    /// The country of the payer, as ISO 3166-1 alpha-2 in capitals, if it is known.
    pub country: Option<String>,
}

/// A payment service: a company at which an app or a tenant can have an account. It creates the
/// [`PaymentProvider`] of an account from its credentials.
pub trait PaymentService: fmt::Debug + Send + Sync + 'static {
    /// Returns the name, such as `stripe`. It is the name of its providers.
    fn name(&self) -> &'static str;

    /// Returns what the service supports.
    fn profile(&self) -> ProviderProfile;

    /// Returns the fields of the credentials.
    fn fields(&self) -> &'static [CredentialField];

    /// Creates the provider of an account. It makes no call.
    ///
    /// # Errors
    /// Fails if a field is missing, has the wrong form, or is of the other environment.
    fn connect(
        &self,
        environment: DataEnvironment,
        credentials: &Credentials,
    ) -> Result<Arc<dyn PaymentProvider>, InvalidCredentials>;

    /// Returns the name of the source of webhooks that tenants' own accounts send, such as `stripe-account`. Its
    /// requests are verified by [`PaymentProvider::verify_webhook`]. Returns `None` if there is none.
    fn account_source(&self) -> Option<&'static str> {
        None
    }

    /// Returns whether [`PaymentProvider::verify_webhook`] makes a call with the credentials of the account.
    fn calls_to_verify_webhooks(&self) -> bool {
        false
    }

    /// Describes the event in a verified webhook of a tenant's own account. Its tenant and its environment are those of
    /// the account.
    ///
    /// # Errors
    /// Fails with [`WebhookRejection::Malformed`] if the body has no event.
    fn describe_webhook(&self, request: &WebhookRequest<'_>) -> Result<SourceEvent, WebhookRejection> {
        let _ = request;
        Err(WebhookRejection::Malformed("the service has no webhooks".to_owned()))
    }

    /// Estimates the fee of a payment by the public prices of the service. Returns `None` if there is no price for it.
    fn estimate_fee(&self, question: &FeeQuestion) -> Option<Money>;
}
