//! Answers in the form of OpenAI's API.

use omnistack_core::clock::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::{
    chat::{ChatResponse, Part, StopKind, TokenUsage, ToolCall},
    gateway::GatewayAnswer,
};

/// An answer of `/v1/chat/completions`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OpenAiChatCompletion)]
pub(super) struct ChatCompletion {
    /// The id.
    id: String,
    /// Always `chat.completion`.
    object: &'static str,
    /// The time of the answer, in seconds since 1970.
    created: i64,
    /// The model that answered.
    model: String,
    /// The answer: one choice, in OpenAI's form.
    #[schema(value_type = Vec<Object>)]
    choices: Vec<Value>,
    /// The tokens, in OpenAI's form.
    #[schema(value_type = Object)]
    usage: Value,
    /// The service tier that answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    service_tier: Option<String>,
    /// Always `null`: the providers differ.
    #[schema(required)]
    system_fingerprint: Option<String>,
}

impl ChatCompletion {
    /// Returns an answer in OpenAI's form.
    pub(super) fn new(answer: GatewayAnswer, now: Timestamp) -> Self {
        let GatewayAnswer { response, call } = answer;
        let id = if response.id.is_empty() { format!("chatcmpl-{}", call.id) } else { response.id.clone() };
        let choice = json!({
            "index": 0,
            "message": message(&response),
            "logprobs": null,
            "finish_reason": finish_reason(response.stop.unified),
        });
        Self {
            id,
            object: "chat.completion",
            created: now.as_seconds(),
            model: response.model,
            choices: vec![choice],
            usage: usage(&call.usage),
            service_tier: response.service_tier,
            system_fingerprint: None,
        }
    }
}

/// Returns the message of an answer.
pub(crate) fn message(response: &ChatResponse) -> Value {
    let text = response.text();
    let (mut calls, mut refusal, mut reasoning, mut details) = (Vec::new(), None, String::new(), Vec::new());
    for part in &response.parts {
        match part {
            Part::ToolCall(call) => calls.push(tool_call(call)),
            Part::Refusal(text) => refusal.get_or_insert_with(String::new).push_str(text),
            Part::Reasoning { text, signature, redacted } => {
                reasoning.push_str(text);
                if signature.is_some() || redacted.is_some() {
                    details.push(reasoning_detail(text, signature.as_deref(), redacted.as_deref()));
                }
            }
            _ => {}
        }
    }
    let is_empty = text.is_empty() && (!calls.is_empty() || refusal.is_some());
    let mut message = json!({
        "role": "assistant",
        "content": if is_empty { Value::Null } else { Value::String(text) },
        "refusal": refusal,
    });
    if !calls.is_empty() {
        message["tool_calls"] = Value::Array(calls);
    }
    if !reasoning.is_empty() {
        message["reasoning_content"] = Value::String(reasoning);
    }
    if !details.is_empty() {
        message["reasoning_details"] = Value::Array(details);
    }
    message
}

fn tool_call(call: &ToolCall) -> Value {
    let ToolCall { id, name, arguments, signature } = call;
    let mut all = json!({ "id": id, "type": "function", "function": { "name": name, "arguments": arguments } });
    if let Some(signature) = signature {
        all["extra_content"] = signature_content(signature);
    }
    all
}

/// Returns the signature of the reasoning before a call, where Google's own API of this form has it.
pub(super) fn signature_content(signature: &str) -> Value {
    json!({ "google": { "thought_signature": signature } })
}

/// Returns reasoning with what its provider verifies, for the next request.
pub(super) fn reasoning_detail(text: &str, signature: Option<&str>, redacted: Option<&str>) -> Value {
    match redacted {
        Some(data) => json!({ "type": "reasoning.encrypted", "data": data, "signature": signature }),
        None => json!({ "type": "reasoning.text", "text": text, "signature": signature }),
    }
}

/// Returns the reason for which an answer ended. OpenAI's clients know no others.
pub(super) const fn finish_reason(stop: StopKind) -> &'static str {
    match stop {
        StopKind::Length => "length",
        StopKind::ToolCalls => "tool_calls",
        StopKind::ContentFilter => "content_filter",
        StopKind::Stop | StopKind::Refusal | StopKind::Paused | StopKind::Interrupted | StopKind::Other => "stop",
    }
}

/// Returns the tokens of an answer.
pub(super) fn usage(usage: &TokenUsage) -> Value {
    json!({
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.total(),
        "prompt_tokens_details": {
            "cached_tokens": usage.cached,
            "cache_write_tokens": usage.cache_write.saturating_add(usage.cache_write_long),
        },
        "completion_tokens_details": { "reasoning_tokens": usage.reasoning },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::StopReason;

    fn rendered(parts: Vec<Part>) -> Value {
        message(&ChatResponse::new("r", "m", parts, StopReason::new(StopKind::Stop, None)))
    }

    #[test]
    fn the_content_is_null_only_beside_calls_and_refusals() {
        assert_eq!(rendered(vec![Part::text("a"), Part::text("b")])["content"], "ab");
        assert_eq!(rendered(Vec::new())["content"], "");
        assert_eq!(rendered(vec![Part::Refusal("no".into())])["content"], Value::Null);
        let mut call = ToolCall::new("c", "f", "{}");
        call.signature = Some("s".into());
        let message = rendered(vec![Part::ToolCall(call)]);
        assert_eq!(message["content"], Value::Null);
        assert_eq!(
            message["tool_calls"],
            json!([{ "id": "c", "type": "function", "function": { "name": "f", "arguments": "{}" },
                "extra_content": { "google": { "thought_signature": "s" } } }])
        );
    }

    #[test]
    fn signed_reasoning_can_be_sent_back() {
        let part = |signature: Option<&str>| Part::Reasoning {
            text: "hm".into(),
            signature: signature.map(Into::into),
            redacted: None,
        };
        assert_eq!(rendered(vec![part(None)]).get("reasoning_details"), None);
        let message = rendered(vec![part(Some("z")), Part::text("a")]);
        assert_eq!(message["reasoning_content"], "hm");
        let history = crate::openai_api::parse_messages("messages", Some(json!([message]))).unwrap();
        assert_eq!(history[0].parts, [part(Some("z")), Part::text("a")]);
    }
}
