//! Accounts as the API and the app see them.

use omnistack_core::{clock::Timestamp, identity::TenantId};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    entitled::Entitled,
    overrides::{OverrideKind, PlanOverride},
};
use crate::{
    period::{BillingInterval, BillingPeriod},
    plan::PlanDefinition,
};

/// A plan to assign to a tenant.
///
/// ```
/// use omnistack_billing::{BillingInterval, PlanAssignment};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let anchor = "2030-01-31T12:00:00Z".parse()?;
/// let assignment = PlanAssignment::new("pro").version(2).period(anchor, BillingInterval::MONTH);
/// assert_ne!(assignment, PlanAssignment::new("pro"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct PlanAssignment {
    pub(super) plan: String,
    pub(super) version: Option<u32>,
    pub(super) period: Option<(Timestamp, BillingInterval)>,
}

impl PlanAssignment {
    /// Creates an assignment of the newest version of a plan. The billing periods stay.
    pub fn new(plan: impl Into<String>) -> Self {
        Self { plan: plan.into(), version: None, period: None }
    }

    /// Sets the version.
    pub fn version(mut self, version: u32) -> Self {
        self.version = Some(version);
        self
    }

    /// Sets the anchor and the interval of the billing periods, in the time zone of the account. The running period
    /// ends. `anchor` is the time from which all boundaries are counted, such as the start of the subscription: with
    /// the start of the last period instead, an anchor on the 31st would become the 28th in February.
    pub fn period(mut self, anchor: Timestamp, interval: BillingInterval) -> Self {
        self.period = Some((anchor, interval));
        self
    }
}

/// The account of a tenant: its plan, its seats and its billing period.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[non_exhaustive]
pub struct BillingAccount {
    /// The tenant.
    #[schema(value_type = String, format = Uuid)]
    pub tenant_id: TenantId,
    /// The key of the plan.
    pub plan: String,
    /// The version of the plan.
    pub plan_version: u32,
    /// The name of the plan.
    pub plan_name: String,
    /// The seats that were bought, in place of the plan's limit `team_members`; `null` if none were.
    #[schema(required)]
    pub seats: Option<u64>,
    /// The time zone of billing periods. After a change, it counts from the next period on.
    pub zone: String,
    /// The running billing period.
    pub current_period: BillingPeriod,
    /// The resources of which the tenant has more than it is entitled to. None is removed, and none can be added.
    pub over_limit: Vec<OverLimit>,
    /// The overrides that have not expired.
    pub overrides: Vec<PlanOverride>,
}

/// A resource of which a tenant has more than it is entitled to, as after a change to a smaller plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[non_exhaustive]
pub struct OverLimit {
    /// The name of the resource, such as `team_members`.
    pub name: String,
    /// The number that the tenant has.
    pub used: u64,
    /// The limit.
    pub limit: u64,
}

/// An account in a list.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct BillingAccountSummary {
    /// The tenant.
    #[schema(value_type = String, format = Uuid)]
    pub(super) tenant_id: TenantId,
    /// The key of the plan.
    pub(super) plan: String,
    /// The version of the plan.
    pub(super) plan_version: u32,
    /// The seats that were bought; `null` if none were.
    #[schema(required)]
    pub(super) seats: Option<u64>,
    /// The time zone of billing periods.
    pub(super) zone: String,
    /// The time of the last change.
    pub(super) updated_at: Timestamp,
}

/// The plan of the caller's tenant, as the tenant sees it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct CurrentPlan {
    /// The plan, with the seats and the differences.
    pub(super) plan: PlanDefinition,
    /// The seats that were bought; `null` if none were.
    #[schema(required)]
    pub(super) seats: Option<u64>,
    /// The time zone of billing periods. After a change, it counts from the next period on.
    pub(super) zone: String,
    /// The running billing period.
    pub(super) current_period: BillingPeriod,
    /// The resources of which the tenant has more than it is entitled to. None is removed, and none can be added.
    pub(super) over_limit: Vec<OverLimit>,
    /// The differences from the plan as it is sold.
    pub(super) differences: Vec<PlanDifference>,
}

/// An override as the tenant sees it, without the reason and the operator.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct PlanDifference {
    /// Whether it is a feature or a limit.
    pub(super) kind: OverrideKind,
    /// The name of the feature or of the limit.
    pub(super) name: String,
    /// The value: of a feature, 1 if it is included or 0 if not; of a limit, its number, or `null` if it is unlimited.
    #[schema(required)]
    pub(super) value: Option<i64>,
    /// The time until which it holds; `null` if it has no end.
    #[schema(required)]
    pub(super) expires_at: Option<Timestamp>,
}

impl From<PlanOverride> for PlanDifference {
    fn from(set: PlanOverride) -> Self {
        let PlanOverride { kind, name, value, expires_at, .. } = set;
        Self { kind, name, value, expires_at }
    }
}

impl CurrentPlan {
    pub(super) fn new(entitled: &Entitled, account: BillingAccount) -> Self {
        let BillingAccount { seats, zone, current_period, over_limit, overrides, .. } = account;
        Self {
            plan: PlanDefinition::clone(&entitled.definition),
            seats,
            zone,
            current_period,
            over_limit,
            differences: overrides.into_iter().map(Into::into).collect(),
        }
    }
}
