//! Reading subscriptions from providers.
//!
//! The version of the row is read before the provider is asked, and the state is stored only if no other process has
//! stored one meanwhile. So a state that was read earlier never replaces one that was read later, whatever the clocks
//! are.

use std::sync::Arc;

use omnistack_core::{
    clock::Timestamp,
    db,
    http::Error,
    id::Id,
    identity::TenantId,
    payment::{PaymentError, PaymentProvider, ProviderFeature, ProviderSubscription, SubscriptionItem},
};

use super::{
    apply::Applied,
    checkout_store::{self, StoredCheckout},
    errors::payment_error,
    handle::Subscriptions,
    machine::{FutureTerms, LatestInvoice, ProviderSnapshot, SubscriptionFact, SubscriptionState},
    model::CheckoutId,
    store::{self, ExternalKey, StoredSubscription},
    store_state::StoreSubscription,
    terms::SubscriptionTerms,
};
use crate::period::BillingInterval;

/// Maximum number of times that the provider is asked while other processes change the same subscription.
const MAX_READS: u32 = 5;

impl Subscriptions {
    /// Asks the provider for a subscription, and stores its state with all effects. Returns `None` if it belongs to no
    /// tenant.
    ///
    /// # Errors
    /// The errors of the provider and of the database; 500 if the plan of a new subscription is not known.
    pub(super) async fn refresh(
        &self,
        provider: &Arc<dyn PaymentProvider>,
        id: &str,
    ) -> Result<Option<StoredSubscription>, Error> {
        let key = ExternalKey {
            provider: provider.name().to_owned(),
            environment: provider.environment(),
            id: id.to_owned(),
        };
        for _ in 0..MAX_READS {
            let known = self.find(&key).await?;
            let now = self.now();
            let (row, fact) = match provider.subscription(id).await {
                Ok(read) => match self.read(provider, &key, known, &read).await? {
                    Some(found) => found,
                    None => return Ok(None),
                },
                Err(PaymentError::NotFound { .. }) => match known {
                    Some(row) if self.is_paid_for(&row) => {
                        let (tenant, provider) = (row.tenant, provider.name());
                        tracing::error!(
                            target: "omnistack::billing", %tenant, provider, id,
                            "the provider does not know a subscription that is paid; look whether the credentials are \
                             those of the right account"
                        );
                        return Ok(Some(row));
                    }
                    Some(row) => (row, SubscriptionFact::Gone),
                    None => return Ok(None),
                },
                Err(error) => return Err(payment_error(error)),
            };
            let row = StoredSubscription { checked_at: now, ..row };
            if let Applied::Stored(row) = self.apply(row, &fact).await? {
                return Ok(Some(*row));
            }
        }
        Err(Error::unavailable("SUBSCRIPTION_BUSY", "the subscription is being changed; try again"))
    }

    /// Returns whether the period of a subscription, or the grace after it, lasts. What a tenant has paid is not taken
    /// away because a provider does not find it: with credentials of another account, it finds none.
    fn is_paid_for(&self, row: &StoredSubscription) -> bool {
        row.state.is_running() && row.state.period.is_some_and(|(_, end)| self.now() < end + self.0.grace)
    }

