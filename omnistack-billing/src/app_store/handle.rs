//! The handle of purchases in app stores.

use std::{fmt, sync::Arc};

use omnistack_core::{
    app_store::AppleVerifier,
    clock::{Clock, Timestamp},
    db::{self, Db, Tx},
    http::{Error, StatusCode},
    identity::TenantId,
    jobs::{Jobs, NewJob},
};
use uuid::Uuid;

use super::{
    apple::{self, ApplePurchase},
    google::{GooglePlay, GooglePlayError, GooglePurchase, is_purchase_token},
    jobs::AcknowledgePurchase,
    model::{AppStore, PurchaseKey, PurchaseState, StorePurchase, StoredPurchase},
    rules, store, unclaimed,
};
use crate::subscription::Subscriptions;

/// Largest number of purchases of a tenant that are listed.
const MAX_LISTED_PURCHASES: i64 = 100;

/// The subscriptions that tenants have bought in app stores. Cheap to clone.
#[derive(Clone)]
pub(crate) struct StorePurchases(Arc<StoreParts>);

/// Parts of [`StorePurchases`].
pub(super) struct StoreParts {
    pub(super) db: Db,
    pub(super) clock: Clock,
    pub(super) jobs: Jobs,
    pub(super) subscriptions: Subscriptions,
    /// Verifies what Apple signs, if the app is in the App Store.
    pub(super) apple: Option<AppleVerifier>,
    /// The API of Google Play, if the app is there.
    pub(super) google: Option<GooglePlay>,
}

/// The evidence that connects a purchase to a tenant.
#[derive(Clone, Debug, Default)]
pub(super) struct PurchaseOwner {
    /// The token that the device has attached.
    pub(super) token: Option<Uuid>,
    /// An earlier purchase that this one replaces or continues. From then on, it says nothing of the subscription.
    pub(super) linked: Option<String>,
    /// The tenant of the caller who has sent the purchase.
    pub(super) caller: Option<TenantId>,
}

impl StorePurchases {
    pub(super) fn new(parts: StoreParts) -> Self {
        Self(Arc::new(parts))
    }

    pub(super) fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    pub(super) fn google(&self) -> Option<&GooglePlay> {
        self.0.google.as_ref()
    }

    /// Returns the token that devices of a tenant attach to purchases.
    pub(super) async fn token(&self, tenant: TenantId) -> Result<Uuid, Error> {
        let mut tx = self.0.db.tenant(tenant).begin().await?;
        let token = store::token(&mut tx, tenant, self.now()).await?;
        tx.commit().await?;
        Ok(token)
    }

    /// Returns the newest purchases of a tenant, at most 100.
    pub(super) async fn list(&self, tenant: TenantId) -> Result<Vec<StorePurchase>, Error> {
        let mut tx = self.0.db.tenant(tenant).begin_read().await?;
        let purchases = store::of_tenant(&mut tx, tenant, MAX_LISTED_PURCHASES).await?;
        tx.commit().await?;
        Ok(purchases.into_iter().map(Into::into).collect())
    }

    /// Stores the transaction that a device of a tenant has received from Apple.
    ///
    /// # Errors
    /// 404 without Apple's settings, 422 `STORE_PURCHASE_INVALID` if Apple has not signed it for this app or it is not
    /// of a current subscription, 409 `STORE_PURCHASE_OF_OTHER_TENANT`.
    pub(super) async fn take_transaction(&self, tenant: TenantId, signed: &str) -> Result<StorePurchase, Error> {
        let verifier = self.0.apple.as_ref().ok_or_else(|| Error::not_found("the App Store of this app"))?;
        let now = self.now();
        let transaction = verifier.verify_transaction(signed, now).map_err(|rejection| {
            invalid_purchase("the transaction is not one that Apple has signed for this app; send `jwsRepresentation`")
                .with_source(rejection)
        })?;
        let Some(ApplePurchase { state, token }) = apple::transaction(&transaction, now) else {
            let message = "the transaction is not of a current subscription; send the latest one of the subscription";
            return Err(invalid_purchase(message));
        };
        let owner = PurchaseOwner { token, caller: Some(tenant), ..PurchaseOwner::default() };
        self.take(state, owner).await
    }

