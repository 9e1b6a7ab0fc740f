//! The handle of subscriptions, and what it reads.

use std::{fmt, sync::Arc, time::Duration};

use omnistack_core::{
    audit::AuditLog,
    clock::{Clock, Timestamp},
    config::PublicUrl,
    db::{self, Db},
    events::Events,
    http::Error,
    identity::TenantId,
    jobs::Jobs,
    payment::{PaymentProvider, PaymentProviders},
    usage::DataEnvironment,
};

use super::{
    errors::{app_store_subscription, no_provider, no_subscription},
    model::Subscription,
    settings::LostDisputeAction,
    store::{self, StoredSubscription},
};
use crate::{account::BillingAccounts, invoice::Invoices, wallet::Wallets};

/// The subscriptions of all tenants. It is in the [`Context`](omnistack_core::module::Context) of an app with the module
/// `Billing`. Cheap to clone.
///
/// A subscription is bought on a page of a payment provider, or in an app store. Its state is always that which the
/// provider has: each event of the provider only makes the app ask for it.
///
/// ```
/// use omnistack_billing::Subscriptions;
/// use omnistack_core::{http::Error, identity::TenantId};
///
/// /// Returns whether a tenant has to pay something.
/// async fn owes(subscriptions: &Subscriptions, tenant: TenantId) -> Result<bool, Error> {
///     Ok(subscriptions.current(tenant).await?.is_some_and(|subscription| subscription.payment_due))
/// }
/// # let _ = owes;
/// ```
#[derive(Clone)]
pub struct Subscriptions(pub(super) Arc<SubscriptionParts>);

/// The dependencies of subscriptions.
pub(super) struct SubscriptionParts {
    /// The app's own database, without tenant databases.
    pub(super) db: Db,
    pub(super) clock: Clock,
    pub(super) accounts: BillingAccounts,
    pub(super) wallets: Wallets,
    pub(super) invoices: Invoices,
    pub(super) providers: PaymentProviders,
    pub(super) events: Events,
    pub(super) jobs: Jobs,
    pub(super) audit: AuditLog,
    pub(super) public_url: PublicUrl,
    /// The time for which a tenant keeps its plan while a payment is due.
    pub(super) grace: Duration,
    /// Whether a user has one trial of a plan group, whatever the tenant is.
    pub(super) one_trial_per_user: bool,
    /// The consequence of a lost dispute.
    pub(super) lost_dispute: LostDisputeAction,
}

impl Subscriptions {
    pub(super) fn new(parts: SubscriptionParts) -> Self {
        Self(Arc::new(parts))
    }

    /// Returns the environment whose subscriptions give tenants their plans: that of the default provider, or
    /// [`Live`](DataEnvironment::Live) without one. Those of the other environment are kept apart.
    pub fn environment(&self) -> DataEnvironment {
        self.0.providers.default_provider().map_or(DataEnvironment::Live, |provider| provider.environment())
    }

    /// Returns the subscription of a tenant: the one that gives it the plan, or else that which has not ended, or else
    /// the last one. Returns `None` if there never was one.
    ///
    /// # Errors
    /// The errors of the database.
    pub async fn current(&self, tenant: TenantId) -> Result<Option<Subscription>, Error> {
        Ok(self.current_row(tenant).await?.as_ref().map(Into::into))
    }

    pub(super) async fn current_row(&self, tenant: TenantId) -> Result<Option<StoredSubscription>, db::Error> {
        let mut tx = self.0.db.tenant(tenant).begin_read().await?;
        let rows = store::of_tenant(&mut tx, tenant, self.environment()).await?;
        tx.commit().await?;
        let rank = |row: &StoredSubscription| {
            let state = &row.state;
            (
                !state.is_duplicate,
                state.entitled,
                state.is_running(),
                !state.status.is_final(),
                state.terms.monthly_price,
            )
        };
        Ok(rows.into_iter().max_by_key(rank))
    }

    /// Returns the subscription that a tenant can change, and its provider.
    ///
    /// # Errors
    /// 409 `NO_SUBSCRIPTION` if the tenant has none that runs; 409 `APP_STORE_SUBSCRIPTION` if it was bought in an app
    /// store; 503 `PAYMENTS_NOT_CONFIGURED` if the app no longer has an account at the provider.
    pub(super) async fn changeable(
        &self,
        tenant: TenantId,
    ) -> Result<(StoredSubscription, Arc<dyn PaymentProvider>), Error> {
        let row = self.current_row(tenant).await?.filter(|row| row.state.is_running() && !row.state.is_duplicate);
        let row = row.ok_or_else(no_subscription)?;
        if is_app_store(&row.external.provider) {
            return Err(app_store_subscription());
        }
        let provider = self.provider(Some(&row.external.provider))?;
        if provider.environment() != row.external.environment {
            return Err(no_provider());
        }
        Ok((row, provider))
    }

    /// Returns the provider with a name, or the default one.
    pub(super) fn provider(&self, name: Option<&str>) -> Result<Arc<dyn PaymentProvider>, Error> {
        let found = match name {
            Some(name) => self.0.providers.get(name),
            None => self.0.providers.default_provider(),
        };
        found.cloned().ok_or_else(no_provider)
    }

    pub(super) fn now(&self) -> Timestamp {
        self.0.clock.now()
    }
}

/// Returns whether a provider is an app store, whose subscriptions the app can't change.
pub(super) fn is_app_store(provider: &str) -> bool {
    matches!(provider, "apple" | "google")
}

impl fmt::Debug for Subscriptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscriptions").field("providers", &self.0.providers).finish_non_exhaustive()
    }
}
