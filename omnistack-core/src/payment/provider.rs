//! The contract of payment providers.

use std::fmt;

use super::{
    CancelTime, ChangePreview, DisputePage, MeterReport, MeterReportOutcome, NewCheckout, NewCustomer, NewPayment,
    NewProviderSubscription, NewRefund, PaymentError, PaymentMethodKind, ProviderCheckout, ProviderCustomer,
    ProviderDispute, ProviderEvent, ProviderInvoice, ProviderPayment, ProviderRefund, ProviderSubscription,
    StoredPaymentMethod, SubscriptionChange,
};
use crate::{
    clock::Timestamp,
    data_environment::DataEnvironment,
    money::{Currency, Money},
    webhook::{InboundWebhook, WebhookRejection, WebhookRequest},
};
use async_trait::async_trait;

/// An operation that not every provider supports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ProviderFeature {
    /// Payments that are authorised first and captured later.
    ManualCapture,
    /// Refunds of a part of a payment.
    PartialRefund,
    /// Subscriptions that the provider bills.
    Subscriptions,
    /// Changes of a subscription that are charged at once.
    ImmediateChange,
    /// Pausing a subscription.
    PauseSubscription,
    /// A page on which customers manage their payment methods.
    Portal,
    /// Usage that the provider bills.
    MeterReports,
    /// Coupons with which subscriptions begin.
    Coupons,
}

/// The properties of a provider, for the choice between providers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderProfile {
    /// The name for users, such as `Stripe`.
    pub label: &'static str,
    /// The kinds of payment methods.
    pub methods: Vec<PaymentMethodKind>,
    /// The currencies. Empty if every currency is supported.
    pub currencies: Vec<Currency>,
    /// The countries of payers, as ISO 3166-1 alpha-2 in capitals. Empty if every country is supported.
    pub countries: Vec<&'static str>,
    /// The features.
    pub features: Vec<ProviderFeature>,
}

