//! The events of subscriptions.

use omnistack_core::{
    clock::Timestamp, events::Event, id::Id, identity::TenantId, payment::ProviderSubscriptionStatus,
    usage::DataEnvironment, webhook::WebhookEvent,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{model::SubscriptionId, store::StoredSubscription};

/// The tenant and the subscription in the example of the event.
const EXAMPLE_ID: Uuid = Uuid::from_u128(0x0197_2a4e_8c00_7000_8000_0000_0000_0001);

/// Event: the subscription of a tenant has changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[non_exhaustive]
pub struct BillingSubscriptionUpdated {
    /// The tenant.
    #[schema(value_type = String, format = Uuid)]
    pub tenant: TenantId,
    /// The subscription.
    #[schema(value_type = String, format = Uuid)]
    pub subscription: SubscriptionId,
    /// Whether it is about real money.
    pub environment: DataEnvironment,
    /// The status.
    pub status: ProviderSubscriptionStatus,
    /// Whether the tenant has the plan.
    pub entitled: bool,
    /// The key of the plan.
    pub plan: String,
    /// The number of units, such as seats.
    pub quantity: u64,
    /// The end of the current period.
    #[schema(required)]
    pub period_end: Option<Timestamp>,
    /// When the subscription will end.
    #[schema(required)]
    pub cancel_at: Option<Timestamp>,
}

impl BillingSubscriptionUpdated {
    pub(super) fn new(row: &StoredSubscription) -> Self {
        let state = &row.state;
        Self {
            tenant: row.tenant,
            subscription: row.id,
            environment: row.external.environment,
            status: state.status,
            entitled: state.entitled,
            plan: state.terms.plan.clone(),
            quantity: state.terms.quantity,
            period_end: state.period.map(|(_, end)| end),
            cancel_at: state.cancel_at,
        }
    }
}

impl Event for BillingSubscriptionUpdated {
    const NAME: &'static str = "billing.subscription_updated";

    fn key(&self) -> String {
        self.subscription.to_string()
    }
}

impl WebhookEvent for BillingSubscriptionUpdated {
    const TYPE: &'static str = <Self as Event>::NAME;
    const DESCRIPTION: &'static str = "The subscription has changed: its status, plan, seats, period or end.";

    fn example() -> Self {
        Self {
            tenant: TenantId::from_uuid(EXAMPLE_ID),
            subscription: Id::from_uuid(EXAMPLE_ID),
            environment: DataEnvironment::Live,
            status: ProviderSubscriptionStatus::Active,
            entitled: true,
            plan: "pro".to_owned(),
            quantity: 1,
            period_end: Some(Timestamp::from_micros(1_893_456_000_000_000)),
            cancel_at: None,
        }
    }
}
