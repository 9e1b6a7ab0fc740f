//! The content of answers: the stop reason that follows from it, and its size.

use serde_json::Value;

use crate::chat::{ChatResponse, Part, StopKind};

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::{StopReason, StreamAssembler, ToolCall, events_of};

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
    fn an_answer_is_as_large_as_its_pieces() {
        let reasoning = Part::Reasoning { text: "so".into(), signature: Some("s".into()), redacted: None };
        let call = Part::ToolCall(ToolCall::new("1", "t", r#"{"a":1}"#));
        let parts = vec![reasoning, Part::text("hi"), call, Part::Refusal("no".into())];
        let response = ChatResponse::new("id", "m", parts, StopReason::new(StopKind::ToolCalls, None));
        let mut assembler = StreamAssembler::default();
        for event in events_of(&response, |text| vec![text]) {
            assembler.push(&event);
        }
        assert_eq!((assembler.output_bytes(), output_bytes(&response)), (14, 14));
    }
}
