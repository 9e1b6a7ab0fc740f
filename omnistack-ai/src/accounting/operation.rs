//! The changes of the ledger: calls that begin, and calls that end.

use std::{borrow::Cow, time::Duration};

use omnistack_core::{
    clock::Timestamp,
    http::Error,
    usage::{UsageEvent, meters},
};

use super::{
    budget::{BudgetLimits, BudgetScope, BudgetUseKey, BudgetWindow, UsedAmounts},
    call::CallStatus,
    open_call::{HeldCall, OpenCall},
    store::ClosedCall,
    use_store::BudgetRow,
};
use crate::{
    call::{AiCaller, AttemptSummary, CallId, CallSummary},
    catalog::Cost,
    chat::TokenUsage,
};

/// The source of the usage events of calls.
const USAGE_SOURCE: &str = "ai";

/// Largest number of tokens of one kind that a call counts.
const MAX_TOKENS_PER_CALL: u64 = 1_000_000_000_000;
/// Largest size of the name of a model or a provider that is stored. It is less than that of a category of usage,
/// beyond which an event does not count.
const MAX_NAME_BYTES: usize = 200;

/// A change of the ledger.
#[derive(Debug)]
pub(super) enum LedgerOperation {
    /// A call begins.
    Open(Box<NewCall>),
    /// A call ends.
    Settle(Box<CallSettlement>),
}

impl LedgerOperation {
    pub(super) fn caller(&self) -> &AiCaller {
        match self {
            Self::Open(new) => &new.held.caller,
            Self::Settle(settlement) => &settlement.caller,
        }
    }
}

/// The outcome of a change.
#[derive(Debug)]
pub(super) enum LedgerAnswer {
    /// The call is open, or it is refused or could not be stored. A caller that has left drops the call, which ends it.
    Opened(Result<Box<OpenCall>, Error>),
    /// The settlement is stored, or could not be.
    Settled(Result<(), Error>),
}

/// A call that begins.
#[derive(Clone, Debug)]
pub(super) struct NewCall {
    pub(super) id: CallId,
    pub(super) held: HeldCall,
    pub(super) expires_at: Timestamp,
    pub(super) prompt: Option<String>,
    pub(super) purpose: Option<&'static str>,
    /// The limits of the plan, if it has any.
    pub(super) plan: Option<BudgetLimits>,
    /// Millionths of credits that are charged in advance.
    pub(super) credits: i64,
}

impl NewCall {
    /// Returns what the call reserves.
    pub(super) fn reserved(&self) -> UsedAmounts {
        let HeldCall { estimated_input, reserved_cost, .. } = &self.held;
        UsedAmounts {
            tokens: to_i64(*estimated_input).saturating_add(self.held.reserved_beyond_input()),
            requests: 1,
            pico: reserved_cost.map_or(0, Cost::pico),
        }
    }

    /// Returns the keys of all budgets that can apply to the call.
    pub(super) fn possible_uses(&self) -> impl Iterator<Item = BudgetUseKey> {
        possible_uses(&self.held.caller, self.held.started_at)
    }

    /// Returns the limits that apply to the call, with the keys of what is used of them.
    pub(super) fn limits(&self, budgets: &[BudgetRow]) -> Vec<(BudgetUseKey, BudgetLimits)> {
        let HeldCall { caller, started_at, .. } = &self.held;
        let key = |window| BudgetUseKey { tenant: caller.tenant, window };
        let mut limits: Vec<_> =
            self.plan.map(|plan| (key(BudgetWindow::of_plan(caller, *started_at)), plan)).into_iter().collect();
        for budget in budgets.iter().filter(|budget| budget.applies_to(caller)) {
            let (scope, period) = (budget.scope(), budget.period());
            let start = period.start(*started_at);
            limits.push((key(BudgetWindow { subject: budget.subject.clone(), start, scope, period }), budget.limits()));
        }
        // The plan is named first if several limits are exceeded, then the widest scope.
        limits.sort_by_key(|(key, _)| (key.window.scope != BudgetScope::Plan, key.window.scope, key.window.period));
        limits
    }

    /// Returns the end of a call of which it is not known whether it was stored, and which asks no model.
    pub(super) fn cancellation(&self, at: Timestamp) -> CallSettlement {
        let HeldCall { caller, asked_model, started_at, variant, .. } = self.held.clone();
        CallSettlement {
            id: self.id,
            caller,
            asked_model,
            variant,
            started_at,
            status: CallStatus::Cancelled,
            provider: None,
            model: None,
            usage: TokenUsage::default(),
            is_estimated: false,
            cost: Some(Cost::from_pico(0)),
            is_cached: false,
            attempts: Vec::new(),
            error: None,
            first_byte: None,
            duration: at.duration_since(started_at),
            at,
        }
    }
}

