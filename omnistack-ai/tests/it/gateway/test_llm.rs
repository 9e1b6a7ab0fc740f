//! A provider that answers as the test says.

#![cfg(test)]

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use futures_util::{StreamExt as _, stream};
use omnistack_ai::{
    Call, ChatEvent, ChatRequest, ChatResponse, ChatStream, EmbeddingRequest, Embeddings, LlmError, LlmErrorKind,
    LlmProvider, Part, ProviderModel, RateLimitLevels, StopKind, StopReason, TokenUsage,
};
use serde_json::Value;
use tokio::sync::Notify;

/// A step of a stream.
#[derive(Clone, Debug)]
pub(crate) enum Piece {
    Event(ChatEvent),
    Fail(LlmError),
    /// Waits until the test says so.
    Wait(Arc<Notify>),
}

/// The answer to one request.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Reply(Box<ChatResponse>),
    /// Replies, and states rate limits.
    ReplyWithLimits(RateLimitLevels, Box<ChatResponse>),
    /// Replies when the test says so; the first one is told that the request has arrived.
    ReplyAfter(Arc<Notify>, Arc<Notify>, Box<ChatResponse>),
    Stream(Vec<Piece>),
    Fail(LlmError),
}

/// The provider. Its clones share the script.
#[derive(Clone, Debug)]
pub(crate) struct TestLlm(Arc<State>);

#[derive(Debug)]
struct State {
    name: &'static str,
    account: &'static str,
    steps: Mutex<VecDeque<Step>>,
    requests: Mutex<Vec<ChatRequest>>,
    ended_streams: Arc<AtomicUsize>,
}

impl TestLlm {
    pub(crate) fn new(name: &'static str, steps: impl IntoIterator<Item = Step>) -> Self {
        Self::with_account(name, name, steps)
    }

    pub(crate) fn with_account(
        name: &'static str,
        account: &'static str,
        steps: impl IntoIterator<Item = Step>,
    ) -> Self {
        let steps = Mutex::new(steps.into_iter().collect());
        Self(Arc::new(State { name, account, steps, requests: Mutex::default(), ended_streams: Arc::default() }))
    }

    pub(crate) fn name(&self) -> &'static str {
        self.0.name
    }

    /// Returns the requests so far.
    pub(crate) fn requests(&self) -> Vec<ChatRequest> {
        self.0.requests.lock().unwrap().clone()
    }

    /// Returns the number of streams that have ended or were dropped.
    pub(crate) fn ended_streams(&self) -> usize {
        self.0.ended_streams.load(Ordering::SeqCst)
    }

    fn next(&self, request: &ChatRequest) -> Step {
        self.0.requests.lock().unwrap().push(request.clone());
        let step = self.0.steps.lock().unwrap().pop_front();
        step.unwrap_or_else(|| panic!("`{}` is asked more often than the script says", self.0.name))
    }
}

#[async_trait]
impl LlmProvider for TestLlm {
    fn name(&self) -> &str {
        self.0.name
    }

    fn account(&self) -> &str {
        self.0.account
    }

    async fn complete(&self, request: &ChatRequest, call: &Call) -> Result<ChatResponse, LlmError> {
        match self.next(request) {
            Step::Reply(response) => Ok(*response),
            Step::ReplyWithLimits(levels, response) => {
                call.report_rate_limits(levels);
                Ok(*response)
            }
            Step::ReplyAfter(arrived, go, response) => {
                arrived.notify_one();
                go.notified().await;
                Ok(*response)
            }
            Step::Fail(error) => Err(error),
            Step::Stream(_) => panic!("the script has a stream"),
        }
    }

    async fn stream(&self, request: &ChatRequest, _: &Call) -> Result<ChatStream, LlmError> {
        let pieces = match self.next(request) {
            Step::Stream(pieces) => pieces,
            Step::Fail(error) => return Err(error),
            other => panic!("the script has {other:?}"),
        };
        let ended = EndedStream(self.0.ended_streams.clone());
        let events = stream::iter(pieces).filter_map(move |piece| {
            let _ = &ended;
            async move {
                match piece {
                    Piece::Event(event) => Some(Ok(event)),
                    Piece::Fail(error) => Some(Err(error)),
                    Piece::Wait(go) => {
                        go.notified().await;
                        None
                    }
                }
            }
        });
        Ok(Box::pin(events))
    }

    async fn embed(&self, request: &EmbeddingRequest, _: &Call) -> Result<Embeddings, LlmError> {
        let axis = |text: &str| if text.contains("weather") { vec![3.0, 0.1] } else { vec![0.1, 2.0] };
        let vectors = request.input.iter().map(|text| axis(text)).collect();
        let usage = TokenUsage { input: 2, ..TokenUsage::default() };
        Ok(Embeddings::new(request.model.clone(), vectors, Some(usage)))
    }

    async fn models(&self) -> Result<Vec<ProviderModel>, LlmError> {
        Ok(Vec::new())
    }
}

struct EndedStream(Arc<AtomicUsize>);

impl Drop for EndedStream {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

pub(crate) fn usage(input: u64, output: u64) -> TokenUsage {
    TokenUsage { input, output, ..TokenUsage::default() }
}

pub(crate) fn reply_of(parts: Vec<Part>, stop: StopKind) -> ChatResponse {
    let mut response = ChatResponse::new("id", super::MODEL, parts, StopReason::new(stop, "raw".to_owned()));
    response.usage = Some(usage(10, 5));
    response
}

/// Returns the reply of a text, which uses 10 and 5 tokens.
pub(crate) fn reply(text: &str) -> Step {
    Step::Reply(Box::new(reply_of(vec![Part::text(text)], StopKind::Stop)))
}

pub(crate) fn error(kind: LlmErrorKind) -> LlmError {
    LlmError::new(kind, "test", "failed")
}

pub(crate) fn fail(kind: LlmErrorKind) -> Step {
    Step::Fail(error(kind))
}

pub(crate) fn started() -> Piece {
    Piece::Event(ChatEvent::Start { id: "id".into(), model: super::MODEL.into() })
}

pub(crate) fn text(delta: &str) -> Piece {
    Piece::Event(ChatEvent::Text { index: 0, delta: delta.into() })
}

pub(crate) fn counted(input: u64, output: u64) -> Piece {
    Piece::Event(ChatEvent::Usage { usage: usage(input, output), raw: Value::Null })
}

pub(crate) fn end() -> Piece {
    Piece::Event(ChatEvent::End(StopReason::new(StopKind::Stop, "stop".to_owned())))
}
