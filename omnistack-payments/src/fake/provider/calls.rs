//! The calls of the fake, as those of any provider.

use async_trait::async_trait;
use omnistack_core::{
    clock::Timestamp,
    money::Money,
    payment::{
        CancelTime, ChangePreview, DisputePage, MeterReport, MeterReportOutcome, NewCheckout, NewCustomer, NewPayment,
        NewProviderSubscription, NewRefund, PaymentError, PaymentProvider, ProviderCheckout, ProviderCustomer,
        ProviderDispute, ProviderEvent, ProviderInvoice, ProviderPayment, ProviderProfile, ProviderRefund,
        ProviderSubscription, StoredPaymentMethod, SubscriptionChange,
    },
    webhook::{DataEnvironment, InboundWebhook, StandardHeaders, WebhookRejection, WebhookRequest},
};

use super::{
    FakeProvider,
    convert::{dispute_of, method_of, refund_of, subscription_of},
    profile,
};
use crate::{
    fake::{
        account::rejected,
        delivery::provider_event,
        objects::{FakeCustomer, FakeDispute, FakeInvoice, FakeRefund, FakeSubscription},
    },
    wire::{WireForm, to_minor_units},
};

/// Number of disputes of a page.
const DISPUTES_PER_PAGE: usize = 10;

