//! The wire formats of model providers, without I/O: what is sent, and what the bytes that arrive mean.

mod anthropic;
mod gemini;
mod openai_chat;
mod openai_responses;
mod quirks;
mod rate_limits;
mod sse;

use std::fmt::Debug;

use http::{HeaderMap, StatusCode};
use omnistack_core::clock::Timestamp;
use serde_json::Value;

use crate::{
    chat::{ChatEvent, ChatRequest, ChatResponse},
    embedding::{EmbeddingRequest, Embeddings},
    error::LlmError,
};

pub(crate) use anthropic::Anthropic;
pub(crate) use gemini::Gemini;
pub(crate) use openai_chat::OpenAiChat;
pub(crate) use openai_responses::OpenAiResponses;
pub(crate) use quirks::Quirks;
pub(crate) use rate_limits::stated_rate_limits;
pub(crate) use sse::{SseEvent, SseParser};

/// A request as it is sent.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct WireRequest {
    /// The path below the base URL, with its query.
    pub(crate) path: String,
    /// The body.
    pub(crate) body: Value,
    /// Parameters that the provider does not have.
    pub(crate) warnings: Vec<String>,
}

/// One wire format.
pub(crate) trait Codec: Debug + Send + Sync + 'static {
    /// Encodes a request for an answer.
    fn encode(&self, request: &ChatRequest, stream: bool) -> Result<WireRequest, LlmError>;

    /// Decodes an answer.
    fn decode(&self, body: &[u8]) -> Result<ChatResponse, LlmError>;

    /// Creates the decoder of one stream.
    fn decoder(&self) -> Box<dyn StreamDecoder>;

    /// Encodes a request for embeddings.
    fn encode_embeddings(&self, request: &EmbeddingRequest) -> Result<WireRequest, LlmError>;

    /// Decodes embeddings.
    fn decode_embeddings(&self, request: &EmbeddingRequest, body: &[u8]) -> Result<Embeddings, LlmError>;

    /// Decodes the response to a request that failed.
    fn decode_error(&self, status: StatusCode, headers: &HeaderMap, body: &[u8], now: Timestamp) -> LlmError;

    /// Returns whether the provider fetches images from URLs. Otherwise the gateway fetches them before it encodes.
    fn accepts_media_urls(&self) -> bool {
        false
    }
}

/// The decoder of one stream.
pub(crate) trait StreamDecoder: Send {
    /// Decodes an event. After [`ChatEvent::End`] and after an error it is not called again.
    fn push(&mut self, event: &SseEvent) -> Result<Vec<ChatEvent>, LlmError>;

    /// Decodes the end of the body. Fails with [`LlmErrorKind::Interrupted`](crate::LlmErrorKind::Interrupted) if the
    /// answer is not complete.
    fn end_of_body(&mut self) -> Result<Vec<ChatEvent>, LlmError>;
}
