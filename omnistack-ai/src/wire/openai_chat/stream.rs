//! Answers of chat completions, whole and in pieces.

use std::borrow::Cow;

use serde_json::Value;

use super::{
    calls::PartialCalls,
    error::{error_in_answer, interrupted, protocol_error},
    fields::{list, text},
    usage::chat_usage,
};
use crate::{
    chat::{ChatEvent, ChatResponse, StopKind, StopReason, StreamAssembler},
    error::LlmError,
    wire::{Quirks, SseEvent, StreamDecoder},
};

/// The data of the event that ends a stream.
const DONE: &str = "[DONE]";

/// The decoder of one answer. A whole answer is decoded like a stream of one piece, so that both mean the same.
#[derive(Debug)]
pub(super) struct ChatDecoder {
    provider: Cow<'static, str>,
    quirks: Quirks,
    has_started: bool,
    /// Identifies the answer, for ids of tool calls.
    answer: String,
    /// The number of the next part of the answer.
    next_part: usize,
    text: Option<usize>,
    reasoning: Option<usize>,
    refusal: Option<usize>,
    calls: PartialCalls,
    finish_reason: Option<String>,
    raw_usage: Option<Value>,
    service_tier: Option<String>,
}

impl ChatDecoder {
    pub(super) fn new(provider: Cow<'static, str>, quirks: Quirks) -> Self {
        Self {
            provider,
            quirks,
            has_started: false,
            answer: String::new(),
            next_part: 0,
            text: None,
            reasoning: None,
            refusal: None,
            calls: PartialCalls::default(),
            finish_reason: None,
            raw_usage: None,
            service_tier: None,
        }
    }

    /// Decodes a whole answer.
    pub(super) fn decode(mut self, body: &[u8]) -> Result<ChatResponse, LlmError> {
        let body: Value = serde_json::from_slice(body).map_err(|_| self.protocol_error("the answer is not JSON"))?;
        let mut events = self.chunk(&body)?;
        if list(&body, "choices").is_empty() {
            return Err(self.protocol_error("the answer has no choice"));
        }
        events.extend(self.finish()?);
        let mut assembler = StreamAssembler::default();
        for event in &events {
            assembler.push(event);
        }
        Ok(assembler.finish())
    }

    fn chunk(&mut self, chunk: &Value) -> Result<Vec<ChatEvent>, LlmError> {
        if !chunk.is_object() {
            // Some servers answer with a list of one error.
            return match chunk.pointer("/0/error") {
                Some(_) => Err(error_in_answer(&self.provider, chunk)),
                None => Err(self.protocol_error("a piece of the answer is no object")),
            };
        }
        self.check(chunk)?;
        let choices = list(chunk, "choices");
        let x_groq = chunk.get("x_groq");
        let usage = [chunk.get("usage"), x_groq.and_then(|x_groq| x_groq.get("usage"))];
        let usage = usage.into_iter().flatten().find(|usage| !usage.is_null());
        let mut events = Vec::new();
        if choices.is_empty() && usage.is_none() {
            // Azure begins with the result of its content filter, without id and model.
            return Ok(events);
        }
        if !self.has_started {
            self.has_started = true;
            let created = chunk.get("created").and_then(Value::as_u64).unwrap_or(0);
            let (id, model) = (text(chunk, "id"), text(chunk, "model"));
            self.answer = format!("{id}\n{created}");
            events.push(ChatEvent::Start { id: id.to_owned(), model: model.to_owned() });
        }
        for choice in choices {
            // A request asks for one answer.
            if choice.get("index").and_then(Value::as_u64).unwrap_or(0) == 0 {
                self.choice(choice, &mut events)?;
            }
        }
        let tier = Some(text(chunk, "service_tier")).filter(|tier| !tier.is_empty());
        if tier.is_some() && tier != self.service_tier.as_deref() {
            self.service_tier = tier.map(str::to_owned);
            events.extend(self.service_tier.clone().map(ChatEvent::ServiceTier));
        }
        if let Some(raw) = usage
            && self.raw_usage.as_ref() != Some(raw)
            && let Some(usage) = chat_usage(raw, &self.quirks)
        {
            self.raw_usage = Some(raw.clone());
            events.push(ChatEvent::Usage { usage, raw: raw.clone() });
        }
        Ok(events)
    }

    /// Fails if a piece reports a failure.
    fn check(&self, chunk: &Value) -> Result<(), LlmError> {
        if is_failure(chunk.get("error")) {
            return Err(error_in_answer(&self.provider, chunk));
        }
        if let Some(x_groq) = chunk.get("x_groq").filter(|x_groq| is_failure(x_groq.get("error"))) {
            return Err(error_in_answer(&self.provider, x_groq));
        }
        match list(chunk, "choices").iter().find(|choice| is_failure(choice.get("error"))) {
            Some(choice) => Err(error_in_answer(&self.provider, choice)),
            None => Ok(()),
        }
    }

    fn choice(&mut self, choice: &Value, events: &mut Vec<ChatEvent>) -> Result<(), LlmError> {
        let delta = choice.get("delta").filter(|delta| delta.is_object());
        let is_whole = delta.is_none();
        if let Some(message) = delta.or_else(|| choice.get("message")) {
            self.message(message, is_whole, events)?;
        }
        // An empty reason means that the answer goes on.
        let reason = Some(text(choice, "finish_reason")).filter(|reason| !reason.is_empty());
        if reason.is_some() {
            self.finish_reason = reason.map(str::to_owned);
        }
        Ok(())
    }

