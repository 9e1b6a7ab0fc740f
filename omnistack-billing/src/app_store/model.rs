//! The purchases of app stores.

use omnistack_core::{
    clock::Timestamp, identity::TenantId, payment::ProviderSubscriptionStatus, usage::DataEnvironment,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::subscription::StoreSubscription;

/// An app store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum AppStore {
    /// The App Store of Apple.
    Apple,
    /// Google Play.
    Google,
}

impl AppStore {
    /// Returns the store as it is stored: `apple` or `google`.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Apple => "apple",
            Self::Google => "google",
        }
    }

    pub(super) fn from_text(text: &str) -> Option<Self> {
        [Self::Apple, Self::Google].into_iter().find(|store| store.as_str() == text)
    }
}

/// The key of a purchase.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PurchaseKey {
    pub(super) store: AppStore,
    pub(super) environment: DataEnvironment,
    /// Apple's original transaction, or the hash of Google's purchase token.
    pub(super) id: String,
}

/// The object of the store from which the state of a purchase was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum StateOrigin {
    /// The whole subscription: it replaces the stored state.
    Subscription,
    /// A transaction only. It proves a payment or its refund, and says nothing of renewals, grace periods and planned
    /// cancellations.
    Transaction {
        /// Whether the store has taken the payment back.
        is_revoked: bool,
    },
}

/// The state of a purchase, as the store states it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PurchaseState {
    pub(super) key: PurchaseKey,
    pub(super) origin: StateOrigin,
    pub(super) product_id: String,
    pub(super) status: ProviderSubscriptionStatus,
    pub(super) period: Option<(Timestamp, Timestamp)>,
    pub(super) cancel_at: Option<Timestamp>,
    /// A later state has a greater version.
    pub(super) version: i64,
    /// Google's purchase token.
    pub(super) purchase_token: Option<String>,
    /// Whether the store knows that the tenant has what it has bought.
    pub(super) acknowledged: bool,
}

/// A purchase as its row has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StoredPurchase {
    pub(super) key: PurchaseKey,
    pub(super) tenant: TenantId,
    /// The first purchase of the subscription: an upgrade is another purchase of the same subscription.
    pub(super) subscription: String,
    pub(super) product_id: String,
    pub(super) status: ProviderSubscriptionStatus,
    pub(super) period: Option<(Timestamp, Timestamp)>,
    pub(super) cancel_at: Option<Timestamp>,
    pub(super) version: i64,
    pub(super) purchase_token: Option<String>,
    pub(super) acknowledged: bool,
    /// The purchase that has replaced this one.
    pub(super) replaced_by: Option<String>,
    pub(super) updated_at: Timestamp,
}

impl StoredPurchase {
    /// Creates the row of a purchase that a tenant has made. `linked` is the purchase that it replaces or continues.
    pub(super) fn new(tenant: TenantId, state: PurchaseState, linked: Option<&Self>, now: Timestamp) -> Self {
        let PurchaseState { key, product_id, status, period, cancel_at, version, purchase_token, acknowledged, .. } =
            state;
        Self {
            subscription: linked.map_or_else(|| key.id.clone(), |linked| linked.subscription.clone()),
            key,
            tenant,
            product_id,
            status,
            period,
            cancel_at,
            version,
            purchase_token,
            acknowledged,
            replaced_by: None,
            updated_at: now,
        }
    }

    /// Returns whether the first payment is not made.
    pub(super) fn is_unpaid_first(&self) -> bool {
        matches!(self.status, ProviderSubscriptionStatus::Incomplete | ProviderSubscriptionStatus::IncompleteExpired)
    }

    /// Returns the state for the machine of subscriptions. Returns `None` if the purchase says nothing of the
    /// subscription: because nothing is paid yet, or another purchase has replaced it.
    pub(super) fn subscription_state(&self) -> Option<StoreSubscription> {
        if self.is_unpaid_first() || self.replaced_by.is_some() {
            return None;
        }
        Some(StoreSubscription {
            tenant: self.tenant,
            provider: self.key.store.as_str(),
            environment: self.key.environment,
            external_id: self.subscription.clone(),
            product_id: self.product_id.clone(),
            status: self.status,
            period: self.period,
            cancel_at: self.cancel_at,
            version: Some(self.version),
        })
    }
}

/// A subscription that was bought in an app store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct StorePurchase {
    /// The app store.
    store: AppStore,
    /// The environment. Purchases of testers are `test`, and give nothing in the live environment.
    environment: DataEnvironment,
    /// The product. For Google Play, it is followed by `:` and the base plan.
    product_id: String,
    /// The status.
    status: ProviderSubscriptionStatus,
    /// The end of the current period; `null` if the store states none.
    #[schema(required)]
    period_end: Option<Timestamp>,
    /// When the subscription ends without a further payment; `null` if it renews.
    #[schema(required)]
    cancel_at: Option<Timestamp>,
    /// When the state was stored.
    updated_at: Timestamp,
}

impl From<StoredPurchase> for StorePurchase {
    fn from(row: StoredPurchase) -> Self {
        Self {
            store: row.key.store,
            environment: row.key.environment,
            product_id: row.product_id,
            status: row.status,
            period_end: row.period.map(|(_, end)| end),
            cancel_at: row.cancel_at,
            updated_at: row.updated_at,
        }
    }
}

/// Returns the status with this stored text.
pub(super) fn status_from_text(text: &str) -> Option<ProviderSubscriptionStatus> {
    use ProviderSubscriptionStatus::{
        Active, Canceled, Incomplete, IncompleteExpired, PastDue, Paused, Trialing, Unpaid,
    };
    let all = [Incomplete, IncompleteExpired, Trialing, Active, PastDue, Unpaid, Paused, Canceled];
    all.into_iter().find(|status| status.as_str() == text)
}
