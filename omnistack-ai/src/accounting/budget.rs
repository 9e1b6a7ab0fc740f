//! Budgets: limits of tokens, requests and costs in a period, and the decision whether a call fits.

use omnistack_core::{
    clock::Timestamp,
    http::{Error, StatusCode},
    id::Id,
    identity::TenantId,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::period::BudgetPeriod;
use crate::{call::AiCaller, catalog::Cost};

/// Marker type of budget ids: see [`BudgetId`].
#[derive(Clone, Copy, Debug)]
pub enum AiBudgetMarker {}

/// The id of a budget.
pub type BudgetId = Id<AiBudgetMarker>;

/// The scope of a budget: the calls that it limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BudgetScope {
    /// The limits `ai_tokens` and `ai_requests` of the tenant's plan, in a calendar month.
    Plan,
    /// The whole tenant.
    Tenant,
    /// A user of the tenant.
    User,
    /// An API key of the tenant.
    Key,
}

impl BudgetScope {
    /// Returns the name, as JSON has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Tenant => "tenant",
            Self::User => "user",
            Self::Key => "key",
        }
    }

    /// Reads the scope of a row.
    pub(crate) fn from_stored(text: &str) -> Self {
        match text {
            "plan" => Self::Plan,
            "user" => Self::User,
            "key" => Self::Key,
            // The tables allow no other scope.
            _ => Self::Tenant,
        }
    }
}

/// The tokens, the requests and the pico-USD that are used or reserved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct UsedAmounts {
    pub(crate) tokens: i64,
    pub(crate) requests: i64,
    pub(crate) pico: i64,
}

impl UsedAmounts {
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            tokens: self.tokens.saturating_add(other.tokens),
            requests: self.requests.saturating_add(other.requests),
            pico: self.pico.saturating_add(other.pico),
        }
    }

    pub(crate) fn minus(self, other: Self) -> Self {
        Self {
            tokens: self.tokens.saturating_sub(other.tokens),
            requests: self.requests.saturating_sub(other.requests),
            pico: self.pico.saturating_sub(other.pico),
        }
    }

    /// Returns the amounts with zero in place of negative numbers.
    pub(crate) fn at_least_zero(self) -> Self {
        Self { tokens: self.tokens.max(0), requests: self.requests.max(0), pico: self.pico.max(0) }
    }
}

/// A period of a budget of a tenant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct BudgetWindow {
    pub(crate) subject: String,
    pub(crate) start: Timestamp,
    pub(crate) scope: BudgetScope,
    pub(crate) period: BudgetPeriod,
}

impl BudgetWindow {
    /// Returns the period at a time of the limits of the plan, which hold for each environment.
    pub(crate) fn of_plan(caller: &AiCaller, at: Timestamp) -> Self {
        let (scope, period) = (BudgetScope::Plan, BudgetPeriod::Month);
        Self { subject: caller.environment.as_str().to_owned(), start: period.start(at), scope, period }
    }

    /// Returns the periods at a time of all budgets that can apply to a caller.
    pub(crate) fn all_of(caller: &AiCaller, at: Timestamp) -> Vec<Self> {
        let starts = BudgetPeriod::ALL.map(|period| (period, period.start(at)));
        let mut all = vec![Self::of_plan(caller, at)];
        for (scope, subject) in subjects(caller) {
            all.extend(starts.iter().map(|(period, start)| Self {
                subject: subject.clone(),
                start: *start,
                scope,
                period: *period,
            }));
        }
        all
    }
}

/// Returns the scopes of budgets that can apply to a caller, with their subjects.
pub(crate) fn subjects(caller: &AiCaller) -> Vec<(BudgetScope, String)> {
    let user = caller.user.map(|user| (BudgetScope::User, user.to_string()));
    let key = caller.api_key.map(|key| (BudgetScope::Key, key.to_string()));
    [Some((BudgetScope::Tenant, String::new())), user, key].into_iter().flatten().collect()
}

/// The key of a row with the used amounts of a budget.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct BudgetUseKey {
    pub(crate) tenant: TenantId,
    pub(crate) window: BudgetWindow,
}

/// The limits of a budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct BudgetLimits {
    /// The id; `None` for the limits of the plan.
    pub(crate) id: Option<BudgetId>,
    pub(crate) tokens: Option<i64>,
    pub(crate) requests: Option<i64>,
    pub(crate) pico: Option<i64>,
    pub(crate) soft_percent: Option<i32>,
    pub(crate) is_hard: bool,
}

/// The amounts of a budget that are used and reserved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct BudgetUse {
    pub(crate) spent: UsedAmounts,
    pub(crate) reserved: UsedAmounts,
    pub(crate) told_percent: i32,
    /// The limits, if there still is such a budget.
    pub(crate) limits: Option<BudgetLimits>,
}

impl BudgetUse {
    /// Returns the largest share in percent that is used and of which the tenant is told: the one that the budget sets,
    /// or 100. Returns 0 if neither is reached.
    pub(crate) fn reached_percent(&self) -> i32 {
        let Some(limits) = self.limits else { return 0 };
        let reached = |percent: i32| {
            let is_reached = |used: i64, limit: Option<i64>| {
                limit.is_some_and(|limit| i128::from(used) * 100 >= i128::from(limit) * i128::from(percent))
            };
            is_reached(self.spent.tokens, limits.tokens) || is_reached(self.spent.pico, limits.pico)
        };
        [Some(100), limits.soft_percent].into_iter().flatten().find(|percent| reached(*percent)).unwrap_or(0)
    }
}

/// A limit that a call does not fit into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ExceededLimit {
    /// `tokens`, `requests` or `cost`.
    pub(crate) unit: &'static str,
    limit: i64,
    used: i64,
    reserved: i64,
    needed: i64,
}