    fn message(&mut self, message: &Value, is_whole: bool, events: &mut Vec<ChatEvent>) -> Result<(), LlmError> {
        let reasoning = [text(message, "reasoning"), text(message, "reasoning_content")];
        self.add_reasoning(reasoning.into_iter().find(|text| !text.is_empty()).unwrap_or_default(), events);
        match message.get("content") {
            Some(Value::String(content)) => self.add_text(content, events),
            // Mistral sends lists: of texts, and of reasoning as a list of texts.
            Some(Value::Array(parts)) => {
                for part in parts {
                    for thinking in list(part, "thinking") {
                        self.add_reasoning(text(thinking, "text"), events);
                    }
                    self.add_text(text(part, "text"), events);
                }
            }
            _ => {}
        }
        let delta = text(message, "refusal");
        if !delta.is_empty() {
            let index = part(&mut self.refusal, &mut self.next_part);
            events.push(ChatEvent::Refusal { index, delta: delta.to_owned() });
        }
        for (position, piece) in (0..).zip(list(message, "tool_calls")) {
            let position = is_whole.then_some(position);
            let pushed = self.calls.push(piece, position, &self.answer, &mut self.next_part, events);
            pushed.map_err(|message| self.protocol_error(message))?;
        }
        Ok(())
    }

    fn add_text(&mut self, delta: &str, events: &mut Vec<ChatEvent>) {
        if !delta.is_empty() {
            let index = part(&mut self.text, &mut self.next_part);
            events.push(ChatEvent::Text { index, delta: delta.to_owned() });
        }
    }

    fn add_reasoning(&mut self, delta: &str, events: &mut Vec<ChatEvent>) {
        if !delta.is_empty() {
            let index = part(&mut self.reasoning, &mut self.next_part);
            events.push(ChatEvent::Reasoning { index, delta: delta.to_owned() });
        }
    }

    fn finish(&mut self) -> Result<Vec<ChatEvent>, LlmError> {
        let mut events = Vec::new();
        let raw = self.finish_reason.take();
        let kind = match raw.as_deref() {
            Some("stop") => StopKind::Stop,
            Some("length") => StopKind::Length,
            Some("tool_calls" | "function_call") => StopKind::ToolCalls,
            Some("content_filter") => StopKind::ContentFilter,
            _ => StopKind::Other,
        };
        // The last call of an answer that was cut off stays as it is.
        if kind != StopKind::Length {
            self.calls.finish(&mut events).map_err(|message| self.protocol_error(message))?;
        }
        let kind = corrected(kind, !self.calls.is_empty(), self.refusal.is_some());
        events.push(ChatEvent::End(StopReason::new(kind, raw)));
        Ok(events)
    }

    fn protocol_error(&self, message: &str) -> LlmError {
        protocol_error(&self.provider, message)
    }
}

impl StreamDecoder for ChatDecoder {
    fn push(&mut self, event: &SseEvent) -> Result<Vec<ChatEvent>, LlmError> {
        let data = event.data.trim();
        if data == DONE {
            // A stream without an answer is no answer.
            return if self.has_started { self.finish() } else { Err(interrupted(&self.provider)) };
        }
        if data.is_empty() {
            return Ok(Vec::new());
        }
        let parsed: Result<Value, _> = serde_json::from_str(data);
        if event.event.as_deref() == Some("error") {
            return Err(error_in_answer(&self.provider, &parsed.unwrap_or_default()));
        }
        let chunk = parsed.map_err(|_| self.protocol_error("a piece of the answer is not JSON"))?;
        self.chunk(&chunk)
    }

    fn end_of_body(&mut self) -> Result<Vec<ChatEvent>, LlmError> {
        if !self.quirks.always_sends_done && self.finish_reason.is_some() {
            return self.finish();
        }
        Err(interrupted(&self.provider))
    }
}

/// Corrects the kind of a stop by the content: servers say `stop` for tool calls, and `tool_calls` without any. An
/// answer that was cut off stays cut off: its last tool call may be incomplete.
pub(crate) fn corrected(kind: StopKind, has_calls: bool, has_refusal: bool) -> StopKind {
    match kind {
        StopKind::Stop | StopKind::Other if has_calls => StopKind::ToolCalls,
        StopKind::ToolCalls if !has_calls => corrected(StopKind::Stop, false, has_refusal),
        StopKind::Stop | StopKind::Other if has_refusal => StopKind::Refusal,
        kind => kind,
    }
}

/// Returns whether a field reports a failure. As OpenAI's clients do, it ignores empty values.
pub(crate) fn is_failure(error: Option<&Value>) -> bool {
    match error {
        Some(Value::String(message)) => !message.is_empty(),
        Some(Value::Object(error)) => !error.is_empty(),
        _ => false,
    }
}

/// Returns the number of a part, which begins with its first piece.
fn part(known: &mut Option<usize>, next_part: &mut usize) -> usize {
    *known.get_or_insert_with(|| {
        *next_part += 1;
        *next_part - 1
    })
}
