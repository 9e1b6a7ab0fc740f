//! Answers of Gemini's API, whole and in pieces.

use std::borrow::Cow;

use serde_json::Value;

use super::{SIGNATURE_MARK, calls::FunctionCalls, error::error_in_answer};
use crate::{
    chat::{ChatEvent, ChatResponse, StopKind, StopReason, StreamAssembler, TokenUsage},
    error::{LlmError, LlmErrorKind},
    wire::{
        SseEvent, StreamDecoder,
        openai_chat::{corrected, interrupted, list, protocol_error, text},
    },
};

/// Largest number of tokens that a provider is believed.
const MAX_TOKENS: u64 = 1_000_000_000_000;

/// The decoder of one answer. A whole answer is decoded like a stream of one piece, so that both mean the same.
#[derive(Debug)]
pub(super) struct ContentDecoder {
    provider: Cow<'static, str>,
    has_started: bool,
    /// Identifies the answer, for ids of calls.
    answer: String,
    /// The number of the next part of the answer.
    next_part: usize,
    /// The part that goes on if the next piece is of the same kind.
    open_part: Option<(PartKind, usize)>,
    calls: FunctionCalls,
    finish_reason: Option<String>,
    raw_usage: Option<Value>,
    service_tier: Option<String>,
    has_omitted: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PartKind {
    Text,
    Reasoning,
}

impl ContentDecoder {
    pub(super) fn new(provider: Cow<'static, str>) -> Self {
        Self {
            provider,
            has_started: false,
            answer: String::new(),
            next_part: 0,
            open_part: None,
            calls: FunctionCalls::default(),
            finish_reason: None,
            raw_usage: None,
            service_tier: None,
            has_omitted: false,
        }
    }

    /// Decodes a whole answer. A list of pieces, which is the form of streams that are no server-sent events, is one
    /// answer.
    pub(super) fn decode(mut self, body: &[u8]) -> Result<ChatResponse, LlmError> {
        let body: Value = serde_json::from_slice(body).map_err(|_| self.protocol_error("the answer is not JSON"))?;
        let mut events = Vec::new();
        match &body {
            Value::Array(pieces) => {
                for piece in pieces {
                    events.extend(self.piece(piece)?);
                }
            }
            body => events.extend(self.piece(body)?),
        }
        if !self.has_started {
            return Err(self.protocol_error("the answer has no candidate"));
        }
        events.extend(self.finish()?);
        let mut assembler = StreamAssembler::default();
        for event in &events {
            assembler.push(event);
        }
        Ok(assembler.finish())
    }

    fn piece(&mut self, piece: &Value) -> Result<Vec<ChatEvent>, LlmError> {
        if piece.get("error").is_some_and(|error| !error.is_null()) || piece.pointer("/0/error").is_some() {
            return Err(error_in_answer(&self.provider, piece));
        }
        if !piece.is_object() {
            return Err(self.protocol_error("a piece of the answer is no object"));
        }
        let candidates = list(piece, "candidates");
        let mut events = Vec::new();
        if !self.has_started && !candidates.is_empty() {
            self.has_started = true;
            text(piece, "responseId").clone_into(&mut self.answer);
            events.push(ChatEvent::Start { id: self.answer.clone(), model: text(piece, "modelVersion").to_owned() });
        }
        self.read_usage(piece, &mut events);
        let block_reason = piece.pointer("/promptFeedback/blockReason").and_then(Value::as_str).unwrap_or_default();
        if candidates.is_empty()
            && !matches!(block_reason, "" | "BLOCK_REASON_UNSPECIFIED" | "BLOCKED_REASON_UNSPECIFIED")
        {
            let mut error = LlmError::new(
                LlmErrorKind::ContentFiltered,
                self.provider.clone(),
                "the content filter of the provider refused the input",
            );
            error.code = Some(block_reason.chars().take(100).collect());
            return Err(error);
        }
        for candidate in candidates {
            // A request asks for one answer.
            if candidate.get("index").and_then(Value::as_u64).unwrap_or(0) == 0 {
                self.candidate(candidate, &mut events)?;
            }
        }
        Ok(events)
    }

