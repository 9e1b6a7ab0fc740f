//! The answers of a fake.

use std::collections::VecDeque;

use crate::{
    chat::{ChatRequest, ChatResponse},
    error::LlmError,
};

/// Maximum number of requests that a fake keeps for tests.
const MAX_KEPT_REQUESTS: usize = 1_000;

/// One scripted answer.
#[derive(Clone, Debug)]
pub(super) struct FakeStep {
    pub(super) outcome: FakeOutcome,
    pub(super) cut: Option<FakeCut>,
}

#[derive(Clone, Debug)]
pub(super) enum FakeOutcome {
    /// The answer that the request itself asks for.
    OfRequest,
    /// A text in these pieces.
    Pieces(Vec<String>),
    /// Calls of tools: their names and arguments.
    ToolCalls(Vec<(String, String)>),
    /// This answer.
    Answer(Box<ChatResponse>),
    /// An error instead of an answer.
    Error(LlmError),
    /// Nothing, until a time limit passes.
    Hang,
}

/// The end of an answer before it is complete.
#[derive(Clone, Debug)]
pub(super) struct FakeCut {
    /// The number of pieces of the content before it.
    pub(super) after: usize,
    /// The error. `None`: nothing more arrives, until a time limit passes.
    pub(super) error: Option<LlmError>,
}

/// The script of a fake, and what became of it.
#[derive(Debug, Default)]
pub(super) struct FakeState {
    pub(super) steps: VecDeque<FakeStep>,
    /// Whether requests are kept.
    pub(super) keeps_requests: bool,
    pub(super) requests: VecDeque<ChatRequest>,
    pub(super) calls: u64,
    pub(super) embeddings: u64,
    pub(super) open_streams: usize,
    pub(super) abandoned_streams: u64,
}

impl FakeState {
    /// Counts a call, and returns its number and its step.
    pub(super) fn next_step(&mut self, request: &ChatRequest) -> (u64, FakeStep) {
        self.calls += 1;
        if self.keeps_requests {
            if self.requests.len() == MAX_KEPT_REQUESTS {
                self.requests.pop_front();
            }
            self.requests.push_back(request.clone());
        }
        let step = self.steps.pop_front().unwrap_or_else(|| FakeStep::new(FakeOutcome::OfRequest));
        (self.calls, step)
    }

    /// Returns the step that was added last. Adds one if there is none.
    pub(super) fn last_step(&mut self) -> &mut FakeStep {
        if self.steps.is_empty() {
            self.steps.push_back(FakeStep::new(FakeOutcome::OfRequest));
        }
        let last = self.steps.len() - 1;
        &mut self.steps[last]
    }
}

impl FakeStep {
    /// Creates a step that is not cut.
    pub(super) const fn new(outcome: FakeOutcome) -> Self {
        Self { outcome, cut: None }
    }
}
