//! The content of answers: the stop reason that follows from it, and its pieces.

use serde_json::Value;

use crate::chat::{ChatEvent, ChatResponse, Part, StopKind};

/// Corrects the stop reason by the content, because providers send wrong ones: an answer with complete calls of tools
/// asks for tools, and only such an answer does.
pub(super) fn correct_stop(response: &mut ChatResponse) {
    let (has_calls, are_complete) = {
        let mut calls = response.tool_calls().peekable();
        (calls.peek().is_some(), calls.all(|call| is_complete(&call.arguments)))
    };
    let refuses = response.parts.iter().any(|part| matches!(part, Part::Refusal(text) if !text.is_empty()));
    response.stop.unified = match response.stop.unified {
        StopKind::Stop | StopKind::Other | StopKind::ToolCalls if has_calls => StopKind::ToolCalls,
        StopKind::Length if has_calls && are_complete => StopKind::ToolCalls,
        StopKind::Stop | StopKind::Other | StopKind::ToolCalls if refuses => StopKind::Refusal,
        StopKind::ToolCalls => StopKind::Stop,
        other => other,
    };
}

fn is_complete(arguments: &str) -> bool {
    arguments.trim().is_empty() || serde_json::from_str::<Value>(arguments).is_ok()
}

/// Returns the bytes of an answer, by which tokens are estimated.
pub(super) fn output_bytes(response: &ChatResponse) -> usize {
    let bytes = response.parts.iter().map(|part| match part {
        Part::Text { text, .. } | Part::Reasoning { text, .. } | Part::Refusal(text) => text.len(),
        Part::ToolCall(call) => call.name.len() + call.arguments.len(),
        Part::Image(_) | Part::File(_) | Part::ToolResult(_) => 0,
    });
    bytes.sum()
}

/// Returns an answer in pieces.
pub(super) fn events_of(response: ChatResponse) -> Vec<ChatEvent> {
    let mut events = vec![ChatEvent::Start { id: response.id, model: response.model }];
    events.extend(response.service_tier.map(ChatEvent::ServiceTier));
    events.extend(response.warnings.into_iter().map(ChatEvent::Warning));
    for (index, part) in response.parts.into_iter().enumerate() {
        match part {
            Part::Text { text, .. } => events.push(ChatEvent::Text { index, delta: text }),
            Part::Reasoning { text, signature, redacted } => {
                events.push(ChatEvent::Reasoning { index, delta: text });
                if signature.is_some() || redacted.is_some() {
                    events.push(ChatEvent::ReasoningSignature { index, signature, redacted });
                }
            }
            Part::Refusal(text) => events.push(ChatEvent::Refusal { index, delta: text }),
            Part::ToolCall(call) => {
                events.push(ChatEvent::ToolCallStart { index, id: call.id, name: call.name });
                events.push(ChatEvent::ToolCallArguments { index, delta: call.arguments });
                events.extend(call.signature.map(|signature| ChatEvent::ToolCallSignature { index, signature }));
            }
            Part::Image(_) | Part::File(_) | Part::ToolResult(_) => {}
        }
    }
    if let Some(usage) = response.usage {
        events.push(ChatEvent::Usage { usage, raw: response.raw_usage.unwrap_or(Value::Null) });
    }
    events.push(ChatEvent::End(response.stop));
    events
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::{StopReason, StreamAssembler, TokenUsage, ToolCall};

    #[test]
    fn the_stop_reason_follows_from_the_content() {
        use StopKind as S;
        let text = || Part::text("hi");
        let call = |arguments: &str| Part::ToolCall(ToolCall::new("1", "t", arguments));
        let refusal = || Part::Refusal("no".into());
        for (stop, parts, expected) in [
            (S::Stop, vec![text()], S::Stop),
            (S::Stop, vec![text(), call("{}")], S::ToolCalls),
            (S::Other, vec![call("")], S::ToolCalls),
            (S::ToolCalls, vec![call(r#"{"a":"#)], S::ToolCalls),
            (S::ToolCalls, vec![text()], S::Stop),
            (S::ToolCalls, vec![], S::Stop),
            (S::Length, vec![text()], S::Length),
            (S::Length, vec![call("{}")], S::ToolCalls),
            (S::Length, vec![call(r#"{"a":"#)], S::Length),
            (S::Stop, vec![refusal()], S::Refusal),
            (S::ContentFilter, vec![refusal()], S::ContentFilter),
            (S::Interrupted, vec![call("{}")], S::Interrupted),
            (S::Paused, vec![text()], S::Paused),
        ] {
            let mut response = ChatResponse::new("", "m", parts, StopReason::new(stop, "raw".to_owned()));
            correct_stop(&mut response);
            assert_eq!((response.stop.unified, response.stop.raw.as_deref()), (expected, Some("raw")), "{response:?}");
        }
    }

    #[test]
    fn the_pieces_of_an_answer_make_the_same_answer() {
        let mut call = ToolCall::new("1", "t", r#"{"a":1}"#);
        call.signature = Some("signed".into());
        let reasoning = Part::Reasoning { text: "so".into(), signature: Some("s".into()), redacted: None };
        let parts = vec![reasoning, Part::text("hi"), Part::ToolCall(call), Part::Refusal("no".into())];
        let stop = StopReason::new(StopKind::ToolCalls, "raw".to_owned());
        let mut response = ChatResponse::new("id", "m", parts, stop);
        response.usage = Some(TokenUsage { input: 1, output: 2, ..TokenUsage::default() });
        response.raw_usage = Some(serde_json::json!({ "in": 1 }));
        response.service_tier = Some("flex".into());
        response.warnings.push("no seed".into());
        let mut assembler = StreamAssembler::default();
        for event in events_of(response.clone()) {
            assembler.push(&event);
        }
        assert_eq!(assembler.output_bytes(), output_bytes(&response));
        assert_eq!(assembler.finish(), response);
    }
}
