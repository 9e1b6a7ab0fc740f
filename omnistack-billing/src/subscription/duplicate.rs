//! The end of duplicates: subscriptions of a tenant that has paid another one of the plan group before.

use std::time::Duration;

use async_trait::async_trait;
use omnistack_core::{
    db,
    http::Error,
    identity::TenantId,
    jobs::{Job, JobContext, JobError},
    money::Money,
    payment::{NewRefund, PaymentError, PaymentProvider, PaymentStatus},
};
use serde::{Deserialize, Serialize};

use super::{
    cancel::cancel_now,
    checkout_store,
    errors::no_provider,
    handle::Subscriptions,
    model::{CheckoutId, SubscriptionId},
    store::{self, StoredSubscription},
};

/// The job that cancels a duplicate subscription and refunds its payment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct EndDuplicateSubscription {
    pub(super) tenant: TenantId,
    pub(super) subscription: SubscriptionId,
}

#[async_trait]
impl Job for EndDuplicateSubscription {
    const NAME: &'static str = "billing.end_duplicate_subscription";
    // With the growing delays, more than half a day.
    const MAX_ATTEMPTS: u32 = 24;
    const TIMEOUT: Duration = Duration::from_secs(2 * 60);

    type State = Subscriptions;

    async fn run(self, subscriptions: &Subscriptions, _: &JobContext) -> Result<(), JobError> {
        let Self { tenant, subscription } = self;
        let mut tx = subscriptions.0.db.tenant(tenant).begin_read().await?;
        let row = store::get(&mut tx, subscription).await?;
        tx.commit().await?;
        let Some(row) = row.filter(|row| matches!(row.cleanup.as_deref(), Some("canceling" | "refunding"))) else {
            return Ok(());
        };
        let provider = subscriptions.provider(Some(&row.external.provider))?;
        if provider.environment() != row.external.environment {
            return Err(no_provider().into());
        }
        if row.cleanup.as_deref() == Some("canceling") {
            let key = format!("cancel-duplicate-{subscription}");
            cancel_now(provider.as_ref(), &row.external.id, &key).await?;
            subscriptions.refresh(&provider, &row.external.id).await?;
            subscriptions.set_cleanup(&row, "refunding").await?;
        }
        let outcome = match subscriptions.refund_duplicate(&row, provider.as_ref()).await {
            Ok(()) => "done",
            // It would be rejected again: an operator refunds it.
            Err(error @ (PaymentError::Rejected { .. } | PaymentError::NotFound { .. })) => {
                tracing::error!(
                    target: "omnistack::billing", %tenant, %subscription, %error,
                    "a duplicate subscription is canceled and could not be refunded; refund it at the provider"
                );
                "failed"
            }
            Err(error) => return Err(error.into()),
        };
        subscriptions.set_cleanup(&row, outcome).await?;
        Ok(())
    }
}

impl Subscriptions {
    async fn set_cleanup(&self, row: &StoredSubscription, cleanup: &'static str) -> Result<(), Error> {
        let mut tx = self.0.db.tenant(row.tenant).begin().await?;
        // Who changes the subscription stores the whole row.
        self.0.accounts.lock_account_in(&mut tx, row.tenant).await?;
        let sql = "update omni_subscriptions set cleanup = $2, updated_at = $3, version = version + 1 where id = $1";
        tx.query(sql).bind(row.id).bind(cleanup).bind(self.now()).execute().await?;
        Ok(tx.commit().await?)
    }

    /// Sends back what was paid for a duplicate. There is nothing to send back for a trial.
    async fn refund_duplicate(
        &self,
        row: &StoredSubscription,
        provider: &dyn PaymentProvider,
    ) -> Result<(), PaymentError> {
        let unknown = |error: db::Error| PaymentError::Unknown { message: error.to_string() };
        let checkout = row.reference.as_deref().and_then(|text| text.parse::<CheckoutId>().ok());
        let mut external = None;
        if let Some(id) = checkout {
            let mut tx = self.0.db.tenant(row.tenant).begin_read().await.map_err(unknown)?;
            let found = checkout_store::get(&mut tx, id).await.map_err(unknown)?;
            tx.commit().await.map_err(unknown)?;
            external = found.and_then(|checkout| checkout.external_id);
        }
        let mut payment = match external {
            Some(id) => provider.checkout(&id).await?.payment,
            None => None,
        };
        if payment.is_none()
            && let Some(reference) = &row.reference
        {
            payment = provider.find_payment(reference).await?.map(|found| found.id);
        }
        let Some(payment) = payment else {
            return if row.state.receipt_invoice.is_none() && row.state.trial_end.is_some() {
                Ok(())
            } else {
                Err(PaymentError::NotFound { object: "payment" })
            };
        };
        let paid = provider.payment(&payment).await?;
        if paid.status == PaymentStatus::Processing {
            let message = "the payment of a duplicate subscription is not decided yet; it is refunded later".to_owned();
            return Err(PaymentError::Unavailable { message, retry_after: None });
        }
        let left = paid.captured.minor() - paid.refunded.minor();
        if left <= 0 || paid.status != PaymentStatus::Succeeded {
            return Ok(());
        }
        let refund = NewRefund {
            reference: format!("duplicate-{}", row.id),
            amount: Money::new(left, paid.captured.currency()),
            reason: Some("duplicate".to_owned()),
            idempotency_key: format!("refund-duplicate-{}", row.id),
        };
        provider.refund_payment(&payment, &refund).await.map(drop)
    }
}
