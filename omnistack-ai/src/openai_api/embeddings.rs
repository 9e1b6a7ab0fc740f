//! `POST /v1/embeddings`.

#![expect(unused_qualifications, reason = "`utoipa::path` writes the types of responses in full")]

use std::borrow::Cow;

use axum::{extract::State, response::IntoResponse as _};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use garde::Validate;
use omnistack_core::{
    http::{Error, HeaderMap, Json, Response},
    identity::Identity,
    module::Api,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ArrayBuilder, ObjectBuilder, OneOfBuilder, RefOr, Schema, schema::Type},
};
use utoipa_axum::routes;

use super::{
    OpenAiApi,
    call_failures::{CallFailures, call_api},
    call_headers::call_headers,
    caller::{ai_caller, call_options},
    failure::http_error,
    fields::{FieldProblem, ObjectFields},
    request::MAX_MODEL_BYTES,
};
use crate::embedding::EmbeddingRequest;

/// Largest number of texts of a request.
const MAX_TEXTS_PER_REQUEST: usize = 2_048;
/// Longest text, in bytes.
const MAX_TEXT_BYTES: usize = 1024 * 1024;
/// Largest length of a vector that a request can ask for.
const MAX_DIMENSIONS: u64 = 65_536;
/// Longest id of an end user and of a format, in bytes.
const MAX_NAME_BYTES: usize = 512;

pub(super) fn api() -> Api<OpenAiApi> {
    call_api(routes!(create_embeddings))
}

/// The body of a request: an object whose known fields are read one by one, as OpenAI's API does.
#[derive(Debug, Deserialize, Validate)]
#[serde(transparent)]
pub(super) struct EmbeddingsRequest(#[garde(skip)] Map<String, Value>);

impl PartialSchema for EmbeddingsRequest {
    fn schema() -> RefOr<Schema> {
        let text = || ObjectBuilder::new().schema_type(Type::String);
        let input = || text().min_length(Some(1)).max_length(Some(MAX_TEXT_BYTES));
        let inputs = ArrayBuilder::new().items(input()).min_items(Some(1)).max_items(Some(MAX_TEXTS_PER_REQUEST));
        ObjectBuilder::new()
            .schema_type(Type::Object)
            .description(Some("A request in OpenAI's form."))
            .property("model", text().min_length(Some(1)).max_length(Some(MAX_MODEL_BYTES)))
            .required("model")
            .property("input", OneOfBuilder::new().item(input()).item(inputs))
            .required("input")
            .property("encoding_format", text().enum_values(Some(["float", "base64"])))
            .property("dimensions", ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)))
            .into()
    }
}

impl ToSchema for EmbeddingsRequest {
    fn name() -> Cow<'static, str> {
        "OpenAiEmbeddingsRequest".into()
    }
}

/// Embeddings in OpenAI's form.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OpenAiEmbeddings)]
pub(super) struct EmbeddingList {
    /// Always `list`.
    object: &'static str,
    /// The vectors, in the order of the texts.
    data: Vec<EmbeddingItem>,
    /// The model that answered.
    model: String,
    /// The tokens.
    usage: EmbeddingUsage,
}

/// A vector.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OpenAiEmbedding)]
struct EmbeddingItem {
    /// Always `embedding`.
    object: &'static str,
    /// The position of the text.
    index: usize,
    /// The numbers, or with `encoding_format: base64` their bytes: 32-bit floats, little-endian.
    #[schema(value_type = Value)]
    embedding: EncodedVector,
}

/// The tokens of a request for embeddings.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OpenAiEmbeddingsUsage)]
struct EmbeddingUsage {
    /// The tokens of the texts.
    prompt_tokens: u64,
    /// All tokens.
    total_tokens: u64,
}

/// A vector as numbers, or as base64.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum EncodedVector {
    Numbers(Vec<f32>),
    Base64(String),
}

impl EncodedVector {
    fn new(vector: Vec<f32>, base64: bool) -> Self {
        if !base64 {
            return Self::Numbers(vector);
        }
        let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
        Self::Base64(STANDARD.encode(bytes))
    }
}

