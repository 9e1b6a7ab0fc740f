//! Messages as content blocks.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};

use super::SIGNATURE_MARK;
use crate::{
    chat::{CacheLifetime, ChatRequest, Media, MediaSource, Message, Part, Role, ToolResult},
    error::LlmError,
    wire::openai_chat::inexpressible,
};

/// Maximum number of places at which a request asks the provider to keep its prefix.
const MAX_CACHE_BREAKPOINTS: usize = 4;

/// The conversation in the form of the API.
#[derive(Debug)]
pub(super) struct AnthropicConversation<'a> {
    provider: &'a str,
    pub(super) system: Vec<Value>,
    pub(super) messages: Vec<Value>,
    /// The cache breakpoints that are left out, because there are too many. The last ones save the most.
    skipped_breakpoints: usize,
}

impl<'a> AnthropicConversation<'a> {
    /// Encodes the messages of a request. The instructions are moved to the front, which is their only place.
    pub(super) fn encode(provider: &'a str, request: &ChatRequest) -> Result<Self, LlmError> {
        let parts = request.messages.iter().flat_map(|message| &message.parts);
        let breakpoints = parts.filter(|part| matches!(part, Part::Text { text, cache: Some(_) } if !is_blank(text)));
        let skipped_breakpoints = breakpoints.count().saturating_sub(MAX_CACHE_BREAKPOINTS);
        let mut conversation = Self { provider, system: Vec::new(), messages: Vec::new(), skipped_breakpoints };
        let (instructions, others): (Vec<_>, Vec<_>) =
            request.messages.iter().partition(|message| message.role == Role::System);
        for message in instructions {
            let blocks = conversation.blocks(message)?;
            conversation.system.extend(blocks);
        }
        for message in others {
            let role = if message.role == Role::Assistant { "assistant" } else { "user" };
            let blocks = conversation.blocks(message)?;
            conversation.add(role, blocks);
        }
        conversation.trim_end();
        Ok(conversation)
    }

    /// Adds blocks to the last message, or begins one: roles alternate.
    fn add(&mut self, role: &str, blocks: Vec<Value>) {
        if blocks.is_empty() {
            return;
        }
        if let Some(last) = self.messages.last_mut().filter(|last| last["role"] == role)
            && let Some(Value::Array(content)) = last.get_mut("content")
        {
            content.extend(blocks);
            return;
        }
        self.messages.push(json!({"role": role, "content": blocks}));
    }

    /// Removes white space at the end of an answer that the model shall continue, which the API refuses.
    fn trim_end(&mut self) {
        let Some(last) = self.messages.last_mut().filter(|last| last["role"] == "assistant") else { return };
        let Some(Value::Array(content)) = last.get_mut("content") else { return };
        if let Some(Value::String(text)) = content.last_mut().and_then(|block| block.get_mut("text")) {
            text.truncate(text.trim_end().len());
        }
    }

    fn blocks(&mut self, message: &Message) -> Result<Vec<Value>, LlmError> {
        let is_assistant = message.role == Role::Assistant;
        let mut blocks = Vec::new();
        for part in &message.parts {
            match part {
                Part::Text { text, cache } => blocks.extend(self.text(text, *cache)),
                Part::Refusal(text) => blocks.extend(self.text(text, None)),
                Part::Image(media) | Part::File(media) if message.role == Role::User || message.role == Role::Tool => {
                    blocks.push(self.media(media, matches!(part, Part::Image(_)))?);
                }
                Part::Image(_) | Part::File(_) => {
                    return Err(self.inexpressible("images and files can be only in messages of the user"));
                }
                Part::ToolCall(call) if is_assistant => blocks.push(json!({
                    "type": "tool_use",
                    "id": tool_id(&call.id),
                    "name": call.name,
                    "input": arguments_object(&call.arguments),
                })),
                Part::ToolResult(result) if !is_assistant => blocks.push(self.tool_result(result)?),
                Part::Reasoning { text, signature, redacted } if is_assistant => {
                    blocks.extend(reasoning(text, signature.as_deref(), redacted.as_deref()));
                }
                Part::ToolCall(_) | Part::ToolResult(_) | Part::Reasoning { .. } => {
                    return Err(self.inexpressible("a part of a message does not belong to the role of the message"));
                }
            }
        }
        // The results of tools must come before all else.
        blocks.sort_by_key(|block| block["type"] != "tool_result");
        Ok(blocks)
    }

