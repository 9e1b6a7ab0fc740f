//! The steps of a call before it reaches a provider: policies, the reservation of budgets, the wait for a route.

use omnistack_core::http;

use super::{
    answer::AiError,
    call_run::{CallPlan, CallRun},
    deadline::CallDeadline,
    engine::Engine,
    estimate,
    observe::count_refusal,
    pricing::largest_cost,
    refusal::{invalid_schema, rate_limited},
    schema,
    signatures::name_results,
};
use crate::{
    accounting::CallStart,
    cache::CacheKey,
    call::{AiCaller, CallOptions},
    chat::{ChatRequest, ChatResponse, MediaSource, Part},
    embedding::EmbeddingRequest,
    media,
    router::{EmbeddingRouteQuery, RouteQuery, RouteTarget},
};

/// The client that fetches images and files at URLs of callers.
#[cfg(feature = "providers")]
pub(super) use omnistack_core::http::client::GuardedClient as MediaClient;
/// The client that fetches images and files at URLs of callers. Without providers over HTTP there is none.
#[cfg(not(feature = "providers"))]
pub(super) use std::convert::Infallible as MediaClient;

/// The kind of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CallKind {
    Chat,
    Embeddings,
}

impl Engine {
    /// Applies the policies to a request, which they may change.
    pub(super) async fn plan(
        &self,
        caller: AiCaller,
        request: &mut ChatRequest,
        options: CallOptions,
        kind: CallKind,
    ) -> Result<CallPlan, AiError> {
        let deadline = CallDeadline::new(self.clock.clone(), options.timeouts.total);
        let tenant_plan = self.entitlements.plan(caller.tenant).await?;
        deadline.limit("gateway", self.check_input(&caller, request)).await??;
        let validator = schema::validator(request).map_err(|problem| invalid_schema(&problem))?;
        if kind == CallKind::Chat {
            self.signatures.restore(caller.tenant, request).await;
            name_results(request);
            if request.messages.iter().any(|message| message.parts.iter().any(is_media)) {
                // URLs stay until it is known whether the providers fetch them.
                let resolved = media::resolve(request, true, self.media_client(), self.settings.max_media_bytes);
                Box::pin(deadline.limit("gateway", resolved)).await??;
            }
        }
        let estimated_input = estimate::input_tokens(request);
        let (tenant, plan) = (caller.tenant, &*tenant_plan);
        // All of them, also if they wait for a rate limit: an answer of the cache needs no provider.
        let routed = match kind {
            CallKind::Chat => {
                let (request, user) = (&*request, caller.user);
                let query = RouteQuery { request, tenant, user, plan, options: &options, estimated_input };
                self.router.route(query)?
            }
            CallKind::Embeddings => {
                let asked = EmbeddingRequest::new(request.model.clone(), Vec::<String>::new());
                let query = EmbeddingRouteQuery { request: &asked, tenant, plan, options: &options, estimated_input };
                self.router.route_embeddings(query)?
            }
        };
        let cache_key = match kind {
            CallKind::Chat => CacheKey::of(&caller, request, &options, routed.variant.as_deref()),
            CallKind::Embeddings => None,
        };
        let default_model = || routed.targets.first().map(|target| target.model.clone()).unwrap_or_default();
        let asked_model = if request.model.is_empty() { default_model() } else { request.model.clone() };
        Ok(CallPlan {
            caller,
            options,
            asked_model,
            targets: routed.targets,
            wait: routed.wait,
            variant: routed.variant,
            validator,
            cache_key,
            estimated_input,
            deadline,
        })
    }

