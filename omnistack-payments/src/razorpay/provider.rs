//! The provider: what the port asks for, in calls to Razorpay.

use async_trait::async_trait;
use omnistack_core::{
    clock::Timestamp,
    data_environment::DataEnvironment,
    money::Money,
    payment::{
        CancelTime, CaptureMode, ChangePreview, CheckoutKind, CheckoutStatus, DisputePage, NewCheckout, NewCustomer,
        NewPayment, NewRefund, PaymentError, PaymentMethodSource, PaymentProvider, PaymentStatus, ProviderCheckout,
        ProviderCustomer, ProviderDispute, ProviderEvent, ProviderInvoice, ProviderPayment, ProviderProfile,
        ProviderRefund, ProviderSubscription, StoredPaymentMethod, SubscriptionChange,
    },
    webhook::{InboundWebhook, WebhookRejection, WebhookRequest},
};
use serde_json::json;

use super::{
    NAME,
    api::{RazorpayApi, amount_fields, notes, reference_of},
    events,
    links::NewLink,
    profile,
    subscriptions::is_subscription,
    webhook,
};
use crate::{
    provider_api::{CallEffect, lost_response},
    webhook_keys::WebhookKeys,
};

/// The beginning of the ids of payment links.
const LINK_PREFIX: &str = "plink_";
/// The beginning of the ids of payments of an order.
const PAYMENT_PREFIX: &str = "pay_";

/// An account at Razorpay.
#[derive(Debug)]
pub(super) struct RazorpayProvider {
    api: RazorpayApi,
    environment: DataEnvironment,
    /// The keys of the account's own webhook.
    webhook_keys: WebhookKeys,
}

impl RazorpayProvider {
    pub(super) fn new(api: RazorpayApi, environment: DataEnvironment, webhook_keys: WebhookKeys) -> Self {
        Self { api, environment, webhook_keys }
    }
}

