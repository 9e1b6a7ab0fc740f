//! Whole answers as streams.

use super::{
    answer::ChatResponse,
    request::{Part, ToolCall},
    stream::ChatEvent,
};

/// Returns the events of an answer, from which a [`StreamAssembler`](super::StreamAssembler) builds it again. `split`
/// cuts texts into the pieces that are sent.
pub(crate) fn events_of(response: &ChatResponse, split: fn(&str) -> Vec<&str>) -> Vec<ChatEvent> {
    let mut events = vec![ChatEvent::Start { id: response.id.clone(), model: response.model.clone() }];
    events.extend(response.service_tier.clone().map(ChatEvent::ServiceTier));
    events.extend(response.warnings.iter().cloned().map(ChatEvent::Warning));
    for (index, part) in response.parts.iter().enumerate() {
        push_part(&mut events, index, part, split);
    }
    if let Some(usage) = response.usage {
        events.push(ChatEvent::Usage { usage, raw: response.raw_usage.clone().unwrap_or_default() });
    }
    events.push(ChatEvent::End(response.stop.clone()));
    events
}

fn push_part(events: &mut Vec<ChatEvent>, index: usize, part: &Part, split: fn(&str) -> Vec<&str>) {
    match part {
        Part::Text { text, .. } => {
            events.extend(split(text).into_iter().map(|delta| ChatEvent::Text { index, delta: delta.to_owned() }));
        }
        Part::Reasoning { text, signature, redacted } => {
            let pieces = split(text).into_iter();
            events.extend(pieces.map(|delta| ChatEvent::Reasoning { index, delta: delta.to_owned() }));
            if signature.is_some() || redacted.is_some() {
                let (signature, redacted) = (signature.clone(), redacted.clone());
                events.push(ChatEvent::ReasoningSignature { index, signature, redacted });
            }
        }
        Part::Refusal(text) => {
            events.extend(split(text).into_iter().map(|delta| ChatEvent::Refusal { index, delta: delta.to_owned() }));
        }
        Part::ToolCall(ToolCall { id, name, arguments, signature }) => {
            events.push(ChatEvent::ToolCallStart { index, id: id.clone(), name: name.clone() });
            let pieces = split(arguments).into_iter();
            events.extend(pieces.map(|delta| ChatEvent::ToolCallArguments { index, delta: delta.to_owned() }));
            let signature = signature.clone();
            events.extend(signature.map(|signature| ChatEvent::ToolCallSignature { index, signature }));
        }
        // Models answer with none of these.
        Part::Image(_) | Part::File(_) | Part::ToolResult(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::chat::{StopKind, StopReason, StreamAssembler, TokenUsage};

    #[test]
    fn an_answer_survives_its_events() {
        let mut call = ToolCall::new("call_1", "weather", r#"{"city": "Turin"}"#);
        call.signature = Some("signed".to_owned());
        let reasoning =
            Part::Reasoning { text: "so it is".to_owned(), signature: Some("s".to_owned()), redacted: None };
        let parts = vec![reasoning, Part::text("It is 你好🌍."), Part::ToolCall(call), Part::Refusal("no".to_owned())];
        let mut response = ChatResponse::new("id", "model", parts, StopReason::new(StopKind::ToolCalls, None));
        response.usage = Some(TokenUsage { input: 3, output: 4, ..TokenUsage::default() });
        response.raw_usage = Some(json!({ "input_tokens": 3 }));
        response.service_tier = Some("flex".to_owned());
        response.warnings = vec!["remark".to_owned()];
        let splits: [fn(&str) -> Vec<&str>; 2] = [|text| vec![text], |text| text.split_inclusive(' ').collect()];
        for split in splits {
            let mut assembler = StreamAssembler::default();
            for event in events_of(&response, split) {
                assembler.push(&event);
            }
            assert_eq!(assembler.finish(), response);
        }
    }
}