    /// Stores the purchase whose token a device of a tenant has received from Google.
    ///
    /// # Errors
    /// 404 without Google's settings, 422 `STORE_PURCHASE_INVALID` if Google does not know it, 409
    /// `STORE_PURCHASE_OF_OTHER_TENANT`, 503 `STORE_UNAVAILABLE`.
    pub(super) async fn take_purchase_token(&self, tenant: TenantId, token: &str) -> Result<StorePurchase, Error> {
        let google = self.google().ok_or_else(|| Error::not_found("Google Play of this app"))?;
        if !is_purchase_token(token) {
            return Err(invalid_purchase("the text is not a purchase token; send `Purchase.getPurchaseToken()`"));
        }
        let purchase = google.purchase(token).await.map_err(|error| match error {
            GooglePlayError::NotFound | GooglePlayError::Rejected(_) => invalid_purchase(
                "Google Play does not know this purchase; send the token of a subscription of this app",
            )
            .with_source(error),
            GooglePlayError::Unauthorized(_) | GooglePlayError::Unavailable(_) => {
                let message = "Google Play can't be asked for the purchase now; send it again later";
                Error::unavailable("STORE_UNAVAILABLE", message).with_source(error)
            }
        })?;
        let (state, owner) = owned(purchase, Some(tenant));
        self.take(state, owner).await
    }

    /// Asks Google for a purchase and stores its state. Returns `false` if the purchase belongs to no known tenant.
    pub(super) async fn refresh_google(&self, token: &str) -> Result<bool, StoreRefreshError> {
        let Some(google) = self.google() else { return Ok(false) };
        let (state, owner) = owned(google.purchase(token).await?, None);
        Ok(self.apply(state, owner).await?.is_some())
    }

    /// Stores the state of a purchase and passes it to the machine of subscriptions. Returns `None` if the purchase
    /// belongs to no known tenant.
    pub(super) async fn apply(
        &self,
        state: PurchaseState,
        owner: PurchaseOwner,
    ) -> Result<Option<StoredPurchase>, Error> {
        let mut tx = self.0.db.all_tenants().begin().await?;
        let applied = self.apply_in(&mut tx, state, owner).await?;
        tx.commit().await?;
        // The row comes first. If the process ends here, the same state again makes up for it.
        if let Some(state) = applied.as_ref().and_then(StoredPurchase::subscription_state) {
            self.0.subscriptions.apply_store_state(state).await?;
        }
        Ok(applied)
    }

    /// Ends a purchase that the store no longer knows, or of which it has not stated a renewal.
    pub(super) async fn end(&self, key: &PurchaseKey, seen_version: i64) -> Result<(), Error> {
        let mut tx = self.0.db.all_tenants().begin().await?;
        let ended = match store::lock(&mut tx, key).await? {
            // A newer state has arrived meanwhile, or it has ended.
            Some(stored) if stored.version != seen_version || stored.status.is_final() => None,
            Some(stored) => {
                let ended = rules::end(&stored, self.now());
                store::update(&mut tx, &ended).await?;
                Some(ended)
            }
            None => None,
        };
        tx.commit().await?;
        if let Some(state) = ended.as_ref().and_then(StoredPurchase::subscription_state) {
            self.0.subscriptions.apply_store_state(state).await?;
        }
        Ok(())
    }

    /// Returns a purchase of any tenant.
    pub(super) async fn find(&self, key: &PurchaseKey) -> Result<Option<StoredPurchase>, db::Error> {
        // A job has no caller.
        let mut tx = self.0.db.all_tenants().begin().await?;
        let stored = store::lock(&mut tx, key).await?;
        tx.commit().await?;
        Ok(stored)
    }

    /// Notes that Google knows that the tenant has what it has bought.
    pub(super) async fn set_acknowledged(&self, key: &PurchaseKey) -> Result<(), db::Error> {
        let mut tx = self.0.db.all_tenants().begin().await?;
        if let Some(stored) = store::lock(&mut tx, key).await? {
            store::update(&mut tx, &StoredPurchase { acknowledged: true, ..stored }).await?;
        }
        tx.commit().await
    }

    /// Returns purchases that have not ended and whose period has ended before a time, the oldest first.
    pub(super) async fn due(
        &self,
        before: Timestamp,
        after: Option<&StoredPurchase>,
        limit: i64,
    ) -> Result<Vec<StoredPurchase>, db::Error> {
        // A job has no caller.
        let mut tx = self.0.db.all_tenants().begin_read().await?;
        let due = store::due(&mut tx, before, after, limit).await?;
        tx.commit().await?;
        Ok(due)
    }

    /// Deletes states that have waited for a tenant since a time.
    pub(super) async fn purge_unclaimed(&self, before: Timestamp) -> Result<(), db::Error> {
        let mut tx = self.0.db.begin().await?;
        unclaimed::purge(&mut tx, before).await?;
        tx.commit().await
    }

    pub(super) fn verifier(&self) -> Option<&AppleVerifier> {
        self.0.apple.as_ref()
    }

    async fn take(&self, state: PurchaseState, owner: PurchaseOwner) -> Result<StorePurchase, Error> {
        let taken = self.apply(state, owner).await?;
        taken.map(Into::into).ok_or_else(|| Error::internal("a purchase of a caller has no tenant"))
    }

