//! The fake as a payment provider.

mod calls;
mod convert;

use omnistack_core::{
    clock::Timestamp,
    payment::{PaymentError, PaymentMethodKind, ProviderFeature, ProviderProfile},
    webhook::{DataEnvironment, StandardSecret},
};

use super::{
    FakeBank, FakeFault,
    account::{FakeAccount, FakeTx},
    payments::{lost_response, unreachable_provider},
};

/// The behaviour of an account, chosen by its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AccountBehavior {
    Works,
    /// Each call fails as one with a wrong key.
    RejectsCredentials,
    /// No call reaches the provider.
    Unreachable,
}

/// An account at the built-in fake: see [`FakeBank`]. Cheap to clone.
#[derive(Clone, Debug)]
pub struct FakeProvider {
    bank: FakeBank,
    name: &'static str,
    environment: DataEnvironment,
    behavior: AccountBehavior,
    /// The secrets of the account's own webhook.
    webhook_secrets: Vec<StandardSecret>,
}

impl FakeProvider {
    pub(super) fn new(bank: FakeBank, name: &'static str, environment: DataEnvironment) -> Self {
        Self { bank, name, environment, behavior: AccountBehavior::Works, webhook_secrets: Vec::new() }
    }

    pub(super) fn behaving(mut self, behavior: AccountBehavior) -> Self {
        self.behavior = behavior;
        self
    }

    pub(super) fn with_webhook_secrets(mut self, secrets: Vec<StandardSecret>) -> Self {
        self.webhook_secrets = secrets;
        self
    }

    /// Makes the changes that are due at a time, of all accounts: see [`FakeBank::advance`].
    ///
    /// # Errors
    /// [`PaymentError::Unavailable`] if the database fails.
    pub async fn advance(&self, now: Timestamp) -> Result<u64, PaymentError> {
        self.bank.advance(now).await
    }

    /// Returns the number of payments that have taken money for a reference: see [`FakeBank::charges`].
    ///
    /// # Errors
    /// [`PaymentError::Unavailable`] if the database fails.
    pub async fn charges(&self, reference: &str) -> Result<usize, PaymentError> {
        self.bank.charges(reference).await
    }

    fn account(&self) -> FakeAccount {
        FakeAccount { service: self.name.to_owned(), environment: self.environment }
    }

    async fn begin(&self) -> Result<FakeTx, PaymentError> {
        FakeTx::begin(&self.bank, self.account()).await
    }

    async fn begin_read(&self) -> Result<FakeTx, PaymentError> {
        FakeTx::begin_read(&self.bank, self.account()).await
    }

    /// Makes a call that changes something, with the faults of the account and of the test.
    fn change<T>(
        &self,
        call: impl Future<Output = Result<T, PaymentError>> + Send,
    ) -> impl Future<Output = Result<T, PaymentError>> + Send {
        // The future of a call is large.
        let call = Box::pin(call);
        async move {
            self.check_account()?;
            match self.bank.take_fault(self.name) {
                None => call.await,
                Some(FakeFault::Unavailable) => Err(unreachable_provider()),
                Some(FakeFault::RequestLost) => Err(lost_response()),
                Some(FakeFault::ResponseLost) => {
                    // The app learns nothing, not even of a rejection.
                    _ = call.await;
                    Err(lost_response())
                }
            }
        }
    }

    /// Makes a call that reads. After any fault, the provider counts as unavailable.
    fn read<T>(
        &self,
        call: impl Future<Output = Result<T, PaymentError>> + Send,
    ) -> impl Future<Output = Result<T, PaymentError>> + Send {
        // The future of a call is large.
        let call = Box::pin(call);
        async move {
            self.check_account()?;
            match self.bank.take_fault(self.name) {
                None => call.await,
                Some(_) => Err(unreachable_provider()),
            }
        }
    }

    fn check_account(&self) -> Result<(), PaymentError> {
        match self.behavior {
            AccountBehavior::Works => Ok(()),
            AccountBehavior::RejectsCredentials => {
                let message = "the key of the fake is made to be rejected; use another key".to_owned();
                Err(PaymentError::Unauthorized { message })
            }
            AccountBehavior::Unreachable => Err(unreachable_provider()),
        }
    }
}

/// Returns what the fake supports: everything.
pub(super) fn profile() -> ProviderProfile {
    ProviderProfile {
        label: "Fake",
        methods: vec![
            PaymentMethodKind::Card,
            PaymentMethodKind::SepaDebit,
            PaymentMethodKind::BankTransfer,
            PaymentMethodKind::Wallet,
            PaymentMethodKind::Paypal,
            PaymentMethodKind::Upi,
            PaymentMethodKind::NetBanking,
            PaymentMethodKind::Other,
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