/// Returns the limit that a call does not fit into, together with what is used and reserved. A call whose cost is not
/// known fits as long as some money is left.
pub(crate) fn exceeded(
    limits: &BudgetLimits,
    used: &BudgetUse,
    wanted: UsedAmounts,
    cost_is_known: bool,
) -> Option<ExceededLimit> {
    let BudgetUse { spent, reserved, .. } = used;
    let least_pico = if cost_is_known { wanted.pico } else { 1 };
    [
        ("requests", limits.requests, spent.requests, reserved.requests, wanted.requests),
        ("tokens", limits.tokens, spent.tokens, reserved.tokens, wanted.tokens),
        ("cost", limits.pico, spent.pico, reserved.pico, least_pico),
    ]
    .into_iter()
    .find_map(|(unit, limit, used, reserved, needed)| {
        let limit = limit?;
        let all = i128::from(used) + i128::from(reserved) + i128::from(needed);
        (all > i128::from(limit)).then_some(ExceededLimit { unit, limit, used, reserved, needed })
    })
}

/// Returns the error of a call that does not fit.
pub(crate) fn budget_exceeded(window: &BudgetWindow, budget: Option<BudgetId>, exceeded: ExceededLimit) -> Error {
    let ExceededLimit { unit, limit, used, reserved, needed } = exceeded;
    let amount = |value: i64| match unit {
        "cost" => json!(Cost::from_pico(value)),
        _ => json!(value),
    };
    let whose = match window.scope {
        BudgetScope::Plan => "the plan",
        BudgetScope::Tenant => "the budget of the tenant",
        BudgetScope::User => "the budget of the user",
        BudgetScope::Key => "the budget of the API key",
    };
    let when = match window.period {
        BudgetPeriod::Day => "today",
        BudgetPeriod::Month => "this month",
        BudgetPeriod::Total => "in total",
    };
    let what = match unit {
        "cost" => "the costs",
        "tokens" => "the tokens",
        _ => "the requests",
    };
    let advice = match (window.scope, window.period) {
        (_, BudgetPeriod::Total) => "raise the budget",
        (BudgetScope::Plan, _) => "change to a larger plan, or wait for the next month",
        _ => "raise the budget, or wait for its next period",
    };
    let message = format!("{whose} does not allow {what} of this call {when}; {advice}");
    let resets_at = (window.period != BudgetPeriod::Total).then(|| window.period.end(window.start));
    Error::new(StatusCode::PAYMENT_REQUIRED, "AI_BUDGET_EXCEEDED", message)
        .with_detail("scope", window.scope)
        .with_detail("budget", budget)
        .with_detail("period", window.period)
        .with_detail("unit", unit)
        .with_detail("limit", amount(limit))
        .with_detail("used", amount(used))
        .with_detail("reserved", amount(reserved))
        .with_detail("needed", amount(needed))
        .with_detail("resets_at", resets_at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_fits_if_it_and_all_others_are_within_the_limit() {
        let limits = |tokens, requests, pico| BudgetLimits { tokens, requests, pico, ..BudgetLimits::default() };
        let amounts = |tokens, requests, pico| UsedAmounts { tokens, requests, pico };
        for (limits, spent, reserved, wanted, known, expected) in [
            (limits(Some(100), None, None), amounts(40, 1, 0), amounts(40, 1, 0), amounts(20, 1, 0), true, None),
            (
                limits(Some(100), None, None),
                amounts(40, 1, 0),
                amounts(41, 1, 0),
                amounts(20, 1, 0),
                true,
                Some("tokens"),
            ),
            (
                limits(None, Some(2), None),
                amounts(40, 1, 0),
                amounts(0, 1, 0),
                amounts(1, 1, 0),
                true,
                Some("requests"),
            ),
            (limits(None, None, Some(9)), amounts(0, 0, 4), amounts(0, 0, 2), amounts(1, 1, 3), true, None),
            (limits(None, None, Some(9)), amounts(0, 0, 4), amounts(0, 0, 2), amounts(1, 1, 4), true, Some("cost")),
            // An unknown cost fits while some money is left.
            (limits(None, None, Some(9)), amounts(0, 0, 4), amounts(0, 0, 4), amounts(1, 1, 0), false, None),
            (limits(None, None, Some(9)), amounts(0, 0, 9), amounts(0, 0, 0), amounts(1, 1, 0), false, Some("cost")),
            (
                limits(Some(i64::MAX), None, None),
                amounts(i64::MAX, 0, 0),
                amounts(0, 0, 0),
                amounts(1, 0, 0),
                true,
                Some("tokens"),
            ),
            (limits(Some(0), None, None), amounts(0, 0, 0), amounts(0, 0, 0), amounts(1, 1, 0), true, Some("tokens")),
        ] {
            let used = BudgetUse { spent, reserved, ..BudgetUse::default() };
            let found = exceeded(&limits, &used, wanted, known).map(|exceeded| exceeded.unit);
            assert_eq!(found, expected, "{limits:?} {used:?} {wanted:?}");
        }
    }

    #[test]
    fn the_largest_share_that_is_reached_is_told() {
        for (tokens, pico, soft, expected) in [
            (79, 0, Some(80), 0),
            (80, 0, Some(80), 80),
            (0, 8, Some(80), 80),
            (100, 0, Some(80), 100),
            (99, 9, None, 0),
        ] {
            let limits =
                BudgetLimits { tokens: Some(100), pico: Some(10), soft_percent: soft, ..BudgetLimits::default() };
            let spent = UsedAmounts { tokens, requests: 1, pico };
            let used = BudgetUse { spent, limits: Some(limits), ..BudgetUse::default() };
            assert_eq!(used.reached_percent(), expected, "{tokens} {pico}");
        }
    }
}