    async fn apply_in(
        &self,
        tx: &mut Tx,
        state: PurchaseState,
        owner: PurchaseOwner,
    ) -> Result<Option<StoredPurchase>, Error> {
        let now = self.now();
        let linked_id = owner.linked.filter(|id| *id != state.key.id);
        let linked_key = linked_id.map(|id| PurchaseKey { id, ..state.key.clone() });
        // The keys are locked in their order, so that two purchases that name each other don't deadlock.
        let locks_linked_first = linked_key.as_ref().is_some_and(|linked| linked.id < state.key.id);
        let mut linked = None;
        if locks_linked_first && let Some(key) = &linked_key {
            linked = store::lock(tx, key).await?;
        }
        let mut stored = store::lock(tx, &state.key).await?;
        if !locks_linked_first && let Some(key) = &linked_key {
            linked = store::lock(tx, key).await?;
        }
        // Only Apple's states can be newer than what a device sends.
        let waits = stored.is_none() && state.key.store == AppStore::Apple;
        let mut waiting = None;
        if waits {
            waiting = unclaimed::lock(tx, &state.key, now).await?;
            // Another transaction can have claimed the purchase before this one had the lock.
            stored = store::lock(tx, &state.key).await?;
        }
        let mut tenant = stored.as_ref().map(|stored| stored.tenant);
        if tenant.is_none()
            && let Some(token) = owner.token
        {
            tenant = store::tenant_of_token(tx, token).await?;
        }
        let tenant = tenant.or_else(|| linked.as_ref().map(|linked| linked.tenant)).or(owner.caller);
        let Some(tenant) = tenant else {
            if waits {
                unclaimed::keep(tx, &state).await?;
            }
            return Ok(None);
        };
        let linked = linked.filter(|linked| linked.tenant == tenant);
        if owner.caller.is_some_and(|caller| caller != tenant) {
            return Err(of_other_tenant());
        }
        if stored.is_none() {
            let new = StoredPurchase::new(tenant, state.clone(), linked.as_ref(), now);
            if store::insert(tx, &new).await? {
                stored = Some(new);
            } else {
                // Another transaction has inserted it meanwhile.
                stored = store::lock(tx, &state.key).await?.filter(|stored| stored.tenant == tenant);
            }
        }
        let mut purchase = stored.ok_or_else(of_other_tenant)?;
        if let Some(merged) = rules::merge(&purchase, &state, now) {
            store::update(tx, &merged).await?;
            purchase = merged;
        }
        if let Some(merged) = waiting.and_then(|newest| rules::merge(&purchase, &newest, now)) {
            store::update(tx, &merged).await?;
            purchase = merged;
        }
        if waits {
            unclaimed::remove(tx, &state.key).await?;
        }
        // A purchase that waits for its payment leaves the former one as it is.
        if !purchase.is_unpaid_first()
            && let Some(replaced) = linked.and_then(|linked| rules::replace(&linked, &purchase.key.id, now))
        {
            store::update(tx, &replaced).await?;
        }
        self.acknowledge_in(tx, &purchase).await?;
        Ok(Some(purchase))
    }

    /// Enqueues the acknowledgement of a purchase that is paid.
    async fn acknowledge_in(&self, tx: &mut Tx, purchase: &StoredPurchase) -> Result<(), Error> {
        if purchase.acknowledged || purchase.status.is_final() || purchase.is_unpaid_first() {
            return Ok(());
        }
        let PurchaseKey { environment, id, .. } = &purchase.key;
        let job = NewJob::new(AcknowledgePurchase { environment: *environment, id: id.clone() });
        self.0.jobs.enqueue_in(tx, job.unique(format!("{environment}/{id}")).tenant(purchase.tenant)).await?;
        Ok(())
    }
}

/// The error of asking a store for a purchase.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoreRefreshError {
    /// The error of Google.
    #[error(transparent)]
    Google(#[from] GooglePlayError),
    /// The error of this app.
    #[error(transparent)]
    Store(#[from] Error),
}

/// Returns the state of a purchase at Google, and what connects it to a tenant.
fn owned(purchase: GooglePurchase, caller: Option<TenantId>) -> (PurchaseState, PurchaseOwner) {
    let GooglePurchase { state, account, linked, .. } = purchase;
    (state, PurchaseOwner { token: account, linked, caller })
}

fn invalid_purchase(message: &'static str) -> Error {
    Error::new(StatusCode::UNPROCESSABLE_ENTITY, "STORE_PURCHASE_INVALID", message)
}

fn of_other_tenant() -> Error {
    let message = "the subscription was bought for another tenant; sign in to that one, or buy with its token";
    Error::conflict("STORE_PURCHASE_OF_OTHER_TENANT", message)
}

impl fmt::Debug for StorePurchases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StorePurchases")
    }
}
