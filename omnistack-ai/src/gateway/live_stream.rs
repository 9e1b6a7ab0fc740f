//! A stream that passes the pieces of a provider on, and settles the call at its end.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream};

use super::{
    answer::GatewayEvent,
    attempts::{UpstreamStream, interrupted},
    call_run::{AnsweredUsage, CallFailure, CallRun},
    content::correct_stop,
    deadline::CallDeadline,
    engine::Engine,
    logging::PendingLog,
    observe::{AttemptObservation, error_name},
    schema,
};
use crate::{
    cache::MessageEmbedding,
    chat::{ChatEvent, ChatResponse, StopReason, StreamAssembler},
    error::LlmError,
    router::RouteTarget,
};

/// A stream under way. If it is dropped, the provider is told, and what was produced is settled in the background.
pub(super) struct LiveStream {
    engine: Arc<Engine>,
    /// `None` after the settlement.
    run: Option<CallRun>,
    target: RouteTarget,
    deadline: CallDeadline,
    /// The time at which the attempt began, since the start of the call.
    began: Duration,
    /// The time from then to the first part of the content.
    answered_after: Duration,
    upstream: UpstreamStream,
    observation: AttemptObservation,
    assembler: StreamAssembler,
    log: Option<PendingLog>,
    embedding: Option<MessageEmbedding>,
    /// The events that the caller gets next.
    ready: VecDeque<Result<GatewayEvent, LlmError>>,
}

/// A piece for the caller, and the stream after it.
type NextPiece = Option<(Result<GatewayEvent, LlmError>, Box<LiveStream>)>;

impl LiveStream {
    pub(super) fn new(
        engine: Arc<Engine>,
        run: CallRun,
        opened: (RouteTarget, UpstreamStream, AttemptObservation, Duration),
        log: Option<PendingLog>,
        embedding: Option<MessageEmbedding>,
    ) -> Self {
        let (target, upstream, observation, took) = opened;
        let deadline = run.plan.deadline.clone();
        Self {
            engine,
            run: Some(run),
            target,
            began: deadline.elapsed().saturating_sub(took),
            answered_after: took,
            deadline,
            upstream,
            observation,
            assembler: StreamAssembler::default(),
            log,
            embedding,
            ready: VecDeque::new(),
        }
    }

    /// Returns the next piece.
    pub(super) async fn next(mut self: Box<Self>) -> NextPiece {
        loop {
            if let Some(piece) = self.ready.pop_front() {
                return Some((piece, self));
            }
            self.run.as_ref()?;
            let event = match self.upstream.events.pop_front() {
                Some(event) => Ok(event),
                None => self.read().await,
            };
            match event {
                // What settles a call is allocated when it ends: many streams are open for long.
                Ok(ChatEvent::End(stop)) => Box::pin(self.end(stop)).await,
                Ok(event) => self.pass(event),
                Err(error) => Box::pin(self.interrupt(error)).await,
            }
        }
    }

    async fn read(&mut self) -> Result<ChatEvent, LlmError> {
        let provider = self.target.provider.name();
        let next = self.deadline.limit(provider, self.upstream.rest.next()).await?;
        next.unwrap_or_else(|| Err(interrupted(provider)))
    }

    fn pass(&mut self, event: ChatEvent) {
        let before = self.assembler.output_bytes();
        self.assembler.push(&event);
        if let Some(run) = &self.run {
            let added = self.assembler.output_bytes().saturating_sub(before);
            run.call.note_progress(self.assembler.usage().copied(), added);
        }
        self.ready.push_back(Ok(GatewayEvent::Answer(event)));
    }

    /// Settles the call before the caller learns that the answer is complete.
    async fn end(&mut self, stop: StopReason) {
        let Some(mut run) = self.run.take() else { return };
        self.upstream.rest = Box::pin(stream::empty());
        self.engine.record_health(&self.target, Ok(()), self.answered_after);
        self.assembler.push(&ChatEvent::End(stop));
        let mut response = std::mem::take(&mut self.assembler).finish();
        correct_stop(&mut response);
        run.spend_on(&self.engine.catalog, &self.target, &AnsweredUsage::of(&response));
        self.observation.succeeded(&response.model, Some(response.stop.unified), &run.spend.usage, self.took());
        let provider = self.target.provider.name().to_owned();
        let mismatch = schema::problems(run.plan.validator.as_ref(), &response).map(|_| schema::mismatch(&provider));
        let (id, tenant) = (run.call.id, run.plan.caller.tenant);
        let (call, to_store) = match &mismatch {
            None => {
                let to_store = run.plan.answer_to_store(self.embedding.take());
                (run.succeed().await, to_store)
            }
            Some(error) => (run.fail(CallFailure::failed(error_name(error.kind))).await, None),
        };
        self.engine.signatures.remember(tenant, &response).await;
        self.engine.store_answer(to_store, &provider, &response).await;
        let error = mismatch.as_ref().map(|error| error_name(error.kind));
        self.engine.write_log(self.log.take(), id, &provider, error, &response).await;
        let end = GatewayEvent::Answer(ChatEvent::End(response.stop));
        self.ready.push_back(mismatch.map_or(Ok(end), Err));
        self.ready.push_back(Ok(GatewayEvent::Settled(Box::new(call))));
    }

    /// Settles a call whose answer ended before it was complete: the caller pays for what was produced.
    async fn interrupt(&mut self, error: LlmError) {
        let Some(mut run) = self.run.take() else { return };
        self.upstream.rest = Box::pin(stream::empty());
        let (took, bytes) = (self.took(), self.assembler.output_bytes());
        self.engine.record_health(&self.target, Err(&error), took);
        let mut response: ChatResponse = std::mem::take(&mut self.assembler).finish();
        let (estimated, mut is_estimated) = (run.estimated_output(bytes), false);
        if let Some(usage) = &mut response.usage {
            // Providers count the input at the start, and the output at the end.
            is_estimated = estimated > usage.output;
            usage.output = usage.output.max(estimated);
        }
        run.spend_on(&self.engine.catalog, &self.target, &AnsweredUsage::of(&response));
        run.spend.estimated |= is_estimated;
        self.observation.failed(&error, took);
        self.observation.count_tokens(&run.spend.usage);
        let (id, provider) = (run.call.id, run.provider.clone());
        let call = run.fail(CallFailure::interrupted(&error)).await;
        self.engine.write_log(self.log.take(), id, &provider, Some(error_name(error.kind)), &response).await;
        self.ready.push_back(Err(error));
        self.ready.push_back(Ok(GatewayEvent::Settled(Box::new(call))));
    }

    fn took(&self) -> Duration {
        self.deadline.elapsed().saturating_sub(self.began)
    }
}
