//! The end of the subscriptions of deleted tenants.

use std::time::Duration;

use async_trait::async_trait;
use omnistack_core::{
    identity::TenantId,
    jobs::{Job, JobContext, JobError},
    payment::PaymentError,
    usage::DataEnvironment,
};
use serde::{Deserialize, Serialize};

use super::{
    cancel::cancel_now,
    checkout_store::{self, StoredCheckout},
    handle::{Subscriptions, is_app_store},
    store::{self, StoredSubscription},
};

/// The statements that delete the rows that are needed until the subscriptions have ended at their providers.
const DELETE_ROWS: [&str; 3] = [
    "delete from omni_subscriptions where tenant_id = $1",
    "delete from omni_checkouts where tenant_id = $1",
    "delete from omni_billing_customers where tenant_id = $1",
];

/// The job that cancels the subscriptions of a deleted tenant at their providers, and deletes their rows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct EndTenantSubscriptions {
    pub(super) tenant: TenantId,
}

#[async_trait]
impl Job for EndTenantSubscriptions {
    const NAME: &'static str = "billing.end_tenant_subscriptions";
    // With the growing delays, about a day.
    const MAX_ATTEMPTS: u32 = 36;
    const TIMEOUT: Duration = Duration::from_secs(5 * 60);

    type State = Subscriptions;

    async fn run(self, subscriptions: &Subscriptions, _: &JobContext) -> Result<(), JobError> {
        let tenant = self.tenant;
        // Read before the subscriptions, so that one whose checkout is being completed is in one of both.
        let mut tx = subscriptions.0.db.tenant(tenant).begin_read().await?;
        let open = checkout_store::open_of_tenant(&mut tx, tenant).await?;
        tx.commit().await?;
        for environment in [DataEnvironment::Live, DataEnvironment::Test] {
            let mut tx = subscriptions.0.db.tenant(tenant).begin_read().await?;
            let rows = store::of_tenant(&mut tx, tenant, environment).await?;
            tx.commit().await?;
            for row in rows.iter().filter(|row| !row.state.status.is_final()) {
                subscriptions.cancel_of_deleted(row).await?;
            }
        }
        for checkout in &open {
            subscriptions.close_of_deleted(checkout).await?;
        }
        // A user whose trial was used gets no second one by another tenant.
        let trials = if subscriptions.0.one_trial_per_user {
            "delete from omni_trials where tenant_id = $1 and user_id is null"
        } else {
            "delete from omni_trials where tenant_id = $1"
        };
        let mut tx = subscriptions.0.db.tenant(tenant).begin().await?;
        for sql in DELETE_ROWS.into_iter().chain([trials]) {
            tx.query(sql).bind(tenant).execute().await?;
        }
        tx.commit().await?;
        Ok(())
    }
}

impl Subscriptions {
    async fn cancel_of_deleted(&self, row: &StoredSubscription) -> Result<(), JobError> {
        let external = &row.external;
        let provider = self.0.providers.get(&external.provider);
        let provider = provider.filter(|provider| provider.environment() == external.environment);
        let Some(provider) = provider.filter(|_| !is_app_store(&external.provider)) else { return Ok(()) };
        Ok(cancel_now(provider.as_ref(), &external.id, &format!("cancel-deleted-{}", row.id)).await?)
    }

    /// Closes the page of a checkout, which could still be paid. If it was paid, its subscription is canceled: it may be
    /// stored nowhere yet.
    async fn close_of_deleted(&self, checkout: &StoredCheckout) -> Result<(), JobError> {
        // A page whose URL did not arrive was shown to no tenant.
        let Some(id) = &checkout.external_id else { return Ok(()) };
        let Some(provider) = self.0.providers.get(&checkout.provider) else { return Ok(()) };
        match provider.expire_checkout(id).await {
            Ok(()) | Err(PaymentError::NotFound { .. }) => return Ok(()),
            Err(PaymentError::Rejected { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let Some(subscription) = provider.checkout(id).await?.subscription else { return Ok(()) };
        Ok(cancel_now(provider.as_ref(), &subscription, &format!("cancel-deleted-{}", checkout.id)).await?)
    }
}
