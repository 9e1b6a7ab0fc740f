//! Messages of chat completions.

use serde_json::{Value, json};

use super::{
    error::inexpressible,
    media::{file, image},
};
use crate::{
    chat::{ChatRequest, Message, Part, Role, ToolCall, ToolResult},
    error::LlmError,
    wire::Quirks,
};

/// The text of a tool's result that consists only of media.
const MEDIA_FOLLOWS: &str = "The result is in the next message.";

/// Encodes the conversation. Fails with [`LlmErrorKind::InvalidRequest`](crate::LlmErrorKind::InvalidRequest) if a
/// message has a part that its role can't have.
pub(super) fn encode_messages(provider: &str, quirks: &Quirks, request: &ChatRequest) -> Result<Value, LlmError> {
    let mut encoder = MessageEncoder { provider, quirks, messages: Vec::new(), media_of_results: Vec::new() };
    for message in &request.messages {
        encoder.message(message)?;
    }
    encoder.send_media_of_results();
    Ok(encoder.messages.into())
}

/// The encoder of the messages of a conversation.
struct MessageEncoder<'a> {
    provider: &'a str,
    quirks: &'a Quirks,
    messages: Vec<Value>,
    /// Media in the results of tools. They are sent in a message of the user after the last result, because results can
    /// only be texts.
    media_of_results: Vec<Value>,
}

impl MessageEncoder<'_> {
    fn message(&mut self, message: &Message) -> Result<(), LlmError> {
        let mut parts = Vec::new();
        let mut has_results = false;
        for part in &message.parts {
            match part {
                Part::ToolResult(result) => {
                    has_results = true;
                    self.tool_result(result)?;
                }
                part => parts.push(part),
            }
        }
        if parts.is_empty() && has_results {
            return Ok(());
        }
        self.send_media_of_results();
        let mut encoded = match message.role {
            Role::System => json!({"role": "system", "content": self.texts(&parts)?}),
            Role::User => json!({"role": "user", "content": self.content(&parts)?}),
            Role::Assistant => self.assistant(&parts)?,
            Role::Tool => return Err(self.misplaced("a message with results of tools has another part")),
        };
        if let Some(name) = &message.name {
            encoded["name"] = json!(name);
        }
        self.messages.push(encoded);
        Ok(())
    }

    fn tool_result(&mut self, result: &ToolResult) -> Result<(), LlmError> {
        let (mut text, mut media) = (String::new(), Vec::new());
        for part in &result.parts {
            match part {
                Part::Text { text: more, .. } => text.push_str(more),
                Part::Image(source) => media.push(image(self.provider, source)?),
                Part::File(source) => media.push(file(self.provider, self.quirks, source)?),
                _ => return Err(self.misplaced("the result of a tool has a part that is no text, image or file")),
            }
        }
        if !media.is_empty() {
            if text.is_empty() {
                text.push_str(MEDIA_FOLLOWS);
            }
            let label = format!("The result of the tool call {}:", result.call_id);
            self.media_of_results.push(json!({"type": "text", "text": label}));
            self.media_of_results.append(&mut media);
        }
        self.messages.push(json!({"role": "tool", "tool_call_id": result.call_id, "content": text}));
        Ok(())
    }

    fn send_media_of_results(&mut self) {
        let media = std::mem::take(&mut self.media_of_results);
        if !media.is_empty() {
            self.messages.push(json!({"role": "user", "content": media}));
        }
    }

    fn assistant(&self, parts: &[&Part]) -> Result<Value, LlmError> {
        let (mut texts, mut calls) = (Vec::new(), Vec::new());
        let (mut refusal, mut reasoning) = (String::new(), String::new());
        for part in parts {
            match part {
                Part::Text { .. } => texts.push(*part),
                Part::ToolCall(call) => calls.push(self.tool_call(call)),
                Part::Refusal(text) => refusal.push_str(text),
                Part::Reasoning { text, .. } => reasoning.push_str(text),
                _ => return Err(self.misplaced("a message of the model has an image or a file")),
            }
        }
        let has_text = !texts.is_empty() || (calls.is_empty() && refusal.is_empty());
        let content = if has_text { self.texts(&texts)? } else { Value::Null };
        let mut message = json!({"role": "assistant", "content": content});
        if !calls.is_empty() {
            message["tool_calls"] = calls.into();
        }
        if !refusal.is_empty() {
            message["refusal"] = refusal.into();
        }
        if let Some(field) = self.quirks.reasoning_field
            && !reasoning.is_empty()
        {
            message[field] = reasoning.into();
        }
        Ok(message)
    }

    fn tool_call(&self, call: &ToolCall) -> Value {
        // Servers parse the arguments of earlier calls, and fail at an empty text.
        let arguments = if call.arguments.trim().is_empty() { "{}" } else { &call.arguments };
        let function = json!({"name": call.name, "arguments": arguments});
        let mut encoded = json!({"id": call.id, "type": "function", "function": function});
        if let Some(signature) = &call.signature
            && self.quirks.sends_thought_signatures
        {
            encoded["extra_content"] = json!({"google": {"thought_signature": signature}});
        }
        encoded
    }

    /// Encodes parts that can only be texts.
    fn texts(&self, parts: &[&Part]) -> Result<Value, LlmError> {
        if parts.iter().all(|part| matches!(part, Part::Text { .. })) {
            return self.content(parts);
        }
        Err(self.misplaced("instructions for the model have a part that is no text"))
    }

    /// Encodes the content of a message: a string if it is one text, else a list.
    fn content(&self, parts: &[&Part]) -> Result<Value, LlmError> {
        let texts: Vec<&str> = parts.iter().filter_map(|part| text_of(part)).collect();
        if texts.len() == parts.len() && (texts.len() < 2 || self.quirks.joins_texts) {
            return Ok(texts.join("\n").into());
        }
        parts.iter().map(|part| self.content_part(part)).collect()
    }

    fn content_part(&self, part: &Part) -> Result<Value, LlmError> {
        match part {
            Part::Text { text, .. } => Ok(json!({"type": "text", "text": text})),
            Part::Image(media) => image(self.provider, media),
            Part::File(media) => file(self.provider, self.quirks, media),
            _ => Err(self.misplaced("a message of the user has a part that only the model writes")),
        }
    }

    fn misplaced(&self, message: &str) -> LlmError {
        inexpressible(self.provider, message)
    }
}

fn text_of(part: &Part) -> Option<&str> {
    match part {
        Part::Text { text, .. } => Some(text),
        _ => None,
    }
}
