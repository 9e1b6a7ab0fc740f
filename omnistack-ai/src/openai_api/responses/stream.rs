//! A response in pieces, as server-sent events.

use omnistack_core::clock::Clock;
use serde_json::{Value, json};

use super::{
    object::ModelResponse,
    output::{content_part, item_id, output_item, summary_part},
};
use crate::{
    call::CallSummary,
    chat::{ChatEvent, Part, StopKind, ToolCall},
    error::LlmError,
    openai_api::stream::{AnswerEncoder, Progress, sse_data, stream_error},
};

/// An encoder of the events of Responses. Each part of the answer is an item of the output. The items of parts whose
/// pieces alternate are open at the same time, so all are done at the end.
#[derive(Debug)]
pub(super) struct ResponseEncoder {
    response: ModelResponse,
    request_id: Option<String>,
    clock: Clock,
    /// The number of the next event.
    sequence: u64,
    has_begun: bool,
    /// The parts of the answer so far, with their numbers there, in the order of the items.
    parts: Vec<(usize, Part)>,
    progress: Progress,
}

impl ResponseEncoder {
    pub(super) fn new(response: ModelResponse, request_id: Option<String>, clock: Clock) -> Self {
        Self {
            response,
            request_id,
            clock,
            sequence: 0,
            has_begun: false,
            parts: Vec::new(),
            progress: Progress::Answer,
        }
    }

    fn event(&mut self, kind: &str, mut data: Value) -> String {
        data["type"] = json!(kind);
        data["sequence_number"] = json!(self.sequence);
        self.sequence += 1;
        format!("event: {kind}\n{}", sse_data(&data))
    }

    /// Returns an event about an item.
    fn item_event(&mut self, position: usize, kind: &str, mut data: Value) -> String {
        data["item_id"] = json!(item_id(self.response.call(), position, &self.parts[position].1));
        data["output_index"] = json!(position);
        self.event(kind, data)
    }

    /// Returns the first events, if they were not sent.
    fn begin(&mut self) -> String {
        if self.has_begun {
            return String::new();
        }
        self.has_begun = true;
        let response = json!({ "response": self.response });
        self.event("response.created", response.clone()) + &self.event("response.in_progress", response)
    }

    /// Returns the position of the item of a part, and the events by which it begins. `empty` is the part without its
    /// content.
    fn begin_item(&mut self, part: usize, empty: Part) -> (usize, String) {
        if let Some(position) = self.parts.iter().position(|(known, _)| *known == part) {
            return (position, String::new());
        }
        let mut events = self.begin();
        let position = self.parts.len();
        let mut item = output_item(&item_id(self.response.call(), position, &empty), &empty).unwrap_or_default();
        let content = content_part(&empty);
        if content.is_some() {
            item["content"] = json!([]);
        }
        if !matches!(empty, Part::Reasoning { .. }) {
            item["status"] = json!("in_progress");
        }
        self.parts.push((part, empty));
        events += &self.event("response.output_item.added", json!({ "output_index": position, "item": item }));
        if let Some(content) = content {
            let data = json!({ "content_index": 0, "part": content });
            events += &self.item_event(position, "response.content_part.added", data);
        }
        (position, events)
    }

    fn text(&mut self, part: usize, delta: &str) -> String {
        let (position, events) = self.begin_item(part, Part::text(""));
        let Part::Text { text, .. } = &mut self.parts[position].1 else { return events };
        text.push_str(delta);
        let data = json!({ "content_index": 0, "delta": delta, "logprobs": [] });
        events + &self.item_event(position, "response.output_text.delta", data)
    }

    fn refusal(&mut self, part: usize, delta: &str) -> String {
        let (position, events) = self.begin_item(part, Part::Refusal(String::new()));
        let Part::Refusal(text) = &mut self.parts[position].1 else { return events };
        text.push_str(delta);
        let data = json!({ "content_index": 0, "delta": delta });
        events + &self.item_event(position, "response.refusal.delta", data)
    }

    fn reasoning(&mut self, part: usize, delta: &str) -> String {
        let (position, mut events) = self.begin_item(part, empty_reasoning());
        let Part::Reasoning { text, .. } = &mut self.parts[position].1 else { return events };
        let begins = text.is_empty();
        text.push_str(delta);
        if begins {
            let data = json!({ "summary_index": 0, "part": summary_part("") });
            events += &self.item_event(position, "response.reasoning_summary_part.added", data);
        }
        let data = json!({ "summary_index": 0, "delta": delta });
        events + &self.item_event(position, "response.reasoning_summary_text.delta", data)
    }

