//! Answers in conversations, with a model that the caller or the app chooses.

#![expect(unused_qualifications, reason = "`utoipa::path` writes the types of responses in full")]

use std::borrow::Cow;

use axum::{extract::State, response::IntoResponse as _};
use garde::Validate;
use omnistack_core::{
    http::{Error, ErrorEnvelope, HeaderMap, Json, Response},
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
    AppApi,
    answer::AiAnswer,
    body::{RequestedCall, read_chat},
    events::{AiAnswerEvent, answer_frames},
};
use crate::{
    openai_api::{event_stream, http_error},
    router::{Complexity, complexity_of},
};

/// Returns the routes.
pub(super) fn api() -> Api<AppApi> {
    Api::new().routes(routes!(chat)).routes(routes!(chat_routed))
}

/// The body of a request: an object whose fields are read one by one.
#[derive(Debug, Deserialize, Validate)]
#[serde(transparent)]
pub(super) struct AiChatRequest(#[garde(skip)] Map<String, Value>);

impl PartialSchema for AiChatRequest {
    fn schema() -> RefOr<Schema> {
        let text = |about: &str| ObjectBuilder::new().schema_type(Type::String).description(Some(about));
        let object = |about: &str| ObjectBuilder::new().schema_type(Type::Object).description(Some(about));
        let count =
            |about: &str| ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)).description(Some(about));
        let list = |about: &str| {
            ArrayBuilder::new().items(ObjectBuilder::new().schema_type(Type::Object)).description(Some(about))
        };
        object("A request. `messages` or `prompt` is required.")
            .property("messages", list("The conversation, in OpenAI's form."))
            .property(
                "prompt",
                object("A prompt of the app, before the messages: `name`, `variables`, and `label` or `version`."),
            )
            .property("model", text("The model, an alias or a route. The default is the app's.").max_length(Some(200)))
            .property("provider", text("The only provider that may be asked.").max_length(Some(100)))
            .property(
                "conversation",
                text("Requests with the same text prefer the same provider.").max_length(Some(100)),
            )
            .property(
                "stream",
                ObjectBuilder::new()
                    .schema_type(Type::Boolean)
                    .description(Some("Whether the answer is sent in pieces, as server-sent events.")),
            )
            .property("cache_seconds", count("Equal requests of the tenant share the answer for this time."))
            .property("tools", list("The tools that the model may call, in OpenAI's form."))
            .property("response_format", object("The form of the answer, in OpenAI's form."))
            .property("max_completion_tokens", count("The maximum number of tokens of the answer."))
            .property("temperature", ObjectBuilder::new().schema_type(Type::Number).minimum(Some(0)).maximum(Some(2)))
            .into()
    }
}

impl ToSchema for AiChatRequest {
    fn name() -> Cow<'static, str> {
        "AiChatRequest".into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        // The events of a stream are described beside the request: a response has one schema for each media type.
        schemas.push((AiAnswerEvent::name().into(), AiAnswerEvent::schema()));
        AiAnswerEvent::schemas(schemas);
    }
}

/// Answer in a conversation
///
/// With `stream`, the answer is sent in pieces as server-sent events, whose data are `AiAnswerEvent`s. Needs `ai:write`.
#[utoipa::path(post, path = "/chat", operation_id = "ai_chat", request_body = AiChatRequest, responses(
    (status = 200, body = AiAnswer, description = "The answer. With `stream`, events of type `text/event-stream`."),
    (status = 402, body = ErrorEnvelope, description = "`AI_BUDGET_EXCEEDED`: a budget is used up."),
    (status = 403, body = ErrorEnvelope, description = "`MODEL_NOT_ALLOWED`: the plan does not include the model."),
    (status = 404, body = ErrorEnvelope, description = "`MODEL_NOT_FOUND`, or there is no such prompt."),
    (status = 422, body = ErrorEnvelope, description = "`VALIDATION_FAILED`, or `CONTENT_REFUSED` by a guardrail."),
    (status = 502, body = ErrorEnvelope, description = "The provider has failed."),
))]
async fn chat(
    State(api): State<AppApi>,
    caller: Identity,
    headers: HeaderMap,
    Json(AiChatRequest(body)): Json<AiChatRequest>,
) -> Result<Response, Error> {
    let call = read_chat(&api, &caller, &headers, body).await?;
    answer(&api, call).await
}

/// Answer in a conversation with a model by its complexity
///
/// Unless the request names a model, the app rates the request without a call, and asks the alias `cheap` for simple
/// ones, `fast` for moderate ones and `smart` for complex ones. Needs `ai:write`.
#[utoipa::path(post, path = "/chat/routed", operation_id = "ai_chat_routed", request_body = AiChatRequest, responses(
    (status = 200, body = AiAnswer, description = "The answer. With `stream`, events of type `text/event-stream`."),
    (status = 402, body = ErrorEnvelope, description = "`AI_BUDGET_EXCEEDED`: a budget is used up."),
    (status = 403, body = ErrorEnvelope, description = "`MODEL_NOT_ALLOWED`: the plan does not include the model."),
    (status = 404, body = ErrorEnvelope, description = "`MODEL_NOT_FOUND`, or there is no such prompt."),
    (status = 422, body = ErrorEnvelope, description = "`VALIDATION_FAILED`, or `CONTENT_REFUSED` by a guardrail."),
    (status = 502, body = ErrorEnvelope, description = "The provider has failed."),
))]
async fn chat_routed(
    State(api): State<AppApi>,
    caller: Identity,
    headers: HeaderMap,
    Json(AiChatRequest(body)): Json<AiChatRequest>,
) -> Result<Response, Error> {
    let mut call = read_chat(&api, &caller, &headers, body).await?;
    if !call.names_model {
        let alias = match complexity_of(&call.request) {
            Complexity::Simple => "cheap",
            Complexity::Moderate => "fast",
            Complexity::Complex => "smart",
        };
        alias.clone_into(&mut call.request.model);
    }
    answer(&api, call).await
}

/// Makes a call, and returns its answer whole or in pieces.
pub(super) async fn answer(api: &AppApi, call: RequestedCall) -> Result<Response, Error> {
    let RequestedCall { caller, request, options, stream, .. } = call;
    if stream {
        let answer = api.gateway.stream(caller, request, options).await.map_err(http_error)?;
        return Ok(event_stream(answer_frames(answer)));
    }
    let answer = api.gateway.complete(caller, request, options).await.map_err(http_error)?;
    Ok(Json(AiAnswer::from(answer)).into_response())
}
