//! Checkouts: pages of a provider on which tenants buy plans.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use omnistack_core::{
    audit::AuditEntry,
    http::{Error, FieldError},
    id::Id,
    identity::{Identity, TenantId},
    payment::{
        CheckoutKind, NewCheckout, NewCustomer, PaymentError, PaymentProvider, ProviderCheckout, ProviderFeature,
        TrialEndBehavior,
    },
};
use serde_json::json;

use super::{
    checkout_store::{self, StoredCheckout},
    errors::{no_coupons, no_provider, other_group, payment_due, payment_error},
    handle::Subscriptions,
    model::Checkout,
    store,
};
use crate::{period::BillingInterval, plan::PlanDefinition};

/// Time for which a checkout can be paid.
const CHECKOUT_TTL: Duration = Duration::from_hours(23);
/// Maximum number of checkouts that a request replaces, because they were sold with other terms.
const MAX_REPLACED_CHECKOUTS: u32 = 3;

/// A plan to buy.
#[derive(Debug)]
pub(super) struct PlanPurchase {
    pub(super) plan: String,
    /// `None` for that of the plan.
    pub(super) interval: Option<BillingInterval>,
    pub(super) seats: Option<u64>,
    pub(super) coupon: Option<String>,
    pub(super) provider: Option<String>,
    /// The pages of the app, as paths.
    pub(super) success_path: String,
    pub(super) cancel_path: String,
}

impl Subscriptions {
    /// Starts a checkout, or returns the open one of the plan.
    ///
    /// # Errors
    /// 404 for an unknown plan; 409 `PLAN_NOT_SOLD` for one that can't be bought; 402 `BILLING_PAYMENT_DUE` and 409
    /// `SUBSCRIPTION_EXISTS` if the tenant has a subscription, or `SUBSCRIPTION_OF_OTHER_GROUP` if its plan is of another
    /// group, or `COUPONS_NOT_SUPPORTED`; the errors of the provider.
    pub(super) async fn start_checkout(&self, caller: &Identity, purchase: PlanPurchase) -> Result<Checkout, Error> {
        let tenant = caller.require_tenant()?;
        let provider = self.provider(purchase.provider.as_deref()).map_err(|error| match &purchase.provider {
            Some(_) => Error::invalid([FieldError::new("provider", "must be a payment provider of this app")]),
            None => error,
        })?;
        if provider.environment() != self.environment() {
            return Err(no_provider());
        }
        if purchase.coupon.is_some() && !provider.profile().features.contains(&ProviderFeature::Coupons) {
            return Err(no_coupons(provider.as_ref()));
        }
        let plan = self.0.accounts.catalogue().get(&purchase.plan);
        let plan = plan.ok_or_else(|| Error::not_found(format!("the plan `{}`", purchase.plan.escape_debug())))?;
        let wanted = self.wanted_checkout(caller, tenant, plan, &purchase, provider.as_ref()).await?;
        for _ in 0..MAX_REPLACED_CHECKOUTS {
            let checkout = self.insert_or_find(caller, &wanted, &plan.group).await?;
            if checkout.sells_same_as(&wanted) && checkout.expires_at > self.now() {
                return self.open_checkout(checkout, &provider).await;
            }
            self.close_checkout(&checkout).await?;
        }
        Err(Error::unavailable("CHECKOUT_BUSY", "another checkout of the plan is being made; try again"))
    }

    /// Returns the checkout to insert.
    async fn wanted_checkout(
        &self,
        caller: &Identity,
        tenant: TenantId,
        plan: &PlanDefinition,
        purchase: &PlanPurchase,
        provider: &dyn PaymentProvider,
    ) -> Result<StoredCheckout, Error> {
        let (interval, price) = sold_at(plan, purchase.interval, provider.name())?;
        let quantity = seats_to_buy(plan, purchase.seats)?;
        if plan.per_seat {
            self.0.accounts.check_seats(tenant, Some(quantity)).await?;
        }
        let now = self.now();
        let has_trial = plan.trial_days > 0 && !self.has_used_trial(caller, tenant, &plan.group).await?;
        let trial_end = has_trial.then(|| now + Duration::from_hours(24 * u64::from(plan.trial_days)));
        let trial_without_card = plan.trial_without_card.filter(|_| has_trial);
        let url = |path: &str| format!("{}{path}", self.0.public_url);
        Ok(StoredCheckout {
            id: Id::new(now),
            tenant_id: tenant,
            provider: provider.name().to_owned(),
            plan: plan.key.clone(),
            plan_version: i32::try_from(plan.version).unwrap_or(i32::MAX),
            period: interval.to_string(),
            price,
            quantity: i64::try_from(quantity).unwrap_or(i64::MAX),
            trial_group: has_trial.then(|| plan.group.clone()),
            trial_end,
            trial_without_card: trial_without_card.map(|end| end.as_str().to_owned()),
            coupon: purchase.coupon.clone(),
            success_url: url(&purchase.success_path),
            cancel_url: url(&purchase.cancel_path),
            status: "creating".to_owned(),
            external_id: None,
            url: None,
            subscription: None,
            created_by: caller.user,
            expires_at: now + CHECKOUT_TTL,
        })
    }

