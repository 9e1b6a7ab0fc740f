//! A response as an object: the answer, and what its request said.

use omnistack_core::clock::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::output::output_items;
use crate::{
    call::CallId,
    chat::{Part, StopKind, TokenUsage},
    gateway::GatewayAnswer,
};

/// A response in the form of OpenAI's Responses.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = OpenAiResponse)]
pub(super) struct ModelResponse {
    /// The id.
    id: String,
    /// Always `response`.
    object: &'static str,
    /// The time at which the response began, in seconds since 1970.
    created_at: i64,
    /// The time at which the response was complete, in seconds since 1970.
    #[schema(required)]
    completed_at: Option<i64>,
    /// `completed` or `incomplete`; `in_progress` in the first events of a stream.
    status: &'static str,
    /// The reason for which the response is incomplete.
    #[schema(required)]
    incomplete_details: Option<IncompleteDetails>,
    /// Always `null`: a call that fails has an error instead of a response.
    #[schema(required)]
    error: Option<String>,
    /// The model that answered.
    model: String,
    /// The answer: messages, calls of functions and reasoning, in OpenAI's form.
    #[schema(value_type = Vec<Object>)]
    output: Vec<Value>,
    /// The tokens, in OpenAI's form.
    #[schema(value_type = Object)]
    usage: Value,
    /// The service tier that answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    service_tier: Option<String>,
    /// Always `false`: a response is sent to the caller that waits for it.
    background: bool,
    /// Always `false`: responses are not stored.
    store: bool,
    /// Always `null`: responses are not stored.
    #[schema(required)]
    previous_response_id: Option<String>,
    #[serde(flatten)]
    request: RequestEcho,
    #[serde(skip)]
    call: CallId,
}

/// The reason for which a response is incomplete.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[schema(as = OpenAiIncompleteDetails)]
struct IncompleteDetails {
    /// `max_output_tokens` or `content_filter`.
    reason: &'static str,
}

/// The fields of a request that its response repeats.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = OpenAiResponseSettings)]
pub(super) struct RequestEcho {
    /// The instructions of the request.
    #[schema(required)]
    instructions: Option<String>,
    /// The maximum number of tokens of the answer that the request states.
    #[schema(required)]
    max_output_tokens: Option<u64>,
    /// The metadata of the request.
    #[schema(value_type = Object)]
    metadata: Value,
    /// Whether the model may call several functions at once.
    parallel_tool_calls: bool,
    /// The options of reasoning of the request.
    #[schema(value_type = Object)]
    reasoning: Value,
    /// The randomness that the request states.
    #[schema(required)]
    temperature: Option<f64>,
    /// The form of the answer that the request states.
    #[schema(value_type = Object)]
    text: Value,
    /// Whether the model must call a function.
    #[schema(value_type = Value)]
    tool_choice: Value,
    /// The functions that the model may call.
    #[schema(value_type = Vec<Object>)]
    tools: Vec<Value>,
    /// The probability mass that the request states.
    #[schema(required)]
    top_p: Option<f64>,
    /// Whether the provider may leave out the beginning of a conversation that is too long: `auto` or `disabled`.
    truncation: String,
}

impl RequestEcho {
    /// Returns the fields of a body, with OpenAI's defaults for those that it lacks.
    pub(super) fn of(body: &Map<String, Value>) -> Self {
        let text = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
        let object = |name: &str| body.get(name).filter(|value| value.is_object()).cloned();
        let mut form = object("text").unwrap_or_else(|| json!({}));
        if form.get("format").is_none_or(Value::is_null) {
            form["format"] = json!({ "type": "text" });
        }
        let choice = body.get("tool_choice").filter(|choice| !choice.is_null()).cloned();
        Self {
            instructions: text("instructions"),
            max_output_tokens: body.get("max_output_tokens").and_then(Value::as_u64),
            metadata: object("metadata").unwrap_or_else(|| json!({})),
            parallel_tool_calls: body.get("parallel_tool_calls").and_then(Value::as_bool).unwrap_or(true),
            reasoning: object("reasoning").unwrap_or_else(|| json!({ "effort": null, "summary": null })),
            temperature: body.get("temperature").and_then(Value::as_f64),
            text: form,
            tool_choice: choice.unwrap_or_else(|| json!("auto")),
            tools: body.get("tools").and_then(Value::as_array).cloned().unwrap_or_default(),
            top_p: body.get("top_p").and_then(Value::as_f64),
            truncation: text("truncation").unwrap_or_else(|| "disabled".to_owned()),
        }
    }
}

impl ModelResponse {
    /// Returns the response of a call that has begun.
    pub(super) fn begun(call: CallId, model: String, request: RequestEcho, began: Timestamp) -> Self {
        Self {
            id: format!("resp_{call}"),
            object: "response",
            created_at: began.as_seconds(),
            completed_at: None,
            status: "in_progress",
            incomplete_details: None,
            error: None,
            model,
            output: Vec::new(),
            usage: Value::Null,
            service_tier: None,
            background: false,
            store: false,
            previous_response_id: None,
            request,
            call,
        }
    }

    /// Returns the response of an answer, with the times at which it began and was complete.
    pub(super) fn of_answer(
        answer: &GatewayAnswer,
        request: RequestEcho,
        (began, completed): (Timestamp, Timestamp),
    ) -> Self {
        let GatewayAnswer { response, call } = answer;
        let mut all = Self::begun(call.id, response.model.clone(), request, began);
        all.service_tier.clone_from(&response.service_tier);
        all.end(response.stop.unified, &response.parts);
        all.settle(&call.usage, completed);
        all
    }

    /// Sets the model that answers.
    pub(super) fn set_model(&mut self, model: &str) {
        model.clone_into(&mut self.model);
    }

    /// Sets the service tier that answers.
    pub(super) fn set_service_tier(&mut self, tier: &str) {
        self.service_tier = Some(tier.to_owned());
    }

    /// Sets the output and the status of an answer that has ended.
    pub(super) fn end<'a>(&mut self, stop: StopKind, parts: impl IntoIterator<Item = &'a Part>) {
        let reason = match stop {
            StopKind::Length => Some("max_output_tokens"),
            StopKind::ContentFilter => Some("content_filter"),
            _ => None,
        };
        self.status = if reason.is_some() { "incomplete" } else { "completed" };
        self.incomplete_details = reason.map(|reason| IncompleteDetails { reason });
        self.output = output_items(self.call, parts, self.status);
    }

    /// Sets the tokens, and the time at which the answer was complete.
    pub(super) fn settle(&mut self, usage: &TokenUsage, completed: Timestamp) {
        self.usage = tokens(usage);
        self.completed_at = (self.status == "completed").then(|| completed.as_seconds());
    }

    /// Returns the id of the call, which is a part of the ids of items.
    pub(super) const fn call(&self) -> CallId {
        self.call
    }

    /// Returns the status.
    pub(super) const fn status(&self) -> &'static str {
        self.status
    }

    /// Returns an item of the output.
    pub(super) fn item(&self, position: usize) -> Value {
        self.output.get(position).cloned().unwrap_or_default()
    }
}

fn tokens(usage: &TokenUsage) -> Value {
    json!({
        "input_tokens": usage.input,
        "input_tokens_details": {
            "cached_tokens": usage.cached,
            "cache_write_tokens": usage.cache_write.saturating_add(usage.cache_write_long),
        },
        "output_tokens": usage.output,
        "output_tokens_details": { "reasoning_tokens": usage.reasoning },
        "total_tokens": usage.total(),
    })
}
