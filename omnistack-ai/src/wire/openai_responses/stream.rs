//! Answers of Responses, whole and in pieces.

use std::borrow::Cow;

use serde_json::Value;

use crate::{
    chat::{ChatEvent, ChatResponse, StopKind, StopReason, StreamAssembler},
    error::LlmError,
    wire::{
        SseEvent, StreamDecoder,
        openai_chat::{
            corrected, error_in_answer, interrupted, is_failure, list, protocol_error, response_usage, text,
        },
    },
};

/// Maximum number of parts of an answer.
const MAX_PARTS_PER_ANSWER: usize = 1024;

/// The text between two parts of a summary.
const SUMMARY_SEPARATOR: &str = "\n\n";

/// The place of a part in the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PartPlace {
    Text { item: u64, content: u64 },
    Refusal { item: u64, content: u64 },
    Reasoning { item: u64 },
    Call { item: u64 },
}

/// A part that has begun. Its number is its position.
#[derive(Debug)]
struct BegunPart {
    place: PartPlace,
    /// The bytes that were received, by which events that repeat the whole are recognized.
    received: usize,
    /// The part of the summary that arrived last.
    summary: u64,
}

/// The decoder of one answer.
#[derive(Debug)]
pub(super) struct ResponseDecoder {
    provider: Cow<'static, str>,
    has_started: bool,
    parts: Vec<BegunPart>,
    events: Vec<ChatEvent>,
}

impl ResponseDecoder {
    pub(super) fn new(provider: Cow<'static, str>) -> Self {
        Self { provider, has_started: false, parts: Vec::new(), events: Vec::new() }
    }

    /// Decodes a whole answer.
    pub(super) fn decode(mut self, body: &[u8]) -> Result<ChatResponse, LlmError> {
        let body: Value =
            serde_json::from_slice(body).map_err(|_| protocol_error(&self.provider, "the answer is not JSON"))?;
        if is_failure(body.get("error")) {
            return Err(error_in_answer(&self.provider, &body));
        }
        if !body.get("output").is_some_and(Value::is_array) {
            return Err(protocol_error(&self.provider, "the answer has no output"));
        }
        self.finish(&body)?;
        let mut assembler = StreamAssembler::default();
        for event in &self.events {
            assembler.push(event);
        }
        Ok(assembler.finish())
    }

    fn event(&mut self, kind: &str, event: &Value) -> Result<(), LlmError> {
        let item = number(event, "output_index");
        let content = number(event, "content_index");
        let delta = text(event, "delta");
        match kind {
            "response.created" | "response.queued" | "response.in_progress" => self.start(event.get("response")),
            "response.output_text.delta" => self.add(PartPlace::Text { item, content }, delta)?,
            "response.output_text.done" => self.complete(PartPlace::Text { item, content }, text(event, "text"))?,
            "response.refusal.delta" => self.add(PartPlace::Refusal { item, content }, delta)?,
            "response.refusal.done" => self.complete(PartPlace::Refusal { item, content }, text(event, "refusal"))?,
            "response.reasoning_summary_text.delta" => self.add_summary(item, number(event, "summary_index"), delta)?,
            "response.reasoning_text.delta" => self.add_summary(item, content, delta)?,
            // Arguments before their call arrive again with the call.
            "response.function_call_arguments.delta" if self.has_begun(PartPlace::Call { item }) => {
                self.add(PartPlace::Call { item }, delta)?;
            }
            "response.output_item.added" => self.item(item, event.get("item"), false)?,
            "response.output_item.done" => self.item(item, event.get("item"), true)?,
            "response.completed" | "response.incomplete" => {
                self.finish(event.get("response").unwrap_or(&Value::Null))?;
            }
            "response.failed" => {
                let response = event.get("response").unwrap_or(event);
                return Err(error_in_answer(&self.provider, response));
            }
            "response.cancelled" => return Err(interrupted(&self.provider)),
            "error" => return Err(error_in_answer(&self.provider, event)),
            _ => {}
        }
        Ok(())
    }