    fn sign_reasoning(&mut self, part: usize, signature: Option<&str>, redacted: Option<&str>) -> String {
        let (position, events) = self.begin_item(part, empty_reasoning());
        if let Part::Reasoning { signature: known, redacted: hidden, .. } = &mut self.parts[position].1 {
            if let Some(signature) = signature {
                *known = Some(signature.to_owned());
            }
            if let Some(redacted) = redacted {
                *hidden = Some(redacted.to_owned());
            }
        }
        events
    }

    fn arguments(&mut self, part: usize, delta: &str) -> String {
        let position = self.parts.iter().position(|(known, _)| *known == part);
        let Some(position) = position else { return String::new() };
        let Part::ToolCall(call) = &mut self.parts[position].1 else { return String::new() };
        call.arguments.push_str(delta);
        self.item_event(position, "response.function_call_arguments.delta", json!({ "delta": delta }))
    }

    fn sign_call(&mut self, part: usize, signature: &str) {
        let call = self.parts.iter_mut().find(|(known, _)| *known == part);
        if let Some((_, Part::ToolCall(call))) = call {
            call.signature = Some(signature.to_owned());
        }
    }

    /// Returns the events by which all items are done.
    fn end(&mut self, stop: StopKind) -> String {
        let mut events = self.begin();
        self.progress = Progress::Reason;
        self.response.end(stop, self.parts.iter().map(|(_, part)| part));
        for position in 0..self.parts.len() {
            for (kind, data) in done_events(&self.parts[position].1) {
                events += &self.item_event(position, kind, data);
            }
            let data = json!({ "output_index": position, "item": self.response.item(position) });
            events += &self.event("response.output_item.done", data);
        }
        events
    }
}

impl AnswerEncoder for ResponseEncoder {
    fn answer(&mut self, event: &ChatEvent) -> String {
        match event {
            ChatEvent::Start { model, .. } => {
                if !model.is_empty() {
                    self.response.set_model(model);
                }
                self.begin()
            }
            // An item without content is none.
            ChatEvent::Text { delta, .. }
            | ChatEvent::Reasoning { delta, .. }
            | ChatEvent::Refusal { delta, .. }
            | ChatEvent::ToolCallArguments { delta, .. }
                if delta.is_empty() =>
            {
                String::new()
            }
            // The tokens are sent when they are settled.
            ChatEvent::Usage { .. }
            | ChatEvent::Warning(_)
            | ChatEvent::ReasoningSignature { signature: None, redacted: None, .. } => String::new(),
            ChatEvent::Text { index, delta } => self.text(*index, delta),
            ChatEvent::Reasoning { index, delta } => self.reasoning(*index, delta),
            ChatEvent::ReasoningSignature { index, signature, redacted } => {
                self.sign_reasoning(*index, signature.as_deref(), redacted.as_deref())
            }
            ChatEvent::Refusal { index, delta } => self.refusal(*index, delta),
            ChatEvent::ToolCallStart { index, id, name } => {
                self.begin_item(*index, Part::ToolCall(ToolCall::new(id, name, ""))).1
            }
            ChatEvent::ToolCallArguments { index, delta } => self.arguments(*index, delta),
            ChatEvent::ToolCallSignature { index, signature } => {
                self.sign_call(*index, signature);
                String::new()
            }
            ChatEvent::ServiceTier(tier) => {
                self.response.set_service_tier(tier);
                String::new()
            }
            ChatEvent::End(stop) => self.end(stop.unified),
        }
    }

    fn settled(&mut self, call: &CallSummary) -> String {
        if self.progress != Progress::Reason {
            return String::new();
        }
        self.progress = Progress::End;
        self.response.settle(&call.usage, self.clock.now());
        let kind = format!("response.{}", self.response.status());
        let response = json!({ "response": self.response });
        self.event(&kind, response)
    }

