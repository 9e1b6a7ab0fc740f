//! A call that is under way: what it has spent, and its settlement.

use std::time::Duration;

use super::{
    content::output_bytes,
    deadline::CallDeadline,
    estimate,
    observe::{count_unpriced, error_name},
    pricing::{CallSpend, prices},
};
use crate::{
    accounting::{CallOutcome, CallStatus, OpenCall},
    cache::CacheKey,
    call::{AiCaller, AttemptSummary, CallOptions, CallSummary},
    catalog::{Cost, ModelCatalog},
    chat::{ChatResponse, TokenUsage},
    error::LlmError,
    json_schema::SchemaValidator,
    router::RouteTarget,
};

/// The decisions of the policies about a call.
pub(super) struct CallPlan {
    pub(super) caller: AiCaller,
    pub(super) options: CallOptions,
    pub(super) asked_model: String,
    /// The targets in the order in which they are tried.
    pub(super) targets: Vec<RouteTarget>,
    /// The shortest time after which one of them accepts calls, if all wait for a rate limit.
    pub(super) wait: Option<Duration>,
    /// The route and the variant of an experiment.
    pub(super) variant: Option<String>,
    pub(super) validator: Option<SchemaValidator>,
    pub(super) cache_key: Option<CacheKey>,
    /// The tokens of the input of the turn that is asked for.
    pub(super) estimated_input: u64,
    pub(super) deadline: CallDeadline,
}

/// A call for which budgets are reserved. If it is dropped, what was noted of it is settled in the background.
pub(super) struct CallRun {
    pub(super) plan: CallPlan,
    pub(super) call: OpenCall,
    pub(super) spend: CallSpend,
    /// The tokens of output that one answer may have.
    pub(super) turn_output: u64,
    /// The tokens of output that are reserved. An estimate is never more.
    pub(super) reserved_output: u64,
    pub(super) first_byte: Option<Duration>,
    /// The provider that was asked last.
    pub(super) provider: String,
    /// The model that was asked last, or that has answered.
    pub(super) model: String,
    /// The service tier that answered.
    pub(super) service_tier: Option<String>,
    pub(super) attempts: usize,
}

/// The facts about the tokens of an answer.
pub(super) struct AnsweredUsage<'a> {
    /// The model that has answered.
    pub(super) model: &'a str,
    /// The tokens, if the provider has counted them.
    pub(super) usage: Option<TokenUsage>,
    pub(super) service_tier: Option<&'a str>,
    /// The size of the answer, by which tokens are estimated.
    pub(super) output_bytes: usize,
}

impl<'a> AnsweredUsage<'a> {
    /// Returns what is known of a whole answer.
    pub(super) fn of(response: &'a ChatResponse) -> Self {
        Self {
            model: &response.model,
            usage: response.usage,
            service_tier: response.service_tier.as_deref(),
            output_bytes: output_bytes(response),
        }
    }
}

/// The end of a call without an answer that its caller may use.
#[derive(Clone, Copy, Debug)]
pub(super) struct CallFailure {
    pub(super) status: CallStatus,
    /// The name of the error.
    pub(super) error: &'static str,
}

impl CallFailure {
    /// Returns the failure of a call whose caller got no part of an answer.
    pub(super) const fn failed(error: &'static str) -> Self {
        Self { status: CallStatus::Failed, error }
    }

    /// Returns the failure of a call whose answer ended before it was complete.
    pub(super) const fn interrupted(error: &LlmError) -> Self {
        Self { status: CallStatus::Interrupted, error: error_name(error.kind) }
    }
}

impl CallRun {
    /// Creates a call that may have so many answers, each of so many tokens.
    pub(super) fn new(plan: CallPlan, call: OpenCall, turn_output: u64, answers: u64) -> Self {
        Self {
            plan,
            call,
            spend: CallSpend::default(),
            turn_output,
            reserved_output: turn_output.saturating_mul(answers),
            first_byte: None,
            provider: String::new(),
            model: String::new(),
            service_tier: None,
            attempts: 0,
        }
    }

    /// Notes an attempt in the call's trace.
    pub(super) fn note_attempt(
        &mut self,
        target: &RouteTarget,
        reason: &str,
        error: Option<&'static str>,
        took: Duration,
    ) {
        self.attempts += 1;
        self.call.note_attempt(AttemptSummary {
            provider: target.provider.name().to_owned(),
            model: target.model.clone(),
            reason: reason.to_owned(),
            error: error.map(Into::into),
            duration_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        });
    }

    /// Adds the tokens and the cost of an answer.
    pub(super) fn spend_on(&mut self, catalog: &ModelCatalog, target: &RouteTarget, answered: &AnsweredUsage<'_>) {
        let estimate = TokenUsage {
            input: self.plan.estimated_input,
            output: self.estimated_output(answered.output_bytes),
            ..TokenUsage::default()
        };
        let prices = prices(catalog, target, answered.model);
        if prices.is_none() {
            count_unpriced(target);
        }
        self.spend.add(answered.usage, estimate, prices, answered.service_tier);
        // If the call is dropped from here on, what was answered is paid.
        self.call.note_progress(Some(self.spend.usage), 0);
        self.service_tier = answered.service_tier.map(str::to_owned);
        if !answered.model.is_empty() {
            answered.model.clone_into(&mut self.model);
        }
    }

    /// Returns the tokens of output by its size, within what an answer may have, and what is reserved and not spent.
    pub(super) fn estimated_output(&self, bytes: usize) -> u64 {
        let left = self.reserved_output.saturating_sub(self.spend.usage.output);
        estimate::output_tokens(bytes).min(self.turn_output).min(left)
    }

    /// Settles a call that has an answer.
    pub(super) async fn succeed(self) -> CallSummary {
        self.settle(CallStatus::Succeeded, None).await
    }

    /// Settles a call without a complete answer.
    pub(super) async fn fail(self, failure: CallFailure) -> CallSummary {
        self.settle(failure.status, Some(failure.error)).await
    }

    async fn settle(self, status: CallStatus, error: Option<&'static str>) -> CallSummary {
        let outcome = CallOutcome {
            status,
            provider: self.provider,
            model: self.model,
            usage: Some(self.spend.usage),
            is_estimated: self.spend.estimated,
            service_tier: self.service_tier,
            cost: self.spend.cost,
            cached: false,
            error: error.map(Into::into),
            first_byte: self.first_byte,
        };
        self.call.settle_in_task(outcome).await
    }

    /// Settles a call whose answer is from the cache. It costs nothing.
    pub(super) async fn settle_cached(self, provider: &str, model: &str) -> CallSummary {
        let outcome = CallOutcome {
            status: CallStatus::Succeeded,
            provider: provider.to_owned(),
            model: model.to_owned(),
            usage: Some(TokenUsage::default()),
            is_estimated: false,
            service_tier: None,
            cost: Some(Cost::from_pico(0)),
            cached: true,
            error: None,
            first_byte: None,
        };
        self.call.settle_in_task(outcome).await
    }
}
