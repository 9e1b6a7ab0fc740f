//! Fallback over the targets of a route, and retries: all that happens before the first part of an answer reaches the
//! caller.

use std::{collections::VecDeque, time::Duration};

use futures_util::StreamExt as _;
use omnistack_core::http;

use super::{
    answer::AiError,
    call_run::CallRun,
    detached::CallerPresence,
    engine::Engine,
    observe::{AttemptObservation, error_name},
    refusal::rate_limited,
};
use crate::{
    chat::{CallTimeouts, ChatEvent, ChatRequest, ChatResponse, ChatStream},
    embedding::{EmbeddingRequest, Embeddings},
    error::{LlmError, LlmErrorKind, TimeoutPhase},
    provider::Call,
    router::RouteTarget,
};

/// Largest number of attempts of a call.
const MAX_ATTEMPTS_PER_CALL: usize = 10;
/// Largest number of events of a stream before its first part of content.
const MAX_EVENTS_BEFORE_CONTENT: usize = 1_000;
/// Delay before the first retry. It doubles for each further one.
const FIRST_RETRY_DELAY: Duration = Duration::from_millis(100);

/// A request to a provider.
pub(super) enum UpstreamRequest {
    Complete(ChatRequest),
    Stream(ChatRequest),
    Embed(EmbeddingRequest),
}

/// The answer of a provider.
pub(super) enum UpstreamAnswer {
    Response(Box<ChatResponse>),
    Stream(UpstreamStream),
    Embeddings(Embeddings),
}

/// A stream whose first part of content has arrived.
pub(super) struct UpstreamStream {
    /// The events up to that part.
    pub(super) events: VecDeque<ChatEvent>,
    pub(super) rest: ChatStream,
}

/// An answer, and the target that gave it.
pub(super) struct AnsweredAttempt {
    pub(super) answer: UpstreamAnswer,
    pub(super) target: RouteTarget,
    pub(super) observation: AttemptObservation,
    /// The time of the attempt so far.
    pub(super) took: Duration,
}

impl UpstreamAnswer {
    /// Returns a whole answer.
    pub(super) fn into_response(self) -> Result<ChatResponse, LlmError> {
        match self {
            Self::Response(response) => Ok(*response),
            Self::Stream(_) | Self::Embeddings(_) => Err(other_kind()),
        }
    }

    /// Returns a stream.
    pub(super) fn into_stream(self) -> Result<UpstreamStream, LlmError> {
        match self {
            Self::Stream(stream) => Ok(stream),
            Self::Response(_) | Self::Embeddings(_) => Err(other_kind()),
        }
    }

    /// Returns embeddings.
    pub(super) fn into_embeddings(self) -> Result<Embeddings, LlmError> {
        match self {
            Self::Embeddings(embeddings) => Ok(embeddings),
            Self::Response(_) | Self::Stream(_) => Err(other_kind()),
        }
    }
}

/// Returns the error of an answer of another kind than was asked for, which no request gets.
fn other_kind() -> LlmError {
    LlmError::new(LlmErrorKind::Protocol, "gateway", "the answer is of another kind than the request")
}

impl UpstreamRequest {
    fn set_model(&mut self, model: &str) {
        match self {
            Self::Complete(request) | Self::Stream(request) => model.clone_into(&mut request.model),
            Self::Embed(request) => model.clone_into(&mut request.model),
        }
    }

    const fn operation(&self) -> &'static str {
        match self {
            Self::Complete(_) | Self::Stream(_) => "chat",
            Self::Embed(_) => "embeddings",
        }
    }
}