    fn failed(&mut self, error: &LlmError) -> String {
        if matches!(self.progress, Progress::Error | Progress::End) {
            return String::new();
        }
        self.progress = Progress::Error;
        let error = stream_error(error, self.request_id.clone());
        let mut data = serde_json::to_value(error).unwrap_or_default();
        // The event has these fields itself; OpenAI's clients raise what is in `error`.
        for name in ["code", "message", "param"] {
            data[name] = data["error"][name].clone();
        }
        self.event("error", data)
    }
}

fn empty_reasoning() -> Part {
    Part::Reasoning { text: String::new(), signature: None, redacted: None }
}

/// Returns the events by which the content of an item is done.
fn done_events(part: &Part) -> Vec<(&'static str, Value)> {
    let content = json!({ "content_index": 0, "part": content_part(part) });
    match part {
        Part::Text { text, .. } => vec![
            ("response.output_text.done", json!({ "content_index": 0, "text": text, "logprobs": [] })),
            ("response.content_part.done", content),
        ],
        Part::Refusal(text) => vec![
            ("response.refusal.done", json!({ "content_index": 0, "refusal": text })),
            ("response.content_part.done", content),
        ],
        Part::Reasoning { text, .. } if !text.is_empty() => vec![
            ("response.reasoning_summary_text.done", json!({ "summary_index": 0, "text": text })),
            ("response.reasoning_summary_part.done", json!({ "summary_index": 0, "part": summary_part(text) })),
        ],
        Part::ToolCall(call) => {
            let data = json!({ "name": call.name, "arguments": call.arguments });
            vec![("response.function_call_arguments.done", data)]
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use omnistack_core::{clock::Timestamp, id::Id};
    use serde_json::Map;

    use super::{super::object::RequestEcho, *};
    use crate::{chat::StopReason, error::LlmErrorKind};

    fn encoder() -> ResponseEncoder {
        let (call, began) = (Id::new(Timestamp::default()), Timestamp::default());
        let response = ModelResponse::begun(call, "m".into(), RequestEcho::of(&Map::new()), began);
        ResponseEncoder::new(response, None, Clock::system())
    }

    /// Returns the events that an encoder writes for the events of an answer.
    fn encode(encoder: &mut ResponseEncoder, events: &[ChatEvent]) -> Vec<Value> {
        let text: String = events.iter().map(|event| encoder.answer(event)).collect();
        let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
        data.map(|data| serde_json::from_str(data).unwrap()).collect()
    }

    #[test]
    fn calls_whose_pieces_alternate_are_items_of_their_own() {
        let start = |index, id: &str| ChatEvent::ToolCallStart { index, id: id.into(), name: "f".into() };
        let piece = |index, delta: &str| ChatEvent::ToolCallArguments { index, delta: delta.into() };
        let end = ChatEvent::End(StopReason::new(StopKind::ToolCalls, None));
        // The provider sends no start, and a piece without a call.
        let answer = [start(3, "a"), piece(3, "{"), start(5, "b"), piece(5, "{}"), piece(9, "?"), piece(3, "}"), end];
        let events = encode(&mut encoder(), &answer);
        assert_eq!(events[0]["type"], "response.created");
        let done: Vec<_> = events.iter().filter(|event| event["type"] == "response.output_item.done").collect();
        let items = done.iter().map(|event| {
            let item = &event["item"];
            (event["output_index"].as_u64(), item["call_id"].as_str(), item["arguments"].as_str())
        });
        let expected = [(Some(0), Some("a"), Some("{}")), (Some(1), Some("b"), Some("{}"))];
        assert_eq!(items.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn an_answer_without_content_has_no_items() {
        let mut encoder = encoder();
        let nothing = ChatEvent::ReasoningSignature { index: 1, signature: None, redacted: None };
        let empty = ChatEvent::Text { index: 0, delta: String::new() };
        let events = encode(&mut encoder, &[empty, nothing, ChatEvent::End(StopReason::new(StopKind::Stop, None))]);
        let kinds: Vec<_> = events.iter().filter_map(|event| event["type"].as_str()).collect();
        assert_eq!(kinds, ["response.created", "response.in_progress"]);
    }

    #[test]
    fn nothing_follows_an_error() {
        let mut encoder = encoder();
        let error = LlmError::new(LlmErrorKind::Interrupted, "p", "cut");
        assert!(encoder.failed(&error).starts_with("event: error\ndata: {"));
        assert_eq!(encoder.failed(&error), "");
    }
}
