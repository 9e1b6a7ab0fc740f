//! The provider: what the port asks for, in calls to PayPal.

use async_trait::async_trait;
use omnistack_core::{
    clock::Timestamp,
    data_environment::DataEnvironment,
    money::Money,
    payment::{
        CancelTime, CaptureMode, ChangePreview, CheckoutKind, CheckoutStatus, DisputePage, NewCheckout, NewCustomer,
        NewPayment, NewRefund, PaymentError, PaymentProvider, PaymentStatus, ProviderCheckout, ProviderCustomer,
        ProviderDispute, ProviderEvent, ProviderInvoice, ProviderPayment, ProviderProfile, ProviderRefund,
        ProviderSubscription, StoredPaymentMethod, SubscriptionChange,
    },
    webhook::{InboundWebhook, WebhookRejection, WebhookRequest},
};

use super::{
    CURRENCIES, NAME,
    api::PayPalApi,
    custom_id::CustomId,
    events,
    orders::{NewOrder, page_source},
    profile,
    sales::{CAPTURE, SALE, customer_id},
    subscriptions::is_subscription,
};
use crate::{
    provider_api::{CallEffect, lost_response},
    wire::{WireForm, to_decimal},
};

/// An account at PayPal.
#[derive(Debug)]
pub(super) struct PayPalProvider {
    api: PayPalApi,
    environment: DataEnvironment,
    /// The id of the account's own webhook.
    webhook_id: Option<String>,
}

impl PayPalProvider {
    pub(super) fn new(api: PayPalApi, environment: DataEnvironment, webhook_id: Option<String>) -> Self {
        Self { api, environment, webhook_id }
    }
}

/// Returns the payment of an order as the checkout that has created it.
fn checkout_of(payment: ProviderPayment) -> ProviderCheckout {
    let status = match payment.status {
        PaymentStatus::RequiresAction => CheckoutStatus::Open,
        PaymentStatus::Failed | PaymentStatus::Canceled => CheckoutStatus::Expired,
        _ => CheckoutStatus::Complete,
    };
    ProviderCheckout {
        id: payment.id.clone(),
        url: payment.action_url,
        status,
        reference: payment.reference,
        subscription: None,
        payment: Some(payment.id),
        expires_at: None,
    }
}