    /// Stores the state of a subscription that was bought in an app store, with all effects.
    ///
    /// # Errors
    /// 404 if no plan has the product; 409 `STORE_PURCHASE_OF_OTHER_TENANT` if another tenant has made the purchase; the errors
    /// of the database.
    pub(crate) async fn apply_store_state(&self, store: StoreSubscription) -> Result<(), Error> {
        let item =
            SubscriptionItem { id: String::new(), price: store.product_id.clone(), quantity: 1, period: store.period };
        let key = ExternalKey {
            provider: store.provider.to_owned(),
            environment: store.environment,
            id: store.external_id.clone(),
        };
        for _ in 0..MAX_READS {
            let known = self.find(&key).await?;
            let now = self.now();
            let known_terms = known.as_ref().map(|row| row.state.terms.clone());
            let terms = self.terms(store.provider, &item, known_terms.as_ref(), None).await?;
            let row = match known {
                Some(known) if known.tenant != store.tenant => {
                    let message = "the purchase belongs to another account; sign in there, or restore it there";
                    return Err(Error::conflict("STORE_PURCHASE_OF_OTHER_TENANT", message));
                }
                Some(known) => StoredSubscription { checked_at: now, ..known },
                None => {
                    let terms = terms.clone().ok_or_else(|| {
                        Error::not_found(format!("a plan with the product `{}`", store.product_id.escape_debug()))
                    })?;
                    self.new_row(store.tenant, key.clone(), terms, store.period.map_or(now, |(start, _)| start))
                }
            };
            let snapshot = ProviderSnapshot {
                status: store.status,
                terms,
                pending: None,
                period: store.period,
                renews_at: store.period.map(|(_, end)| end),
                trial_end: None,
                cancel_at: store.cancel_at,
                ended_at: None,
                collection_paused: false,
                discounts: Vec::new(),
                invoice: None,
                version: store.version,
                can_return: true,
                charges_later: false,
            };
            if let Applied::Stored(_) = self.apply(row, &SubscriptionFact::Provider(Box::new(snapshot))).await? {
                return Ok(());
            }
        }
        Err(Error::unavailable("SUBSCRIPTION_BUSY", "the subscription is being changed; try again"))
    }

    /// Returns a subscription by its id at the provider.
    pub(super) async fn find(&self, key: &ExternalKey) -> Result<Option<StoredSubscription>, db::Error> {
        // A provider does not say the tenant, so all are searched.
        let mut tx = self.0.db.all_tenants().begin_read().await?;
        let found = store::find(&mut tx, key).await?;
        tx.commit().await?;
        Ok(found)
    }

    fn new_row(
        &self,
        tenant: TenantId,
        external: ExternalKey,
        terms: SubscriptionTerms,
        provider_created_at: Timestamp,
    ) -> StoredSubscription {
        let now = self.now();
        StoredSubscription {
            id: Id::new(now),
            tenant,
            external,
            reference: None,
            customer: None,
            state: SubscriptionState::new(terms),
            cleanup: None,
            request: None,
            version: 0,
            provider_created_at,
            checked_at: now,
            created_at: now,
        }
    }

    /// Returns the row that a state of a provider is about, and the fact that it is.
    async fn read(
        &self,
        provider: &Arc<dyn PaymentProvider>,
        key: &ExternalKey,
        known: Option<StoredSubscription>,
        read: &ProviderSubscription,
    ) -> Result<Option<(StoredSubscription, SubscriptionFact)>, Error> {
        let checkout = self.checkout_of(read.reference.as_deref()).await?;
        let known_terms = known.as_ref().map(|row| row.state.terms.clone());
        let mut terms = None;
        for item in &read.items {
            terms = self.terms(provider.name(), item, known_terms.as_ref(), checkout.as_ref()).await?;
            if terms.is_some() {
                break;
            }
        }
        let row = match known {
            Some(row) => row,
            None => {
                let tenant = match &checkout {
                    Some(checkout) => Some(checkout.tenant_id),
                    None => self.tenant_of_customer(key, &read.customer).await?,
                };
                let Some(tenant) = tenant else {
                    let (provider, id) = (&key.provider, &key.id);
                    tracing::warn!(target: "omnistack::billing", %provider, %id, "a subscription belongs to no tenant");
                    return Ok(None);
                };
                let Some(terms) = terms.clone() else {
                    let prices: Vec<_> = read.items.iter().map(|item| item.price.as_str()).collect();
                    let prices = prices.join("`, `");
                    let message = format!("no plan has the price `{prices}` of {}; add it to the plan", key.provider);
                    return Err(Error::internal(message));
                };
                self.new_row(tenant, key.clone(), terms, read.created_at)
            }
        };
        let row = StoredSubscription {
            reference: read.reference.clone().or(row.reference),
            customer: Some(read.customer.clone()),
            ..row
        };
        let mut pending = None;
        if let Some((item, until)) = &read.pending_change {
            let terms = self.terms(provider.name(), item, known_terms.as_ref(), checkout.as_ref()).await?;
            pending = terms.map(|terms| FutureTerms { terms, at: Some(*until), action_url: read.action_url.clone() });
        }
        let snapshot = ProviderSnapshot {
            status: read.status,
            terms,
            pending,
            period: read.period,
            renews_at: read.items.iter().filter_map(|item| item.period).map(|(_, end)| end).min(),
            trial_end: read.trial_end,
            cancel_at: read.cancel_at,
            ended_at: read.ended_at,
            collection_paused: read.collection_paused,
            discounts: read.discounts.clone(),
            invoice: invoice(provider, read.latest_invoice.as_deref()).await?,
            version: read.version,
            can_return: false,
            charges_later: !provider.profile().features.contains(&ProviderFeature::ImmediateChange),
        };
        let snapshot =
            ProviderSnapshot { renews_at: snapshot.renews_at.or(read.period.map(|(_, end)| end)), ..snapshot };
        Ok(Some((row, SubscriptionFact::Provider(Box::new(snapshot)))))
    }