    fn start(&mut self, response: Option<&Value>) {
        if !self.has_started {
            self.has_started = true;
            let field = |name: &str| response.map(|response| text(response, name)).unwrap_or_default().to_owned();
            self.events.push(ChatEvent::Start { id: field("id"), model: field("model") });
        }
    }

    fn has_begun(&self, place: PartPlace) -> bool {
        self.parts.iter().any(|part| part.place == place)
    }

    /// Returns the number of a part, which begins if it has not.
    fn part(&mut self, place: PartPlace) -> Result<usize, LlmError> {
        if let Some(index) = self.parts.iter().rposition(|part| part.place == place) {
            return Ok(index);
        }
        if self.parts.len() == MAX_PARTS_PER_ANSWER {
            return Err(protocol_error(&self.provider, "the answer has too many parts"));
        }
        self.start(None);
        self.parts.push(BegunPart { place, received: 0, summary: 0 });
        Ok(self.parts.len() - 1)
    }

    fn add(&mut self, place: PartPlace, delta: &str) -> Result<(), LlmError> {
        if delta.is_empty() {
            return Ok(());
        }
        let index = self.part(place)?;
        let received = &mut self.parts[index].received;
        *received = received.saturating_add(delta.len());
        let delta = delta.to_owned();
        self.events.push(match place {
            PartPlace::Text { .. } => ChatEvent::Text { index, delta },
            PartPlace::Refusal { .. } => ChatEvent::Refusal { index, delta },
            PartPlace::Reasoning { .. } => ChatEvent::Reasoning { index, delta },
            PartPlace::Call { .. } => ChatEvent::ToolCallArguments { index, delta },
        });
        Ok(())
    }

    fn add_summary(&mut self, item: u64, summary: u64, delta: &str) -> Result<(), LlmError> {
        if delta.is_empty() {
            return Ok(());
        }
        let place = PartPlace::Reasoning { item };
        let index = self.part(place)?;
        let part = &mut self.parts[index];
        let is_next = part.received > 0 && part.summary != summary;
        part.summary = summary;
        if is_next {
            self.add(place, SUMMARY_SEPARATOR)?;
        }
        self.add(place, delta)
    }

    /// Adds what is missing of a part whose whole text is known.
    fn complete(&mut self, place: PartPlace, whole: &str) -> Result<(), LlmError> {
        let received = self.parts.iter().rfind(|part| part.place == place).map_or(0, |part| part.received);
        self.add(place, whole.get(received..).unwrap_or_default())
    }

    fn item(&mut self, number: u64, item: Option<&Value>, is_done: bool) -> Result<(), LlmError> {
        let Some(item) = item else { return Ok(()) };
        match text(item, "type") {
            "function_call" => self.call(number, item, is_done),
            "message" if is_done => {
                for (content, part) in (0..).zip(list(item, "content")) {
                    match text(part, "type") {
                        "output_text" => {
                            self.complete(PartPlace::Text { item: number, content }, text(part, "text"))?;
                        }
                        "refusal" => {
                            self.complete(PartPlace::Refusal { item: number, content }, text(part, "refusal"))?;
                        }
                        _ => {}
                    }
                }
                Ok(())
            }
            "reasoning" if is_done => self.reasoning(number, item),
            _ => Ok(()),
        }
    }

    fn call(&mut self, item_number: u64, item: &Value, is_done: bool) -> Result<(), LlmError> {
        let place = PartPlace::Call { item: item_number };
        let name = text(item, "name");
        if !self.has_begun(place) {
            if name.is_empty() {
                let error = protocol_error(&self.provider, "a tool call of the answer has no name");
                return if is_done { Err(error) } else { Ok(()) };
            }
            let index = self.part(place)?;
            let id = [text(item, "call_id"), text(item, "id")].into_iter().find(|id| !id.is_empty());
            let id = id.map_or_else(|| format!("call_{item_number}"), str::to_owned);
            self.events.push(ChatEvent::ToolCallStart { index, id, name: name.to_owned() });
        }
        let arguments = text(item, "arguments");
        if is_done && arguments.is_empty() && text(item, "status") != "incomplete" {
            return self.complete(place, "{}");
        }
        self.complete(place, arguments)
    }

