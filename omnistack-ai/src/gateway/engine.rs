//! The order in which a call passes the parts of the gateway: policies, reservation, cache, router, fallback,
//! settlement.

use std::{pin::Pin, sync::Arc};

use futures_util::stream;
use omnistack_core::{clock::Clock, identity::Entitlements};

use super::{
    answer::{AiError, GatewayAnswer, GatewayEmbeddings, GatewayEvent, GatewayStream},
    attempts::{AnsweredAttempt, UpstreamRequest},
    call_run::{AnsweredUsage, CallFailure, CallRun},
    content::correct_stop,
    detached::{CallerPresence, Drains},
    estimate,
    live_stream::LiveStream,
    logging::PendingLog,
    observe::error_name,
    policy::MediaClient,
    pricing::difference,
    prompt_log::PromptLog,
    refusal::CONTENT_REFUSED,
    schema,
    settings::GatewaySettings,
    signatures::SignatureStore,
};
use crate::{
    accounting::{Accounting, CallStatus},
    cache::AnswerCache,
    call::CallSummary,
    catalog::ModelCatalog,
    chat::{ChatRequest, ChatResponse, events_of},
    embedding::EmbeddingRequest,
    error::LlmError,
    guardrail::Guardrail,
    provider::LlmProvider,
    router::{AiRouter, RouteTarget},
};

/// The parts of the gateway.
pub(super) struct Engine {
    pub(super) router: AiRouter,
    pub(super) accounting: Accounting,
    pub(super) catalog: ModelCatalog,
    pub(super) providers: Vec<Arc<dyn LlmProvider>>,
    /// The guardrails, in the order in which they check.
    pub(super) guardrails: Vec<Arc<dyn Guardrail>>,
    pub(super) entitlements: Entitlements,
    pub(super) answers: AnswerCache,
    pub(super) signatures: SignatureStore,
    pub(super) prompt_log: PromptLog,
    pub(super) media_client: Option<MediaClient>,
    pub(super) drains: Drains,
    pub(super) clock: Clock,
    pub(super) settings: GatewaySettings,
}

impl Engine {
    /// Answers a call for which budgets are reserved.
    pub(super) async fn complete(
        &self,
        mut run: CallRun,
        request: ChatRequest,
        presence: &CallerPresence,
    ) -> Result<GatewayAnswer, AiError> {
        let (id, log) = (run.call.id, self.begin_log(&run.plan, &request).await);
        let lookup = self.find_cached(&run.plan).await;
        if let Some(found) = lookup.found {
            self.signatures.remember(run.plan.caller.tenant, &found.response).await;
            let call = run.settle_cached(&found.provider, &found.response.model).await;
            self.write_log(log, id, &found.provider, None, &found.response).await;
            return Ok(GatewayAnswer { response: found.response, call });
        }
        match self.answer(&mut run, request, presence).await {
            Ok(response) => {
                let (tenant, provider) = (run.plan.caller.tenant, run.provider.clone());
                let to_store = run.plan.answer_to_store(lookup.embedding);
                let call = run.succeed().await;
                self.signatures.remember(tenant, &response).await;
                self.store_answer(to_store, &provider, &response).await;
                self.write_log(log, id, &provider, None, &response).await;
                Ok(GatewayAnswer { response, call })
            }
            Err(error) => Err(self.fail(run, error, log, presence).await),
        }
    }

    /// Begins a stream for which budgets are reserved.
    pub(super) async fn stream(
        self: Arc<Self>,
        mut run: CallRun,
        request: ChatRequest,
    ) -> Result<GatewayStream, AiError> {
        let presence = CallerPresence::default();
        if self.checks_output() {
            let answer = Box::pin(self.complete(run, request, &presence)).await?;
            return Ok(replay(&answer.response, answer.call));
        }
        let (id, log) = (run.call.id, self.begin_log(&run.plan, &request).await);
        let lookup = self.find_cached(&run.plan).await;
        if let Some(found) = lookup.found {
            self.signatures.remember(run.plan.caller.tenant, &found.response).await;
            let call = run.settle_cached(&found.provider, &found.response.model).await;
            self.write_log(log, id, &found.provider, None, &found.response).await;
            return Ok(replay(&found.response, call));
        }
        let mut asked = UpstreamRequest::Stream(request);
        let opened = self.ask(&mut run, &mut asked, &presence).await.and_then(|attempt| {
            let AnsweredAttempt { answer, target, observation, took } = attempt;
            Ok((target, answer.into_stream()?, observation, took))
        });
        match opened {
            Ok(opened) => {
                let live = LiveStream::new(self, run, opened, log, lookup.embedding);
                Ok(GatewayStream { id, events: Box::pin(stream::unfold(Box::new(live), LiveStream::next)) })
            }
            Err(error) => Err(self.fail(run, error, log, &presence).await),
        }
    }