    /// Returns the checkout that a reference names.
    async fn checkout_of(&self, reference: Option<&str>) -> Result<Option<StoredCheckout>, db::Error> {
        let Some(id) = reference.and_then(|text| text.parse::<CheckoutId>().ok()) else { return Ok(None) };
        let mut tx = self.0.db.all_tenants().begin_read().await?;
        let found = checkout_store::get(&mut tx, id).await?;
        tx.commit().await?;
        Ok(found)
    }

    async fn tenant_of_customer(&self, key: &ExternalKey, customer: &str) -> Result<Option<TenantId>, db::Error> {
        let mut tx = self.0.db.all_tenants().begin_read().await?;
        let found = checkout_store::tenant_of_customer(&mut tx, &key.provider, key.environment, customer).await?;
        tx.commit().await?;
        Ok(found)
    }

    /// Returns the terms of an item. The version of the plan that the tenant has stays, if it has the price, and then
    /// that of the checkout.
    async fn terms(
        &self,
        provider: &str,
        item: &SubscriptionItem,
        known: Option<&SubscriptionTerms>,
        checkout: Option<&StoredCheckout>,
    ) -> Result<Option<SubscriptionTerms>, Error> {
        let sold =
            checkout.and_then(|checkout| Some((checkout.plan.as_str(), u32::try_from(checkout.plan_version).ok()?)));
        for (plan, version) in known.map(|terms| (terms.plan.as_str(), terms.version)).into_iter().chain(sold) {
            // A version that this process does not know yet is no error.
            let Ok(definition) = self.0.accounts.known_definition(plan, Some(version)).await else { continue };
            // The plan may have another id of the price since the checkout.
            let bought = || {
                let is_of_plan = |checkout: &&StoredCheckout| checkout.price == item.price && checkout.plan == plan;
                checkout.filter(is_of_plan).and_then(|checkout| checkout.period.parse::<BillingInterval>().ok())
            };
            if let Some(interval) = definition.interval_of_price(provider, &item.price).or_else(bought) {
                return Ok(SubscriptionTerms::new(&definition, interval, item.quantity));
            }
        }
        let sold = self.0.accounts.sold_by(provider, &item.price).await?;
        Ok(sold.and_then(|(plan, interval)| SubscriptionTerms::new(&plan, interval, item.quantity)))
    }
}

/// Returns an invoice of a provider. Returns `None` if the provider has no invoices.
async fn invoice(provider: &Arc<dyn PaymentProvider>, id: Option<&str>) -> Result<Option<LatestInvoice>, Error> {
    let Some(id) = id else { return Ok(None) };
    match provider.invoice(id).await {
        Ok(read) => Ok(Some(LatestInvoice {
            id: read.id,
            number: read.number,
            status: read.status,
            attempts: read.attempts,
            paid: read.paid,
            url: read.hosted_url,
            created_at: read.created_at,
        })),
        Err(PaymentError::NotSupported { .. } | PaymentError::NotFound { .. }) => Ok(None),
        Err(error) => Err(payment_error(error)),
    }
}
