//! Gemini's API (v1beta): `generateContent`, `streamGenerateContent` and `batchEmbedContents`.

mod calls;
mod content;
mod embeddings;
mod encode;
mod error;
mod partial_arguments;
mod stream;

use std::borrow::Cow;

use http::{HeaderMap, StatusCode};
use omnistack_core::clock::Timestamp;

use super::{Codec, StreamDecoder, WireRequest};
use crate::{
    chat::{ChatRequest, ChatResponse},
    embedding::{EmbeddingRequest, Embeddings},
    error::LlmError,
};
use stream::ContentDecoder;

/// Marks signatures of Gemini on reasoning, so that those of other providers are not sent to it.
const SIGNATURE_MARK: &str = "gemini:";

/// The beginning of ids that are given to calls without one. They are not sent to the provider.
const MINTED_ID_PREFIX: &str = "call_";

/// The codec of Gemini's API.
#[derive(Clone, Debug)]
pub(crate) struct Gemini {
    provider: Cow<'static, str>,
}

impl Gemini {
    /// Creates the codec of a provider.
    pub(crate) fn new(provider: Cow<'static, str>) -> Self {
        Self { provider }
    }
}

impl Codec for Gemini {
    fn encode(&self, request: &ChatRequest, stream: bool) -> Result<WireRequest, LlmError> {
        encode::encode(&self.provider, request, stream)
    }

    fn decode(&self, body: &[u8]) -> Result<ChatResponse, LlmError> {
        ContentDecoder::new(self.provider.clone()).decode(body)
    }

    fn decoder(&self) -> Box<dyn StreamDecoder> {
        Box::new(ContentDecoder::new(self.provider.clone()))
    }

    fn encode_embeddings(&self, request: &EmbeddingRequest) -> Result<WireRequest, LlmError> {
        embeddings::encode(&self.provider, request)
    }

    fn decode_embeddings(&self, request: &EmbeddingRequest, body: &[u8]) -> Result<Embeddings, LlmError> {
        embeddings::decode(&self.provider, request, body)
    }

    fn decode_error(&self, status: StatusCode, headers: &HeaderMap, body: &[u8], now: Timestamp) -> LlmError {
        error::error_of_response(&self.provider, status, headers, body, now)
    }

    fn accepts_media_urls(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests;
