//! Answers of the Messages API, whole and in pieces.

use std::{borrow::Cow, collections::BTreeMap, mem};

use serde_json::Value;

use super::{SIGNATURE_MARK, error::error_in_answer, usage::UsageSnapshot};
use crate::{
    chat::{ChatEvent, ChatResponse, StopKind, StopReason, StreamAssembler},
    error::LlmError,
    wire::{
        SseEvent, StreamDecoder,
        openai_chat::{corrected, interrupted, list, protocol_error, text},
    },
};

/// Maximum number of content blocks in an answer.
const MAX_BLOCKS_PER_ANSWER: usize = 4096;

/// The decoder of one answer. A whole answer is decoded like a stream, so that both mean the same.
#[derive(Debug)]
pub(super) struct MessageDecoder {
    provider: Cow<'static, str>,
    has_started: bool,
    /// The content blocks, by the provider's index.
    blocks: BTreeMap<u64, Block>,
    /// The number of the next part of the answer.
    next_part: usize,
    has_calls: bool,
    usage: UsageSnapshot,
    service_tier: Option<String>,
    stop_reason: Option<String>,
}

/// A content block that has begun.
#[derive(Debug)]
struct Block {
    part: usize,
    kind: BlockKind,
}

#[derive(Debug)]
enum BlockKind {
    Text,
    Thinking {
        /// The signature so far.
        signature: String,
    },
    ToolUse {
        /// Arguments that arrived with the beginning. They count if no others arrive.
        whole: Option<String>,
    },
    /// A block that has ended, or whose kind has no counterpart here, such as the use of a tool of the provider.
    Ignored,
}

impl MessageDecoder {
    pub(super) fn new(provider: Cow<'static, str>) -> Self {
        Self {
            provider,
            has_started: false,
            blocks: BTreeMap::new(),
            next_part: 0,
            has_calls: false,
            usage: UsageSnapshot::default(),
            service_tier: None,
            stop_reason: None,
        }
    }

    /// Decodes a whole answer.
    pub(super) fn decode(mut self, body: &[u8]) -> Result<ChatResponse, LlmError> {
        let body: Value = serde_json::from_slice(body).map_err(|_| self.protocol_error("the answer is not JSON"))?;
        if body.get("error").is_some_and(|error| !error.is_null()) || text(&body, "type") == "error" {
            return Err(error_in_answer(&self.provider, &body));
        }
        if !body.get("content").is_some_and(Value::is_array) {
            return Err(self.protocol_error("the answer has no content"));
        }
        let mut events = Vec::new();
        self.start(&body, &mut events);
        for (index, block) in (0..).zip(list(&body, "content")) {
            self.begin_block(index, block, &mut events)?;
            self.end_block(index, &mut events);
        }
        self.read_stop(&body);
        self.finish(&mut events);
        let mut assembler = StreamAssembler::default();
        for event in &events {
            assembler.push(event);
        }
        Ok(assembler.finish())
    }

    fn start(&mut self, message: &Value, events: &mut Vec<ChatEvent>) {
        if !self.has_started {
            self.has_started = true;
            events.push(ChatEvent::Start {
                id: text(message, "id").to_owned(),
                model: text(message, "model").to_owned(),
            });
        }
        self.read_usage(message.get("usage"), events);
    }

    fn read_usage(&mut self, usage: Option<&Value>, events: &mut Vec<ChatEvent>) {
        if !self.usage.update(usage) {
            return;
        }
        if let Some(usage) = self.usage.tokens() {
            events.push(ChatEvent::Usage { usage, raw: self.usage.raw() });
        }
        let tier = self.usage.service_tier();
        if tier.is_some() && tier != self.service_tier.as_deref() {
            self.service_tier = tier.map(str::to_owned);
            events.extend(self.service_tier.clone().map(ChatEvent::ServiceTier));
        }
    }

    fn read_stop(&mut self, message: &Value) {
        // An empty reason means that the answer goes on.
        let reason = Some(text(message, "stop_reason")).filter(|reason| !reason.is_empty());
        if reason.is_some() {
            self.stop_reason = reason.map(str::to_owned);
        }
    }

    fn begin_block(&mut self, index: u64, block: &Value, events: &mut Vec<ChatEvent>) -> Result<(), LlmError> {
        if self.blocks.len() == MAX_BLOCKS_PER_ANSWER && !self.blocks.contains_key(&index) {
            return Err(self.protocol_error("the answer has too many content blocks"));
        }
        // Servers that repeat an index begin another block with it.
        self.end_block(index, events);
        let part = self.next_part;
        let kind = match text(block, "type") {
            "text" => BlockKind::Text,
            "thinking" | "redacted_thinking" => BlockKind::Thinking { signature: String::new() },
            "tool_use" => {
                let (id, name) = (text(block, "id"), text(block, "name"));
                if name.is_empty() {
                    return Err(self.protocol_error("a tool call of the answer has no name"));
                }
                events.push(ChatEvent::ToolCallStart { index: part, id: id.to_owned(), name: name.to_owned() });
                self.has_calls = true;
                let whole = block.get("input").filter(|input| match input {
                    Value::Null => false,
                    Value::Object(input) => !input.is_empty(),
                    _ => true,
                });
                BlockKind::ToolUse { whole: whole.map(Value::to_string) }
            }
            _ => BlockKind::Ignored,
        };
        if !matches!(kind, BlockKind::Ignored) {
            self.next_part += 1;
        }
        self.blocks.insert(index, Block { part, kind });
        self.add(index, block, "text", events);
        self.add(index, block, "thinking", events);
        self.add(index, block, "signature", events);
        let redacted = text(block, "data");
        if text(block, "type") == "redacted_thinking" && !redacted.is_empty() {
            let redacted = Some(format!("{SIGNATURE_MARK}{redacted}"));
            events.push(ChatEvent::ReasoningSignature { index: part, signature: None, redacted });
        }
        Ok(())
    }

