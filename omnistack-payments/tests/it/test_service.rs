//! A payment service of the tests, which moves no money and answers as its credentials say.

#![cfg(test)]

use std::sync::Arc;

use omnistack_core::{
    app::AppBuilder,
    async_trait,
    data_environment::DataEnvironment,
    http::Method,
    identity::TenantId,
    money::{Currency, Money},
    payment::{
        NewCheckout, NewCustomer, NewPayment, NewRefund, PaymentError, PaymentMethodKind, PaymentProvider,
        ProviderCheckout, ProviderCustomer, ProviderEvent, ProviderPayment, ProviderProfile, ProviderRefund,
        StoredPaymentMethod,
    },
    webhook::InboundWebhook,
};
use omnistack_payments::{CredentialField, Credentials, FeeQuestion, InvalidCredentials, PaymentService, Payments};
use omnistack_testkit::{TestApp, TestClient, TestDatabase, TestResponse};
use secrecy::ExposeSecret as _;
use serde::Serialize;

pub(crate) const SERVICES: &str = "/api/v1/app/services";

/// Starts an app with the services `acme`, which takes 3 %, and `bolt`, which takes 1 % and only US dollars.
pub(crate) async fn start(database: TestDatabase, more: impl FnOnce(AppBuilder) -> AppBuilder) -> TestApp {
    let acme = TestService { name: "acme", percent: 3, currencies: vec![] };
    let bolt = TestService { name: "bolt", percent: 1, currencies: vec![Currency::USD] };
    TestApp::start(database, |app| more(app.with(Payments::from_env().service(acme).service(bolt)))).await
}

pub(crate) fn tenant(client: &TestClient) -> TenantId {
    client.identity().unwrap().tenant.unwrap()
}

pub(crate) async fn put(client: &TestClient, path: impl AsRef<str>, body: impl Serialize) -> TestResponse {
    client.request(Method::PUT, path).json(body).await
}

/// Stores credentials of the client's tenant.
pub(crate) async fn store_key(client: &TestClient, service: &str, environment: &str) {
    let body = serde_json::json!({ "fields": { "api_key": format!("{service}_{environment}_1") } });
    put(client, format!("{SERVICES}/{service}/credentials/{environment}"), body).await.expect(200);
}

/// A service whose keys begin with its name and the environment. A key that ends with `_bad` is rejected when it is
/// checked.
#[derive(Debug)]
pub(crate) struct TestService {
    pub(crate) name: &'static str,
    pub(crate) percent: i64,
    pub(crate) currencies: Vec<Currency>,
}

impl TestService {
    fn profile_of(&self) -> ProviderProfile {
        ProviderProfile {
            label: "Test service",
            methods: vec![PaymentMethodKind::Card],
            currencies: self.currencies.clone(),
            countries: vec![],
            features: vec![],
        }
    }
}

impl PaymentService for TestService {
    fn name(&self) -> &'static str {
        self.name
    }

    fn profile(&self) -> ProviderProfile {
        self.profile_of()
    }

    fn fields(&self) -> &'static [CredentialField] {
        &[CredentialField { name: "api_key", label: "Secret key", secret: true, required: true }]
    }

    fn connect(
        &self,
        environment: DataEnvironment,
        credentials: &Credentials,
    ) -> Result<Arc<dyn PaymentProvider>, InvalidCredentials> {
        let key = credentials.0.get("api_key").map(|key| key.expose_secret().to_owned()).unwrap_or_default();
        if !key.starts_with(&format!("{}_{environment}_", self.name)) {
            let message = format!("must begin with `{}_{environment}_`", self.name);
            return Err(InvalidCredentials { field: "api_key", message });
        }
        Ok(Arc::new(TestProvider { name: self.name, environment, key, profile: self.profile_of() }))
    }

    fn estimate_fee(&self, question: &FeeQuestion) -> Option<Money> {
        Some(Money::new(question.amount.minor() * self.percent / 100, question.amount.currency()))
    }
}

#[derive(Debug)]
struct TestProvider {
    name: &'static str,
    environment: DataEnvironment,
    key: String,
    profile: ProviderProfile,
}

fn unsupported<T>() -> Result<T, PaymentError> {
    Err(PaymentError::NotSupported { provider: "test", operation: "this" })
}

#[async_trait]
impl PaymentProvider for TestProvider {
    fn name(&self) -> &'static str {
        self.name
    }

    fn environment(&self) -> DataEnvironment {
        self.environment
    }

    fn profile(&self) -> ProviderProfile {
        self.profile.clone()
    }

    fn check_amount(&self, _: Money) -> Result<(), PaymentError> {
        Ok(())
    }

    async fn check(&self) -> Result<(), PaymentError> {
        if self.key.ends_with("_bad") {
            return Err(PaymentError::Unauthorized { message: "no such key".into() });
        }
        Ok(())
    }

    fn event(&self, _: &InboundWebhook) -> Option<ProviderEvent> {
        None
    }

    async fn create_customer(&self, _: &NewCustomer) -> Result<ProviderCustomer, PaymentError> {
        unsupported()
    }

    async fn create_checkout(&self, _: &NewCheckout) -> Result<ProviderCheckout, PaymentError> {
        unsupported()
    }

    async fn checkout(&self, _: &str) -> Result<ProviderCheckout, PaymentError> {
        unsupported()
    }

    async fn expire_checkout(&self, _: &str) -> Result<(), PaymentError> {
        unsupported()
    }

    async fn create_payment(&self, _: &NewPayment) -> Result<ProviderPayment, PaymentError> {
        unsupported()
    }

    async fn payment(&self, _: &str) -> Result<ProviderPayment, PaymentError> {
        unsupported()
    }

    async fn find_payment(&self, _: &str) -> Result<Option<ProviderPayment>, PaymentError> {
        Ok(None)
    }

    async fn capture_payment(&self, _: &str, _: Money, _: &str) -> Result<ProviderPayment, PaymentError> {
        unsupported()
    }

    async fn cancel_payment(&self, _: &str, _: &str) -> Result<ProviderPayment, PaymentError> {
        unsupported()
    }

    async fn refund_payment(&self, _: &str, _: &NewRefund) -> Result<ProviderRefund, PaymentError> {
        unsupported()
    }

    async fn refunds(&self, _: &str) -> Result<Vec<ProviderRefund>, PaymentError> {
        Ok(vec![])
    }

    async fn payment_methods(&self, _: &str) -> Result<Vec<StoredPaymentMethod>, PaymentError> {
        Ok(vec![])
    }
}
