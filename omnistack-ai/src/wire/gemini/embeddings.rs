//! Embeddings.

use serde_json::{Value, json};

use super::{encode::model_path, error::error_in_answer};
use crate::{
    chat::TokenUsage,
    embedding::{EmbeddingRequest, Embeddings},
    error::LlmError,
    wire::{
        WireRequest,
        openai_chat::{inexpressible, list, protocol_error},
    },
};

/// Encodes a request.
pub(super) fn encode(provider: &str, request: &EmbeddingRequest) -> Result<WireRequest, LlmError> {
    if request.input.is_empty() {
        return Err(inexpressible(provider, "the request has no text: add at least one"));
    }
    let model = model_path(&request.model);
    let requests = request.input.iter().map(|text| {
        let mut one = json!({"model": model, "content": {"parts": [{"text": text}]}});
        if let Some(dimensions) = request.dimensions {
            one["outputDimensionality"] = json!(dimensions);
        }
        one
    });
    let body = json!({"requests": requests.collect::<Vec<_>>()});
    Ok(WireRequest { path: format!("/v1beta/{model}:batchEmbedContents"), body, warnings: Vec::new() })
}

/// Decodes an answer. Fails if it does not have a vector of the same length for each text, or of another length than
/// the request asks for.
pub(super) fn decode(provider: &str, request: &EmbeddingRequest, body: &[u8]) -> Result<Embeddings, LlmError> {
    let body: Value = serde_json::from_slice(body).map_err(|_| protocol_error(provider, "the answer is not JSON"))?;
    if body.get("error").is_some() || body.pointer("/0/error").is_some() {
        return Err(error_in_answer(provider, &body));
    }
    let embeddings = list(&body, "embeddings");
    if embeddings.len() != request.input.len() {
        return Err(protocol_error(provider, "the answer does not have a vector for each text"));
    }
    let mut vectors = Vec::with_capacity(embeddings.len());
    for embedding in embeddings {
        let vector: Option<Vec<f32>> = list(embedding, "values").iter().map(number).collect();
        match vector.filter(|vector| !vector.is_empty()) {
            Some(vector) => vectors.push(vector),
            None => return Err(protocol_error(provider, "a vector of the answer is not in the form of the API")),
        }
    }
    let length = vectors.first().map_or(0, Vec::len);
    if vectors.iter().any(|vector| vector.len() != length) {
        return Err(protocol_error(provider, "the vectors of the answer differ in length"));
    }
    if let Some(dimensions) = request.dimensions
        && usize::try_from(dimensions) != Ok(length)
    {
        let mut error =
            inexpressible(provider, format!("the model answers with {length} dimensions, not {dimensions}"));
        error.param = Some("dimensions".to_owned());
        return Err(error);
    }
    let tokens = body.pointer("/usageMetadata/promptTokenCount").and_then(Value::as_u64);
    let usage = tokens.map(|input| TokenUsage { input, ..TokenUsage::default() });
    Ok(Embeddings::new(request.model.clone(), vectors, usage))
}

#[expect(clippy::cast_possible_truncation, reason = "vectors have the precision of f32; infinity is refused after it")]
fn number(value: &Value) -> Option<f32> {
    value.as_f64().map(|number| number as f32).filter(|number| number.is_finite())
}
