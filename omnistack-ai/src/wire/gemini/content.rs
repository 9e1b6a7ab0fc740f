//! Messages as contents and parts.

use std::collections::HashMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{MINTED_ID_PREFIX, SIGNATURE_MARK};
use crate::{
    chat::{ChatRequest, Media, MediaSource, Message, Part, Role, ToolCall, ToolResult},
    error::LlmError,
    wire::{anthropic::arguments_object, openai_chat::inexpressible},
};

/// The signature that Gemini documents for calls that it has not made itself, such as those of another provider in the
/// same conversation. Without any signature it refuses the request.
const FOREIGN_SIGNATURE: &str = "skip_thought_signature_validator";

/// Beginnings of ids of calls that other providers and this gateway have given.
const FOREIGN_ID_PREFIXES: [&str; 3] = [MINTED_ID_PREFIX, "toolu_", "fc_"];

/// The URL of files that were uploaded before.
const FILES_URL: &str = "https://generativelanguage.googleapis.com/v1beta/";

/// The conversation in the form of the API.
#[derive(Debug)]
pub(super) struct GeminiConversation {
    /// The parts of the instructions.
    pub(super) system: Vec<Value>,
    pub(super) contents: Vec<Value>,
}

impl GeminiConversation {
    /// Encodes the messages of a request. The instructions are moved to the front, which is their only place.
    pub(super) fn encode(provider: &str, request: &ChatRequest) -> Result<Self, LlmError> {
        let mut encoder = PartEncoder { provider, tools: HashMap::new() };
        let mut conversation = Self { system: Vec::new(), contents: Vec::new() };
        let mut last_role = None;
        for message in &request.messages {
            let mut parts = encoder.parts(message)?;
            if parts.is_empty() {
                continue;
            }
            if message.role == Role::System {
                conversation.system.append(&mut parts);
                continue;
            }
            // All results of the calls of an answer belong into one message.
            if message.role == Role::Tool
                && last_role == Some(Role::Tool)
                && let Some(Value::Array(results)) =
                    conversation.contents.last_mut().and_then(|last| last.get_mut("parts"))
            {
                results.append(&mut parts);
                continue;
            }
            let role = if message.role == Role::Assistant { "model" } else { "user" };
            conversation.contents.push(json!({"role": role, "parts": parts}));
            last_role = Some(message.role);
        }
        Ok(conversation)
    }
}

/// The encoder of the parts of messages.
struct PartEncoder<'a> {
    provider: &'a str,
    /// The names of tools by the ids of their calls.
    tools: HashMap<&'a str, &'a str>,
}

impl<'a> PartEncoder<'a> {
    fn parts(&mut self, message: &'a Message) -> Result<Vec<Value>, LlmError> {
        let is_assistant = message.role == Role::Assistant;
        let is_signed = |part: &Part| matches!(part, Part::ToolCall(call) if signature(call).is_some());
        let mut needs_signature = !message.parts.iter().any(is_signed);
        let mut parts = Vec::new();
        for part in &message.parts {
            match part {
                Part::Text { text, .. } | Part::Refusal(text) if text.is_empty() => {}
                Part::Text { text, .. } | Part::Refusal(text) => parts.push(json!({"text": text})),
                Part::Image(media) | Part::File(media) if message.role != Role::System => {
                    parts.push(self.media(media)?);
                }
                Part::ToolCall(call) if is_assistant => {
                    self.tools.insert(&call.id, &call.name);
                    let mut encoded = tool_call(call);
                    // Only the first of several calls is signed.
                    if std::mem::take(&mut needs_signature) {
                        encoded["thoughtSignature"] = json!(FOREIGN_SIGNATURE);
                    }
                    parts.push(encoded);
                }
                Part::ToolResult(result) if !is_assistant => parts.push(self.tool_result(result)?),
                Part::Reasoning { text, signature, .. } if is_assistant => {
                    parts.extend(reasoning(text, signature.as_deref()));
                }
                Part::Image(_) | Part::File(_) => {
                    return Err(self.inexpressible("instructions can't contain images and files"));
                }
                Part::ToolCall(_) | Part::ToolResult(_) | Part::Reasoning { .. } => {
                    return Err(self.inexpressible("a part of a message does not belong to the role of the message"));
                }
            }
        }
        Ok(parts)
    }