    /// Returns whether the tenant has used the trial of a plan group, or its user if a user has one trial.
    pub(super) async fn has_used_trial(&self, caller: &Identity, tenant: TenantId, group: &str) -> Result<bool, Error> {
        let user = self.0.one_trial_per_user.then_some(caller.user);
        // The trial of a user can be one of another tenant.
        let mut tx = match user {
            Some(_) => self.0.db.all_tenants().begin_read().await?,
            None => self.0.db.tenant(tenant).begin_read().await?,
        };
        let used = store::has_used_trial(&mut tx, tenant, self.environment(), group, user).await?;
        tx.commit().await?;
        Ok(used)
    }

    /// Inserts a checkout before the provider is called. Returns the open one of the plan if there is one.
    async fn insert_or_find(
        &self,
        caller: &Identity,
        wanted: &StoredCheckout,
        group: &str,
    ) -> Result<StoredCheckout, Error> {
        let (tenant, environment, now) = (wanted.tenant_id, self.environment(), self.now());
        let mut tx = self.0.db.tenant(tenant).begin().await?;
        let others = store::of_tenant(&mut tx, tenant, environment).await?;
        let other = others.iter().find(|row| row.state.is_running() && !row.state.is_duplicate);
        if let Some(other) = other {
            let (state, terms) = (&other.state, &other.state.terms);
            let error = if terms.group != group {
                other_group(&terms.plan)
            } else if state.is_payment_due() {
                payment_due()
            } else {
                let message = "the tenant has a subscription; change its plan instead of buying a second one";
                Error::conflict("SUBSCRIPTION_EXISTS", message).with_detail("plan", &terms.plan)
            };
            tx.rollback().await?;
            return Err(error);
        }
        if checkout_store::insert(&mut tx, wanted, environment, now).await? {
            let entry = AuditEntry::new("checkout.started").actor(caller).resource("checkout", wanted.id);
            let details = json!({ "plan": wanted.plan, "interval": wanted.period, "quantity": wanted.quantity });
            self.0.audit.record_in(&mut tx, entry.details(details)).await?;
            tx.commit().await?;
            return Ok(wanted.clone());
        }
        let open = checkout_store::open(&mut tx, tenant, environment, &wanted.plan).await?;
        tx.commit().await?;
        // It was closed between the two statements.
        open.ok_or_else(|| Error::unavailable("CHECKOUT_BUSY", "another checkout of the plan was closed; try again"))
    }

    /// Returns the page of a checkout. While the page is not known, the provider is asked for it with the key of the
    /// checkout, so it creates one page, whichever process asks.
    async fn open_checkout(
        &self,
        checkout: StoredCheckout,
        provider: &Arc<dyn PaymentProvider>,
    ) -> Result<Checkout, Error> {
        if let Some(url) = &checkout.url {
            return Ok(shown(&checkout, url.clone()));
        }
        let tenant = checkout.tenant_id;
        let customer = self.customer(tenant, provider.as_ref()).await?;
        let created = provider.create_checkout(&new_checkout(&checkout, customer)).await;
        let mut tx = self.0.db.tenant(tenant).begin().await?;
        let result = match created {
            Ok(ProviderCheckout { id, url: Some(url), .. }) => {
                checkout_store::set_open(&mut tx, checkout.id, &id, Some(&url), self.now()).await?;
                Ok(shown(&checkout, url))
            }
            Ok(ProviderCheckout { id, subscription, .. }) => {
                // A lost answer: the page was paid or has expired since.
                checkout_store::set_open(&mut tx, checkout.id, &id, None, self.now()).await?;
                let status = if subscription.is_some() { "complete" } else { "expired" };
                checkout_store::set_ended(&mut tx, checkout.id, status, subscription.as_deref(), self.now()).await?;
                Err(Error::conflict("CHECKOUT_ENDED", "the checkout is complete or has expired; look at the status"))
            }
            // The page may exist: the next request finds it by the key.
            Err(error @ (PaymentError::Unknown { .. } | PaymentError::Unavailable { .. })) => Err(payment_error(error)),
            Err(error) => {
                checkout_store::set_ended(&mut tx, checkout.id, "failed", None, self.now()).await?;
                Err(payment_error(error))
            }
        };
        tx.commit().await?;
        result
    }

