//! An account at Stripe.

use async_trait::async_trait;
use omnistack_core::{
    clock::Timestamp,
    data_environment::DataEnvironment,
    money::Money,
    payment::{
        CancelTime, ChangePreview, DisputePage, MeterReport, MeterReportOutcome, NewCheckout, NewCustomer, NewPayment,
        NewProviderSubscription, NewRefund, PaymentError, PaymentProvider, ProviderCheckout, ProviderCustomer,
        ProviderDispute, ProviderEvent, ProviderInvoice, ProviderPayment, ProviderProfile, ProviderRefund,
        ProviderSubscription, StoredPaymentMethod, SubscriptionChange,
    },
    webhook::{InboundWebhook, WebhookRejection, WebhookRequest},
};
use serde_json::json;

use super::{NAME, api::StripeApi, event::event_of, service::profile, webhook};
use crate::{
    webhook_keys::WebhookKeys,
    wire::{WireForm, to_minor_units},
};

/// An account at Stripe, in one environment.
#[derive(Debug)]
pub(super) struct StripeProvider {
    api: StripeApi,
    environment: DataEnvironment,
    /// The keys of the account's own webhook.
    webhook_keys: WebhookKeys,
}

impl StripeProvider {
    pub(super) const fn new(api: StripeApi, environment: DataEnvironment, webhook_keys: WebhookKeys) -> Self {
        Self { api, environment, webhook_keys }
    }
}

#[async_trait]
impl PaymentProvider for StripeProvider {
    fn name(&self) -> &'static str {
        NAME
    }

    fn environment(&self) -> DataEnvironment {
        self.environment
    }

    fn profile(&self) -> ProviderProfile {
        profile()
    }

    fn check_amount(&self, amount: Money) -> Result<(), PaymentError> {
        to_minor_units(WireForm::Stripe, amount).map(|_| ())
    }

    async fn check(&self) -> Result<(), PaymentError> {
        let balance = self.api.get("account", "/balance", json!({})).await?;
        let live = balance.object().flag("/livemode");
        if live == (self.environment == DataEnvironment::Live) {
            return Ok(());
        }
        Err(PaymentError::Unauthorized { message: format!("the key is not of the {} environment", self.environment) })
    }

    fn event(&self, webhook: &InboundWebhook) -> Option<ProviderEvent> {
        event_of(&serde_json::from_slice(&webhook.body).ok()?)
    }

    async fn verify_webhook(&self, request: &WebhookRequest<'_>) -> Result<(), WebhookRejection> {
        webhook::verify(&self.webhook_keys, request)
    }

    async fn create_customer(&self, new: &NewCustomer) -> Result<ProviderCustomer, PaymentError> {
        self.api.create_customer(new).await
    }

    async fn create_checkout(&self, new: &NewCheckout) -> Result<ProviderCheckout, PaymentError> {
        self.api.create_checkout(new).await
    }

    async fn checkout(&self, id: &str) -> Result<ProviderCheckout, PaymentError> {
        self.api.checkout(id).await
    }

    async fn expire_checkout(&self, id: &str) -> Result<(), PaymentError> {
        self.api.expire_checkout(id).await
    }

    async fn create_portal(&self, customer: &str, return_url: &str) -> Result<String, PaymentError> {
        self.api.create_portal(customer, return_url).await
    }

    async fn create_payment(&self, new: &NewPayment) -> Result<ProviderPayment, PaymentError> {
        self.api.create_payment(new).await
    }

    async fn payment(&self, id: &str) -> Result<ProviderPayment, PaymentError> {
        self.api.payment(id).await
    }

    async fn find_payment(&self, reference: &str) -> Result<Option<ProviderPayment>, PaymentError> {
        self.api.find_payment(reference).await
    }

    async fn capture_payment(&self, id: &str, amount: Money, key: &str) -> Result<ProviderPayment, PaymentError> {
        self.api.capture_payment(id, amount, key).await
    }

    async fn cancel_payment(&self, id: &str, key: &str) -> Result<ProviderPayment, PaymentError> {
        self.api.cancel_payment(id, key).await
    }

    async fn refund_payment(&self, id: &str, new: &NewRefund) -> Result<ProviderRefund, PaymentError> {
        self.api.refund_payment(id, new).await
    }

    async fn refunds(&self, payment: &str) -> Result<Vec<ProviderRefund>, PaymentError> {
        self.api.refunds(payment).await
    }

    async fn dispute(&self, id: &str) -> Result<ProviderDispute, PaymentError> {
        self.api.dispute(id).await
    }

    async fn disputes(&self, since: Timestamp, page: Option<&str>) -> Result<DisputePage, PaymentError> {
        self.api.disputes(since, page).await
    }

    async fn payment_methods(&self, customer: &str) -> Result<Vec<StoredPaymentMethod>, PaymentError> {
        self.api.payment_methods(customer).await
    }

    async fn create_subscription(&self, new: &NewProviderSubscription) -> Result<ProviderSubscription, PaymentError> {
        self.api.create_subscription(new).await
    }

    async fn subscription(&self, id: &str) -> Result<ProviderSubscription, PaymentError> {
        self.api.subscription(id).await
    }

    async fn find_subscription(&self, reference: &str) -> Result<Option<ProviderSubscription>, PaymentError> {
        self.api.find_subscription(reference).await
    }

    async fn preview_change(&self, id: &str, change: &SubscriptionChange) -> Result<ChangePreview, PaymentError> {
        self.api.preview_change(id, change).await
    }

    async fn change_subscription(
        &self,
        id: &str,
        change: &SubscriptionChange,
    ) -> Result<ProviderSubscription, PaymentError> {
        self.api.change_subscription(id, change).await
    }

    async fn cancel_subscription(
        &self,
        id: &str,
        when: CancelTime,
        key: &str,
    ) -> Result<ProviderSubscription, PaymentError> {
        self.api.cancel_subscription(id, when, key).await
    }

    async fn resume_subscription(&self, id: &str, key: &str) -> Result<ProviderSubscription, PaymentError> {
        self.api.resume_subscription(id, key).await
    }

    async fn remove_coupon(&self, id: &str, key: &str) -> Result<ProviderSubscription, PaymentError> {
        self.api.remove_coupon(id, key).await
    }

    async fn pause_subscription(&self, id: &str, key: &str) -> Result<ProviderSubscription, PaymentError> {
        self.api.pause_subscription(id, key).await
    }

    async fn invoice(&self, id: &str) -> Result<ProviderInvoice, PaymentError> {
        self.api.invoice(id).await
    }

    async fn invoices(&self, customer: &str, limit: u32) -> Result<Vec<ProviderInvoice>, PaymentError> {
        self.api.invoices(customer, limit).await
    }

    async fn report_usage(&self, report: &MeterReport) -> Result<MeterReportOutcome, PaymentError> {
        self.api.report_usage(report).await
    }
}
