//! The subscriber to events of providers. An event says what has changed; the provider is asked for its state.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use omnistack_core::{
    events::{Delivery, Subscriber},
    http::Error,
    identity::TenantId,
    jobs::JobError,
    payment::{CheckoutStatus, PaymentError, PaymentProvider, ProviderEvent, ProviderEventObject},
};

use super::{
    checkout_store, disputes::ReportedDispute, errors::payment_error, handle::Subscriptions, model::CheckoutId,
};

/// The subscriber of subscriptions to the events of providers.
#[derive(Debug)]
pub(super) struct ProviderEvents(pub(super) Subscriptions);

#[async_trait]
impl Subscriber for ProviderEvents {
    type Event = ProviderEvent;

    const MAX_ATTEMPTS: u32 = 20;
    const TIMEOUT: Duration = Duration::from_secs(90);

    async fn handle(&self, event: ProviderEvent, _: &mut Delivery) -> Result<(), JobError> {
        let subscriptions = &self.0;
        let Some(provider) = subscriptions.0.providers.get(&event.provider) else { return Ok(()) };
        // An event of a tenant's own account, or of the other environment, is not about the app's customers.
        if event.account.is_some() || provider.environment() != event.environment {
            return Ok(());
        }
        // Everything below is stored once, however often the event is delivered.
        match &event.object {
            ProviderEventObject::Checkout(id) => subscriptions.sync_checkout(provider, id).await?,
            ProviderEventObject::Subscription(id) => drop(subscriptions.refresh(provider, id).await?),
            ProviderEventObject::Invoice { id, subscription: Some(subscription) } => {
                if let Some(row) = subscriptions.refresh(provider, subscription).await? {
                    subscriptions.copy_invoice(provider, id, row.tenant).await?;
                }
            }
            ProviderEventObject::Payment(id) => subscriptions.sync_payment(provider, id).await?,
            ProviderEventObject::Refund { payment, .. } => {
                subscriptions.sync_refunds(provider.as_ref(), payment).await?;
            }
            ProviderEventObject::Dispute { id, payment, won } => {
                let dispute = ReportedDispute { id, payment: payment.as_deref(), won: *won };
                Box::pin(subscriptions.note_dispute(provider, dispute)).await?;
            }
            _ => {}
        }
        Ok(())
    }
}

impl Subscriptions {
    /// Asks the provider for a checkout, and stores its end and its subscription.
    pub(super) async fn sync_checkout(&self, provider: &Arc<dyn PaymentProvider>, id: &str) -> Result<(), Error> {
        let read = match provider.checkout(id).await {
            Ok(read) => read,
            Err(PaymentError::NotFound { .. }) => return Ok(()),
            Err(error) => return Err(payment_error(error)),
        };
        if let Some(subscription) = &read.subscription {
            self.refresh(provider, subscription).await?;
        }
        let status = match read.status {
            CheckoutStatus::Open => return Ok(()),
            CheckoutStatus::Complete => "complete",
            CheckoutStatus::Expired => "expired",
        };
        let Some(checkout) = read.reference.and_then(|text| text.parse::<CheckoutId>().ok()) else { return Ok(()) };
        // The provider does not say the tenant.
        let mut tx = self.0.db.all_tenants().begin().await?;
        checkout_store::set_ended(&mut tx, checkout, status, read.subscription.as_deref(), self.now()).await?;
        Ok(tx.commit().await?)
    }

    /// Asks the provider for an invoice of a tenant, and stores a copy.
    async fn copy_invoice(&self, provider: &Arc<dyn PaymentProvider>, id: &str, tenant: TenantId) -> Result<(), Error> {
        let invoice = match provider.invoice(id).await {
            Ok(invoice) => invoice,
            Err(PaymentError::NotFound { .. } | PaymentError::NotSupported { .. }) => return Ok(()),
            Err(error) => return Err(payment_error(error)),
        };
        let mut tx = self.0.db.tenant(tenant).begin().await?;
        self.0.invoices.mirror_in(&mut tx, tenant, provider.environment(), provider.name(), &invoice).await?;
        Ok(tx.commit().await?)
    }

    /// Asks the provider for the subscription that a payment is for.
    async fn sync_payment(&self, provider: &Arc<dyn PaymentProvider>, id: &str) -> Result<(), Error> {
        match provider.payment(id).await {
            Ok(payment) => {
                if let Some(subscription) = &payment.subscription {
                    self.refresh(provider, subscription).await?;
                }
                Ok(())
            }
            Err(PaymentError::NotFound { .. }) => Ok(()),
            Err(error) => Err(payment_error(error)),
        }
    }
}
