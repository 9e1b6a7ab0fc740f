//! The event that a share of a budget is used.

use std::collections::BTreeSet;

use omnistack_core::{
    clock::Timestamp,
    db::{self, ErrorKind},
    events::{Event, PublishError},
    identity::TenantId,
    webhook::WebhookEvent,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    budget::{BudgetId, BudgetScope, BudgetUseKey},
    handle::Accounting,
    period::BudgetPeriod,
    use_store,
};

/// The id of the tenant and of the budget in the example of the event.
const EXAMPLE_ID: Uuid = Uuid::from_u128(0x0197_2a4e_8c00_7000_8000_0000_0000_0001);
/// 2030-01-01T00:00:00Z, the start of the period in the example of the event, in microseconds.
const EXAMPLE_PERIOD_MICROS: i64 = 1_893_456_000_000_000;

/// Event: a tenant has used a share of a budget for language models. It is published once for each budget, period and
/// share: the one that the budget sets, and 100 percent. For the limits of the plan there is
/// [`UsageThresholdReached`](omnistack_core::usage_threshold::UsageThresholdReached).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[non_exhaustive]
pub struct AiBudgetThresholdReached {
    /// The tenant.
    #[schema(value_type = String, format = Uuid)]
    pub tenant: TenantId,
    /// The id of the budget.
    #[schema(value_type = String, format = Uuid)]
    pub budget: BudgetId,
    /// The scope of the budget: the calls that it limits.
    pub scope: BudgetScope,
    /// The id of the user or of the API key. Empty for the budget of the tenant.
    pub subject: String,
    /// The period for which the budget is.
    pub period: BudgetPeriod,
    /// The start of the period; 1970-01-01T00:00:00Z for all time.
    pub period_start: Timestamp,
    /// The share of the limit, in percent.
    pub threshold: i32,
    /// The tokens that are used.
    pub tokens: i64,
    /// The limit of tokens.
    #[schema(required)]
    pub token_limit: Option<i64>,
    /// The costs in pico-USD (10^-12 US dollars).
    pub cost_pico: i64,
    /// The limit of costs in pico-USD.
    #[schema(required)]
    pub cost_limit_pico: Option<i64>,
}

impl Event for AiBudgetThresholdReached {
    const NAME: &'static str = "ai.budget_threshold_reached";

    fn key(&self) -> String {
        format!("{}/{}", self.tenant, self.budget)
    }
}

impl WebhookEvent for AiBudgetThresholdReached {
    const TYPE: &'static str = <Self as Event>::NAME;
    const DESCRIPTION: &'static str = "A share of a budget for language models is used, or all of it.";

    fn example() -> Self {
        Self {
            tenant: TenantId::from_uuid(EXAMPLE_ID),
            budget: BudgetId::from_uuid(EXAMPLE_ID),
            scope: BudgetScope::Tenant,
            subject: String::new(),
            period: BudgetPeriod::Month,
            period_start: Timestamp::from_micros(EXAMPLE_PERIOD_MICROS),
            threshold: 80,
            tokens: 8_000_000,
            token_limit: Some(10_000_000),
            cost_pico: 4_200_000_000_000,
            cost_limit_pico: None,
        }
    }
}

impl Accounting {
    /// Tells a tenant that a share of a budget is used. After a failure, the next call that ends tries again.
    pub(super) async fn tell(&self, key: &BudgetUseKey) {
        if let Err(error) = self.publish_threshold(key).await {
            tracing::warn!(target: "omnistack::ai", %error, tenant = %key.tenant,
                "the tenant could not be told of a budget; the next call tries again");
        }
    }

    async fn publish_threshold(&self, key: &BudgetUseKey) -> Result<(), db::Error> {
        // In a transaction of the tenant, to whose webhook endpoints the event goes.
        let mut tx = self.db().tenant(key.tenant).begin().await?;
        let keys = BTreeSet::from([key.clone()]);
        let uses = use_store::uses_of(&mut tx, &keys, true).await?;
        let Some(used) = uses.get(key) else { return Ok(()) };
        let Some(limits) = used.limits else { return Ok(()) };
        let Some(budget) = limits.id else { return Ok(()) };
        let percent = used.reached_percent();
        if percent <= used.told_percent || !use_store::set_told(&mut tx, key, percent).await? {
            return Ok(());
        }
        let event = AiBudgetThresholdReached {
            tenant: key.tenant,
            budget,
            scope: key.window.scope,
            subject: key.window.subject.clone(),
            period: key.window.period,
            period_start: key.window.start,
            threshold: percent,
            tokens: used.spent.tokens,
            token_limit: limits.tokens,
            cost_pico: used.spent.pico,
            cost_limit_pico: limits.pico,
        };
        self.events().publish_in(&mut tx, &event).await.map_err(database_error)?;
        tx.commit().await
    }
}

fn database_error(error: PublishError) -> db::Error {
    match error {
        PublishError::Database(error) => error,
        error => db::Error::new(ErrorKind::Other, error.into()),
    }
}