/// The end of a call, as it is stored.
#[derive(Clone, Debug)]
pub(super) struct CallSettlement {
    pub(super) id: CallId,
    pub(super) caller: AiCaller,
    pub(super) asked_model: String,
    /// The route and the variant of an experiment, for the account. The row has it from the start.
    pub(super) variant: Option<String>,
    pub(super) started_at: Timestamp,
    pub(super) status: CallStatus,
    pub(super) provider: Option<String>,
    pub(super) model: Option<String>,
    pub(super) usage: TokenUsage,
    pub(super) is_estimated: bool,
    pub(super) cost: Option<Cost>,
    pub(super) is_cached: bool,
    pub(super) attempts: Vec<AttemptSummary>,
    pub(super) error: Option<Cow<'static, str>>,
    pub(super) first_byte: Option<Duration>,
    pub(super) duration: Duration,
    pub(super) at: Timestamp,
}

impl CallSettlement {
    /// Returns the account of the call.
    pub(super) fn summary(&self) -> CallSummary {
        CallSummary {
            id: self.id,
            provider: self.provider.clone().unwrap_or_default(),
            asked_model: self.asked_model.clone(),
            variant: self.variant.clone(),
            model: self.model.clone().unwrap_or_default(),
            usage: self.usage,
            usage_is_estimated: self.is_estimated,
            cost: self.cost,
            cached: self.is_cached,
            attempts: self.attempts.clone(),
            duration: self.duration,
        }
    }

    /// Returns what the call has used.
    pub(super) fn used(&self) -> UsedAmounts {
        let tokens = self.usage.total();
        UsedAmounts {
            tokens: to_i64(tokens),
            requests: i64::from(self.status.counts_as_request(tokens)),
            pico: self.cost.map_or(0, Cost::pico),
        }
    }

    /// Returns the keys of all budgets that can apply to the call.
    pub(super) fn possible_uses(&self) -> impl Iterator<Item = BudgetUseKey> {
        possible_uses(&self.caller, self.started_at)
    }

    /// Returns the usage events of the call: what it has used beyond what was counted before.
    pub(super) fn usage_events(&self, closed: &ClosedCall) -> Vec<UsageEvent> {
        let added = self.used().minus(closed.counted);
        // A call that was lost and then settled has a second event.
        let suffix = if closed.was_lost { "/late" } else { "" };
        let event = |meter: &'static str, quantity: i64, what: &str| {
            let model = self.model.as_ref().filter(|model| !model.is_empty()).unwrap_or(&self.asked_model);
            let event = UsageEvent::new(self.caller.tenant, meter, quantity, self.at)
                .once(USAGE_SOURCE, format!("{}/{what}{suffix}", self.id))
                .environment(self.caller.environment)
                .api_key(self.caller.api_key);
            // An event with an empty category does not count.
            let event = if model.is_empty() { event } else { event.category(model.clone()) };
            match self.caller.user {
                Some(user) => event.user(user),
                None => event,
            }
        };
        let mut events = Vec::with_capacity(2);
        if added.tokens != 0 {
            events.push(event(meters::AI_TOKENS, added.tokens, "tokens"));
        }
        if added.requests != 0 {
            events.push(event(meters::AI_REQUESTS, added.requests, "requests"));
        }
        events
    }
}

fn possible_uses(caller: &AiCaller, started_at: Timestamp) -> impl Iterator<Item = BudgetUseKey> + use<> {
    let tenant = caller.tenant;
    BudgetWindow::all_of(caller, started_at).into_iter().map(move |window| BudgetUseKey { tenant, window })
}

/// Returns a number of tokens for the database. A provider that says more than a trillion is not believed.
pub(super) fn to_i64(tokens: u64) -> i64 {
    i64::try_from(tokens.min(MAX_TOKENS_PER_CALL)).unwrap_or(i64::MAX)
}

/// Returns a name as it is stored: without NUL, which PostgreSQL refuses, and not longer than a name is.
pub(super) fn stored_name(name: &str) -> String {
    let mut stored: String = name.chars().filter(|char| *char != '\0').take(MAX_NAME_BYTES).collect();
    stored.truncate(stored.floor_char_boundary(MAX_NAME_BYTES));
    stored
}

/// Returns a duration in milliseconds.
pub(super) fn to_millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