    fn tool_result(&self, result: &ToolResult) -> Result<Value, LlmError> {
        let name = result.name.as_deref().or_else(|| self.tools.get(result.call_id.as_str()).copied());
        let Some(name) = name.filter(|name| !name.is_empty()) else {
            return Err(self.inexpressible("the result of a tool belongs to no call before it: repeat the call's id"));
        };
        let texts = result.parts.iter().filter_map(|part| match part {
            Part::Text { text, .. } => Some(text.as_str()),
            _ => None,
        });
        let text: String = texts.collect();
        let output = serde_json::from_str(&text).unwrap_or(Value::String(text));
        let field = if result.is_error { "error" } else { "output" };
        let mut response = json!({"name": name, "response": {field: output}});
        if is_own_id(&result.call_id) {
            response["id"] = json!(result.call_id);
        }
        let mut media = Vec::new();
        for part in &result.parts {
            match part {
                Part::Text { .. } => {}
                Part::Image(image) | Part::File(image) => media.push(self.media(image)?),
                _ => return Err(self.inexpressible("the result of a tool can contain only texts, images and files")),
            }
        }
        if !media.is_empty() {
            response["parts"] = media.into();
        }
        Ok(json!({"functionResponse": response}))
    }

    fn media(&self, media: &Media) -> Result<Value, LlmError> {
        let media_type = media.media_type.as_deref();
        match &media.source {
            MediaSource::Bytes(bytes) => {
                let media_type = media_type.unwrap_or("application/octet-stream");
                Ok(json!({"inlineData": {"mimeType": media_type, "data": STANDARD.encode(bytes)}}))
            }
            MediaSource::FileId(id) => {
                // The API also takes other URLs here, and reads them with the rights of the app's account.
                let path = id.strip_prefix(FILES_URL).unwrap_or(id);
                let is_name = |name: &str| {
                    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
                };
                if !path.strip_prefix("files/").is_some_and(is_name) {
                    return Err(self.inexpressible("the id of a file is none of this provider, such as `files/a`"));
                }
                let mut file = json!({"fileUri": format!("{FILES_URL}{path}")});
                if let Some(media_type) = media_type {
                    file["mimeType"] = json!(media_type);
                }
                Ok(json!({"fileData": file}))
            }
            MediaSource::Url(_) => {
                Err(self.inexpressible("the provider fetches no URLs: send the image or the file itself"))
            }
        }
    }

    fn inexpressible(&self, message: &str) -> LlmError {
        inexpressible(self.provider, message)
    }
}

fn tool_call(call: &ToolCall) -> Value {
    let mut function = json!({"name": call.name, "args": arguments_object(&call.arguments)});
    if is_own_id(&call.id) {
        function["id"] = json!(call.id);
    }
    let mut part = json!({"functionCall": function});
    if let Some(signature) = signature(call) {
        part["thoughtSignature"] = json!(signature);
    }
    part
}

fn signature(call: &ToolCall) -> Option<&str> {
    call.signature.as_deref().filter(|signature| !signature.is_empty())
}

/// Returns whether the provider has given the id of a call.
fn is_own_id(id: &str) -> bool {
    !id.is_empty() && !FOREIGN_ID_PREFIXES.iter().any(|prefix| id.starts_with(prefix))
}

/// Encodes reasoning, which the provider uses only with its own signature. A signature without a text is one of a text
/// before it.
fn reasoning(text: &str, signature: Option<&str>) -> Option<Value> {
    let signature = signature?.strip_prefix(SIGNATURE_MARK)?;
    let mut part = json!({"text": text, "thoughtSignature": signature});
    if !text.is_empty() {
        part["thought"] = json!(true);
    }
    Some(part)
}