impl Engine {
    /// Asks the targets in their order until one of them answers. A target is asked again if it is the last one and
    /// that may help.
    pub(super) async fn attempt_all(
        &self,
        run: &mut CallRun,
        request: &mut UpstreamRequest,
        presence: &CallerPresence,
    ) -> Result<AnsweredAttempt, AiError> {
        let targets = std::mem::take(&mut run.plan.targets);
        let last = targets.len().saturating_sub(1);
        let (mut failure, mut shortest_wait) = (None::<LlmError>, None::<Duration>);
        for (position, target) in targets.into_iter().enumerate() {
            if let Some(wait) = self.router.health().wait(&target) {
                shortest_wait = Some(shortest_wait.map_or(wait, |known| known.min(wait)));
                if position < last || failure.is_some() || !self.may_wait(run, wait) {
                    continue;
                }
                tokio::time::sleep(wait).await;
            }
            let mut retries = 0;
            loop {
                if presence.has_left() || run.attempts >= MAX_ATTEMPTS_PER_CALL {
                    return Err(given_up(failure, &target));
                }
                let error = match self.attempt(run, &target, &target.reason, request).await {
                    Ok((answer, observation, took)) => {
                        return Ok(AnsweredAttempt { answer, target, observation, took });
                    }
                    Err(error) => error,
                };
                let delay = self.retry_delay(run, &target, &error, retries).filter(|_| position == last);
                let ends = !error.allows_fallback() || run.plan.deadline.remaining().is_zero();
                shortest_wait = shortest_wait.into_iter().chain(error.retry_after).min();
                failure = Some(error);
                match delay {
                    Some(delay) if !ends => tokio::time::sleep(delay).await,
                    _ if ends => return Err(with_shortest_wait(failure, shortest_wait)),
                    _ => break,
                }
                retries += 1;
            }
        }
        Err(with_shortest_wait(failure, shortest_wait))
    }

    /// Makes one attempt, and records it for the health of the target, in the call's trace, and in metrics.
    pub(super) async fn attempt(
        &self,
        run: &mut CallRun,
        target: &RouteTarget,
        reason: &str,
        request: &mut UpstreamRequest,
    ) -> Result<(UpstreamAnswer, AttemptObservation, Duration), LlmError> {
        request.set_model(&target.model);
        run.call.note_target(target.provider.name(), &target.model);
        target.provider.name().clone_into(&mut run.provider);
        run.model.clone_from(&target.model);
        let observation = AttemptObservation::begin(request.operation(), target);
        if let UpstreamRequest::Complete(request) | UpstreamRequest::Stream(request) = &*request {
            observation.set_request(request);
        }
        let began = run.plan.deadline.elapsed();
        let call = Call {
            timeouts: CallTimeouts { total: run.plan.deadline.remaining(), ..run.plan.options.timeouts },
            request_id: run.plan.options.request_id.clone(),
            ..Call::default()
        };
        self.router.health().begin_call(target, run.plan.estimated_input.saturating_add(run.turn_output));
        let asked = observation.span.run(ask(target, request, &call));
        let result = run.plan.deadline.limit(target.provider.name(), asked).await.flatten();
        let took = run.plan.deadline.elapsed().saturating_sub(began);
        if let Some(levels) = call.reported_rate_limits() {
            self.router.health().state_limits(target, &levels);
        }
        // A stream has answered at its end: one that breaks off is a failure.
        if !matches!(result, Ok(UpstreamAnswer::Stream(_))) {
            self.record_health(target, result.as_ref().map(|_| ()), took);
        }
        match result {
            Ok(answer) => {
                if target.is_of_other_variant {
                    // The cache would give it to callers as an answer of their own variant.
                    run.plan.cache_key = None;
                }
                run.note_attempt(target, reason, None, took);
                run.first_byte.get_or_insert_with(|| run.plan.deadline.elapsed());
                observation.first_byte(took);
                Ok((answer, observation, took))
            }
            Err(error) => {
                run.note_attempt(target, reason, Some(error_name(error.kind)), took);
                observation.failed(&error, took);
                Err(error)
            }
        }
    }

    /// Records the result of an attempt for the health of its target. The time limit of the whole call is the caller's
    /// and says nothing about the provider.
    pub(super) fn record_health(&self, target: &RouteTarget, result: Result<(), &LlmError>, latency: Duration) {
        if !result.is_err_and(|error| error.kind == LlmErrorKind::Timeout(TimeoutPhase::Total)) {
            self.router.health().record(target, result, latency);
        }
    }

