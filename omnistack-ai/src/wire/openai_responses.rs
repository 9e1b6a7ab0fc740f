//! OpenAI's Responses.

mod encode;
mod items;
mod stream;

use std::borrow::Cow;

use http::{HeaderMap, StatusCode};
use omnistack_core::clock::Timestamp;

use super::{
    Codec, Quirks, StreamDecoder, WireRequest,
    openai_chat::{decode_embeddings, encode_embeddings, error_of_response},
};
use crate::{
    chat::{ChatRequest, ChatResponse},
    embedding::{EmbeddingRequest, Embeddings},
    error::LlmError,
};
use stream::ResponseDecoder;

/// The codec of Responses.
#[derive(Clone, Debug)]
pub(crate) struct OpenAiResponses {
    provider: Cow<'static, str>,
    quirks: Quirks,
}

impl OpenAiResponses {
    /// Creates the codec of a provider.
    pub(crate) fn new(provider: Cow<'static, str>, quirks: Quirks) -> Self {
        Self { provider, quirks }
    }
}

impl Codec for OpenAiResponses {
    fn encode(&self, request: &ChatRequest, stream: bool) -> Result<WireRequest, LlmError> {
        encode::encode(&self.provider, &self.quirks, request, stream)
    }

    fn decode(&self, body: &[u8]) -> Result<ChatResponse, LlmError> {
        ResponseDecoder::new(self.provider.clone()).decode(body)
    }

    fn decoder(&self) -> Box<dyn StreamDecoder> {
        Box::new(ResponseDecoder::new(self.provider.clone()))
    }

    fn encode_embeddings(&self, request: &EmbeddingRequest) -> Result<WireRequest, LlmError> {
        encode_embeddings(&self.provider, &self.quirks, request)
    }

    fn decode_embeddings(&self, request: &EmbeddingRequest, body: &[u8]) -> Result<Embeddings, LlmError> {
        decode_embeddings(&self.provider, request, body)
    }

    fn decode_error(&self, status: StatusCode, headers: &HeaderMap, body: &[u8], now: Timestamp) -> LlmError {
        error_of_response(&self.provider, status, headers, body, now)
    }

    fn accepts_media_urls(&self) -> bool {
        self.quirks.fetches_media
    }
}

#[cfg(test)]
mod tests;
