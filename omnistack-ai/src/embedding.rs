//! Embeddings: texts as vectors.

use crate::chat::TokenUsage;

/// A request for the embeddings of texts.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EmbeddingRequest {
    /// The model.
    pub model: String,
    /// The texts.
    pub input: Vec<String>,
    /// The length of the vectors, for models that offer several.
    pub dimensions: Option<u32>,
    /// An id of the end user.
    pub user: Option<String>,
}

impl EmbeddingRequest {
    /// Creates a request.
    pub fn new<T: Into<String>>(model: impl Into<String>, input: impl IntoIterator<Item = T>) -> Self {
        let input = input.into_iter().map(Into::into).collect();
        Self { model: model.into(), input, dimensions: None, user: None }
    }
}

/// The embeddings of texts, in the order of the texts.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Embeddings {
    /// The model that answered.
    pub model: String,
    /// The vectors.
    pub vectors: Vec<Vec<f32>>,
    /// The tokens. `None` if the provider did not say.
    pub usage: Option<TokenUsage>,
}

impl Embeddings {
    /// Creates embeddings.
    pub fn new(model: impl Into<String>, vectors: Vec<Vec<f32>>, usage: Option<TokenUsage>) -> Self {
        Self { model: model.into(), vectors, usage }
    }
}
