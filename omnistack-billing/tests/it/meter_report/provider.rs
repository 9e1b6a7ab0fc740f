//! A payment provider in memory that bills usage.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
};

use omnistack_core::{
    async_trait,
    module::{Module, Registry},
    money::Money,
    payment::{
        MeterReport, MeterReportOutcome, NewCheckout, NewCustomer, NewPayment, NewRefund, PaymentError,
        PaymentProvider, PaymentProviders, ProviderCheckout, ProviderCustomer, ProviderEvent, ProviderFeature,
        ProviderPayment, ProviderProfile, ProviderRefund, StoredPaymentMethod,
    },
    usage::DataEnvironment,
    webhook::InboundWebhook,
};

/// The beginning of a printed report that was counted.
pub(crate) const COUNTED: &str = "counted by the provider: ";

/// A provider that bills usage, and answers as it is told.
#[derive(Clone, Debug, Default)]
pub(crate) struct MeteredProvider(Arc<Mutex<MeteredState>>);

#[derive(Debug, Default)]
pub(crate) struct MeteredState {
    /// The reports that count, by their identifiers.
    pub(crate) counted: BTreeMap<String, MeterReport>,
    /// The number of calls.
    calls: usize,
    answers: VecDeque<MeterAnswer>,
    /// Whether the reports that are counted are printed, for the process that has started this one.
    pub(crate) prints_counted: bool,
}

/// The answer to a report.
#[derive(Clone, Copy, Debug)]
pub(crate) enum MeterAnswer {
    /// The report is counted, and the answer is lost.
    Lost,
    /// The report is counted, and the process ends.
    Killed,
    /// The report is not counted, and no answer arrives.
    NoAnswer,
    /// The provider can't be reached.
    Unavailable,
    /// The provider rejects the report.
    Rejected,
}

impl MeteredProvider {
    pub(crate) fn state(&self) -> MutexGuard<'_, MeteredState> {
        self.0.lock().unwrap()
    }

    pub(crate) fn answer(&self, answers: impl IntoIterator<Item = MeterAnswer>) {
        self.state().answers.extend(answers);
    }

    /// Returns the amounts that count, in the order of the reports.
    pub(crate) fn counted(&self) -> Vec<String> {
        self.state().counted.values().map(|report| report.value.clone()).collect()
    }

    pub(crate) fn calls(&self) -> usize {
        self.state().calls
    }
}

fn no_payments<T>() -> Result<T, PaymentError> {
    Err(PaymentError::NotSupported { provider: "metered", operation: "payments" })
}

#[async_trait]
impl PaymentProvider for MeteredProvider {
    fn name(&self) -> &'static str {
        "metered"
    }

    fn environment(&self) -> DataEnvironment {
        DataEnvironment::Live
    }

    fn profile(&self) -> ProviderProfile {
        ProviderProfile {
            label: "Metered",
            methods: Vec::new(),
            currencies: Vec::new(),
            countries: Vec::new(),
            features: vec![ProviderFeature::MeterReports],
        }
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
        no_payments()
    }

    async fn create_checkout(&self, _: &NewCheckout) -> Result<ProviderCheckout, PaymentError> {
        no_payments()
    }

    async fn checkout(&self, _: &str) -> Result<ProviderCheckout, PaymentError> {
        no_payments()
    }

    async fn expire_checkout(&self, _: &str) -> Result<(), PaymentError> {
        no_payments()
    }

    async fn create_payment(&self, _: &NewPayment) -> Result<ProviderPayment, PaymentError> {
        no_payments()
    }

    async fn payment(&self, _: &str) -> Result<ProviderPayment, PaymentError> {
        no_payments()
    }

    async fn find_payment(&self, _: &str) -> Result<Option<ProviderPayment>, PaymentError> {
        no_payments()
    }

    async fn capture_payment(&self, _: &str, _: Money, _: &str) -> Result<ProviderPayment, PaymentError> {
        no_payments()
    }

    async fn cancel_payment(&self, _: &str, _: &str) -> Result<ProviderPayment, PaymentError> {
        no_payments()
    }

    async fn refund_payment(&self, _: &str, _: &NewRefund) -> Result<ProviderRefund, PaymentError> {
        no_payments()
    }

    async fn refunds(&self, _: &str) -> Result<Vec<ProviderRefund>, PaymentError> {
        no_payments()
    }

    async fn payment_methods(&self, _: &str) -> Result<Vec<StoredPaymentMethod>, PaymentError> {
        no_payments()
    }

    async fn report_usage(&self, report: &MeterReport) -> Result<MeterReportOutcome, PaymentError> {
        let mut state = self.state();
        state.calls += 1;
        let answer = state.answers.pop_front();
        let message = String::from("scripted");
        match answer {
            Some(MeterAnswer::NoAnswer) => return Err(PaymentError::Unknown { message }),
            Some(MeterAnswer::Unavailable) => return Err(PaymentError::Unavailable { message, retry_after: None }),
            Some(MeterAnswer::Rejected) => return Err(PaymentError::Rejected { code: None, message }),
            Some(MeterAnswer::Lost | MeterAnswer::Killed) | None => {}
        }
        let is_known = state.counted.insert(report.identifier.clone(), report.clone()).is_some();
        if state.prints_counted {
            println!("{COUNTED}{} {}", report.identifier, report.value);
        }
        drop(state);
        match answer {
            Some(MeterAnswer::Killed) => panic!("the process ends"),
            Some(_) => Err(PaymentError::Unknown { message }),
            None if is_known => Ok(MeterReportOutcome::AlreadyCounted),
            None => Ok(MeterReportOutcome::Counted),
        }
    }
}

/// The module that has the provider.
pub(crate) struct TestProvider(pub(crate) MeteredProvider);

impl Module for TestProvider {
    fn name(&self) -> &'static str {
        "test-provider"
    }

    fn register(&self, registry: &mut Registry) {
        let provider: Arc<dyn PaymentProvider> = Arc::new(self.0.clone());
        registry.provide(PaymentProviders::new([provider]));
    }
}