    /// Reserves budgets for a call. With `may_repair`, an answer that does not match its schema gets a second turn,
    /// which is reserved too.
    pub(super) async fn open(
        &self,
        plan: CallPlan,
        request: &ChatRequest,
        kind: CallKind,
        may_repair: bool,
    ) -> Result<CallRun, AiError> {
        let output = match kind {
            CallKind::Chat => self.reserved_output(&plan, request),
            CallKind::Embeddings => 0,
        };
        let (input, tier) = (plan.estimated_input, request.service_tier.as_deref());
        let repair_input = (may_repair && plan.validator.is_some()).then(|| schema::repair_input(input, output));
        let largest = |target: &RouteTarget| {
            let cost = largest_cost(target, input, output, tier)?;
            match repair_input {
                Some(repair_input) => cost.checked_add(largest_cost(target, repair_input, output, tier)?),
                None => Some(cost),
            }
        };
        let costs = plan.targets.iter().filter_map(largest);
        let start = CallStart {
            caller: plan.caller,
            asked_model: plan.asked_model.clone(),
            estimated_input: input,
            reserved_output: output,
            reserved_repair: repair_input.map_or(0, |repair_input| repair_input.saturating_add(output)),
            // A fallback to the most expensive target stays within the reservation.
            reserved_cost: costs.max_by_key(|cost| cost.pico()),
            prompt: plan.options.prompt.clone(),
            variant: plan.variant.clone(),
            purpose: plan.options.purpose,
            total_timeout: plan.options.timeouts.total,
        };
        let call = self.accounting.open(start).await?;
        let answers = if repair_input.is_some() { 2 } else { 1 };
        Ok(CallRun::new(plan, call, output, answers))
    }

    /// Returns the tokens of output to reserve: what the request or else the setting allows, and the models can answer.
    fn reserved_output(&self, plan: &CallPlan, request: &ChatRequest) -> u64 {
        let mut models = plan.targets.iter().map(|target| target.info.as_ref().and_then(|info| info.max_output));
        let most = models.try_fold(0, |most: u64, of_model| of_model.map(|tokens| most.max(tokens)));
        request.max_output_tokens.unwrap_or(self.settings.reserved_output).min(most.unwrap_or(u64::MAX))
    }

    /// Returns the client for URLs of callers, if they are fetched.
    fn media_client(&self) -> Option<&MediaClient> {
        self.media_client.as_ref().filter(|_| self.settings.fetch_media)
    }

    /// Waits for the first of the targets if all of them wait for a rate limit, and that does not take long.
    pub(super) async fn await_route(&self, run: &mut CallRun) -> Result<(), AiError> {
        let Some(wait) = run.plan.wait.take() else { return Ok(()) };
        if !self.may_wait(run, wait) {
            return Err(rate_limited(wait).into());
        }
        tokio::time::sleep(wait).await;
        Ok(())
    }

    /// Fetches images and files at URLs, unless all targets do it themselves.
    pub(super) async fn fetch_media(&self, plan: &CallPlan, request: &mut ChatRequest) -> Result<(), AiError> {
        let by_providers = plan.targets.iter().all(|target| target.provider.accepts_media_urls());
        if by_providers || !request.messages.iter().any(|message| message.parts.iter().any(is_at_url)) {
            return Ok(());
        }
        let fetched = media::resolve(request, false, self.media_client(), self.settings.max_media_bytes);
        Ok(Box::pin(plan.deadline.limit("gateway", fetched)).await??)
    }

    async fn check_input(&self, caller: &AiCaller, request: &mut ChatRequest) -> Result<(), http::Error> {
        for guardrail in &self.guardrails {
            if let Err(refusal) = guardrail.check_input(caller, request).await {
                count_refusal(guardrail.name());
                return Err(refusal.into_error(guardrail.name()));
            }
        }
        Ok(())
    }

    /// Returns whether a guardrail checks answers. Then no part of an answer is passed on before the whole is checked.
    pub(super) fn checks_output(&self) -> bool {
        self.guardrails.iter().any(|guardrail| guardrail.checks_output())
    }

    /// Checks an answer, which the guardrails may change.
    pub(super) async fn check_output(&self, plan: &CallPlan, response: &mut ChatResponse) -> Result<(), AiError> {
        for guardrail in self.guardrails.iter().filter(|guardrail| guardrail.checks_output()) {
            let check = guardrail.check_output(&plan.caller, response);
            if let Err(refusal) = plan.deadline.limit("gateway", check).await? {
                count_refusal(guardrail.name());
                return Err(refusal.into_error(guardrail.name()).into());
            }
        }
        Ok(())
    }
}

fn is_media(part: &Part) -> bool {
    match part {
        Part::Image(_) | Part::File(_) => true,
        Part::ToolResult(result) => result.parts.iter().any(is_media),
        _ => false,
    }
}

fn is_at_url(part: &Part) -> bool {
    match part {
        Part::Image(media) | Part::File(media) => matches!(media.source, MediaSource::Url(_)),
        Part::ToolResult(result) => result.parts.iter().any(is_at_url),
        _ => false,
    }
}