/// Reads a request. Returns it, and whether the vectors are sent as base64.
fn parse(body: Map<String, Value>) -> Result<(EmbeddingRequest, bool), FieldProblem> {
    let mut body = ObjectFields::new("", body);
    let model = body.required_text("model", MAX_MODEL_BYTES)?;
    let base64 = match body.text("encoding_format", MAX_NAME_BYTES)?.as_deref() {
        None | Some("float") => false,
        Some("base64") => true,
        Some(_) => return Err(body.problem("encoding_format", "must be `float` or `base64`")),
    };
    let texts = match body.take("input") {
        Some(Value::String(text)) => vec![Value::String(text)],
        Some(Value::Array(texts)) => texts,
        Some(_) => return Err(body.problem("input", "must be a text or a list of texts")),
        None => return Err(body.problem("input", "is required")),
    };
    if texts.is_empty() || texts.len() > MAX_TEXTS_PER_REQUEST {
        return Err(body.problem("input", format!("must have 1 to {MAX_TEXTS_PER_REQUEST} texts")));
    }
    let text = |(index, text): (usize, Value)| match text {
        Value::String(text) if (1..=MAX_TEXT_BYTES).contains(&text.len()) => Ok(text),
        Value::String(_) => {
            let message = format!("must have 1 to {MAX_TEXT_BYTES} bytes");
            Err(FieldProblem::new(format!("input[{index}]"), message))
        }
        _ => Err(FieldProblem::new(format!("input[{index}]"), "must be a text: numbers of tokens are not supported")),
    };
    let texts = texts.into_iter().enumerate().map(text).collect::<Result<Vec<_>, _>>()?;
    let mut request = EmbeddingRequest::new(model, texts);
    request.dimensions = body.count("dimensions", MAX_DIMENSIONS)?.and_then(|count| u32::try_from(count).ok());
    request.user = body.text("user", MAX_NAME_BYTES)?;
    Ok((request, base64))
}

/// Create embeddings
///
/// The request and the answer have the form of OpenAI's API. Needs an API key with `ai:write`.
#[utoipa::path(post, path = "/", operation_id = "create_embeddings", request_body = EmbeddingsRequest, responses(
    (status = 200, body = EmbeddingList, headers(
        ("x-ai-call" = String, description = "The id of the call."),
        ("x-ai-provider" = String, description = "The provider that answered."),
        ("x-ai-cost-usd" = String, description = "The cost in US dollars, if the price is known."),
    )),
    CallFailures,
))]
async fn create_embeddings(
    State(api): State<OpenAiApi>,
    caller: Identity,
    headers: HeaderMap,
    Json(EmbeddingsRequest(body)): Json<EmbeddingsRequest>,
) -> Result<Response, Error> {
    let account = ai_caller(&caller)?;
    let options = call_options(&caller, api.timeouts, &headers)?;
    let (request, base64) = parse(body)?;
    let dimensions = request.dimensions.and_then(|count| usize::try_from(count).ok());
    let answer = api.gateway.embed(account, request, options).await.map_err(http_error)?;
    let vectors = answer.embeddings.vectors;
    if let Some(dimensions) = dimensions
        && vectors.iter().any(|vector| vector.len() != dimensions)
    {
        return Err(FieldProblem::new("dimensions", "is not supported by the model; leave it out").into());
    }
    let items = vectors.into_iter().enumerate().map(|(index, vector)| EmbeddingItem {
        object: "embedding",
        index,
        embedding: EncodedVector::new(vector, base64),
    });
    let list = EmbeddingList {
        object: "list",
        data: items.collect(),
        model: answer.embeddings.model,
        usage: EmbeddingUsage { prompt_tokens: answer.call.usage.input, total_tokens: answer.call.usage.total() },
    };
    Ok((call_headers(&answer.call), Json(list)).into_response())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse_value(body: Value) -> Result<(EmbeddingRequest, bool), FieldProblem> {
        let Value::Object(body) = body else { panic!("{body}") };
        parse(body)
    }

    #[test]
    fn vectors_as_base64_are_little_endian_floats_of_32_bits() {
        let EncodedVector::Base64(text) = EncodedVector::new(vec![1.0, -2.5], true) else { panic!("not base64") };
        assert_eq!(STANDARD.decode(text).unwrap(), [0, 0, 0x80, 0x3f, 0, 0, 0x20, 0xc0]);
        let numbers = serde_json::to_string(&EncodedVector::new(vec![0.1, -2.5], false)).unwrap();
        assert_eq!(numbers, "[0.1,-2.5]");
    }

    #[test]
    fn requests_are_read_or_name_the_field() {
        let (request, base64) =
            parse_value(json!({ "model": "m", "input": "a", "encoding_format": "base64", "dimensions": 8 })).unwrap();
        assert_eq!(
            (request.input.as_slice(), request.dimensions, base64),
            (["a".to_owned()].as_slice(), Some(8), true)
        );
        for (body, expected) in [
            (json!({ "input": "a" }), "model"),
            (json!({ "model": "m" }), "input"),
            (json!({ "model": "m", "input": [] }), "input"),
            (json!({ "model": "m", "input": [1, 2] }), "input[0]"),
            (json!({ "model": "m", "input": ["a", ""] }), "input[1]"),
            (json!({ "model": "m", "input": "a", "dimensions": 0 }), "dimensions"),
            (json!({ "model": "m", "input": "a", "encoding_format": "int8" }), "encoding_format"),
        ] {
            assert_eq!(parse_value(body.clone()).unwrap_err().param, expected, "{body}");
        }
    }
}
