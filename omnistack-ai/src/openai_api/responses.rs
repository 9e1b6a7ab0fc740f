//! `POST /v1/responses`.

#![expect(unused_qualifications, reason = "`utoipa::path` writes the types of responses in full")]

mod input;
mod object;
mod output;
mod request;
mod stream;

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
    openapi::{ArrayBuilder, ObjectBuilder, OneOfBuilder, RefOr, Schema, schema::Type},
};
use utoipa_axum::routes;

use super::{
    OpenAiApi,
    call_failures::{CallFailures, call_api},
    call_headers::{call_headers, stream_response},
    caller::{ai_caller, call_options},
    failure::http_error,
    request::MAX_MODEL_BYTES,
};
use object::ModelResponse;
use request::{ResponseCall, parse_response};
use stream::ResponseEncoder;

pub(super) fn api() -> Api<OpenAiApi> {
    call_api(routes!(create_response))
}

/// The body of a request: an object whose known fields are read one by one, as OpenAI's API does.
#[derive(Debug, Deserialize, Validate)]
#[serde(transparent)]
pub(super) struct ResponseRequest(#[garde(skip)] Map<String, Value>);

impl PartialSchema for ResponseRequest {
    fn schema() -> RefOr<Schema> {
        let of_type = |kind: Type| ObjectBuilder::new().schema_type(kind);
        let items = ArrayBuilder::new().items(of_type(Type::Object)).min_items(Some(1));
        of_type(Type::Object)
            .description(Some(
                "A request in OpenAI's form. Further fields of that form are accepted, but for those that need stored \
                 responses or built-in tools.",
            ))
            .property("model", of_type(Type::String).min_length(Some(1)).max_length(Some(MAX_MODEL_BYTES)))
            .required("model")
            .property("input", OneOfBuilder::new().item(of_type(Type::String)).item(items))
            .required("input")
            .property("instructions", of_type(Type::String))
            .property("max_output_tokens", of_type(Type::Integer).minimum(Some(1)))
            .property("stream", of_type(Type::Boolean))
            .into()
    }
}

impl ToSchema for ResponseRequest {
    fn name() -> Cow<'static, str> {
        "OpenAiResponseRequest".into()
    }
}

/// Create a response
///
/// The request and the response have the form of OpenAI's Responses; with `stream`, the response is sent in pieces as
/// server-sent events. Responses are not stored: the request contains the whole conversation. Needs an API key with
/// `ai:write`.
#[utoipa::path(post, path = "/", operation_id = "create_response", request_body = ResponseRequest,
    params(("X-AI-Cache" = Option<String>, Header, description = "Shares the answers of equal requests of the tenant: \
        `off`, `exact=SECONDS` or `semantic=SECONDS`.")),
    responses(
    (status = 200, body = ModelResponse, description = "The response. With `stream`, events of type `text/event-stream`.",
        headers(
            ("x-ai-call" = String, description = "The id of the call."),
            ("x-ai-provider" = String, description = "The provider that answered."),
            ("x-ai-cost-usd" = String, description = "The cost in US dollars, if the price is known."),
            ("x-ai-cached" = bool, description = "Whether the answer is from the cache."),
        )),
    CallFailures,
))]
async fn create_response(
    State(api): State<OpenAiApi>,
    caller: Identity,
    headers: HeaderMap,
    Json(ResponseRequest(body)): Json<ResponseRequest>,
) -> Result<Response, Error> {
    let account = ai_caller(&caller)?;
    let mut options = call_options(&caller, api.timeouts, &headers)?;
    let ResponseCall { request, stream, echo } = parse_response(body)?;
    options.sticky = request.extra.get("prompt_cache_key").and_then(Value::as_str).map(str::to_owned);
    let began = api.clock.now();
    if !stream {
        let answer = api.gateway.complete(account, request, options).await.map_err(http_error)?;
        let headers = call_headers(&answer.call);
        let response = ModelResponse::of_answer(&answer, echo, (began, api.clock.now()));
        return Ok((headers, Json(response)).into_response());
    }
    let request_id = options.request_id.as_deref().map(str::to_owned);
    let asked_model = request.model.clone();
    let answer = api.gateway.stream(account, request, options).await.map_err(http_error)?;
    let response = ModelResponse::begun(answer.id, asked_model, echo, began);
    let encoder = ResponseEncoder::new(response, request_id, api.clock);
    Ok(stream_response(answer, encoder))
}
