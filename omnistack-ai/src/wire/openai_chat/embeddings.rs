//! Embeddings.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{
    error::{error_in_answer, inexpressible, protocol_error},
    fields::{list, text},
    stream::is_failure,
    usage::response_usage,
};
use crate::{
    embedding::{EmbeddingRequest, Embeddings},
    error::LlmError,
    wire::{Quirks, WireRequest},
};

/// Encodes a request.
pub(crate) fn encode_embeddings(
    provider: &str,
    quirks: &Quirks,
    request: &EmbeddingRequest,
) -> Result<WireRequest, LlmError> {
    if request.input.is_empty() {
        return Err(inexpressible(provider, "the request has no text: add at least one"));
    }
    let mut body = json!({"model": request.model, "input": request.input});
    if let Some(dimensions) = request.dimensions {
        body["dimensions"] = json!(dimensions);
    }
    if let Some(user) = &request.user {
        body["user"] = json!(user);
    }
    if quirks.base64_embeddings {
        body["encoding_format"] = json!("base64");
    }
    Ok(WireRequest { path: "/embeddings".into(), body, warnings: Vec::new() })
}

/// Decodes an answer, whose vectors are lists or Base64 of little-endian numbers. Fails if it does not have a vector
/// of the same length for each text, or of another length than the request asks for.
pub(crate) fn decode_embeddings(
    provider: &str,
    request: &EmbeddingRequest,
    body: &[u8],
) -> Result<Embeddings, LlmError> {
    let body: Value = serde_json::from_slice(body).map_err(|_| protocol_error(provider, "the answer is not JSON"))?;
    if is_failure(body.get("error")) {
        return Err(error_in_answer(provider, &body));
    }
    let data = list(&body, "data");
    let mut vectors = vec![Vec::new(); request.input.len()];
    if data.len() != vectors.len() {
        return Err(protocol_error(provider, "the answer does not have a vector for each text"));
    }
    for (position, item) in data.iter().enumerate() {
        let index = item.get("index").and_then(Value::as_u64);
        let index = index.map_or(Some(position), |index| usize::try_from(index).ok());
        let place: Option<&mut Vec<f32>> = index.and_then(|index| vectors.get_mut(index));
        let vector = item.get("embedding").and_then(vector).filter(|vector| !vector.is_empty());
        match (place, vector) {
            (Some(place), Some(vector)) if place.is_empty() => *place = vector,
            _ => return Err(protocol_error(provider, "a vector of the answer is not in the form of the API")),
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
    let usage = body.get("usage").and_then(response_usage);
    Ok(Embeddings::new(text(&body, "model"), vectors, usage))
}

fn vector(value: &Value) -> Option<Vec<f32>> {
    let numbers: Vec<f32> = match value {
        Value::String(base64) => {
            let bytes = STANDARD.decode(base64).ok()?;
            let (numbers, rest) = bytes.as_chunks::<4>();
            if !rest.is_empty() {
                return None;
            }
            numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
        }
        Value::Array(numbers) => numbers.iter().map(number).collect::<Option<_>>()?,
        _ => return None,
    };
    numbers.iter().all(|number| number.is_finite()).then_some(numbers)
}

#[expect(clippy::cast_possible_truncation, reason = "vectors have the precision of f32; infinity is refused after it")]
fn number(value: &Value) -> Option<f32> {
    value.as_f64().map(|number| number as f32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{chat::TokenUsage, error::LlmErrorKind};

    const PROVIDER: &str = "openai";

    fn request(count: usize, dimensions: Option<u32>) -> EmbeddingRequest {
        let mut request = EmbeddingRequest::new("m", vec!["text"; count]);
        request.dimensions = dimensions;
        request
    }

    fn decode(request: &EmbeddingRequest, body: &Value) -> Result<Embeddings, LlmError> {
        decode_embeddings(PROVIDER, request, body.to_string().as_bytes())
    }

    #[test]
    fn vectors_are_asked_for_in_base64_where_it_is_known() {
        let mut with_all = request(2, Some(3));
        with_all.user = Some("u".to_owned());
        let encoded = encode_embeddings(PROVIDER, &Quirks::OPENAI, &with_all).unwrap();
        assert_eq!(encoded.path, "/embeddings");
        let expected = json!({
            "model": "m", "input": ["text", "text"], "dimensions": 3, "user": "u", "encoding_format": "base64",
        });
        assert_eq!(encoded.body, expected);
        let encoded = encode_embeddings(PROVIDER, &Quirks::COMPATIBLE, &request(1, None)).unwrap();
        assert_eq!(encoded.body, json!({"model": "m", "input": ["text"]}));
        let error = encode_embeddings(PROVIDER, &Quirks::OPENAI, &request(0, None)).unwrap_err();
        assert_eq!(error.kind, LlmErrorKind::InvalidRequest);
    }

    #[test]
    fn lists_and_base64_are_the_same_vectors() {
        let bytes: Vec<u8> = [0.5_f32, -2.0].iter().flat_map(|number| number.to_le_bytes()).collect();
        let body = json!({
            "model": "m-2",
            "data": [
                {"index": 1, "embedding": [0.25, 1]},
                {"index": 0, "embedding": STANDARD.encode(bytes)},
            ],
            "usage": {"prompt_tokens": 4, "total_tokens": 4},
        });
        let embeddings = decode(&request(2, Some(2)), &body).unwrap();
        let usage = TokenUsage { input: 4, ..TokenUsage::default() };
        assert_eq!(embeddings, Embeddings::new("m-2", vec![vec![0.5, -2.0], vec![0.25, 1.0]], Some(usage)));
    }

    #[test]
    fn answers_that_do_not_fit_the_request_are_errors() {
        let one = |embedding: Value| json!({"data": [{"index": 0, "embedding": embedding}]});
        for (body, dimensions, kind) in [
            (json!({"data": []}), None, LlmErrorKind::Protocol),
            (json!({}), None, LlmErrorKind::Protocol),
            (one(json!([])), None, LlmErrorKind::Protocol),
            (one(json!("AAAA")), None, LlmErrorKind::Protocol),
            (one(json!("?")), None, LlmErrorKind::Protocol),
            (one(json!("AADAfw==")), None, LlmErrorKind::Protocol),
            (one(json!([1e300])), None, LlmErrorKind::Protocol),
            (one(json!([null])), None, LlmErrorKind::Protocol),
            (one(json!(null)), None, LlmErrorKind::Protocol),
            (json!({"data": [{"index": 1, "embedding": [1]}]}), None, LlmErrorKind::Protocol),
            // A provider that ignores the dimensions, or sends numbers of double precision.
            (one(json!([1, 2, 3])), Some(2), LlmErrorKind::InvalidRequest),
            (json!({"error": {"message": "x", "code": "insufficient_quota"}}), None, LlmErrorKind::QuotaExhausted),
        ] {
            let error = decode(&request(1, dimensions), &body).unwrap_err();
            assert_eq!(error.kind, kind, "{body}");
        }
        let twice = json!({"data": [{"index": 0, "embedding": [1]}, {"index": 0, "embedding": [1]}]});
        assert_eq!(decode(&request(2, None), &twice).unwrap_err().kind, LlmErrorKind::Protocol);
        let uneven = json!({"data": [{"embedding": [1]}, {"embedding": [1, 2]}]});
        assert_eq!(decode(&request(2, None), &uneven).unwrap_err().kind, LlmErrorKind::Protocol);
    }
}
