//! What happens to a call before it reaches a provider: policies, the reservation of budgets, the wait for a route.

use omnistack_core::{http, identity::Plan};

use super::{
    answer::AiError,
    attempts::UpstreamRequest,
    call_run::{CallPlan, CallRun},
    deadline::CallDeadline,
    engine::Engine,
    estimate,
    observe::count_refusal,
    pricing::largest_cost,
    refusal::{PROVIDER_RATE_LIMITED, invalid_schema, with_retry_after},
    schema,
    signatures::name_results,
};
use crate::{
    accounting::CallStart,
    cache::CacheKey,
    call::{AiCaller, CallOptions},
    chat::{ChatRequest, ChatResponse, MediaSource, Part},
    media,
    router::{RouteQuery, RouteTarget},
};

/// The client that fetches images and files at URLs of callers.
#[cfg(feature = "providers")]
pub(super) type MediaClient = http::client::GuardedClient;
/// The client that fetches images and files at URLs of callers. Without providers over HTTP there is none.
#[cfg(not(feature = "providers"))]
pub(super) type MediaClient = std::convert::Infallible;

/// The kind of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CallKind {
    Chat,
    Embeddings,
}

/// The targets of a call, or the refusal of the router if all of them wait for a rate limit.
struct RouteChoice {
    targets: Vec<RouteTarget>,
    waiting: Option<http::Error>,
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
            // URLs stay until it is known whether the providers fetch them.
            media::resolve(request, true, self.media_client.as_ref(), self.settings.max_media_bytes).await?;
        }
        let estimated_input = estimate::input_tokens(request);
        let cache_key = if kind == CallKind::Chat { CacheKey::of(&caller, request, &options) } else { None };
        let choice = self.route(&caller, request, &tenant_plan, &options, estimated_input)?;
        let default_model = || choice.targets.first().map(|target| target.model.clone()).unwrap_or_default();
        let asked_model = if request.model.is_empty() { default_model() } else { request.model.clone() };
        let RouteChoice { targets, waiting } = choice;
        Ok(CallPlan {
            caller,
            options,
            tenant_plan,
            asked_model,
            targets,
            waiting,
            validator,
            cache_key,
            estimated_input,
            deadline,
        })
    }

    /// Reserves budgets for a call.
    pub(super) async fn open(&self, plan: CallPlan, request: &ChatRequest, kind: CallKind) -> Result<CallRun, AiError> {
        let output = match kind {
            CallKind::Chat => self.reserved_output(&plan, request),
            CallKind::Embeddings => 0,
        };
        let (input, tier) = (plan.estimated_input, request.service_tier.as_deref());
        let costs = plan.targets.iter().filter_map(|target| largest_cost(target, input, output, tier));
        let start = CallStart {
            caller: plan.caller,
            asked_model: plan.asked_model.clone(),
            estimated_input: input,
            reserved_output: output,
            // A fallback to the most expensive target stays within the reservation.
            reserved_cost: costs.max_by_key(|cost| cost.pico()),
            prompt: plan.options.prompt.clone(),
            purpose: plan.options.purpose,
            total_timeout: plan.options.timeouts.total,
        };
        let call = self.accounting.open(start).await?;
        Ok(CallRun::new(plan, call))
    }

    /// Returns the tokens of output to reserve: what the request allows, or else what the setting and the models allow.
    fn reserved_output(&self, plan: &CallPlan, request: &ChatRequest) -> u64 {
        let models = || {
            let most = plan.targets.iter().filter_map(|target| target.info.as_ref()?.max_output).max();
            most.unwrap_or(u64::MAX).min(self.settings.reserved_output)
        };
        request.max_output_tokens.unwrap_or_else(models)
    }

    fn route(
        &self,
        caller: &AiCaller,
        request: &ChatRequest,
        plan: &Plan,
        options: &CallOptions,
        estimated_input: u64,
    ) -> Result<RouteChoice, http::Error> {
        let query = RouteQuery { request, tenant: caller.tenant, plan, options, estimated_input };
        let targets = match self.router.targets(query) {
            Ok(targets) => targets,
            // An answer of the cache needs no provider.
            Err(error) if error.code() == PROVIDER_RATE_LIMITED => {
                return Ok(RouteChoice { targets: Vec::new(), waiting: Some(error) });
            }
            Err(error) => return Err(error),
        };
        Ok(RouteChoice { targets, waiting: None })
    }

    /// Waits for a route whose targets all wait for a rate limit, if that does not take long.
    pub(super) async fn await_route(&self, run: &mut CallRun, request: &UpstreamRequest) -> Result<(), AiError> {
        let mut waited = std::time::Duration::ZERO;
        while let Some(error) = run.plan.waiting.take() {
            let (error, wait) = with_retry_after(error);
            let Some(wait) = wait.filter(|wait| self.may_wait(run, waited.saturating_add(*wait))) else {
                return Err(error.into());
            };
            tokio::time::sleep(wait).await;
            waited = waited.saturating_add(wait);
            let embeddings;
            let request = match request {
                UpstreamRequest::Complete(request) | UpstreamRequest::Stream(request) => request,
                UpstreamRequest::Embed(request) => {
                    embeddings = ChatRequest::new(request.model.clone(), []);
                    &embeddings
                }
            };
            let plan = &run.plan;
            let choice = self.route(&plan.caller, request, &plan.tenant_plan, &plan.options, plan.estimated_input)?;
            run.plan.targets = choice.targets;
            run.plan.waiting = choice.waiting;
        }
        Ok(())
    }

    /// Fetches images and files at URLs, unless all targets do it themselves.
    pub(super) async fn fetch_media(&self, plan: &CallPlan, request: &mut ChatRequest) -> Result<(), AiError> {
        let by_providers = plan.targets.iter().all(|target| target.provider.accepts_media_urls());
        if by_providers || !request.messages.iter().any(|message| message.parts.iter().any(is_at_url)) {
            return Ok(());
        }
        let client = self.media_client.as_ref().filter(|_| self.settings.fetch_media);
        let fetched = media::resolve(request, false, client, self.settings.max_media_bytes);
        Ok(plan.deadline.limit("gateway", fetched).await??)
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

fn is_at_url(part: &Part) -> bool {
    match part {
        Part::Image(media) | Part::File(media) => matches!(media.source, MediaSource::Url(_)),
        Part::ToolResult(result) => result.parts.iter().any(is_at_url),
        _ => false,
    }
}