    /// Creates embeddings for which budgets are reserved.
    pub(super) async fn embed(
        &self,
        mut run: CallRun,
        request: EmbeddingRequest,
        presence: &CallerPresence,
    ) -> Result<GatewayEmbeddings, AiError> {
        let mut asked = UpstreamRequest::Embed(request);
        let answered = self.ask(&mut run, &mut asked, presence).await.and_then(|attempt| {
            let AnsweredAttempt { answer, target, observation, took } = attempt;
            Ok((answer.into_embeddings()?, target, observation, took))
        });
        match answered {
            Ok((embeddings, target, observation, took)) => {
                let usage = AnsweredUsage {
                    model: &embeddings.model,
                    usage: embeddings.usage,
                    service_tier: None,
                    output_bytes: 0,
                };
                run.spend_on(&self.catalog, &target, &usage);
                observation.succeeded(&embeddings.model, None, &run.spend.usage, took);
                let call = run.succeed().await;
                Ok(GatewayEmbeddings { embeddings, call })
            }
            Err(error) => Err(self.fail(run, error, None, presence).await),
        }
    }

    /// Asks the router's targets, after those that wait for a rate limit can be asked again.
    async fn ask(
        &self,
        run: &mut CallRun,
        request: &mut UpstreamRequest,
        presence: &CallerPresence,
    ) -> Result<AnsweredAttempt, AiError> {
        self.await_route(run).await?;
        if let UpstreamRequest::Complete(request) | UpstreamRequest::Stream(request) = &mut *request {
            self.fetch_media(&run.plan, request).await?;
        }
        self.attempt_all(run, request, presence).await
    }

    /// Returns the answer of a provider, which matches the schema and has passed the guardrails.
    async fn answer(
        &self,
        run: &mut CallRun,
        request: ChatRequest,
        presence: &CallerPresence,
    ) -> Result<ChatResponse, AiError> {
        let mut asked = UpstreamRequest::Complete(request);
        let AnsweredAttempt { answer, target, observation, took } = self.ask(run, &mut asked, presence).await?;
        let mut response = answer.into_response()?;
        correct_stop(&mut response);
        run.spend_on(&self.catalog, &target, &AnsweredUsage::of(&response));
        observation.succeeded(&response.model, Some(response.stop.unified), &run.spend.usage, took);
        drop(observation);
        if let Some(problems) = schema::problems(run.plan.validator.as_ref(), &response) {
            response = Box::pin(self.repair(run, &target, &asked, &response, &problems)).await?;
        }
        self.check_output(&run.plan, &mut response).await?;
        Ok(response)
    }

    /// Asks the target once more for an answer that matches the schema.
    async fn repair(
        &self,
        run: &mut CallRun,
        target: &RouteTarget,
        asked: &UpstreamRequest,
        response: &ChatResponse,
        problems: &[String],
    ) -> Result<ChatResponse, LlmError> {
        let UpstreamRequest::Complete(request) = asked else { return Err(schema::mismatch(target.provider.name())) };
        let again = schema::repair_request(request, response, problems, run.turn_output);
        run.plan.estimated_input = estimate::input_tokens(&again);
        let mut again = UpstreamRequest::Complete(again);
        let before = run.spend.usage;
        let (answer, observation, took) = self.attempt(run, target, "repair of the form", &mut again).await?;
        let mut repaired = answer.into_response()?;
        correct_stop(&mut repaired);
        run.spend_on(&self.catalog, target, &AnsweredUsage::of(&repaired));
        let used = difference(&run.spend.usage, &before);
        observation.succeeded(&repaired.model, Some(repaired.stop.unified), &used, took);
        if schema::problems(run.plan.validator.as_ref(), &repaired).is_some() {
            return Err(schema::mismatch(target.provider.name()));
        }
        repaired.usage = run.spend.counted().or(repaired.usage);
        Ok(repaired)
    }

    /// Settles a call that has failed, and returns its error.
    async fn fail(&self, run: CallRun, error: AiError, log: Option<PendingLog>, presence: &CallerPresence) -> AiError {
        let name = match &error {
            AiError::Upstream(error) => error_name(error.kind),
            AiError::Refused(error) if error.code() == CONTENT_REFUSED => "content_refused",
            AiError::Refused(_) => "refused",
        };
        let status = if presence.has_left() { CallStatus::Cancelled } else { CallStatus::Failed };
        let (id, provider, model) = (run.call.id, run.provider.clone(), run.model.clone());
        run.fail(CallFailure { status, error: name }).await;
        self.write_log(log, id, &provider, Some(name), &no_answer(model)).await;
        error
    }
}

/// Returns the answer of a call that has none.
fn no_answer(model: String) -> ChatResponse {
    use crate::chat::{StopKind, StopReason};
    ChatResponse::new("", model, Vec::new(), StopReason::new(StopKind::Interrupted, None))
}

/// Returns a whole answer as a stream.
fn replay(response: &ChatResponse, call: CallSummary) -> GatewayStream {
    let id = call.id;
    let pieces = events_of(response, |text| vec![text]).into_iter().map(GatewayEvent::Answer);
    let events = pieces.chain([GatewayEvent::Settled(Box::new(call))]).map(Ok);
    let events: Vec<Result<GatewayEvent, LlmError>> = events.collect();
    GatewayStream { id, events: Box::pin(stream::iter(events)) }
}

/// A future that runs in a task of its own.
pub(super) type Work<T> = Pin<Box<dyn Future<Output = Result<T, AiError>> + Send>>;