#[async_trait]
impl PaymentProvider for FakeProvider {
    fn name(&self) -> &'static str {
        self.name
    }

    fn environment(&self) -> DataEnvironment {
        self.environment
    }

    fn profile(&self) -> ProviderProfile {
        profile()
    }

    fn check_amount(&self, amount: Money) -> Result<(), PaymentError> {
        if amount.minor() <= 0 {
            return Err(rejected("amount_too_small", "the amount must be greater than zero"));
        }
        to_minor_units(WireForm::Iso, amount).map(drop)
    }

    async fn check(&self) -> Result<(), PaymentError> {
        self.read(async { Ok(()) }).await
    }

    fn event(&self, webhook: &InboundWebhook) -> Option<ProviderEvent> {
        provider_event(self.name, webhook)
    }

    async fn verify_webhook(&self, request: &WebhookRequest<'_>) -> Result<(), WebhookRejection> {
        StandardHeaders::read(request.headers)?.verify(&self.webhook_secrets, request.body, request.now)
    }

    async fn create_customer(&self, new: &NewCustomer) -> Result<ProviderCustomer, PaymentError> {
        let call = async {
            let mut tx = self.begin().await?;
            let id = tx.create_customer(new).await?;
            tx.commit().await?;
            Ok(ProviderCustomer { id })
        };
        self.change(call).await
    }

    async fn create_checkout(&self, new: &NewCheckout) -> Result<ProviderCheckout, PaymentError> {
        let call = async {
            let mut tx = self.begin().await?;
            let (checkout, now) = (tx.create_checkout(new).await?, tx.now);
            tx.commit().await?;
            Ok(self.checkout_of(checkout, now))
        };
        self.change(call).await
    }

    async fn checkout(&self, id: &str) -> Result<ProviderCheckout, PaymentError> {
        let call = async {
            let mut tx = self.begin_read().await?;
            Ok(self.checkout_of(tx.get(id).await?, tx.now))
        };
        self.read(call).await
    }

    async fn expire_checkout(&self, id: &str) -> Result<(), PaymentError> {
        let call = async {
            let mut tx = self.begin().await?;
            tx.expire_checkout(id).await?;
            tx.commit().await
        };
        self.change(call).await
    }

    async fn create_portal(&self, customer: &str, return_url: &str) -> Result<String, PaymentError> {
        let call = async {
            let mut tx = self.begin().await?;
            let id = tx.create_portal(customer, return_url).await?;
            tx.commit().await?;
            Ok(self.bank.page_url("portal", &id))
        };
        self.change(call).await
    }

    async fn create_payment(&self, new: &NewPayment) -> Result<ProviderPayment, PaymentError> {
        let call = async {
            let mut tx = self.begin().await?;
            let reply = tx.create_payment(new).await?;
            tx.commit().await?;
            Ok(self.payment_of(reply?.receive()?))
        };
        self.change(call).await
    }

    async fn payment(&self, id: &str) -> Result<ProviderPayment, PaymentError> {
        let call = async { Ok(self.payment_of(self.begin_read().await?.get(id).await?)) };
        self.read(call).await
    }

    async fn dispute(&self, id: &str) -> Result<ProviderDispute, PaymentError> {
        let call = async { Ok(dispute_of(self.begin_read().await?.get(id).await?)) };
        self.read(call).await
    }

    async fn disputes(&self, since: Timestamp, page: Option<&str>) -> Result<DisputePage, PaymentError> {
        let call = async {
            let found: Vec<FakeDispute> = self.begin_read().await?.all().await?;
            // The newest is first, and the token of a page is the id of the last dispute before it.
            let is_listed = |dispute: &FakeDispute| {
                dispute.created_at >= since && page.is_none_or(|last| dispute.id.as_str() < last)
            };
            let mut rest: Vec<_> = found.into_iter().rev().filter(is_listed).collect();
            let has_more = rest.len() > DISPUTES_PER_PAGE;
            rest.truncate(DISPUTES_PER_PAGE);
            let next = rest.last().filter(|_| has_more).map(|last| last.id.clone());
            Ok(DisputePage { disputes: rest.into_iter().map(dispute_of).collect(), next })
        };
        self.read(call).await
    }

    async fn find_payment(&self, reference: &str) -> Result<Option<ProviderPayment>, PaymentError> {
        let call = async {
            // It waits for a request that is still in progress: only then it is certain that there is no payment.
            let found = self.begin().await?.find_payment(reference).await?;
            Ok(found.map(|payment| self.payment_of(payment)))
        };
        self.read(call).await
    }

    async fn capture_payment(&self, id: &str, amount: Money, key: &str) -> Result<ProviderPayment, PaymentError> {
        let call = async {
            let mut tx = self.begin().await?;
            let payment = tx.capture_payment(id, amount, key).await?;
            tx.commit().await?;
            Ok(self.payment_of(payment))
        };
        self.change(call).await
    }

    async fn cancel_payment(&self, id: &str, key: &str) -> Result<ProviderPayment, PaymentError> {
        let call = async {
            let mut tx = self.begin().await?;
            let payment = tx.cancel_payment(id, key).await?;
            tx.commit().await?;
            Ok(self.payment_of(payment))
        };
        self.change(call).await
    }

    async fn refund_payment(&self, id: &str, new: &NewRefund) -> Result<ProviderRefund, PaymentError> {
        let call = async {
            let mut tx = self.begin().await?;
            let reply = tx.refund_payment(id, new).await?;
            tx.commit().await?;
            reply.receive().map(refund_of)
        };
        self.change(call).await
    }

    async fn refunds(&self, payment: &str) -> Result<Vec<ProviderRefund>, PaymentError> {
        let call = async {
            let found: Vec<FakeRefund> = self.begin_read().await?.of_parent(payment).await?;
            Ok(found.into_iter().map(refund_of).collect())
        };
        self.read(call).await
    }

    async fn payment_methods(&self, customer: &str) -> Result<Vec<StoredPaymentMethod>, PaymentError> {
        let call = async {
            let FakeCustomer { methods, default_method, .. } = self.begin_read().await?.get(customer).await?;
            methods.into_iter().map(|method| method_of(method, default_method.as_deref())).collect()
        };
        self.read(call).await
    }

    async fn create_subscription(&self, new: &NewProviderSubscription) -> Result<ProviderSubscription, PaymentError> {
        let call = async {
            let mut tx = self.begin().await?;
            let reply = tx.create_subscription(new).await?;
            tx.commit().await?;
            reply?.receive().map(subscription_of)
        };
        self.change(call).await
    }

    async fn subscription(&self, id: &str) -> Result<ProviderSubscription, PaymentError> {
        let call = async { Ok(subscription_of(self.begin_read().await?.get(id).await?)) };
        self.read(call).await
    }

    async fn find_subscription(&self, reference: &str) -> Result<Option<ProviderSubscription>, PaymentError> {
        let call = async {
            let mut found: Vec<FakeSubscription> = self.begin_read().await?.with_reference(reference).await?;
            Ok(found.pop().map(subscription_of))
        };
        self.read(call).await
    }

    async fn preview_change(&self, id: &str, change: &SubscriptionChange) -> Result<ChangePreview, PaymentError> {
        let call = async { self.begin_read().await?.preview_change(id, change).await };
        self.read(call).await
    }

    async fn change_subscription(
        &self,
        id: &str,
        change: &SubscriptionChange,
    ) -> Result<ProviderSubscription, PaymentError> {
        let call = async {
            let mut tx = self.begin().await?;
            let reply = tx.change_subscription(id, change).await?;
            tx.commit().await?;
            reply?.receive().map(subscription_of)
        };
        self.change(call).await
    }

    async fn cancel_subscription(
        &self,
        id: &str,
        when: CancelTime,
        key: &str,
    ) -> Result<ProviderSubscription, PaymentError> {
        let call = async {
            let mut tx = self.begin().await?;
            let subscription = tx.cancel_subscription(id, when, key).await?;
            tx.commit().await?;
            Ok(subscription_of(subscription))
        };
        self.change(call).await
    }

    async fn resume_subscription(&self, id: &str, key: &str) -> Result<ProviderSubscription, PaymentError> {
        let call = async {
            let mut tx = self.begin().await?;
            let subscription = tx.resume_subscription(id, key).await?;
            tx.commit().await?;
            Ok(subscription_of(subscription))
        };
        self.change(call).await
    }

    async fn remove_coupon(&self, id: &str, key: &str) -> Result<ProviderSubscription, PaymentError> {
        let call = async {
            let mut tx = self.begin().await?;
            let subscription = tx.remove_coupon(id, key).await?;
            tx.commit().await?;
            Ok(subscription_of(subscription))
        };
        self.change(call).await
    }

    async fn pause_subscription(&self, id: &str, key: &str) -> Result<ProviderSubscription, PaymentError> {
        let call = async {
            let mut tx = self.begin().await?;
            let subscription = tx.pause_subscription(id, key).await?;
            tx.commit().await?;
            Ok(subscription_of(subscription))
        };
        self.change(call).await
    }

    async fn invoice(&self, id: &str) -> Result<ProviderInvoice, PaymentError> {
        let call = async { Ok(self.invoice_of(self.begin_read().await?.get(id).await?)) };
        self.read(call).await
    }

    async fn invoices(&self, customer: &str, limit: u32) -> Result<Vec<ProviderInvoice>, PaymentError> {
        let call = async {
            let found: Vec<FakeInvoice> = self.begin_read().await?.of_parent(customer).await?;
            let limit = usize::try_from(limit).unwrap_or(usize::MAX);
            Ok(found.into_iter().rev().take(limit).map(|invoice| self.invoice_of(invoice)).collect())
        };
        self.read(call).await
    }

    async fn report_usage(&self, report: &MeterReport) -> Result<MeterReportOutcome, PaymentError> {
        let call = async {
            let mut tx = self.begin().await?;
            let known = tx.count_usage(report).await?;
            tx.commit().await?;
            Ok(if known { MeterReportOutcome::AlreadyCounted } else { MeterReportOutcome::Counted })
        };
        self.change(call).await
    }
}
