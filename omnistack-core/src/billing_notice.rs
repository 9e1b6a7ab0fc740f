//! The event of a notice to the owners of a tenant about its subscription.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{clock::Timestamp, data_environment::DataEnvironment, events::Event, id::TenantId, money::Money};

/// The subject of a notice about a subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum BillingNoticeKind {
    /// The trial ends soon.
    TrialEnding {
        /// The end of the trial.
        at: Timestamp,
    },
    /// A payment has failed for the first time. The provider attempts it again.
    PaymentFailed {
        /// The time until which the tenant keeps its plan.
        grace_until: Timestamp,
    },
    /// The card expires before the next payment.
    CardExpiring {
        /// The month in which it expires, from 1.
        month: u8,
        /// The year in which it expires.
        year: u16,
    },
    /// A payment has succeeded.
    Receipt {
        /// The amount that was paid.
        amount: Money,
        /// The number of the invoice.
        number: Option<String>,
        /// The page of the invoice.
        url: Option<String>,
    },
    /// The subscription is of another plan, or has another interval.
    PlanChanged,
    /// The subscription has ended.
    SubscriptionEnded,
}

/// Event: a notice to the owners of a tenant about its subscription. In an app with accounts they get a mail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BillingNotice {
    /// The tenant.
    pub tenant: TenantId,
    /// Whether it is about real money.
    pub environment: DataEnvironment,
    /// The name of the plan of the subscription.
    pub plan: String,
    /// The subject.
    #[serde(flatten)]
    pub kind: BillingNoticeKind,
}

impl BillingNotice {
    /// Creates the event. `plan` is the name of the plan that users see.
    pub fn new(
        tenant: TenantId,
        environment: DataEnvironment,
        plan: impl Into<String>,
        kind: BillingNoticeKind,
    ) -> Self {
        Self { tenant, environment, plan: plan.into(), kind }
    }
}

impl Event for BillingNotice {
    const NAME: &'static str = "billing.notice";

    fn key(&self) -> String {
        format!("{}/{}", self.tenant, self.environment)
    }
}
