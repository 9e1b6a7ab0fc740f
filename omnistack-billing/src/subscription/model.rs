//! Subscriptions as the API and the app see them.

use omnistack_core::{
    clock::Timestamp, id::Id, identity::TenantId, payment::ProviderSubscriptionStatus, usage::DataEnvironment,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{machine::FutureTerms, store::StoredSubscription};

/// The id of a subscription.
pub type SubscriptionId = Id<Subscription>;
/// The id of a checkout. As text it is the reference at the provider.
pub(super) type CheckoutId = Id<Checkout>;

/// A change of a subscription that is not in effect yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[non_exhaustive]
pub struct FuturePlan {
    /// The key of the plan.
    pub plan: String,
    /// The interval of the price, such as `month`.
    pub interval: String,
    /// The number of units, such as seats.
    pub quantity: u64,
    /// When the change takes effect, or expires if it is not paid; `null` if that is not known.
    #[schema(required)]
    pub at: Option<Timestamp>,
    /// The page on which the customer confirms the change, which has no effect without it; `null` if there is none.
    #[schema(required)]
    pub action_url: Option<String>,
}

impl From<&FutureTerms> for FuturePlan {
    fn from(change: &FutureTerms) -> Self {
        let FutureTerms { terms, at, action_url } = change;
        Self {
            plan: terms.plan.clone(),
            interval: terms.interval.clone(),
            quantity: terms.quantity,
            at: *at,
            action_url: action_url.clone(),
        }
    }
}

/// A subscription of a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[non_exhaustive]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, each of which can hold in any status")]
pub struct Subscription {
    /// The id.
    #[schema(value_type = String, format = Uuid)]
    pub id: SubscriptionId,
    /// The tenant.
    #[schema(value_type = String, format = Uuid)]
    pub tenant_id: TenantId,
    /// The provider, such as `stripe`.
    pub provider: String,
    /// Whether it is about real money.
    pub environment: DataEnvironment,
    /// The status.
    pub status: ProviderSubscriptionStatus,
    /// Whether the tenant has the plan.
    pub entitled: bool,
    /// The key of the plan that is paid.
    pub plan: String,
    /// The version of the plan.
    pub plan_version: u32,
    /// The interval of the price, such as `month`.
    pub interval: String,
    /// The number of units, such as seats.
    pub quantity: u64,
    /// A change that takes effect when it is paid.
    #[schema(required)]
    pub pending: Option<FuturePlan>,
    /// A change that takes effect at the end of the period.
    #[schema(required)]
    pub scheduled: Option<FuturePlan>,
    /// The start of the current period.
    #[schema(required)]
    pub period_start: Option<Timestamp>,
    /// The end of the current period.
    #[schema(required)]
    pub period_end: Option<Timestamp>,
    /// When the subscription is billed again; `null` if it is not.
    #[schema(required)]
    pub renews_at: Option<Timestamp>,
    /// The end of the trial.
    #[schema(required)]
    pub trial_end: Option<Timestamp>,
    /// When the subscription will end.
    #[schema(required)]
    pub cancel_at: Option<Timestamp>,
    /// When the subscription ended.
    #[schema(required)]
    pub ended_at: Option<Timestamp>,
    /// Whether the provider collects no payments at present. The status does not change by this.
    pub collection_paused: bool,
    /// Whether a coupon reduces the invoices.
    pub discounted: bool,
    /// Whether a payment is due.
    pub payment_due: bool,
    /// The number of failed payments since a payment is due.
    pub failed_payments: u32,
    /// The time until which the tenant keeps the plan although a payment is due.
    #[schema(required)]
    pub grace_until: Option<Timestamp>,
    /// Whether a payment is disputed. The tenant does not have the plan meanwhile.
    pub disputed: bool,
    /// Whether another subscription was paid first. This one is canceled and refunded.
    pub duplicate: bool,
    /// When the subscription was created at the provider.
    pub created_at: Timestamp,
}

impl From<&StoredSubscription> for Subscription {
    fn from(row: &StoredSubscription) -> Self {
        let (state, terms) = (&row.state, &row.state.terms);
        let renews = state.is_running() && state.cancel_at.is_none();
        Self {
            id: row.id,
            tenant_id: row.tenant,
            provider: row.external.provider.clone(),
            environment: row.external.environment,
            status: state.status,
            entitled: state.entitled,
            plan: terms.plan.clone(),
            plan_version: terms.version,
            interval: terms.interval.clone(),
            quantity: terms.quantity,
            pending: state.pending.as_ref().map(Into::into),
            scheduled: state.scheduled.as_ref().map(Into::into),
            period_start: state.period.map(|(start, _)| start),
            period_end: state.period.map(|(_, end)| end),
            renews_at: state.renews_at.filter(|_| renews),
            trial_end: state.trial_end,
            cancel_at: state.cancel_at,
            ended_at: state.ended_at,
            collection_paused: state.collection_paused,
            discounted: !state.discounts.is_empty(),
            payment_due: state.is_payment_due(),
            failed_payments: state.failed_payments,
            grace_until: state.grace_until,
            disputed: state.disputes > 0,
            duplicate: state.is_duplicate,
            created_at: row.provider_created_at,
        }
    }
}

/// A checkout: a page of the provider on which the tenant pays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Checkout {
    /// The id.
    #[schema(value_type = String, format = Uuid)]
    pub(super) id: CheckoutId,
    /// The provider, such as `stripe`.
    pub(super) provider: String,
    /// The key of the plan.
    pub(super) plan: String,
    /// The page of the provider.
    pub(super) url: String,
    /// The end of the trial that the checkout begins; `null` without a trial.
    #[schema(required)]
    pub(super) trial_end: Option<Timestamp>,
    /// When the page stops accepting a payment.
    pub(super) expires_at: Timestamp,
}