    /// Adds a piece to a block: the field of this name. A piece of another kind than the block is ignored.
    fn add(&mut self, index: u64, piece: &Value, field: &str, events: &mut Vec<ChatEvent>) {
        let delta = text(piece, field);
        let Some(block) = self.blocks.get_mut(&index).filter(|_| !delta.is_empty()) else { return };
        let (index, delta) = (block.part, delta.to_owned());
        match (&mut block.kind, field) {
            (BlockKind::Text, "text") => events.push(ChatEvent::Text { index, delta }),
            (BlockKind::Thinking { .. }, "thinking") => events.push(ChatEvent::Reasoning { index, delta }),
            (BlockKind::Thinking { signature }, "signature") => {
                signature.push_str(&delta);
                let signature = Some(format!("{SIGNATURE_MARK}{signature}"));
                events.push(ChatEvent::ReasoningSignature { index, signature, redacted: None });
            }
            (BlockKind::ToolUse { whole }, "partial_json") => {
                // The whole arguments of the beginning are the pieces themselves, or empty.
                *whole = Some(String::new());
                events.push(ChatEvent::ToolCallArguments { index, delta });
            }
            _ => {}
        }
    }

    fn delta(&mut self, index: u64, delta: &Value, events: &mut Vec<ChatEvent>) -> Result<(), LlmError> {
        let field = match text(delta, "type") {
            "text_delta" => "text",
            "thinking_delta" => "thinking",
            "signature_delta" => "signature",
            "input_json_delta" => "partial_json",
            // Citations, and what is not known yet.
            _ => return Ok(()),
        };
        // Some compatible servers leave the beginning of a text out.
        if field == "text" && !self.blocks.contains_key(&index) {
            self.begin_block(index, &serde_json::json!({"type": "text"}), events)?;
        }
        self.add(index, delta, field, events);
        Ok(())
    }

    fn end_block(&mut self, index: u64, events: &mut Vec<ChatEvent>) {
        let Some(block) = self.blocks.get_mut(&index) else { return };
        let part = block.part;
        if let BlockKind::ToolUse { whole } = mem::replace(&mut block.kind, BlockKind::Ignored) {
            let delta = whole.unwrap_or_else(|| "{}".to_owned());
            if !delta.is_empty() {
                events.push(ChatEvent::ToolCallArguments { index: part, delta });
            }
        }
    }

    fn finish(&mut self, events: &mut Vec<ChatEvent>) {
        let open: Vec<u64> = self.blocks.keys().copied().collect();
        for index in open {
            self.end_block(index, events);
        }
        let raw = self.stop_reason.take();
        let kind = match raw.as_deref() {
            Some("end_turn" | "stop_sequence" | "stop") => StopKind::Stop,
            Some("max_tokens" | "model_context_window_exceeded") => StopKind::Length,
            Some("tool_use") => StopKind::ToolCalls,
            Some("pause_turn") => StopKind::Paused,
            Some("refusal") => StopKind::Refusal,
            _ => StopKind::Other,
        };
        events.push(ChatEvent::End(StopReason::new(corrected(kind, self.has_calls, false), raw)));
    }

    fn protocol_error(&self, message: &str) -> LlmError {
        protocol_error(&self.provider, message)
    }
}

impl StreamDecoder for MessageDecoder {
    fn push(&mut self, event: &SseEvent) -> Result<Vec<ChatEvent>, LlmError> {
        let data = event.data.trim();
        // Some compatible servers end like OpenAI, after the terminal event.
        if data.is_empty() || data == "[DONE]" {
            return Ok(Vec::new());
        }
        let parsed: Result<Value, _> = serde_json::from_str(data);
        if event.event.as_deref() == Some("error") {
            return Err(error_in_answer(&self.provider, &parsed.unwrap_or_default()));
        }
        let data = parsed.map_err(|_| self.protocol_error("a piece of the answer is not JSON"))?;
        let kind = match text(&data, "type") {
            "" => event.event.as_deref().unwrap_or_default(),
            kind => kind,
        };
        if kind == "error" || data.get("error").is_some_and(|error| !error.is_null()) {
            return Err(error_in_answer(&self.provider, &data));
        }
        let index = data.get("index").and_then(Value::as_u64).unwrap_or(0);
        let field = |name: &str| data.get(name).unwrap_or(&Value::Null);
        let mut events = Vec::new();
        match kind {
            "message_start" => self.start(field("message"), &mut events),
            "content_block_start" => self.begin_block(index, field("content_block"), &mut events)?,
            "content_block_delta" => self.delta(index, field("delta"), &mut events)?,
            "content_block_stop" => self.end_block(index, &mut events),
            "message_delta" => {
                self.read_stop(field("delta"));
                self.read_usage(data.get("usage"), &mut events);
            }
            "message_stop" => {
                // A stream without an answer is no answer.
                if !self.has_started && self.blocks.is_empty() {
                    return Err(interrupted(&self.provider));
                }
                self.finish(&mut events);
            }
            // Pings, and what is not known yet.
            _ => {}
        }
        Ok(events)
    }

    fn end_of_body(&mut self) -> Result<Vec<ChatEvent>, LlmError> {
        Err(interrupted(&self.provider))
    }
}