    fn reasoning(&mut self, number: u64, item: &Value) -> Result<(), LlmError> {
        let place = PartPlace::Reasoning { item: number };
        let texts = [list(item, "summary"), list(item, "content")];
        let texts = texts.into_iter().find(|texts| !texts.is_empty()).unwrap_or_default();
        let whole: Vec<&str> = texts.iter().map(|part| text(part, "text")).filter(|text| !text.is_empty()).collect();
        self.complete(place, &whole.join(SUMMARY_SEPARATOR))?;
        let encrypted = text(item, "encrypted_content");
        if !encrypted.is_empty() {
            let index = self.part(place)?;
            let signature = Some(text(item, "id").to_owned());
            let redacted = Some(encrypted.to_owned());
            self.events.push(ChatEvent::ReasoningSignature { index, signature, redacted });
        }
        Ok(())
    }

    fn finish(&mut self, response: &Value) -> Result<(), LlmError> {
        self.start(Some(response));
        if self.parts.is_empty() {
            for (number, item) in (0..).zip(list(response, "output")) {
                self.item(number, Some(item), true)?;
            }
        }
        let tier = text(response, "service_tier");
        if !tier.is_empty() {
            self.events.push(ChatEvent::ServiceTier(tier.to_owned()));
        }
        if let Some(raw) = response.get("usage")
            && let Some(usage) = response_usage(raw)
        {
            self.events.push(ChatEvent::Usage { usage, raw: raw.clone() });
        }
        let (kind, raw) = match text(response, "status") {
            "completed" => (StopKind::Stop, "completed"),
            "incomplete" => match response.pointer("/incomplete_details/reason").and_then(Value::as_str) {
                Some(reason @ "max_output_tokens") => (StopKind::Length, reason),
                Some(reason @ "content_filter") => (StopKind::ContentFilter, reason),
                reason => (StopKind::Other, reason.unwrap_or("incomplete")),
            },
            "failed" => return Err(error_in_answer(&self.provider, response)),
            // The answer of a request that runs in the background is not there yet.
            "cancelled" | "queued" | "in_progress" => return Err(interrupted(&self.provider)),
            status => (StopKind::Other, status),
        };
        let has = |wanted: fn(&PartPlace) -> bool| self.parts.iter().any(|part| wanted(&part.place));
        let has_calls = has(|place| matches!(place, PartPlace::Call { .. }));
        let has_refusal = has(|place| matches!(place, PartPlace::Refusal { .. }));
        let raw = Some(raw.to_owned()).filter(|raw| !raw.is_empty());
        self.events.push(ChatEvent::End(StopReason::new(corrected(kind, has_calls, has_refusal), raw)));
        Ok(())
    }
}

impl StreamDecoder for ResponseDecoder {
    fn push(&mut self, event: &SseEvent) -> Result<Vec<ChatEvent>, LlmError> {
        let data = event.data.trim();
        // OpenAI ends this stream without a mark; compatible servers add that of chat completions.
        if data.is_empty() || data == "[DONE]" {
            return Ok(Vec::new());
        }
        let parsed: Result<Value, _> = serde_json::from_str(data);
        let name = event.event.as_deref().unwrap_or_default();
        if name == "error" {
            return Err(error_in_answer(&self.provider, &parsed.unwrap_or_default()));
        }
        let parsed = parsed.map_err(|_| protocol_error(&self.provider, "a piece of the answer is not JSON"))?;
        let kind = Some(text(&parsed, "type")).filter(|kind| !kind.is_empty()).unwrap_or(name);
        if kind.is_empty() && is_failure(parsed.get("error")) {
            return Err(error_in_answer(&self.provider, &parsed));
        }
        self.event(kind, &parsed)?;
        Ok(std::mem::take(&mut self.events))
    }

    fn end_of_body(&mut self) -> Result<Vec<ChatEvent>, LlmError> {
        Err(interrupted(&self.provider))
    }
}

fn number(event: &Value, key: &str) -> u64 {
    event.get(key).and_then(Value::as_u64).unwrap_or(0)
}
