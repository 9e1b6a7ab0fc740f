//! `POST /v1/chat/completions`.

#![expect(unused_qualifications, reason = "`utoipa::path` writes the types of responses in full")]

use std::borrow::Cow;

use axum::{extract::State, response::IntoResponse as _};
use garde::Validate;
use omnistack_core::{
    http::{Error, HeaderMap, Json, Response},
    identity::Identity,
    module::Api,
};
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ArrayBuilder, ObjectBuilder, RefOr, Schema, schema::Type},
};
use utoipa_axum::routes;

use super::{
    OpenAiApi,
    call_failures::{CallFailures, call_api},
    call_headers::{call_headers, stream_response},
    caller::{ai_caller, call_options},
    failure::http_error,
    render::ChatCompletion,
    request::{ChatCall, MAX_MODEL_BYTES, parse_chat},
    stream::ChunkEncoder,
};

pub(super) fn api() -> Api<OpenAiApi> {
    call_api(routes!(create_chat_completion))
}

/// The body of a request: an object whose known fields are read one by one, as OpenAI's API does.
#[derive(Debug, Deserialize, Validate)]
#[serde(transparent)]
pub(super) struct ChatCompletionRequest(#[garde(skip)] Map<String, Value>);

impl PartialSchema for ChatCompletionRequest {
    fn schema() -> RefOr<Schema> {
        let text = || ObjectBuilder::new().schema_type(Type::String);
        let object = || ObjectBuilder::new().schema_type(Type::Object);
        let messages = ArrayBuilder::new().items(object()).min_items(Some(1));
        object()
            .description(Some("A request in OpenAI's form. Further fields of that form are accepted."))
            .property("model", text().min_length(Some(1)).max_length(Some(MAX_MODEL_BYTES)))
            .required("model")
            .property("messages", messages)
            .required("messages")
            .property("stream", ObjectBuilder::new().schema_type(Type::Boolean))
            .into()
    }
}

impl ToSchema for ChatCompletionRequest {
    fn name() -> Cow<'static, str> {
        "OpenAiChatCompletionRequest".into()
    }
}

/// Answer in a conversation
///
/// The request and the answer have the form of OpenAI's API; with `stream`, the answer is sent in pieces as server-sent
/// events. Needs an API key with `ai:write`.
#[utoipa::path(post, path = "/", operation_id = "create_chat_completion", request_body = ChatCompletionRequest,
    params(("X-AI-Cache" = Option<String>, Header, description = "Shares the answers of equal requests of the tenant: \
        `off`, `exact=SECONDS` or `semantic=SECONDS`.")),
    responses(
    (status = 200, body = ChatCompletion, description = "The answer. With `stream`, events of type `text/event-stream`.",
        headers(
            ("x-ai-call" = String, description = "The id of the call."),
            ("x-ai-provider" = String, description = "The provider that answered."),
            ("x-ai-cost-usd" = String, description = "The cost in US dollars, if the price is known."),
            ("x-ai-cached" = bool, description = "Whether the answer is from the cache."),
        )),
    CallFailures,
))]
async fn create_chat_completion(
    State(api): State<OpenAiApi>,
    caller: Identity,
    headers: HeaderMap,
    Json(ChatCompletionRequest(body)): Json<ChatCompletionRequest>,
) -> Result<Response, Error> {
    let account = ai_caller(&caller)?;
    let mut options = call_options(&caller, api.timeouts, &headers)?;
    let ChatCall { request, stream, include_usage } = parse_chat(body)?;
    options.sticky = request.extra.get("prompt_cache_key").and_then(Value::as_str).map(str::to_owned);
    if !stream {
        let answer = api.gateway.complete(account, request, options).await.map_err(http_error)?;
        let headers = call_headers(&answer.call);
        return Ok((headers, Json(ChatCompletion::new(answer, api.clock.now()))).into_response());
    }
    let request_id = options.request_id.as_deref().map(str::to_owned);
    let answer = api.gateway.stream(account, request, options).await.map_err(http_error)?;
    let id = format!("chatcmpl-{}", answer.id);
    let encoder = ChunkEncoder::new(id, include_usage, request_id, api.clock.now());
    Ok(stream_response(answer, encoder))
}