    /// Returns the delay after which the same target is asked again, if that may help and is in time.
    fn retry_delay(&self, run: &CallRun, target: &RouteTarget, error: &LlmError, retries: u32) -> Option<Duration> {
        if !error.is_retryable() || retries >= self.settings.retries {
            return None;
        }
        let backoff = FIRST_RETRY_DELAY.saturating_mul(1 << retries.min(10));
        // Upward only, so that callers that were told the same time don't come back at the same moment.
        let delay = backoff.mul_f64(1.0 + rand::random::<f64>());
        match self.router.health().wait(target).max(error.retry_after) {
            Some(wait) => {
                let wait = wait.saturating_add(delay);
                self.may_wait(run, wait).then_some(wait)
            }
            None => (delay < run.plan.deadline.remaining()).then_some(delay),
        }
    }

    /// Returns whether a call may wait so long for a rate limit.
    pub(super) fn may_wait(&self, run: &CallRun, wait: Duration) -> bool {
        wait <= self.settings.rate_limit_wait && wait < run.plan.deadline.remaining()
    }
}

async fn ask(target: &RouteTarget, request: &UpstreamRequest, call: &Call) -> Result<UpstreamAnswer, LlmError> {
    let provider = &target.provider;
    match request {
        UpstreamRequest::Complete(request) => {
            let response = provider.complete(request, call).await?;
            Ok(UpstreamAnswer::Response(Box::new(response)))
        }
        UpstreamRequest::Stream(request) => {
            let stream = provider.stream(request, call).await?;
            Ok(UpstreamAnswer::Stream(until_content(provider.name(), stream).await?))
        }
        UpstreamRequest::Embed(request) => {
            let embeddings = provider.embed(request, call).await?;
            if embeddings.vectors.len() != request.input.len() {
                let message = "the number of embeddings differs from that of the texts";
                return Err(LlmError::new(LlmErrorKind::Protocol, provider.name().to_owned(), message));
            }
            Ok(UpstreamAnswer::Embeddings(embeddings))
        }
    }
}

/// Waits for the first part of content, because providers send some failures only as the first event.
async fn until_content(provider: &str, mut rest: ChatStream) -> Result<UpstreamStream, LlmError> {
    let mut events = VecDeque::new();
    loop {
        let Some(event) = rest.next().await.transpose()? else { return Err(interrupted(provider)) };
        let is_content = is_content(&event);
        events.push_back(event);
        if is_content {
            return Ok(UpstreamStream { events, rest });
        }
        if events.len() >= MAX_EVENTS_BEFORE_CONTENT {
            let message = "the answer has too many events before its content";
            return Err(LlmError::new(LlmErrorKind::Protocol, provider.to_owned(), message));
        }
    }
}

/// Returns whether an event is a part of the answer that the caller sees, or its end.
fn is_content(event: &ChatEvent) -> bool {
    match event {
        ChatEvent::Text { delta, .. } | ChatEvent::Reasoning { delta, .. } | ChatEvent::Refusal { delta, .. } => {
            !delta.is_empty()
        }
        ChatEvent::ReasoningSignature { .. }
        | ChatEvent::ToolCallStart { .. }
        | ChatEvent::ToolCallArguments { .. }
        | ChatEvent::ToolCallSignature { .. }
        | ChatEvent::End(_) => true,
        ChatEvent::Start { .. } | ChatEvent::Usage { .. } | ChatEvent::ServiceTier(_) | ChatEvent::Warning(_) => false,
    }
}

/// Returns the error of an answer that ended before it was complete.
pub(super) fn interrupted(provider: &str) -> LlmError {
    let message = "the answer ended before it was complete";
    LlmError::new(LlmErrorKind::Interrupted, provider.to_owned(), message)
}

fn given_up(failure: Option<LlmError>, target: &RouteTarget) -> AiError {
    failure.unwrap_or_else(|| interrupted(target.provider.name())).into()
}

/// Returns the error of the last attempt. The caller of a call that was limited by all targets is told the shortest
/// time after which one of them accepts it.
fn with_shortest_wait(failure: Option<LlmError>, wait: Option<Duration>) -> AiError {
    match failure {
        Some(mut error) => {
            if error.kind == LlmErrorKind::RateLimited {
                error.retry_after = wait.or(error.retry_after);
            }
            AiError::Upstream(error)
        }
        None => match wait {
            Some(wait) => AiError::Refused(rate_limited(wait)),
            None => AiError::Refused(no_target()),
        },
    }
}

fn no_target() -> http::Error {
    let message = "no provider offers the model now; try another model";
    http::Error::unavailable("AI_UNAVAILABLE", message)
}