    fn candidate(&mut self, candidate: &Value, events: &mut Vec<ChatEvent>) -> Result<(), LlmError> {
        let parts = list(candidate.get("content").unwrap_or(candidate), "parts");
        for part in parts {
            self.part(part, events)?;
        }
        let reason = text(candidate, "finishReason");
        if !matches!(reason, "" | "FINISH_REASON_UNSPECIFIED") {
            self.finish_reason = Some(reason.to_owned());
        } else if !parts.is_empty() {
            // Models that state a reason in each piece have not finished by it.
            self.finish_reason = None;
        }
        Ok(())
    }

    fn part(&mut self, part: &Value, events: &mut Vec<ChatEvent>) -> Result<(), LlmError> {
        if part.get("functionCall").is_some() {
            self.open_part = None;
            let pushed = self.calls.push(part, &self.answer, &mut self.next_part, events);
            return pushed.map_err(|message| self.protocol_error(message));
        }
        let is_thought = part.get("thought").and_then(Value::as_bool).unwrap_or(false);
        let delta = text(part, "text");
        if !delta.is_empty() {
            let kind = if is_thought { PartKind::Reasoning } else { PartKind::Text };
            let index = self.index_of(kind);
            let delta = delta.to_owned();
            events.push(match kind {
                PartKind::Text => ChatEvent::Text { index, delta },
                PartKind::Reasoning => ChatEvent::Reasoning { index, delta },
            });
        }
        let signature = text(part, "thoughtSignature");
        if !signature.is_empty() {
            // The signature of a text, which has no place for it, becomes reasoning without a text after it.
            let index = if is_thought { self.index_of(PartKind::Reasoning) } else { self.new_part() };
            let signature = Some(format!("{SIGNATURE_MARK}{signature}"));
            events.push(ChatEvent::ReasoningSignature { index, signature, redacted: None });
            self.open_part = None;
        }
        let is_omitted = ["inlineData", "fileData"].iter().any(|field| part.get(*field).is_some());
        if is_omitted && !std::mem::replace(&mut self.has_omitted, true) {
            events.push(ChatEvent::Warning("the answer contains media, which are left out".to_owned()));
        }
        Ok(())
    }

    /// Returns the number of the part that goes on, or of one that begins.
    fn index_of(&mut self, kind: PartKind) -> usize {
        if let Some((open, index)) = self.open_part
            && open == kind
        {
            return index;
        }
        let index = self.new_part();
        self.open_part = Some((kind, index));
        index
    }

    fn new_part(&mut self) -> usize {
        self.next_part += 1;
        self.next_part - 1
    }

    fn read_usage(&mut self, piece: &Value, events: &mut Vec<ChatEvent>) {
        let Some(raw) = piece.get("usageMetadata") else { return };
        if let Some(tier) = service_tier(raw).filter(|tier| Some(*tier) != self.service_tier.as_deref()) {
            self.service_tier = Some(tier.to_owned());
            events.push(ChatEvent::ServiceTier(tier.to_owned()));
        }
        if self.raw_usage.as_ref() == Some(raw) {
            return;
        }
        if let Some(usage) = usage(raw) {
            self.raw_usage = Some(raw.clone());
            events.push(ChatEvent::Usage { usage, raw: raw.clone() });
        }
    }