/// An account at a company that moves money, in one environment. See the [rules](crate::payment) of the contract.
#[async_trait]
pub trait PaymentProvider: fmt::Debug + Send + Sync + 'static {
    /// Returns the name, such as `stripe`. It is also the name of its [source](crate::webhook) of webhooks.
    fn name(&self) -> &'static str;

    /// Returns the environment that the credentials are of.
    fn environment(&self) -> DataEnvironment;

    /// Returns what the provider supports.
    fn profile(&self) -> ProviderProfile;

    /// Returns whether the provider can say this amount exactly.
    ///
    /// # Errors
    /// Fails with [`PaymentError::Rejected`], whose message says what would be accepted.
    fn check_amount(&self, amount: Money) -> Result<(), PaymentError>;

    /// Calls the provider to verify the credentials. It changes nothing.
    ///
    /// # Errors
    /// [`PaymentError::Unauthorized`] if the credentials are rejected.
    async fn check(&self) -> Result<(), PaymentError>;

    /// Returns what an event of the provider is about. Returns `None` if the event is of no concern.
    fn event(&self, webhook: &InboundWebhook) -> Option<ProviderEvent>;

    /// Verifies a webhook that was sent to the address of this account, by the secret of the account's own webhook.
    ///
    /// # Errors
    /// Fails with [`WebhookRejection::Unverified`] if the account has no such secret, or has not signed the webhook.
    async fn verify_webhook(&self, request: &WebhookRequest<'_>) -> Result<(), WebhookRejection> {
        let _ = request;
        Err(WebhookRejection::Unverified("the account has no secret for webhooks"))
    }

    /// Creates a customer.
    ///
    /// # Errors
    /// The errors of the port.
    async fn create_customer(&self, new: &NewCustomer) -> Result<ProviderCustomer, PaymentError>;

    /// Creates a checkout.
    ///
    /// # Errors
    /// The errors of the port.
    async fn create_checkout(&self, new: &NewCheckout) -> Result<ProviderCheckout, PaymentError>;

    /// Returns a checkout.
    ///
    /// # Errors
    /// [`PaymentError::NotFound`] if there is none.
    async fn checkout(&self, id: &str) -> Result<ProviderCheckout, PaymentError>;

    /// Closes an open checkout, so that it can't be paid any more.
    ///
    /// # Errors
    /// [`PaymentError::Rejected`] if it is complete.
    async fn expire_checkout(&self, id: &str) -> Result<(), PaymentError>;

    /// Creates a session of the page on which a customer manages payment methods, and returns its URL.
    ///
    /// # Errors
    /// [`PaymentError::NotSupported`] without [`ProviderFeature::Portal`].
    async fn create_portal(&self, customer: &str, return_url: &str) -> Result<String, PaymentError> {
        let _ = (customer, return_url);
        Err(PaymentError::NotSupported { provider: self.name(), operation: "a page for customers" })
    }

    /// Creates a payment.
    ///
    /// # Errors
    /// [`PaymentError::Declined`] if no money was moved; [`PaymentError::Unknown`] if it may have been.
    async fn create_payment(&self, new: &NewPayment) -> Result<ProviderPayment, PaymentError>;

    /// Returns a payment.
    ///
    /// # Errors
    /// [`PaymentError::NotFound`] if there is none.
    async fn payment(&self, id: &str) -> Result<ProviderPayment, PaymentError>;

    /// Finds the payment with the app's reference. Returns `None` only if the provider certainly has none.
    ///
    /// # Errors
    /// The errors of the port.
    async fn find_payment(&self, reference: &str) -> Result<Option<ProviderPayment>, PaymentError>;

    /// Takes the money of an authorised payment, or a part of it.
    ///
    /// # Errors
    /// [`PaymentError::NotSupported`] without [`ProviderFeature::ManualCapture`].
    async fn capture_payment(&self, id: &str, amount: Money, key: &str) -> Result<ProviderPayment, PaymentError>;

    /// Cancels a payment whose money was not taken.
    ///
    /// # Errors
    /// [`PaymentError::Rejected`] if the money was taken.
    async fn cancel_payment(&self, id: &str, key: &str) -> Result<ProviderPayment, PaymentError>;

    /// Sends the money of a payment back, or a part of it.
    ///
    /// # Errors
    /// [`PaymentError::Rejected`] if more would be sent back than was taken.
    async fn refund_payment(&self, id: &str, new: &NewRefund) -> Result<ProviderRefund, PaymentError>;

    /// Returns the refunds of a payment.
    ///
    /// # Errors
    /// The errors of the port.
    async fn refunds(&self, payment: &str) -> Result<Vec<ProviderRefund>, PaymentError>;

    /// Returns a dispute.
    ///
    /// # Errors
    /// [`PaymentError::NotFound`] if there is none, and [`PaymentError::NotSupported`] if the provider can't be asked:
    /// then lost disputes are not in the ledger of the module of payments.
    async fn dispute(&self, id: &str) -> Result<ProviderDispute, PaymentError> {
        let _ = id;
        Err(PaymentError::NotSupported { provider: self.name(), operation: "reading disputes" })
    }

    /// Returns a page of the disputes that were opened since a time, in any order, for those whose webhook was lost.
    /// `page` is the token that the page before has stated for the same time, or `None` for the first page. The same
    /// dispute may be on two pages if another one is opened meanwhile.
    ///
    /// # Errors
    /// [`PaymentError::NotSupported`] if the provider does not list disputes; [`PaymentError::Rejected`] or
    /// [`PaymentError::NotFound`] if the token is no longer valid.
    async fn disputes(&self, since: Timestamp, page: Option<&str>) -> Result<DisputePage, PaymentError> {
        let _ = (since, page);
        Err(PaymentError::NotSupported { provider: self.name(), operation: "listing disputes" })
    }

    /// Returns the stored payment methods of a customer.
    ///
    /// # Errors
    /// The errors of the port.
    async fn payment_methods(&self, customer: &str) -> Result<Vec<StoredPaymentMethod>, PaymentError>;

    /// Creates a subscription.
    ///
    /// # Errors
    /// [`PaymentError::NotSupported`] without [`ProviderFeature::Subscriptions`].
    async fn create_subscription(&self, new: &NewProviderSubscription) -> Result<ProviderSubscription, PaymentError> {
        let _ = new;
        Err(no_subscriptions(self.name()))
    }

    /// Returns a subscription.
    ///
    /// # Errors
    /// [`PaymentError::NotFound`] if there is none.
    async fn subscription(&self, id: &str) -> Result<ProviderSubscription, PaymentError> {
        let _ = id;
        Err(no_subscriptions(self.name()))
    }

    /// Finds the subscription with the app's reference. Returns `None` only if the provider certainly has none.
    ///
    /// # Errors
    /// The errors of the port.
    async fn find_subscription(&self, reference: &str) -> Result<Option<ProviderSubscription>, PaymentError> {
        let _ = reference;
        Err(no_subscriptions(self.name()))
    }

    /// Returns what a change of a subscription would cost. It changes nothing.
    ///
    /// # Errors
    /// The errors of the port.
    async fn preview_change(&self, id: &str, change: &SubscriptionChange) -> Result<ChangePreview, PaymentError> {
        let _ = (id, change);
        Err(no_subscriptions(self.name()))
    }

    /// Changes the price or the quantity of a subscription. A change that must be paid first is in
    /// [`ProviderSubscription::pending_change`].
    ///
    /// # Errors
    /// [`PaymentError::Declined`] if the payment of the change was declined and nothing was changed.
    async fn change_subscription(
        &self,
        id: &str,
        change: &SubscriptionChange,
    ) -> Result<ProviderSubscription, PaymentError> {
        let _ = (id, change);
        Err(no_subscriptions(self.name()))
    }

    /// Cancels a subscription now or at the end of its period.
    ///
    /// # Errors
    /// The errors of the port.
    async fn cancel_subscription(
        &self,
        id: &str,
        when: CancelTime,
        key: &str,
    ) -> Result<ProviderSubscription, PaymentError> {
        let _ = (id, when, key);
        Err(no_subscriptions(self.name()))
    }

    /// Takes back a planned cancellation, or resumes a paused subscription.
    ///
    /// # Errors
    /// The errors of the port.
    async fn resume_subscription(&self, id: &str, key: &str) -> Result<ProviderSubscription, PaymentError> {
        let _ = (id, key);
        Err(no_subscriptions(self.name()))
    }

    /// Removes the coupons of a subscription, so that its next invoices are not reduced. A subscription without a coupon
    /// stays as it is.
    ///
    /// # Errors
    /// [`PaymentError::NotSupported`] if the provider can't remove coupons.
    async fn remove_coupon(&self, id: &str, key: &str) -> Result<ProviderSubscription, PaymentError> {
        let _ = (id, key);
        Err(PaymentError::NotSupported { provider: self.name(), operation: "removing coupons" })
    }

    /// Pauses the collection of payments.
    ///
    /// # Errors
    /// [`PaymentError::NotSupported`] without [`ProviderFeature::PauseSubscription`].
    async fn pause_subscription(&self, id: &str, key: &str) -> Result<ProviderSubscription, PaymentError> {
        let _ = (id, key);
        Err(PaymentError::NotSupported { provider: self.name(), operation: "pausing subscriptions" })
    }

    /// Returns an invoice.
    ///
    /// # Errors
    /// [`PaymentError::NotFound`] if there is none.
    async fn invoice(&self, id: &str) -> Result<ProviderInvoice, PaymentError> {
        let _ = id;
        Err(PaymentError::NotSupported { provider: self.name(), operation: "invoices" })
    }

    /// Returns the newest invoices of a customer, at most `limit`.
    ///
    /// # Errors
    /// The errors of the port.
    async fn invoices(&self, customer: &str, limit: u32) -> Result<Vec<ProviderInvoice>, PaymentError> {
        let _ = (customer, limit);
        Ok(Vec::new())
    }

    /// Reports usage.
    ///
    /// # Errors
    /// [`PaymentError::NotSupported`] without [`ProviderFeature::MeterReports`].
    async fn report_usage(&self, report: &MeterReport) -> Result<MeterReportOutcome, PaymentError> {
        let _ = report;
        Err(PaymentError::NotSupported { provider: self.name(), operation: "reports of usage" })
    }
}

fn no_subscriptions(provider: &'static str) -> PaymentError {
    PaymentError::NotSupported { provider, operation: "subscriptions" }
}