    /// Encodes a text. The API refuses blank ones.
    fn text(&mut self, text: &str, cache: Option<CacheLifetime>) -> Option<Value> {
        if is_blank(text) {
            return None;
        }
        let mut block = json!({"type": "text", "text": text});
        if let Some(lifetime) = cache {
            if self.skipped_breakpoints > 0 {
                self.skipped_breakpoints -= 1;
            } else {
                block["cache_control"] = match lifetime {
                    CacheLifetime::Short => json!({"type": "ephemeral"}),
                    CacheLifetime::Hour => json!({"type": "ephemeral", "ttl": "1h"}),
                };
            }
        }
        Some(block)
    }

    fn tool_result(&mut self, result: &ToolResult) -> Result<Value, LlmError> {
        let mut content = Vec::new();
        for part in &result.parts {
            match part {
                Part::Text { text, cache } => content.extend(self.text(text, *cache)),
                Part::Image(media) => content.push(self.media(media, true)?),
                Part::File(media) => content.push(self.media(media, false)?),
                _ => return Err(self.inexpressible("the result of a tool can contain only texts, images and files")),
            }
        }
        let mut block = json!({"type": "tool_result", "tool_use_id": tool_id(&result.call_id)});
        if !content.is_empty() {
            block["content"] = content.into();
        }
        if result.is_error {
            block["is_error"] = json!(true);
        }
        Ok(block)
    }

    fn media(&self, media: &Media, is_image: bool) -> Result<Value, LlmError> {
        let media_type = media.media_type.as_deref().unwrap_or_default();
        let is_image = is_image || media_type.starts_with("image/");
        let source = match &media.source {
            MediaSource::Url(url) => json!({"type": "url", "url": url}),
            MediaSource::FileId(id) => json!({"type": "file", "file_id": id}),
            MediaSource::Bytes(bytes) if is_image || media_type == "application/pdf" => {
                json!({"type": "base64", "media_type": media_type, "data": STANDARD.encode(bytes)})
            }
            MediaSource::Bytes(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => json!({"type": "text", "media_type": "text/plain", "data": text}),
                Err(_) => return Err(self.inexpressible("the provider takes only images, PDF files and texts")),
            },
        };
        let mut block = json!({"type": if is_image { "image" } else { "document" }, "source": source});
        if let Some(name) = media.name.as_deref().filter(|name| !is_image && !name.is_empty()) {
            block["title"] = json!(name);
        }
        Ok(block)
    }

    fn inexpressible(&self, message: &str) -> LlmError {
        inexpressible(self.provider, message)
    }
}

/// Encodes reasoning, which the provider accepts only with its own signature.
fn reasoning(text: &str, signature: Option<&str>, redacted: Option<&str>) -> Option<Value> {
    if let Some(data) = redacted.and_then(|data| data.strip_prefix(SIGNATURE_MARK)) {
        return Some(json!({"type": "redacted_thinking", "data": data}));
    }
    let signature = signature?.strip_prefix(SIGNATURE_MARK)?;
    Some(json!({"type": "thinking", "thinking": text, "signature": signature}))
}

fn is_blank(text: &str) -> bool {
    text.trim().is_empty()
}

/// Returns the id of a call with the characters that the API accepts: other providers have others.
fn tool_id(id: &str) -> String {
    let accepted = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') { c } else { '_' };
    id.chars().map(accepted).collect()
}

/// Returns the arguments of a call as an object. The model sees what it wrote, also if that was no object.
pub(in crate::wire) fn arguments_object(arguments: &str) -> Value {
    match serde_json::from_str(arguments) {
        Ok(object @ Value::Object(_)) => object,
        _ if is_blank(arguments) => Value::Object(Map::new()),
        _ => json!({"arguments": arguments}),
    }
}