/// Returns the payment of a link as the checkout that has created it.
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
impl PaymentProvider for RazorpayProvider {
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
        amount_fields(amount).map(|_| ())
    }

    async fn check(&self) -> Result<(), PaymentError> {
        self.api.get("/v1/payments", &[("count", "1")], "account").await.map(|_| ())
    }

    fn event(&self, webhook: &InboundWebhook) -> Option<ProviderEvent> {
        events::event(webhook, self.environment)
    }

    async fn verify_webhook(&self, request: &WebhookRequest<'_>) -> Result<(), WebhookRejection> {
        webhook::verify(&self.webhook_keys, request)
    }

    /// Creates a customer. Razorpay returns the one with the same mail address, if there is one. That can be the
    /// customer of another tenant, whose payment methods are not for this one, so then it gets no mail address.
    async fn create_customer(&self, new: &NewCustomer) -> Result<ProviderCustomer, PaymentError> {
        for email in [new.email.as_deref(), None] {
            let mut body = json!({ "fail_existing": "0", "notes": notes(&new.reference, None)? });
            if let Some(name) = &new.name {
                body["name"] = name.as_str().into();
            }
            if let Some(email) = email {
                body["email"] = email.into();
            }
            let customer = self.api.post("/v1/customers", &body, "customer").await?;
            if reference_of(&customer).as_deref() == Some(new.reference.as_str()) {
                let lost = || lost_response(CallEffect::Changes, "the customer has no id");
                return Ok(ProviderCustomer { id: customer.text("/id").ok_or_else(lost)? });
            }
        }
        Err(PaymentError::Rejected {
            code: Some("customer_exists".to_owned()),
            message: "Razorpay returned a customer with another reference; use another name".to_owned(),
        })
    }

    async fn create_checkout(&self, new: &NewCheckout) -> Result<ProviderCheckout, PaymentError> {
        let CheckoutKind::Payment { amount, description } = &new.kind else {
            return self.api.subscription_checkout(new).await;
        };
        let link = NewLink {
            reference: &new.reference,
            customer: Some(&new.customer),
            amount: *amount,
            description: Some(description),
            email: None,
            return_url: Some(&new.success_url),
            expires_at: Some(new.expires_at),
        };
        let checkout = checkout_of(self.api.create_link(link).await?);
        Ok(ProviderCheckout { expires_at: Some(new.expires_at), ..checkout })
    }

    async fn checkout(&self, id: &str) -> Result<ProviderCheckout, PaymentError> {
        if is_subscription(id) {
            self.api.authorised_checkout(id).await
        } else {
            self.api.link_payment(id).await.map(checkout_of)
        }
    }

    async fn expire_checkout(&self, id: &str) -> Result<(), PaymentError> {
        if is_subscription(id) {
            self.api.expire_subscription(id).await
        } else {
            self.api.cancel_link(id).await.map(|_| ())
        }
    }

    /// Creates a payment. Links take the money at once, so a payment that the app captures later is an order, which the
    /// app passes to Razorpay's checkout in the browser.
    async fn create_payment(&self, new: &NewPayment) -> Result<ProviderPayment, PaymentError> {
        let is_on_page = new.source == PaymentMethodSource::ChosenByPayer && new.capture == CaptureMode::Automatic;
        if !is_on_page {
            return self.api.create_order_payment(new).await;
        }
        let link = NewLink {
            reference: &new.reference,
            customer: new.customer.as_deref(),
            amount: new.amount,
            description: new.description.as_deref(),
            email: new.email.as_deref(),
            return_url: new.return_url.as_deref(),
            expires_at: None,
        };
        self.api.create_link(link).await
    }

    async fn payment(&self, id: &str) -> Result<ProviderPayment, PaymentError> {
        if id.starts_with(LINK_PREFIX) {
            self.api.link_payment(id).await
        } else if id.starts_with(PAYMENT_PREFIX) {
            self.api.single_payment(id).await
        } else {
            self.api.order_payment(id).await
        }
    }

    async fn find_payment(&self, reference: &str) -> Result<Option<ProviderPayment>, PaymentError> {
        let link = self.api.find_link(reference).await?;
        if let Some(id) = link.and_then(|link| link.text("/id")) {
            return self.api.link_payment(&id).await.map(Some);
        }
        let order = self.api.find_order(reference).await?;
        match order.and_then(|order| order.text("/id")) {
            Some(id) => self.api.order_payment(&id).await.map(Some),
            None => Ok(None),
        }
    }

    async fn capture_payment(&self, id: &str, amount: Money, _key: &str) -> Result<ProviderPayment, PaymentError> {
        self.api.capture_order(id, amount).await
    }

    async fn cancel_payment(&self, id: &str, _key: &str) -> Result<ProviderPayment, PaymentError> {
        if id.starts_with(LINK_PREFIX) { self.api.cancel_link(id).await } else { self.api.cancel_order(id).await }
    }

    async fn refund_payment(&self, id: &str, new: &NewRefund) -> Result<ProviderRefund, PaymentError> {
        self.api.refund(id, new).await
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
        _key: &str,
    ) -> Result<ProviderSubscription, PaymentError> {
        self.api.cancel_subscription(id, when).await
    }

    async fn resume_subscription(&self, id: &str, _key: &str) -> Result<ProviderSubscription, PaymentError> {
        self.api.resume_subscription(id).await
    }

    async fn remove_coupon(&self, id: &str, _key: &str) -> Result<ProviderSubscription, PaymentError> {
        self.api.remove_offer(id).await
    }

    async fn pause_subscription(&self, id: &str, _key: &str) -> Result<ProviderSubscription, PaymentError> {
        self.api.pause_subscription(id).await
    }

    async fn invoice(&self, id: &str) -> Result<ProviderInvoice, PaymentError> {
        self.api.invoice(id).await
    }

    async fn invoices(&self, customer: &str, limit: u32) -> Result<Vec<ProviderInvoice>, PaymentError> {
        self.api.invoices(customer, limit).await
    }
}
