//! The answers of the gateway.

use std::pin::Pin;

use futures_util::Stream;
use omnistack_core::http;

use crate::{
    call::{CallId, CallSummary},
    chat::{ChatEvent, ChatResponse},
    embedding::Embeddings,
    error::LlmError,
};

/// The reason why a call has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AiError {
    /// A model or its provider failed, and so did all others of the route.
    #[error(transparent)]
    Upstream(#[from] LlmError),
    /// The app refuses the call: its budget is used up (402 `AI_BUDGET_EXCEEDED`), the plan does not have the model
    /// (403 `MODEL_NOT_ALLOWED`), the model is unknown (404 `MODEL_NOT_FOUND`), a guardrail refuses the content (422
    /// `CONTENT_REFUSED`), or all providers are waiting for a rate limit (429 `PROVIDER_RATE_LIMITED`).
    #[error(transparent)]
    Refused(#[from] http::Error),
}

/// An answer, and its account.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct GatewayAnswer {
    /// The answer.
    pub response: ChatResponse,
    /// The account.
    pub call: CallSummary,
}

/// Embeddings, and their account.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct GatewayEmbeddings {
    /// The embeddings.
    pub embeddings: Embeddings,
    /// The account.
    pub call: CallSummary,
}

/// A piece of an answer of the gateway.
#[derive(Clone, Debug, PartialEq)]
pub enum GatewayEvent {
    /// A piece of the answer.
    Answer(ChatEvent),
    /// The account, after the last piece. It is stored when it arrives.
    Settled(Box<CallSummary>),
}

/// An answer in pieces. Dropping it ends the call: the provider is told, and what was produced is paid.
#[non_exhaustive]
pub struct GatewayStream {
    /// The id of the call in the ledger.
    pub id: CallId,
    /// The pieces. The last one is [`GatewayEvent::Settled`], also after an error.
    pub events: Pin<Box<dyn Stream<Item = Result<GatewayEvent, LlmError>> + Send>>,
}

impl std::fmt::Debug for GatewayStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GatewayStream").field("id", &self.id).finish_non_exhaustive()
    }
}
