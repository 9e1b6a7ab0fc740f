//! The routes of what a tenant has and can buy.

use axum::extract::State;
use omnistack_core::{
    http::{Error, ErrorEnvelope, Json},
    identity::Identity,
    money::Money,
    usage::DataEnvironment,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::super::{handle::Subscriptions, model::Subscription};
use crate::plan::PlanDefinition;

/// The state of billing of a tenant.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BillingStatus {
    /// Whether payments are of real money.
    environment: DataEnvironment,
    /// Whether the app can take payments.
    payments_configured: bool,
    /// The key of the plan that the tenant has.
    plan: String,
    /// The subscription: that which gives the plan, or else the last one.
    #[schema(required)]
    subscription: Option<Subscription>,
    /// Whether a payment is due.
    payment_due: bool,
}

/// Get the status of billing
#[utoipa::path(get, path = "/status", operation_id = "get_billing_status",
    responses((status = 200, body = BillingStatus)))]
pub(super) async fn status(
    State(subscriptions): State<Subscriptions>,
    caller: Identity,
) -> Result<Json<BillingStatus>, Error> {
    let tenant = caller.require_tenant()?;
    let subscription = subscriptions.current(tenant).await?;
    Ok(Json(BillingStatus {
        environment: subscriptions.environment(),
        payments_configured: subscriptions.0.providers.default_provider().is_some(),
        plan: subscriptions.0.accounts.get(tenant).await?.plan,
        payment_due: subscription.as_ref().is_some_and(|one| one.payment_due),
        subscription,
    }))
}

/// A price at which a plan can be bought.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SalePrice {
    /// The amount of one unit.
    price: Money,
    /// The interval, such as `month`.
    interval: String,
}

/// A plan as the tenant can buy it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PlanOffer {
    /// The plan.
    plan: PlanDefinition,
    /// The prices at which it can be bought now. Empty if it can't be bought.
    prices: Vec<SalePrice>,
    /// The number of days of the trial that a checkout begins. Zero if the tenant has used it.
    trial_days: u16,
    /// Whether it is the plan of the tenant.
    current: bool,
}

/// The plans that a tenant can buy.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PlanOffers {
    /// The plans, from the smallest to the largest.
    plans: Vec<PlanOffer>,
}

/// List plans to buy
///
/// The listed plans, with the prices at which the tenant can buy them and the trial that it still has.
#[utoipa::path(get, path = "/plans", operation_id = "list_plan_offers", responses((status = 200, body = PlanOffers)))]
pub(super) async fn plans(
    State(subscriptions): State<Subscriptions>,
    caller: Identity,
) -> Result<Json<PlanOffers>, Error> {
    let tenant = caller.require_tenant()?;
    let current = subscriptions.0.accounts.get(tenant).await?.plan;
    let provider = subscriptions.0.providers.default_provider().map(|provider| provider.name());
    let mut plans = Vec::new();
    for plan in subscriptions.0.accounts.catalogue().plans().filter(|plan| plan.listed || plan.key == current) {
        let is_sold = |interval| provider.is_some_and(|name| plan.price_id(name, interval).is_some());
        let prices = plan.sale_prices().into_iter().filter(|(_, interval)| is_sold(*interval));
        let prices = prices.map(|(price, interval)| SalePrice { price, interval: interval.to_string() }).collect();
        let has_trial = plan.trial_days > 0 && !subscriptions.has_used_trial(&caller, tenant, &plan.group).await?;
        plans.push(PlanOffer {
            plan: plan.clone(),
            prices,
            trial_days: if has_trial { plan.trial_days } else { 0 },
            current: plan.key == current,
        });
    }
    Ok(Json(PlanOffers { plans }))
}

/// Get the subscription
#[utoipa::path(get, path = "/subscription", operation_id = "get_subscription", responses(
    (status = 200, body = Subscription),
    (status = 404, body = ErrorEnvelope, description = "The tenant never had one."),
))]
pub(super) async fn subscription(
    State(subscriptions): State<Subscriptions>,
    caller: Identity,
) -> Result<Json<Subscription>, Error> {
    let found = subscriptions.current(caller.require_tenant()?).await?;
    Ok(Json(found.ok_or_else(|| Error::not_found("the subscription"))?))
}
