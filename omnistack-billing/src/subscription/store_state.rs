//! The state of a subscription that was bought in an app store.

use omnistack_core::{
    clock::Timestamp, identity::TenantId, payment::ProviderSubscriptionStatus, usage::DataEnvironment,
};

/// The state of a subscription that was bought in an app store, as the store has it now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoreSubscription {
    /// The tenant that has bought it.
    pub(crate) tenant: TenantId,
    /// `apple` or `google`.
    pub(crate) provider: &'static str,
    /// The environment. A purchase of a tester is of [`DataEnvironment::Test`].
    pub(crate) environment: DataEnvironment,
    /// The id that stays over all renewals: the original transaction of Apple, the purchase token of Google.
    pub(crate) external_id: String,
    /// The product, which is the id of a plan's price at this provider.
    pub(crate) product_id: String,
    /// The status.
    pub(crate) status: ProviderSubscriptionStatus,
    /// The current period.
    pub(crate) period: Option<(Timestamp, Timestamp)>,
    /// When the subscription ends without a further payment; `None` if it renews.
    pub(crate) cancel_at: Option<Timestamp>,
    /// The store's version of the state: a later state has a greater one, such as the time of its signature.
    pub(crate) version: Option<i64>,
}
