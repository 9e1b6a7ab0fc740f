//! The events of accounts.

use omnistack_core::{events::Event, identity::TenantId, webhook::WebhookEvent};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// The tenant in the example of the event.
const EXAMPLE_TENANT: Uuid = Uuid::from_u128(0x0197_2a4e_8c00_7000_8000_0000_0000_0001);

/// Event: a tenant has another plan, or another version of its plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[non_exhaustive]
pub struct PlanChanged {
    /// The tenant.
    #[schema(value_type = String, format = Uuid)]
    pub tenant: TenantId,
    /// The key of the plan before.
    pub from: String,
    /// The key of the plan.
    pub to: String,
    /// The version of the plan.
    pub version: u32,
}

impl Event for PlanChanged {
    const NAME: &'static str = "billing.plan_changed";

    fn key(&self) -> String {
        self.tenant.to_string()
    }
}

impl WebhookEvent for PlanChanged {
    const TYPE: &'static str = <Self as Event>::NAME;
    const DESCRIPTION: &'static str = "The tenant has another plan, or another version of its plan.";

    fn example() -> Self {
        let tenant = TenantId::from_uuid(EXAMPLE_TENANT);
        Self { tenant, from: "free".to_owned(), to: "pro".to_owned(), version: 1 }
    }
}
