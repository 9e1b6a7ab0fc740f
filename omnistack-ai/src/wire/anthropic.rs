//! Anthropic's Messages API (version 2023-06-01).

mod content;
mod encode;
mod error;
mod stream;
mod usage;

use std::borrow::Cow;

use http::{HeaderMap, StatusCode};
use omnistack_core::clock::Timestamp;

use super::{Codec, StreamDecoder, WireRequest};
use crate::{
    chat::{ChatRequest, ChatResponse},
    embedding::{EmbeddingRequest, Embeddings},
    error::{LlmError, LlmErrorKind},
};
use stream::MessageDecoder;

pub(super) use content::arguments_object;

/// Marks signatures and encrypted reasoning of Anthropic, so that those of other providers are not sent to it.
const SIGNATURE_MARK: &str = "anthropic:";

/// The codec of the Messages API.
#[derive(Clone, Debug)]
pub(crate) struct Anthropic {
    provider: Cow<'static, str>,
}

impl Anthropic {
    /// Creates the codec of a provider.
    pub(crate) fn new(provider: Cow<'static, str>) -> Self {
        Self { provider }
    }

    fn no_embeddings(&self) -> LlmError {
        LlmError::new(LlmErrorKind::NotSupported, self.provider.clone(), "the provider offers no embeddings")
    }
}

impl Codec for Anthropic {
    fn encode(&self, request: &ChatRequest, stream: bool) -> Result<WireRequest, LlmError> {
        encode::encode(&self.provider, request, stream)
    }

    fn decode(&self, body: &[u8]) -> Result<ChatResponse, LlmError> {
        MessageDecoder::new(self.provider.clone()).decode(body)
    }

    fn decoder(&self) -> Box<dyn StreamDecoder> {
        Box::new(MessageDecoder::new(self.provider.clone()))
    }

    fn encode_embeddings(&self, _: &EmbeddingRequest) -> Result<WireRequest, LlmError> {
        Err(self.no_embeddings())
    }

    fn decode_embeddings(&self, _: &EmbeddingRequest, _: &[u8]) -> Result<Embeddings, LlmError> {
        Err(self.no_embeddings())
    }

    fn decode_error(&self, status: StatusCode, headers: &HeaderMap, body: &[u8], now: Timestamp) -> LlmError {
        error::error_of_response(&self.provider, status, headers, body, now)
    }

    fn accepts_media_urls(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests;