    /// Closes a checkout, so that another one of the plan can be made.
    ///
    /// # Errors
    /// 409 `CHECKOUT_ENDED` if it was paid meanwhile.
    pub(super) async fn close_checkout(&self, checkout: &StoredCheckout) -> Result<(), Error> {
        let provider = self.provider(Some(&checkout.provider))?;
        // A page that may exist is found by its key, so that it can be closed.
        let external = match &checkout.external_id {
            Some(id) => id.clone(),
            None => {
                let customer = self.customer(checkout.tenant_id, provider.as_ref()).await?;
                match provider.create_checkout(&new_checkout(checkout, customer)).await {
                    Ok(created) => created.id,
                    Err(PaymentError::Rejected { .. }) => return self.end_checkout(checkout, "failed").await,
                    Err(error) => return Err(payment_error(error)),
                }
            }
        };
        match provider.expire_checkout(&external).await {
            Ok(()) | Err(PaymentError::NotFound { .. }) => self.end_checkout(checkout, "expired").await,
            Err(PaymentError::Rejected { .. }) => {
                self.sync_checkout(&provider, &external).await?;
                Err(Error::conflict("CHECKOUT_ENDED", "the checkout was paid meanwhile; look at the subscription"))
            }
            Err(error) => Err(payment_error(error)),
        }
    }

    async fn end_checkout(&self, checkout: &StoredCheckout, status: &'static str) -> Result<(), Error> {
        let mut tx = self.0.db.tenant(checkout.tenant_id).begin().await?;
        checkout_store::set_ended(&mut tx, checkout.id, status, None, self.now()).await?;
        Ok(tx.commit().await?)
    }

    /// Returns the id of a tenant's customer at a provider. It is created once, whichever processes ask.
    pub(super) async fn customer(&self, tenant: TenantId, provider: &dyn PaymentProvider) -> Result<String, Error> {
        let (name, environment) = (provider.name(), provider.environment());
        let mut tx = self.0.db.tenant(tenant).begin().await?;
        let known = checkout_store::customer_or_new(&mut tx, tenant, name, environment, self.now()).await?;
        tx.commit().await?;
        if let Some(known) = known {
            return Ok(known);
        }
        let new = NewCustomer {
            reference: tenant.to_string(),
            name: None,
            email: None,
            idempotency_key: format!("customer-{tenant}-{environment}"),
        };
        let created = provider.create_customer(&new).await.map_err(payment_error)?;
        let mut tx = self.0.db.tenant(tenant).begin().await?;
        let id = checkout_store::set_customer(&mut tx, tenant, name, environment, &created.id, self.now()).await?;
        tx.commit().await?;
        Ok(id)
    }
}

/// Returns the interval and the id of the price by which a plan is sold at a provider.
///
/// # Errors
/// 409 `PLAN_NOT_SOLD`.
pub(super) fn sold_at(
    plan: &PlanDefinition,
    interval: Option<BillingInterval>,
    provider: &str,
) -> Result<(BillingInterval, String), Error> {
    let default = plan.sale_prices().first().map(|(_, interval)| *interval);
    let interval = interval.or(default);
    let sold = interval.and_then(|interval| Some((interval, plan.price_id(provider, interval)?)));
    sold.ok_or_else(|| {
        let message = format!("the plan `{}` can't be bought so; choose another plan or interval", plan.key);
        Error::conflict("PLAN_NOT_SOLD", message)
    })
}

/// Returns the number of units to buy.
///
/// # Errors
/// 409 `PLAN_NOT_PER_SEAT` for seats of a plan that has none.
pub(super) fn seats_to_buy(plan: &PlanDefinition, seats: Option<u64>) -> Result<u64, Error> {
    match seats {
        Some(0) => Err(Error::invalid([FieldError::new("seats", "must be at least 1")])),
        Some(_) if !plan.per_seat => {
            let message = format!("the plan `{}` is not sold by seats; leave `seats` out", plan.key);
            Err(Error::conflict("PLAN_NOT_PER_SEAT", message))
        }
        seats => Ok(seats.unwrap_or(1)),
    }
}

fn new_checkout(checkout: &StoredCheckout, customer: String) -> NewCheckout {
    NewCheckout {
        reference: checkout.id.to_string(),
        customer,
        kind: CheckoutKind::Subscription {
            price: checkout.price.clone(),
            quantity: u64::try_from(checkout.quantity).unwrap_or(1),
            trial_end: checkout.trial_end,
            trial_end_behavior: checkout.trial_without_card.as_deref().and_then(TrialEndBehavior::from_name),
            coupon: checkout.coupon.clone(),
        },
        success_url: checkout.success_url.clone(),
        cancel_url: checkout.cancel_url.clone(),
        expires_at: checkout.expires_at,
        metadata: BTreeMap::from([
            ("tenant".to_owned(), checkout.tenant_id.to_string()),
            ("plan".to_owned(), checkout.plan.clone()),
        ]),
        idempotency_key: format!("checkout-{}", checkout.id),
    }
}

fn shown(checkout: &StoredCheckout, url: String) -> Checkout {
    Checkout {
        id: checkout.id,
        provider: checkout.provider.clone(),
        plan: checkout.plan.clone(),
        url,
        trial_end: checkout.trial_end,
        expires_at: checkout.expires_at,
    }
}
