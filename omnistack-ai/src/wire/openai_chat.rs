//! OpenAI's chat completions, which many providers offer.

mod calls;
mod embeddings;
mod encode;
mod error;
mod fields;
mod media;
mod messages;
mod retry_after;
mod schema;
mod stream;
mod usage;

use std::borrow::Cow;

use http::{HeaderMap, StatusCode};
use omnistack_core::clock::Timestamp;

use super::{Codec, Quirks, StreamDecoder, WireRequest};
use crate::{
    chat::{ChatRequest, ChatResponse},
    embedding::{EmbeddingRequest, Embeddings},
    error::LlmError,
};
use stream::ChatDecoder;

pub(super) use embeddings::{decode_embeddings, encode_embeddings};
pub(super) use encode::{encode_tool_choice, schema_name, set, unsupported};
pub(super) use error::{error_in_answer, error_of_response, inexpressible, interrupted, protocol_error};
pub(super) use fields::{list, text};
pub(super) use media::{data_url, file_name};
pub(super) use retry_after::moment_or_duration;
pub(super) use schema::StrictSchema;
pub(super) use stream::{corrected, is_failure};
pub(super) use usage::response_usage;

/// The codec of chat completions.
#[derive(Clone, Debug)]
pub(crate) struct OpenAiChat {
    provider: Cow<'static, str>,
    quirks: Quirks,
}

impl OpenAiChat {
    /// Creates the codec of a provider.
    pub(crate) fn new(provider: Cow<'static, str>, quirks: Quirks) -> Self {
        Self { provider, quirks }
    }

    fn chat_decoder(&self) -> ChatDecoder {
        ChatDecoder::new(self.provider.clone(), self.quirks.clone())
    }
}

impl Codec for OpenAiChat {
    fn encode(&self, request: &ChatRequest, stream: bool) -> Result<WireRequest, LlmError> {
        encode::encode(&self.provider, &self.quirks, request, stream)
    }

    fn decode(&self, body: &[u8]) -> Result<ChatResponse, LlmError> {
        self.chat_decoder().decode(body)
    }

    fn decoder(&self) -> Box<dyn StreamDecoder> {
        Box::new(self.chat_decoder())
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
pub(super) mod testing;
#[cfg(test)]
mod tests;