#[async_trait]
impl PaymentProvider for PayPalProvider {
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
        if !CURRENCIES.contains(&amount.currency()) {
            return Err(PaymentError::Rejected {
                code: Some("currency_not_supported".to_owned()),
                message: format!("PayPal accepts no {}; use another provider", amount.currency().code()),
            });
        }
        to_decimal(WireForm::PayPal, amount).map(|_| ())
    }

    async fn check(&self) -> Result<(), PaymentError> {
        self.api.check().await
    }

    fn event(&self, webhook: &InboundWebhook) -> Option<ProviderEvent> {
        events::event(webhook)
    }

    async fn verify_webhook(&self, request: &WebhookRequest<'_>) -> Result<(), WebhookRejection> {
        match &self.webhook_id {
            Some(id) => self.api.verify_webhook(id, request).await,
            None => Err(WebhookRejection::Unverified("the account has no id of a webhook")),
        }
    }

    /// Computes the id of a customer. PayPal has none before a payment method is stored.
    async fn create_customer(&self, new: &NewCustomer) -> Result<ProviderCustomer, PaymentError> {
        Ok(ProviderCustomer { id: customer_id(&new.reference) })
    }

    async fn create_checkout(&self, new: &NewCheckout) -> Result<ProviderCheckout, PaymentError> {
        let CheckoutKind::Payment { amount, description } = &new.kind else {
            return self.api.subscription_checkout(new).await;
        };
        self.check_amount(*amount)?;
        let custom = CustomId::new(&new.reference, Some(&new.customer))?;
        let order = NewOrder {
            custom: &custom,
            amount: *amount,
            capture: CaptureMode::Automatic,
            description: Some(description),
            source: page_source(Some(&new.success_url), Some(&new.cancel_url)),
            is_charged_at_once: false,
            key: &new.idempotency_key,
        };
        let order = self.api.create_order(order).await?;
        let lost = || lost_response(CallEffect::Changes, "the order has not the documented form");
        let checkout = checkout_of(self.api.payment_of(&order).ok_or_else(lost)?);
        Ok(ProviderCheckout { expires_at: Some(new.expires_at), ..checkout })
    }

    async fn checkout(&self, id: &str) -> Result<ProviderCheckout, PaymentError> {
        if is_subscription(id) {
            self.api.approved_checkout(id).await
        } else {
            self.api.order_payment(id).await.map(checkout_of)
        }
    }

    async fn expire_checkout(&self, id: &str) -> Result<(), PaymentError> {
        if !is_subscription(id) {
            let key = format!("expire-{id}");
            return self.api.cancel_order(id, &key).await.map(|_| ());
        }
        match self.api.approved_checkout(id).await?.status {
            CheckoutStatus::Expired => Ok(()),
            // PayPal changes and cancels a subscription only once it is approved.
            CheckoutStatus::Open => {
                Err(PaymentError::NotSupported { provider: NAME, operation: "closing the page of a subscription" })
            }
            CheckoutStatus::Complete => Err(PaymentError::Rejected {
                code: Some("checkout_complete".to_owned()),
                message: "the customer has approved the subscription; cancel it".to_owned(),
            }),
        }
    }

    async fn create_payment(&self, new: &NewPayment) -> Result<ProviderPayment, PaymentError> {
        self.check_amount(new.amount)?;
        self.api.create_payment(new).await
    }

    async fn payment(&self, id: &str) -> Result<ProviderPayment, PaymentError> {
        if let Some(sale) = id.strip_prefix(SALE) {
            self.api.sale_payment(sale).await
        } else if let Some(capture) = id.strip_prefix(CAPTURE) {
            self.api.captured_payment(capture).await
        } else {
            self.api.order_payment(id).await
        }
    }

    async fn find_payment(&self, reference: &str) -> Result<Option<ProviderPayment>, PaymentError> {
        self.api.search(reference).await
    }

    async fn capture_payment(&self, id: &str, amount: Money, key: &str) -> Result<ProviderPayment, PaymentError> {
        self.api.capture_order(id, amount, key).await
    }

    async fn cancel_payment(&self, id: &str, key: &str) -> Result<ProviderPayment, PaymentError> {
        self.api.cancel_order(id, key).await
    }

    async fn refund_payment(&self, id: &str, new: &NewRefund) -> Result<ProviderRefund, PaymentError> {
        match id.strip_prefix(SALE) {
            Some(sale) => self.api.refund_sale(sale, new).await,
            None => self.api.refund_order(id, new).await,
        }
    }

    async fn refunds(&self, payment: &str) -> Result<Vec<ProviderRefund>, PaymentError> {
        match payment.strip_prefix(SALE) {
            Some(sale) => self.api.sale_refunds(sale).await,
            None => self.api.order_refunds(payment).await,
        }
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

    async fn subscription(&self, id: &str) -> Result<ProviderSubscription, PaymentError> {
        self.api.subscription(id).await
    }

    async fn find_subscription(&self, reference: &str) -> Result<Option<ProviderSubscription>, PaymentError> {
        self.api.find_subscription(reference).await
    }

    async fn preview_change(&self, id: &str, change: &SubscriptionChange) -> Result<ChangePreview, PaymentError> {
        self.api.preview_change(id, change).await
    }

    /// Asks for a change. The customer approves it on the page of the answer.
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

    async fn pause_subscription(&self, id: &str, key: &str) -> Result<ProviderSubscription, PaymentError> {
        self.api.pause_subscription(id, key).await
    }

    async fn invoice(&self, id: &str) -> Result<ProviderInvoice, PaymentError> {
        let sale = id.strip_prefix(SALE).ok_or(PaymentError::NotFound { object: "invoice" })?;
        self.api.sale_invoice(sale).await
    }
}
