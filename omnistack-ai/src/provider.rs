//! The contract of model providers.

mod rate_limits;

use std::{
    fmt::Debug,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;

use crate::{
    chat::{CallTimeouts, ChatRequest, ChatResponse, ChatStream},
    embedding::{EmbeddingRequest, Embeddings},
    error::LlmError,
};

pub use rate_limits::{RateLimitLevel, RateLimitLevels};

/// The capabilities of a model at a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "a list of independent abilities")]
#[non_exhaustive]
pub struct ModelCapabilities {
    /// Whether it answers in conversations.
    pub chat: bool,
    /// Whether it calls tools.
    pub tools: bool,
    /// Whether it reads images.
    pub images: bool,
    /// Whether its provider guarantees answers by a JSON schema.
    pub json_schema: bool,
    /// Whether it creates embeddings.
    pub embeddings: bool,
}

impl Default for ModelCapabilities {
    /// Returns all but embeddings: a provider that can't do something says so in its error.
    fn default() -> Self {
        Self { chat: true, tools: true, images: true, json_schema: true, embeddings: false }
    }
}

/// A model that a provider offers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProviderModel {
    /// The name at the provider.
    pub id: String,
    /// The owner that the provider names.
    pub owned_by: Option<String>,
}

impl ProviderModel {
    /// Creates a model.
    pub fn new(id: impl Into<String>) -> Self {
        Self { id: id.into(), owned_by: None }
    }
}

/// One call of a provider.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Call {
    /// The time limits, which the provider keeps.
    pub timeouts: CallTimeouts,
    /// The id of the request, which is sent to providers that log it.
    pub request_id: Option<Arc<str>>,
    /// The rate limits that the provider has stated. Clones of the call share them.
    pub(crate) rate_limits: Arc<Mutex<Option<RateLimitLevels>>>,
}

impl Call {
    /// Reports the rate limits that a response of the provider states, also a response that is an error. The router
    /// prefers other targets before a limit is reached.
    pub fn report_rate_limits(&self, levels: RateLimitLevels) {
        *self.rate_limits.lock().unwrap_or_else(PoisonError::into_inner) = Some(levels);
    }

    /// Returns the rate limits that the last response has stated.
    pub(crate) fn reported_rate_limits(&self) -> Option<RateLimitLevels> {
        *self.rate_limits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A provider of models.
///
/// An implementation makes one attempt: retries, fallbacks, budgets and prices are the gateway's. It keeps the time
/// limits of the [`Call`], and it ends the upstream request when the future or the stream is dropped. If its responses
/// state rate limits, it passes them to [`Call::report_rate_limits`].
#[async_trait]
pub trait LlmProvider: Debug + Send + Sync + 'static {
    /// Returns the name, such as `openai`. It is unique in an app.
    fn name(&self) -> &str;

    /// Returns the account at the provider that pays and whose rate limit counts. Providers with one account share its
    /// waiting time after a 429.
    fn account(&self) -> &str {
        self.name()
    }

    /// Returns what a model can do, as far as the provider knows without a call.
    fn capabilities(&self, model: &str) -> ModelCapabilities {
        let _ = model;
        ModelCapabilities::default()
    }

    /// Returns whether the provider fetches images and files at URLs itself. Otherwise the gateway fetches them before
    /// the call.
    fn accepts_media_urls(&self) -> bool {
        false
    }

    /// Answers in a conversation.
    ///
    /// # Errors
    /// See [`LlmErrorKind`](crate::LlmErrorKind).
    async fn complete(&self, request: &ChatRequest, call: &Call) -> Result<ChatResponse, LlmError>;

    /// Begins an answer in pieces. The first piece may be an error: providers send some failures only there.
    ///
    /// # Errors
    /// See [`LlmErrorKind`](crate::LlmErrorKind).
    async fn stream(&self, request: &ChatRequest, call: &Call) -> Result<ChatStream, LlmError>;

    /// Creates embeddings.
    ///
    /// # Errors
    /// See [`LlmErrorKind`](crate::LlmErrorKind). The default returns
    /// [`LlmErrorKind::NotSupported`](crate::LlmErrorKind::NotSupported).
    async fn embed(&self, request: &EmbeddingRequest, call: &Call) -> Result<Embeddings, LlmError> {
        let _ = (request, call);
        let name = self.name().to_owned();
        Err(LlmError::new(crate::error::LlmErrorKind::NotSupported, name, "the provider offers no embeddings"))
    }

    /// Lists the models of the account.
    ///
    /// # Errors
    /// See [`LlmErrorKind`](crate::LlmErrorKind).
    async fn models(&self) -> Result<Vec<ProviderModel>, LlmError>;
}
