//! The stored form of an answer.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::store::AnswerRow;
use crate::chat::{ChatResponse, Part, StopReason, TokenUsage, ToolCall};

/// An answer of the cache.
#[derive(Clone, Debug)]
pub(crate) struct StoredAnswer {
    /// The provider that gave it.
    pub(crate) provider: String,
    /// The answer, with the tokens that it used then.
    pub(crate) response: ChatResponse,
}

#[derive(Serialize, Deserialize)]
struct AnswerJson {
    id: String,
    model: String,
    parts: Vec<PartJson>,
    stop: StopReason,
    usage: Option<TokenUsage>,
    raw_usage: Option<Value>,
    service_tier: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum PartJson {
    Text(String),
    ToolCall(ToolCall),
    Reasoning { text: String, signature: Option<String>, redacted: Option<String> },
}

impl StoredAnswer {
    /// Returns the JSON of an answer, or `None` if it has parts that are not stored, such as a refusal.
    pub(super) fn write(response: &ChatResponse) -> Option<String> {
        let parts = response.parts.iter().map(|part| {
            Some(match part.clone() {
                Part::Text { text, .. } => PartJson::Text(text),
                Part::ToolCall(call) => PartJson::ToolCall(call),
                Part::Reasoning { text, signature, redacted } => PartJson::Reasoning { text, signature, redacted },
                Part::Image(_) | Part::File(_) | Part::ToolResult(_) | Part::Refusal(_) => return None,
            })
        });
        let answer = AnswerJson {
            id: response.id.clone(),
            model: response.model.clone(),
            parts: parts.collect::<Option<_>>()?,
            stop: response.stop.clone(),
            usage: response.usage,
            raw_usage: response.raw_usage.clone(),
            service_tier: response.service_tier.clone(),
        };
        serde_json::to_string(&answer).ok()
    }

    /// Returns the answer of a row, or `None` if another version of the app has written it.
    pub(super) fn read(row: AnswerRow) -> Option<Self> {
        let answer: AnswerJson = serde_json::from_str(&row.answer).ok()?;
        let parts = answer.parts.into_iter().map(|part| match part {
            PartJson::Text(text) => Part::text(text),
            PartJson::ToolCall(call) => Part::ToolCall(call),
            PartJson::Reasoning { text, signature, redacted } => Part::Reasoning { text, signature, redacted },
        });
        let mut response = ChatResponse::new(answer.id, answer.model, parts.collect(), answer.stop);
        response.usage = answer.usage;
        response.raw_usage = answer.raw_usage;
        response.service_tier = answer.service_tier;
        Some(Self { provider: row.provider, response })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::StopKind;

    #[test]
    fn an_answer_is_read_as_it_was_written() {
        let mut call = ToolCall::new("call_1", "weather", r#"{"city":"Nelson"}"#);
        call.signature = Some("sig".into());
        let reasoning = Part::Reasoning { text: "so".into(), signature: None, redacted: Some("x".into()) };
        let parts = vec![Part::text("你好"), Part::ToolCall(call), reasoning];
        let mut response = ChatResponse::new("id", "m", parts, StopReason::new(StopKind::ToolCalls, "tool".to_owned()));
        response.usage = Some(TokenUsage { input: 3, output: 2, ..TokenUsage::default() });
        let row = AnswerRow { provider: "fake".into(), answer: StoredAnswer::write(&response).unwrap() };
        assert_eq!(StoredAnswer::read(row).unwrap().response, response);
        let refused = ChatResponse::new("id", "m", vec![Part::Refusal("no".into())], response.stop.clone());
        assert_eq!(StoredAnswer::write(&refused), None);
    }
}
