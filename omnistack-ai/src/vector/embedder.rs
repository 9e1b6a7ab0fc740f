//! The port to the models that create vectors of texts.

use std::fmt::Debug;

use async_trait::async_trait;
use omnistack_core::http::{Error, StatusCode};

use crate::{
    call::{AiCaller, CallOptions},
    catalog::Cost,
    embedding::EmbeddingRequest,
    gateway::{AiError, AiGateway},
};

/// The label of the usage of vectors in the ledger.
const PURPOSE: &str = "vectors";

/// The vectors of texts, with what they cost.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct EmbeddedTexts {
    /// The vectors, in the order of the texts.
    pub vectors: Vec<Vec<f32>>,
    /// The tokens of the input.
    pub tokens: u64,
    /// The cost. `None` if the price of the model is not known.
    pub cost: Option<Cost>,
}

impl EmbeddedTexts {
    /// Creates vectors of texts.
    pub fn new(vectors: Vec<Vec<f32>>, tokens: u64, cost: Option<Cost>) -> Self {
        Self { vectors, tokens, cost }
    }
}

/// A service that creates the vectors of texts, such as [`AiGateway`].
#[async_trait]
pub trait TextEmbedder: Debug + Send + Sync + 'static {
    /// Returns the vectors of texts, all of the same length.
    ///
    /// # Errors
    /// 502 `EMBEDDING_FAILED`, 503 `EMBEDDING_UNAVAILABLE` if a later call may succeed, and the errors of the gateway,
    /// such as 402 `AI_BUDGET_EXCEEDED`.
    async fn embed(&self, caller: AiCaller, model: &str, texts: Vec<String>) -> Result<EmbeddedTexts, Error>;
}

#[async_trait]
impl TextEmbedder for AiGateway {
    async fn embed(&self, caller: AiCaller, model: &str, texts: Vec<String>) -> Result<EmbeddedTexts, Error> {
        let options = CallOptions { purpose: Some(PURPOSE), ..CallOptions::default() };
        // The method of the gateway, which has the same name, comes first.
        let answer = Self::embed(self, caller, EmbeddingRequest::new(model, texts), options).await;
        let answer = answer.map_err(embedding_error)?;
        Ok(EmbeddedTexts::new(answer.embeddings.vectors, answer.call.usage.input, answer.call.cost))
    }
}

fn embedding_error(error: AiError) -> Error {
    match error {
        AiError::Refused(error) => error,
        AiError::Upstream(error) if error.is_retryable() => {
            Error::unavailable("EMBEDDING_UNAVAILABLE", "the model that creates vectors is not available; try again")
                .with_source(error)
        }
        AiError::Upstream(error) => {
            let message = "the model could not create the vectors; check the model of the collection and the text";
            Error::new(StatusCode::BAD_GATEWAY, "EMBEDDING_FAILED", message).with_source(error)
        }
    }
}
