//! A provider that takes every payment after a fixed time.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use omnistack_core::{
    async_trait,
    clock::Clock,
    data_environment::DataEnvironment,
    money::Money,
    payment::{
        NewCheckout, NewCustomer, NewPayment, NewRefund, PaymentError, PaymentMethodKind, PaymentProvider,
        PaymentStatus, ProviderCheckout, ProviderCustomer, ProviderEvent, ProviderPayment, ProviderProfile,
        ProviderRefund, StoredPaymentMethod,
    },
    webhook::InboundWebhook,
};
use omnistack_payments::{CredentialField, Credentials, FeeQuestion, InvalidCredentials, PaymentService};

/// The time of a call.
pub(crate) const PROVIDER_TIME: Duration = Duration::from_millis(50);

/// The real times of calls, by reference: a timer can be late.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProviderTimes(Arc<Mutex<HashMap<String, Duration>>>);

impl ProviderTimes {
    /// Removes and returns the time of the call with a reference.
    pub(crate) fn take(&self, reference: &str) -> Duration {
        self.0.lock().unwrap().remove(reference).unwrap_or_default()
    }
}

/// The service of the stub.
#[derive(Debug)]
pub(crate) struct StubService(ProviderTimes);

impl StubService {
    pub(crate) fn new(times: ProviderTimes) -> Self {
        Self(times)
    }
}

impl PaymentService for StubService {
    fn name(&self) -> &'static str {
        "stub"
    }

    fn profile(&self) -> ProviderProfile {
        profile()
    }

    fn fields(&self) -> &'static [CredentialField] {
        &[CredentialField { name: "api_key", label: "Key", secret: true, required: true }]
    }

    fn connect(
        &self,
        environment: DataEnvironment,
        _: &Credentials,
    ) -> Result<Arc<dyn PaymentProvider>, InvalidCredentials> {
        Ok(Arc::new(StubProvider { environment, times: self.0.clone() }))
    }

    fn estimate_fee(&self, question: &FeeQuestion) -> Option<Money> {
        Some(Money::new(30, question.amount.currency()))
    }
}

fn profile() -> ProviderProfile {
    ProviderProfile {
        label: "Stub",
        methods: vec![PaymentMethodKind::Card],
        currencies: Vec::new(),
        countries: Vec::new(),
        features: Vec::new(),
    }
}

#[derive(Debug)]
struct StubProvider {
    environment: DataEnvironment,
    times: ProviderTimes,
}

fn not_supported() -> PaymentError {
    PaymentError::NotSupported { provider: "stub", operation: "anything but payments" }
}

#[async_trait]
impl PaymentProvider for StubProvider {
    fn name(&self) -> &'static str {
        "stub"
    }

    fn environment(&self) -> DataEnvironment {
        self.environment
    }

    fn profile(&self) -> ProviderProfile {
        profile()
    }

    fn check_amount(&self, _: Money) -> Result<(), PaymentError> {
        Ok(())
    }

    async fn check(&self) -> Result<(), PaymentError> {
        Ok(())
    }

    fn event(&self, _: &InboundWebhook) -> Option<ProviderEvent> {
        None
    }

    async fn create_customer(&self, _: &NewCustomer) -> Result<ProviderCustomer, PaymentError> {
        Err(not_supported())
    }

    async fn create_checkout(&self, _: &NewCheckout) -> Result<ProviderCheckout, PaymentError> {
        Err(not_supported())
    }

    async fn checkout(&self, _: &str) -> Result<ProviderCheckout, PaymentError> {
        Err(not_supported())
    }

    async fn expire_checkout(&self, _: &str) -> Result<(), PaymentError> {
        Err(not_supported())
    }

    async fn create_payment(&self, new: &NewPayment) -> Result<ProviderPayment, PaymentError> {
        let began = Instant::now();
        tokio::time::sleep(PROVIDER_TIME).await;
        self.times.0.lock().unwrap().insert(new.reference.clone(), began.elapsed());
        let money = |minor| Money::new(minor, new.amount.currency());
        Ok(ProviderPayment {
            id: format!("stub_{}", new.reference),
            reference: Some(new.reference.clone()),
            status: PaymentStatus::Succeeded,
            amount: new.amount,
            captured: new.amount,
            refunded: money(0),
            fee: Some(money(30)),
            action_url: None,
            failure: None,
            subscription: None,
            created_at: Clock::system().now(),
        })
    }

    async fn payment(&self, _: &str) -> Result<ProviderPayment, PaymentError> {
        Err(not_supported())
    }

    async fn find_payment(&self, _: &str) -> Result<Option<ProviderPayment>, PaymentError> {
        Err(not_supported())
    }

    async fn capture_payment(&self, _: &str, _: Money, _: &str) -> Result<ProviderPayment, PaymentError> {
        Err(not_supported())
    }

    async fn cancel_payment(&self, _: &str, _: &str) -> Result<ProviderPayment, PaymentError> {
        Err(not_supported())
    }

    async fn refund_payment(&self, _: &str, _: &NewRefund) -> Result<ProviderRefund, PaymentError> {
        Err(not_supported())
    }

    async fn refunds(&self, _: &str) -> Result<Vec<ProviderRefund>, PaymentError> {
        Err(not_supported())
    }

    async fn payment_methods(&self, _: &str) -> Result<Vec<StoredPaymentMethod>, PaymentError> {
        Ok(Vec::new())
    }
}