    fn finish(&mut self) -> Result<Vec<ChatEvent>, LlmError> {
        let mut events = Vec::new();
        self.calls.finish(&mut events);
        let raw = self.finish_reason.take();
        let kind = match raw.as_deref() {
            Some("STOP") => StopKind::Stop,
            Some("MAX_TOKENS") => StopKind::Length,
            Some(
                "SAFETY"
                | "RECITATION"
                | "BLOCKLIST"
                | "PROHIBITED_CONTENT"
                | "SPII"
                | "MODEL_ARMOR"
                | "IMAGE_SAFETY"
                | "IMAGE_PROHIBITED_CONTENT"
                | "IMAGE_RECITATION"
                | "PUP_LIMITED_DISABLED",
            ) => StopKind::ContentFilter,
            Some(reason) if self.next_part == 0 => {
                if let Some(error) = self.failure(reason) {
                    return Err(error);
                }
                StopKind::Other
            }
            _ => StopKind::Other,
        };
        let kind = corrected(kind, !self.calls.is_empty(), false);
        events.push(ChatEvent::End(StopReason::new(kind, raw)));
        Ok(events)
    }

    /// Returns the error of an answer without content, if its reason is a failure of the model.
    fn failure(&self, reason: &str) -> Option<LlmError> {
        let kind = match reason {
            "MISSING_THOUGHT_SIGNATURE" => LlmErrorKind::InvalidRequest,
            "MALFORMED_FUNCTION_CALL" | "MALFORMED_RESPONSE" | "UNEXPECTED_TOOL_CALL" | "TOO_MANY_TOOL_CALLS" => {
                LlmErrorKind::Failed
            }
            _ => return None,
        };
        let mut error = LlmError::new(kind, self.provider.clone(), "the model gave an answer that is not valid");
        error.code = Some(reason.to_owned());
        Some(error)
    }

    fn protocol_error(&self, message: &str) -> LlmError {
        protocol_error(&self.provider, message)
    }
}

impl StreamDecoder for ContentDecoder {
    fn push(&mut self, event: &SseEvent) -> Result<Vec<ChatEvent>, LlmError> {
        let data = event.data.trim();
        if data.is_empty() || data == "[DONE]" {
            return Ok(Vec::new());
        }
        let piece: Value =
            serde_json::from_str(data).map_err(|_| self.protocol_error("a piece of the answer is not JSON"))?;
        self.piece(&piece)
    }

    fn end_of_body(&mut self) -> Result<Vec<ChatEvent>, LlmError> {
        // There is no terminal event: the last piece has a reason.
        if self.has_started && self.finish_reason.is_some() {
            return self.finish();
        }
        Err(interrupted(&self.provider))
    }
}

/// Reads the usage. Returns `None` if it contains no count.
fn usage(raw: &Value) -> Option<TokenUsage> {
    let count = |name: &str| raw.get(name).and_then(Value::as_u64).map(|count| count.min(MAX_TOKENS));
    let (prompt, total) = (count("promptTokenCount"), count("totalTokenCount"));
    if prompt.is_none() && total.is_none() {
        return None;
    }
    // Results of the provider's own tools are an input beside the prompt.
    let input = prompt.unwrap_or(0) + count("toolUsePromptTokenCount").unwrap_or(0);
    // The candidates' tokens do not contain the thoughts.
    let reasoning = count("thoughtsTokenCount").unwrap_or(0);
    let output = match count("candidatesTokenCount") {
        Some(candidates) => candidates + reasoning,
        None => total.unwrap_or(0).saturating_sub(input).max(reasoning),
    };
    let cached = count("cachedContentTokenCount").unwrap_or(0).min(input);
    Some(TokenUsage { input, cached, cache_write: 0, cache_write_long: 0, output, reasoning })
}

/// Returns the service tier, or the one that the type of traffic shows.
fn service_tier(usage: &Value) -> Option<&'static str> {
    match (text(usage, "serviceTier"), text(usage, "trafficType")) {
        ("flex" | "FLEX", _) | (_, "ON_DEMAND_FLEX") => Some("flex"),
        ("priority" | "PRIORITY", _) | (_, "ON_DEMAND_PRIORITY") => Some("priority"),
        ("standard" | "STANDARD", _) | (_, "ON_DEMAND") => Some("standard"),
        _ => None,
    }
}
