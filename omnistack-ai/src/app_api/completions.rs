//! Answers to a single text.

use std::time::Duration;

use axum::extract::State;
use garde::Validate;
use omnistack_core::{
    http::{Error, ErrorEnvelope, FieldError, HeaderMap, Json, Response},
    identity::Identity,
    module::Api,
};
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{AppApi, answer::AiAnswer, body::RequestedCall, chat::answer};
use crate::{
    call::CachePolicy,
    chat::{ChatRequest, Message, OutputFormat},
    openai_api::{ai_caller, call_options},
};

/// Returns the route.
pub(super) fn api() -> Api<AppApi> {
    Api::new().routes(routes!(complete))
}

/// A text that a model answers.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct AiCompletionRequest {
    /// The text.
    #[garde(length(bytes, min = 1, max = 4_000_000))]
    #[schema(min_length = 1, max_length = 4_000_000)]
    prompt: String,
    /// Instructions for the model.
    #[garde(length(bytes, max = 1_000_000))]
    #[serde(default)]
    #[schema(max_length = 1_000_000)]
    system: Option<String>,
    /// The model, an alias or a route. The default is the app's.
    #[garde(length(bytes, min = 1, max = 200))]
    #[serde(default)]
    #[schema(min_length = 1, max_length = 200)]
    model: Option<String>,
    /// The only provider that may be asked.
    #[garde(length(bytes, min = 1, max = 100))]
    #[serde(default)]
    #[schema(min_length = 1, max_length = 100)]
    provider: Option<String>,
    /// The maximum number of tokens of the answer.
    #[garde(range(min = 1, max = 10_000_000))]
    #[serde(default)]
    #[schema(minimum = 1, maximum = 10_000_000)]
    max_tokens: Option<u64>,
    /// The randomness of the answer.
    #[garde(range(min = 0.0, max = 2.0))]
    #[serde(default)]
    #[schema(minimum = 0, maximum = 2)]
    temperature: Option<f64>,
    /// The JSON schema of the answer. The default is text.
    #[garde(skip)]
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    json_schema: Option<Value>,
    /// Equal requests of the tenant share the answer for this time.
    #[garde(range(min = 1, max = 2_592_000))]
    #[serde(default)]
    #[schema(minimum = 1, maximum = 2_592_000)]
    cache_seconds: Option<u64>,
    /// Whether the answer is sent in pieces, as server-sent events.
    #[garde(skip)]
    #[serde(default)]
    stream: bool,
}

/// Answer a text
///
/// With `stream`, the answer is sent in pieces as server-sent events, whose data are `AiAnswerEvent`s. Needs `ai:write`.
#[utoipa::path(post, path = "/completions", operation_id = "ai_complete", request_body = AiCompletionRequest, responses(
    (status = 200, body = AiAnswer, description = "The answer. With `stream`, events of type `text/event-stream`."),
    (status = 402, body = ErrorEnvelope, description = "`AI_BUDGET_EXCEEDED`: a budget is used up."),
    (status = 403, body = ErrorEnvelope, description = "`MODEL_NOT_ALLOWED`: the plan does not include the model."),
    (status = 404, body = ErrorEnvelope, description = "`MODEL_NOT_FOUND`: there is no such model."),
    (status = 422, body = ErrorEnvelope, description = "`VALIDATION_FAILED`, or `CONTENT_REFUSED` by a guardrail."),
    (status = 502, body = ErrorEnvelope, description = "The provider has failed."),
))]
async fn complete(
    State(api): State<AppApi>,
    caller: Identity,
    headers: HeaderMap,
    Json(body): Json<AiCompletionRequest>,
) -> Result<Response, Error> {
    let account = ai_caller(&caller)?;
    let mut options = call_options(&caller, api.settings.timeouts, &headers)?;
    options.provider = body.provider;
    if let Some(seconds) = body.cache_seconds {
        options.cache = CachePolicy::Exact(Duration::from_secs(seconds));
    }
    let system = body.system.filter(|system| !system.is_empty()).map(Message::system);
    let messages = system.into_iter().chain([Message::user(body.prompt)]);
    let names_model = body.model.is_some();
    let mut request = ChatRequest::new(body.model.unwrap_or_else(|| api.settings.default_model.clone()), messages);
    request.max_output_tokens = body.max_tokens;
    request.temperature = body.temperature;
    if let Some(schema) = body.json_schema {
        if !schema.is_object() {
            return Err(Error::invalid([FieldError::new("json_schema", "must be a JSON schema")]));
        }
        request.output = OutputFormat::JsonSchema { name: "answer".to_owned(), schema, strict: true };
    }
    answer(&api, RequestedCall { caller: account, request, options, stream: body.stream, names_model }).await
}
