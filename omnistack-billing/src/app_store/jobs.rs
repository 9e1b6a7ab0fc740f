//! The jobs of purchases in app stores.

use std::time::Duration;

use async_trait::async_trait;
use omnistack_core::{
    jobs::{Job, JobContext, JobError},
    payment::ProviderSubscriptionStatus,
    usage::DataEnvironment,
};
use serde::{Deserialize, Serialize};

use super::{
    google::GooglePlayError,
    handle::{StorePurchases, StoreRefreshError},
    model::{AppStore, PurchaseKey, StoredPurchase},
};

/// Time after the end of a period for which a notification of the renewal is awaited.
const RENEWAL_GRACE: Duration = Duration::from_secs(60 * 60);
/// Time after the end of a period for which Apple repeats a notification, and some more.
const APPLE_REPEATS: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Time for which Apple attempts a payment again that has failed.
const APPLE_BILLING_RETRY: Duration = Duration::from_secs(61 * 24 * 60 * 60);
/// Time for which the state of a purchase waits for a tenant: Apple refunds no older purchases.
const KEEP_UNCLAIMED: Duration = Duration::from_secs(400 * 24 * 60 * 60);
/// Number of purchases that are searched for at once.
const PURCHASES_PER_SEARCH: i64 = 100;

/// The job that tells Google that a tenant has what it has bought. Google refunds a purchase that is not acknowledged
/// for three days, or five minutes if a tester has made it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct AcknowledgePurchase {
    pub(super) environment: DataEnvironment,
    /// The id of the purchase.
    pub(super) id: String,
}

#[async_trait]
impl Job for AcknowledgePurchase {
    const NAME: &'static str = "app_stores.acknowledge_purchase";
    // With the growing delays, more than three days.
    const MAX_ATTEMPTS: u32 = 90;
    const TIMEOUT: Duration = Duration::from_secs(60);

    type State = StorePurchases;

    async fn run(self, purchases: &StorePurchases, _: &JobContext) -> Result<(), JobError> {
        let key = PurchaseKey { store: AppStore::Google, environment: self.environment, id: self.id };
        let Some(stored) = purchases.find(&key).await? else { return Ok(()) };
        let (Some(token), Some(google)) = (&stored.purchase_token, purchases.google()) else { return Ok(()) };
        if stored.acknowledged {
            return Ok(());
        }
        // An earlier attempt may have been successful although its response was lost.
        let purchase = match google.purchase(token).await {
            Err(GooglePlayError::NotFound) => return Ok(()),
            purchase => purchase?,
        };
        if !purchase.state.acknowledged {
            if purchase.state.status.is_final() {
                return Ok(());
            }
            google.acknowledge(&purchase.subscription_id, token).await?;
        }
        Ok(purchases.set_acknowledged(&key).await?)
    }
}

/// The job that asks Google for purchases whose period has ended without a notification, and ends those of Apple of
/// which no renewal was stated.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct RefreshPurchases {}

#[async_trait]
impl Job for RefreshPurchases {
    const NAME: &'static str = "app_stores.refresh_purchases";

    type State = StorePurchases;

    async fn run(self, purchases: &StorePurchases, _: &JobContext) -> Result<(), JobError> {
        purchases.purge_unclaimed(purchases.now() - KEEP_UNCLAIMED).await?;
        let before = purchases.now() - RENEWAL_GRACE;
        let (mut last, mut failure) = (None, None);
        loop {
            let due = purchases.due(before, last.as_ref(), PURCHASES_PER_SEARCH).await?;
            for purchase in &due {
                // A purchase that fails keeps no other from being refreshed.
                if let Err(error) = refresh(purchases, purchase).await {
                    tracing::warn!(target: "omnistack::billing", tenant = %purchase.tenant, %error,
                        store = purchase.key.store.as_str(), "a purchase could not be refreshed");
                    failure = Some(error);
                }
            }
            last = due.into_iter().next_back();
            if last.is_none() {
                return failure.map_or(Ok(()), Err);
            }
        }
    }
}

async fn refresh(purchases: &StorePurchases, purchase: &StoredPurchase) -> Result<(), JobError> {
    match (purchase.key.store, &purchase.purchase_token) {
        (AppStore::Google, Some(token)) => match purchases.refresh_google(token).await {
            Err(StoreRefreshError::Google(GooglePlayError::NotFound)) => {
                purchases.end(&purchase.key, purchase.version).await.map_err(JobError::retry)
            }
            refreshed => Ok(refreshed.map(drop)?),
        },
        (AppStore::Google, None) => Ok(()),
        (AppStore::Apple, _) => {
            // Apple notifies of each renewal and of each payment that fails.
            let is_paid =
                matches!(purchase.status, ProviderSubscriptionStatus::Active | ProviderSubscriptionStatus::Trialing);
            let patience = if is_paid { APPLE_REPEATS } else { APPLE_BILLING_RETRY };
            let is_over = purchase.period.is_some_and(|(_, end)| end + patience < purchases.now());
            if !is_over {
                return Ok(());
            }
            purchases.end(&purchase.key, purchase.version).await.map_err(JobError::retry)
        }
    }
}
